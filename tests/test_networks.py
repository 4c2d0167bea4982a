"""Networks of papers, held to the papers' own figures and layers; and several networks as one."""

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn
from torchinfo import summary

from beyond2d.checks import InputError
from beyond2d.networks import (
    DenoisingAutoencoder,
    PatchClassifier,
    PlannedUNet,
    VolumetricUNet,
    ensemble_of,
    with_weights,
)


def test_parameters_are_the_papers():
    assert sum(parameter.numel() for parameter in DenoisingAutoencoder().parameters()) == 360_481


def test_memory_is_the_papers():
    """torchinfo's count at 384 cubed, derived without running it: a pass over a tensor without data."""
    network = DenoisingAutoencoder().to("meta")
    counted = summary(network, input_size=(1, 1, 384, 384, 384), device="meta", verbose=0)
    assert counted.total_output_bytes / 1e9 == pytest.approx(43.034, abs=5e-4)
    total = counted.total_input + counted.total_output_bytes + counted.total_param_bytes
    assert total / 1e9 == pytest.approx(43.261, abs=5e-3)


def test_output_has_the_inputs_size():
    network = DenoisingAutoencoder().eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 16, 24, 8)).shape == (2, 1, 16, 24, 8)


# The layers of the report's tables in the order they run, as this project reads them: what a layer is, its channels in
# and out, its kernel, and what follows it.
NETWORK_1 = """
    Conv3d            1   32  3  ReLU BatchNorm3d
    Conv3d           32   32  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d           32   64  3  ReLU BatchNorm3d
    Conv3d           64   64  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d           64  128  3  ReLU BatchNorm3d
    Conv3d          128  128  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d          128  256  3  ReLU BatchNorm3d
    Conv3d          256  256  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d          256  512  3  ReLU
    Conv3d          512  512  3  ReLU
    ConvTranspose3d 512  256  2
    Conv3d          512  256  3
    Conv3d          256  256  3
    ConvTranspose3d 256  128  2
    Conv3d          256  128  3
    Conv3d          128  128  3
    ConvTranspose3d 128   64  2
    Conv3d          128   64  3
    Conv3d           64   64  3
    ConvTranspose3d  64   32  2
    Conv3d           64   32  3
    Conv3d           32   32  3
    Conv3d           32    2  3
"""
NETWORK_2 = """
    Conv3d            1   32  3  ReLU BatchNorm3d
    Conv3d           32   32  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d           32   64  3  ReLU BatchNorm3d
    Conv3d           64   64  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d           64  128  3  ReLU BatchNorm3d
    Conv3d          128  128  3  ReLU BatchNorm3d
    MaxPool3d                 2
    Conv3d          128  256  3  ReLU
    Conv3d          256  256  3  ReLU
    ConvTranspose3d 256  128  2
    Conv3d          256  128  3
    Conv3d          128  128  3
    ConvTranspose3d 128   64  2
    Conv3d          128   64  3
    Conv3d           64   64  3
    ConvTranspose3d  64   32  2
    Conv3d           64   32  3
    Conv3d           32   32  3
    Conv3d           32    2  3
"""


def described(layer):
    """The name of a layer that computes on its own, and with it the numbers of a table of layers."""
    name = type(layer).__name__
    if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
        assert len(set(layer.kernel_size)) == 1
        assert layer.bias is not None
        assert layer.stride == ((2, 2, 2) if isinstance(layer, nn.ConvTranspose3d) else (1, 1, 1))
        return [name, str(layer.in_channels), str(layer.out_channels), str(layer.kernel_size[0])]
    return [name, str(layer.kernel_size)] if isinstance(layer, nn.MaxPool3d) else [name]


def layers_as_they_run(network, image):
    """The words of a table of layers, from hooks on every module without parts."""
    words = []
    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(lambda layer, *_: words.extend(described(layer))) for module in leaves]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return words


@pytest.mark.parametrize(("levels", "table"), [(5, NETWORK_1), (4, NETWORK_2)])
def test_layers_of_the_volumetric_unet_are_the_reports(levels, table):
    network = VolumetricUNet(levels=levels)
    size = 2 * 2 ** (levels - 1)
    assert layers_as_they_run(network, torch.zeros(1, 1, size, size, size)) == table.split()


@pytest.mark.parametrize(("levels", "count"), [(5, 22_578_946), (4, 5_602_306)])
def test_parameters_of_the_volumetric_unet_are_the_reports(levels, count):
    for decoder_activation in (False, True):
        with torch.device("meta"):
            network = VolumetricUNet(levels=levels, decoder_activation=decoder_activation)
        assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_decoder_activation_puts_a_relu_behind_each_of_its_convolutions_and_no_parameter():
    torch.manual_seed(0)
    plain, active = VolumetricUNet(levels=4), VolumetricUNet(levels=4, decoder_activation=True)
    image = torch.randn(1, 1, 8, 8, 8)
    head, decoder = NETWORK_2.split("ConvTranspose3d", 1)
    decoder = [line + (" ReLU" if "Conv3d " in line else "") for line in decoder.rstrip().split("\n")[1:-1]]
    last = NETWORK_2.rstrip().split("\n")[-1]
    expected = "\n".join([head, "ConvTranspose3d 256 128 2", *decoder, last])
    assert layers_as_they_run(active, image) == expected.split()
    active.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert not torch.allclose(plain.eval()(image), active.eval()(image))


def test_the_volumetric_unet_takes_any_channels_classes_and_sides():
    network = VolumetricUNet(levels=3, in_channels=2, out_channels=5).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 2, 8, 12, 16)).shape == (2, 5, 8, 12, 16)


def test_the_volumetric_unet_puts_each_levels_map_beside_what_comes_up_to_it():
    """Against a literal pass through its parts."""
    torch.manual_seed(0)
    network = VolumetricUNet(levels=3).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        fine = network.encoder[0](image)
        middle = network.encoder[1](network.pool(fine))
        deep = network.bottleneck(network.pool(middle))
        up = network.decoder[0](torch.cat([middle, network.raise_resolution[0](deep)], dim=1))
        up = network.decoder[1](torch.cat([fine, network.raise_resolution[1](up)], dim=1))
        assert torch.equal(network(image), network.classify(up))


# He et al. 2016, table 1: the parameters of ResNet-18 for 1000 classes and three colours.
RESNET_18 = 11_689_512


@pytest.mark.parametrize("in_channels", [2, 4])
def test_parameters_of_the_patch_classifier_are_resnets_but_for_its_ends(in_channels):
    first, last = (in_channels - 3) * 64 * 7 * 7, (512 + 1) * (256 - 1000)
    linear = (256 + 1) * 128 + (128 + 1) * 64 + 64 + 1
    with torch.device("meta"):
        network = PatchClassifier(in_channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == RESNET_18 + first + last + linear


def test_the_patch_classifier_gives_one_logit_a_patch_whatever_its_size():
    network = PatchClassifier().eval()
    with torch.no_grad():
        patches = torch.randn(3, 4, 48, 48)
        logits = network(patches)
        assert logits.shape == (3, 1)
        torch.testing.assert_close(network(patches[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
        assert network(torch.randn(1, 4, 31, 31)).shape == (1, 1)


def test_the_patch_classifier_halves_the_patch_five_times_and_drops_features_between_linear_layers():
    network = PatchClassifier(dropout=0.25).eval()
    sizes = []
    network[0].layer4.register_forward_hook(lambda layer, inputs, output: sizes.append(tuple(output.shape)))
    with torch.no_grad():
        network(torch.zeros(1, 4, 64, 64))
    assert sizes == [(1, 512, 2, 2)]
    _, *head = network
    assert [type(layer) for layer in head] == [nn.ReLU, nn.Dropout, nn.Linear] * 3
    assert [(layer.in_features, layer.out_features) for layer in head[2::3]] == [(256, 128), (128, 64), (64, 1)]
    assert {layer.p for layer in head[1::3]} == {0.25}


def test_the_patch_classifier_learns_a_batch_by_heart():
    torch.manual_seed(0)
    network = PatchClassifier(dropout=0.0)
    patches, truths = torch.randn(6, 4, 32, 32), torch.tensor([[0.0], [1.0]] * 3)
    steps = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(15):
        steps.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(patches), truths).backward()
        steps.step()
    assert ((network(patches) > 0) == (truths > 0)).all()


def small_network():
    return nn.Conv3d(1, 3, kernel_size=3, padding=1)


def test_an_ensemble_gives_the_mean_of_its_members_probabilities():
    torch.manual_seed(0)
    ensemble = ensemble_of(small_network(), 3)
    for member in ensemble.members:
        member.reset_parameters()
    image = torch.randn(2, 1, 4, 4, 4)
    with torch.no_grad():
        single = torch.stack([member(image).softmax(dim=1) for member in ensemble.members])
        mean = ensemble(image).softmax(dim=1)
    assert (single[0] - single[1]).abs().max() > 0.01  # members have weights of their own
    torch.testing.assert_close(mean, single.mean(dim=0), atol=1e-6, rtol=1e-5)


def test_an_ensemble_stays_finite_where_all_members_are_sure():
    ensemble = ensemble_of(small_network(), 2)
    for member in ensemble.members:
        nn.init.zeros_(member.weight)
        member.bias.data = torch.tensor([500.0, 0.0, -500.0])
    with torch.no_grad():
        assert torch.isfinite(ensemble(torch.zeros(1, 1, 2, 2, 2))).all()


def test_an_ensemble_of_one_is_that_network():
    network = small_network()
    assert ensemble_of(network) is network


@torch.no_grad()
def test_an_ensemble_in_training_answers_at_every_level():
    sizes = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 6, 8]}
    member = PlannedUNet(3, 1, 2, **sizes, norm_name="instance", deep_supervision=True, deep_supr_num=1)
    together, image = ensemble_of(member, 2).train(), torch.rand(1, 1, 16, 16, 16)
    heads = member.train()(image).softmax(dim=2)
    assert heads.shape == (1, 2, 2, 16, 16, 16)
    torch.testing.assert_close(together(image).softmax(dim=2), heads, rtol=0, atol=1e-5)


def test_weights_of_a_file_are_put_into_a_network(tmp_path):
    path, weights = str(tmp_path / "model.pt"), nn.Linear(3, 2).state_dict()
    torch.save(weights, path)
    network = nn.Linear(3, 2)
    assert with_weights(network, None) is network
    assert not torch.equal(network.weight, weights["weight"])
    assert torch.equal(with_weights(network, path).weight, weights["weight"])
    with pytest.raises(InputError, match=r"model.pt: expected weights of the config's network \(2 tensors\)"):
        with_weights(nn.Linear(3, 4), path)


@torch.no_grad()
def test_a_planned_network_is_monais_and_can_be_scripted():
    sizes = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 6, 8]}
    options = {**sizes, "norm_name": "instance", "deep_supervision": True, "deep_supr_num": 1}
    monais, planned = DynUNet(3, 1, 2, **options), PlannedUNet(3, 1, 2, **options)
    planned.load_state_dict(monais.state_dict())
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(planned(image), monais(image))
    assert planned(image).shape == (1, 2, 2, 16, 16, 16)  # in training with an answer of a lower level
    together = ensemble_of(planned, 2).eval()
    for network in (planned.eval(), together):
        scripted = torch.jit.script(network)
        for size in (16, 24):
            image = torch.rand(1, 1, size, 16, 16)
            assert torch.equal(scripted(image), network(image))
