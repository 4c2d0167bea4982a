"""Losses: what they measure, and that their gradients reach a network with one output channel."""

import pytest
import torch
from monai.losses import DiceCELoss, SoftclDiceLoss

from beyond2d.losses import VesselLoss


def tube(radius=2, gap=False):
    """A straight vessel (1, 1, 24, 24, 24) along Z, with a gap in its middle if asked for."""
    x, y = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    volume = (((x - 12) ** 2 + (y - 12) ** 2) <= radius**2).float()[..., None].repeat(1, 1, 24)
    if gap:
        volume[:, :, 11:13] = 0
    return volume[None, None]


def logits_of(mask):
    return 12 * mask - 6


def test_without_topology_it_is_dice_and_cross_entropy():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 16, 16, 16), (torch.rand(2, 1, 16, 16, 16) > 0.9).float()
    assert VesselLoss()(logits, label) == DiceCELoss(sigmoid=True)(logits, label)


def test_the_topology_term_has_a_gradient_on_one_channel():
    """Earlier releases of MONAI cut channel 0 away, which left nothing of one channel."""
    label = tube()
    logits = torch.zeros_like(label, requires_grad=True)
    SoftclDiceLoss(sigmoid=True)(logits, label).backward()
    assert logits.grad.abs().max() > 1e-6
    with_topology, without = (torch.zeros_like(label, requires_grad=True) for _ in range(2))
    VesselLoss(cldice_weight=0.5)(with_topology, label).backward()
    VesselLoss()(without, label).backward()
    assert not torch.equal(with_topology.grad, without.grad)


@pytest.mark.parametrize("radius", [1, 2])
def test_a_gap_costs_more_with_the_topology_term(radius):
    label = tube(radius)
    whole, broken = logits_of(label), logits_of(tube(radius, gap=True))
    plain = VesselLoss()(broken, label) - VesselLoss()(whole, label)
    topological = VesselLoss(1.0)(broken, label) - VesselLoss(1.0)(whole, label)
    assert topological > plain > 0
