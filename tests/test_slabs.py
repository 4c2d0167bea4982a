"""2D networks on slabs of neighbouring slices, held to a loop that takes one slab after the other."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from beyond2d.checks import InputError
from beyond2d.inferers import MirrorInferer, MixedPrecisionInferer, OneSlabInferer, SlabInferer, as_slices, as_volume


def small_network(channels: int, classes: int, num_slices: int) -> nn.Module:
    """Mixes all channels and slices, and looks sideways, so that any mistake of order or padding shows."""
    torch.manual_seed(0)
    layers = nn.Conv2d(channels * num_slices, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, classes * num_slices, 3, 1, 1)
    return nn.Sequential(*layers).eval()


def literally(volume, network, num_slices, multiple, activation):
    """Slab by slab, slice by slice: the votes for each slice of each volume in a list, and their mean."""
    channels, size_x, size_y, size_z = volume.shape[1:]
    padded_x, padded_y = (-(-size // multiple) * multiple for size in (size_x, size_y))
    results = []
    for case in volume:
        votes = [[] for _ in range(size_z)]
        for start in range(1 - num_slices, size_z):
            image = torch.zeros(1, channels * num_slices, padded_x, padded_y)
            for channel in range(channels):
                for position in range(num_slices):
                    piece = case[channel, :, :, min(max(start + position, 0), size_z - 1)]
                    for x in range(padded_x):
                        for y in range(padded_y):
                            value = piece[min(x, size_x - 1), min(y, size_y - 1)]
                            image[0, channel * num_slices + position, x, y] = value
            output = network(image)[0, :, :size_x, :size_y]
            for position in range(num_slices):
                if 0 <= start + position < size_z:
                    answer = output[position::num_slices]
                    votes[start + position].append(answer.softmax(0) if activation else answer)
        assert all(len(those) == num_slices for those in votes)
        results.append(torch.stack([torch.stack(those).mean(0) for those in votes], dim=-1))
    return torch.stack(results)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize("size_z", [1, 2, 7])
@pytest.mark.parametrize("num_slices", [1, 3, 5])
def test_is_the_mean_over_all_slabs(num_slices, size_z, activation):
    network = small_network(2, 3, num_slices)
    volume = torch.rand(2, 2, 9, 5, size_z)
    expected = literally(volume, network, num_slices, 4, activation)
    for batch_size in (1, 4, 100):
        found = SlabInferer(num_slices, batch_size, 4, activation)(volume, network)
        assert found.shape == (2, 3, 9, 5, size_z)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_slices_are_next_to_each_other_inside_each_channel():
    slabs = torch.arange(2 * 4 * 5 * 6 * 3).reshape(2, 4, 5, 6, 3)
    image = as_slices(slabs)
    assert image.shape == (2, 12, 5, 6)
    for channel in range(4):
        for position in range(3):
            assert torch.equal(image[:, channel * 3 + position], slabs[:, channel, :, :, position])
    assert torch.equal(as_volume(image, 3), slabs)


@torch.no_grad()
def test_the_network_sees_sizes_it_can_divide_in_batches():
    seen = []
    network = small_network(1, 2, 3)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    SlabInferer(3, batch_size=4, multiple=8)(torch.rand(1, 1, 17, 8, 8), network)
    assert seen == [(4, 3, 24, 8), (4, 3, 24, 8), (2, 3, 24, 8)]


@torch.no_grad()
def test_in_mixed_precision_the_votes_are_summed_in_full():
    network = small_network(1, 2, 3)
    volume = torch.rand(1, 1, 16, 16, 4)
    inferer = SlabInferer(activation=None)
    plain = inferer(volume, network)
    mixed = MixedPrecisionInferer(inferer)(volume, network)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, mixed.bfloat16().float())
    torch.testing.assert_close(mixed, plain, rtol=0.05, atol=0.02)
    with torch.autocast("cpu", torch.bfloat16):
        assert inferer(volume, network).dtype == torch.float32
    rounded = torch.cat([volume, 1 - volume], dim=1).bfloat16()
    found = SlabInferer(1)(rounded.float(), lambda image: image.bfloat16())
    torch.testing.assert_close(found, rounded.float().softmax(dim=1), rtol=0, atol=1e-6)
    doubles = inferer(volume.double(), network.double())
    assert doubles.dtype == torch.float64
    torch.testing.assert_close(doubles.float(), plain, rtol=0, atol=1e-6)


@torch.no_grad()
def test_keeps_metadata_and_goes_inside_other_inferers():
    network = small_network(1, 2, 3)
    affine = torch.diag(torch.tensor([0.7, 0.7, 5.0, 1.0]))
    volume = MetaTensor(torch.rand(1, 1, 10, 11, 5), affine=affine, meta={"filename_or_obj": "patient.nii.gz"})
    found = MirrorInferer(SlabInferer(), axes=[0])(volume, network)
    assert isinstance(found, MetaTensor)
    assert found.meta["filename_or_obj"] == "patient.nii.gz"
    torch.testing.assert_close(found.affine, volume.affine)
    assert found.shape == (1, 2, 10, 11, 5)
    assert type(SlabInferer()(volume.as_tensor(), network)) is torch.Tensor


@torch.no_grad()
def test_leaves_its_input_alone_and_takes_functions_and_arguments():
    volume = torch.rand(1, 1, 5, 6, 4)
    before = volume.clone()
    found = SlabInferer(activation=None)(volume, lambda image, gain: image.mul(gain), gain=3.0)
    assert torch.equal(volume, before)
    torch.testing.assert_close(found, 3 * volume)
    with torch.inference_mode():
        torch.testing.assert_close(SlabInferer(activation=None)(volume, nn.Identity()), volume)
    assert torch.equal(volume, before)


def test_shows_progress_when_asked(capsys):
    volume = torch.rand(1, 1, 4, 4, 4)
    SlabInferer()(volume, nn.Identity())
    assert capsys.readouterr().err == ""
    SlabInferer(batch_size=1, progress=True)(volume, nn.Identity())
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize("num_slices", [1, 3])
def test_one_slab_goes_through_the_network_once_with_its_gradients(num_slices):
    network = small_network(2, 3, num_slices)
    slabs = torch.rand(2, 2, 8, 6, num_slices)
    found = OneSlabInferer(num_slices)(MetaTensor(slabs), network)
    assert found.shape == (2, 3, 8, 6, num_slices)
    for position in range(num_slices):
        torch.testing.assert_close(found[..., position].as_tensor(), network(as_slices(slabs))[:, position::num_slices])
    found.square().sum().backward()
    gradient = network[0].weight.grad.clone()
    network.zero_grad()
    network(as_slices(slabs)).square().sum().backward()
    torch.testing.assert_close(gradient, network[0].weight.grad)


@pytest.mark.parametrize("kind", [OneSlabInferer, SlabInferer])
@pytest.mark.parametrize("num_slices", [2, 0, -3, 1.0, True, "3"])
def test_refuses_slabs_without_a_middle(kind, num_slices):
    with pytest.raises(InputError, match=f"num_slices must be an odd number such as 1, 3 or 5, got {num_slices!r}"):
        kind(num_slices)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"multiple": 2.5}, "multiple must be a whole number of at least 1, got 2.5"),
        ({"activation": "sigmoid"}, "activation must be one of softmax, got 'sigmoid'"),
    ],
)
def test_refuses_bad_settings(arguments, words):
    with pytest.raises(InputError) as caught:
        SlabInferer(**arguments)
    assert str(caught.value) == words


SLABS = torch.rand(1, 1, 4, 4, 3)


@pytest.mark.parametrize(
    ("inputs", "network", "words"),
    [
        (SLABS[0], nn.Identity(), "inputs must have the shape (B, C, X, Y, Z), got 1 x 4 x 4 x 3"),
        (SLABS[..., :0], nn.Identity(), "inputs must have the shape (B, C, X, Y, Z), got 1 x 1 x 4 x 4 x 0"),
        (
            SLABS,
            nn.Conv2d(3, 4, 1),
            "network: the output must have the shape (B, K * 3, X, Y) for 3 slices, got 1 x 4 x 4 x 4",
        ),
        (SLABS, nn.MaxPool2d(2), "network: the output must have the input's size 4 x 4, got 2 x 2"),
        (SLABS, lambda image: [image], "network: slabs need one output tensor, got list"),
    ],
)
def test_refuses_what_does_not_fit(inputs, network, words):
    for inferer in (OneSlabInferer(), SlabInferer(batch_size=1, multiple=1)):
        with pytest.raises(InputError) as caught:
            inferer(inputs, network)
        assert str(caught.value) == words


def test_one_slab_refuses_a_volume():
    with pytest.raises(InputError, match="inputs must be slabs of 3 slices along Z, got 5"):
        OneSlabInferer(3)(torch.rand(1, 1, 4, 4, 5), nn.Identity())
