"""Losses: what they measure, and that their gradients reach a network with one output channel."""

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, SoftclDiceLoss

from beyond2d.checks import IGNORED
from beyond2d.losses import SegmentationLoss, VesselLoss


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


def labelled_patches(num_classes=3, ignored=0.0, batch=2, size=6):
    """Random logits and class numbers, a share of which nobody labelled."""
    torch.manual_seed(0)
    logits = torch.randn(batch, num_classes, size, size, size)
    label = torch.randint(num_classes, (batch, 1, size, size, size)).float()
    label[torch.rand_like(label) < ignored] = IGNORED
    return logits, label


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("dice_weight", [0.0, 0.3, 0.5, 1.0])
def test_segmentation_loss_is_the_mix_of_monais_dice_and_torchs_cross_entropy(dice_weight, include_background, batch):
    logits, label = labelled_patches()
    dice = DiceLoss(include_background=include_background, to_onehot_y=True, softmax=True, batch=batch)(logits, label)
    entropy = torch.nn.functional.cross_entropy(logits, label[:, 0].long())
    loss = SegmentationLoss(dice_weight, include_background, batch)(logits, label)
    assert float(loss) == pytest.approx(float(dice_weight * dice + (1 - dice_weight) * entropy), abs=1e-6)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
def test_voxels_that_nobody_labelled_change_neither_loss_nor_gradient(dice_weight):
    logits, label = labelled_patches(ignored=0.4)
    outcomes = []
    for elsewhere in (0.0, -30.0, 50.0):
        given = torch.where(label == IGNORED, elsewhere * torch.rand_like(logits), logits).requires_grad_()
        loss = SegmentationLoss(dice_weight, include_background=True)(given, label)
        loss.backward()
        outcomes.append((loss.detach(), given.grad))
    assert outcomes[0][1].abs().max() > 1e-5
    assert (outcomes[0][1][(label == IGNORED).expand_as(logits)] == 0).all()
    for loss, gradient in outcomes[1:]:
        assert torch.equal(loss, outcomes[0][0])
        assert torch.equal(gradient, outcomes[0][1])


def test_with_voxels_left_out_the_loss_is_that_of_the_others_alone():
    logits, label = labelled_patches(ignored=0.4, batch=1)
    known = (label != IGNORED)[0, 0]
    fewer = logits[:, :, known][..., None, None], label[:, :, known][..., None, None]
    assert float(SegmentationLoss()(logits, label)) == pytest.approx(float(SegmentationLoss()(*fewer)), abs=1e-6)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
def test_patches_without_any_label_teach_nothing(dice_weight):
    logits, label = labelled_patches(ignored=1.1)
    logits.requires_grad_()
    loss = SegmentationLoss(dice_weight)(logits, label)
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad == 0).all()


def test_a_patch_without_label_beside_a_labelled_one_takes_nothing_from_it():
    logits, label = labelled_patches()
    label[1] = IGNORED
    for dice_weight in (0.0, 0.5):
        both = SegmentationLoss(dice_weight)(logits, label)
        assert float(both) == pytest.approx(float(SegmentationLoss(dice_weight)(logits[:1], label[:1])), abs=1e-6)


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_deep_supervision_weighs_each_head_half_of_the_finer_one(heads):
    logits, label = labelled_patches(ignored=0.2)
    stacked = torch.stack([logits * (1 + head) for head in range(heads)], dim=1)
    loss = SegmentationLoss()
    weights = [1, 1 / 2, 1 / 4][:heads]
    literal = sum(weight * float(loss(stacked[:, head], label)) for head, weight in enumerate(weights)) / sum(weights)
    assert float(loss(stacked, label)) == pytest.approx(literal, abs=1e-6)


def test_the_finest_head_alone_counts_without_a_weight_for_the_others():
    logits, label = labelled_patches()
    stacked = torch.stack([logits, -logits], dim=1)
    assert torch.equal(SegmentationLoss(level_weight=0.0)(stacked, label), SegmentationLoss()(logits, label))
