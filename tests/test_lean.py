"""Lean training: the gradients of the plain network, batch norm's statistics, and what is kept of it."""

from copy import deepcopy

import pytest
import torch
from monai.networks.nets import BasicUNet
from torch import nn

from beyond2d import lean as lean_module
from beyond2d.lean import lean
from beyond2d.networks import DenoisingAutoencoder


def basic_unet():
    return BasicUNet(3, 1, 1, features=(4, 4, 8, 8, 8, 4), norm="batch", dropout=0.0)


def odd_stages():
    """Kernels of one and five, no pooling, a pooling by three, no bias, batch norm without a fixed momentum."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 5, padding=2, bias=False),
        nn.BatchNorm3d(4, momentum=None),
        nn.PReLU(4),
        nn.Conv3d(4, 6, 1),
        nn.BatchNorm3d(6),
        nn.GELU(),
        nn.MaxPool3d(3),
    )


NETWORKS = {
    "autoencoder": (DenoisingAutoencoder, (1, 1, 16, 24, 16)),
    "batch of two": (DenoisingAutoencoder, (2, 1, 24, 16, 16)),
    "MONAI's U-Net": (basic_unet, (1, 1, 32, 32, 32)),
    "odd stages": (odd_stages, (2, 1, 15, 12, 9)),
}


@pytest.fixture(autouse=True)
def thin_slabs(monkeypatch):
    """Many slabs even of small volumes."""
    monkeypatch.setattr(lean_module, "_VALUES_PER_SLAB", 1)


def step(network, volume):
    """Output, gradient of the input and gradients of the parameters of a loss that looks at every voxel."""
    volume = volume.clone().requires_grad_()
    output = network(volume)
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (output * weights.to(output.dtype)).sum().backward()
    return output.detach(), volume.grad, {name: p.grad for name, p in network.named_parameters()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_those_of_the_plain_network(kind, dtype, tolerance):
    make, shape = NETWORKS[kind]
    torch.manual_seed(0)
    plain = make().to(dtype)
    sparing = lean(deepcopy(plain))
    volume = torch.rand(shape, dtype=dtype)
    expected, found = step(plain, volume), step(sparing, volume)
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
    assert (found[1] - expected[1]).norm() < tolerance * expected[1].norm()
    assert found[2].keys() == expected[2].keys()
    # A bias in front of batch norm has no gradient but rounding errors: all are measured by the largest.
    longest = max(gradient.norm() for gradient in expected[2].values())
    for name, gradient in expected[2].items():
        assert (found[2][name] - gradient).norm() < tolerance * max(gradient.norm(), 1e-2 * longest), name
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(sparing.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_mixed_precision_stays_near_the_plain_network():
    torch.manual_seed(0)
    plain = DenoisingAutoencoder()
    sparing = lean(deepcopy(plain))
    volume = torch.rand(1, 1, 32, 32, 32)
    exact = torch.cat([g.flatten() for g in step(deepcopy(plain), volume)[2].values()])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = [step(network, volume) for network in (plain, sparing)]
    errors = [(torch.cat([g.flatten() for g in found[2].values()]) - exact).norm() / exact.norm() for found in outputs]
    assert errors[1] < 1.5 * errors[0] + 1e-3
    assert errors[0] > 1e-4  # mixed precision was on


def test_evaluation_is_the_plain_networks():
    torch.manual_seed(0)
    plain = DenoisingAutoencoder().eval()
    sparing = lean(deepcopy(plain)).eval()
    volume = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(plain(volume), sparing(volume))


def test_batch_norm_weights_near_zero_need_the_careful_sums():
    """The short way to batch norm's sums divides by its weight."""
    torch.manual_seed(0)
    plain = DenoisingAutoencoder().double()
    with torch.no_grad():
        plain[1].weight[:8] = 0.0
        plain[1].weight[8:16] = -0.7
    volume = torch.rand(1, 1, 16, 16, 16, dtype=torch.float64)
    sparing = lean(deepcopy(plain))
    expected, found = step(plain, volume)[2]["1.weight"], step(sparing, volume)[2]["1.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_weights_fit_both_ways():
    plain, sparing = DenoisingAutoencoder(), lean(DenoisingAutoencoder())
    assert list(plain.state_dict()) == list(sparing.state_dict())
    plain.load_state_dict(sparing.state_dict())


def test_nothing_changes_where_it_is_not_enabled():
    network = DenoisingAutoencoder()
    assert lean(network, enabled=False) is network


def test_large_activations_are_not_kept():
    """What autograd keeps for the backward pass, counted by its own hooks."""

    def values_kept(network, volume):
        kept = {}
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
            network(volume)
        return sum(tensor.numel() for tensor in kept.values())

    volume = torch.rand(1, 1, 32, 32, 32)
    assert values_kept(lean(DenoisingAutoencoder()), volume) < 0.4 * values_kept(DenoisingAutoencoder(), volume)
