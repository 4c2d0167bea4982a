"""Differentiable scalars that MONAI lacks; every other loss is MONAI's own class, named in a config."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import DiceCELoss, DiceLoss, SoftclDiceLoss
from monai.networks import one_hot
from torch import nn

from .checks import IGNORED


class VesselLoss(nn.Module):
    """Dice plus cross-entropy, and soft clDice where its weight is above 0.

    Dice is taken patch by patch, not over the batch: where two views leave more open than ten, the network then
    settles for what two views allow, instead of leaving the hard patches to the easy ones.
    clDice compares centrelines, so that a gap costs as much in a thin vessel as in a thick one; it skeletonises by
    poolings, which takes several times as long as the rest.

    Args:
        cldice_weight: how much clDice counts beside the other two.
    """

    def __init__(self, cldice_weight: float = 0.0) -> None:
        super().__init__()
        self.overlap = DiceCELoss(sigmoid=True)
        self.topology = SoftclDiceLoss(sigmoid=True)
        self.cldice_weight = cldice_weight

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Of logits and a 0/1 label, both (B, 1, X, Y, Z)."""
        loss: torch.Tensor = self.overlap(logits, label)
        if self.cldice_weight:
            loss = loss + self.cldice_weight * self.topology(logits, label)
        return loss


class SegmentationLoss(nn.Module):
    """α · Dice + (1 − α) · cross-entropy over classes, with voxels that nobody labelled left out of both.

    Args:
        dice_weight: α; 1 is Dice alone, 0 cross-entropy alone.
        include_background: whether Dice counts the background as a class.
        batch: Dice over all patches of a step together, right where a patch may lack a class; otherwise one by one.
        level_weight: a network with deep supervision gives its outputs stacked, (B, heads, classes, X, Y, Z), the
            finest first; each counts this many times the one before.
    """

    def __init__(
        self,
        dice_weight: float = 0.5,
        include_background: bool = False,
        batch: bool = True,
        level_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.level_weight = level_weight
        self.dice = DiceLoss(include_background=include_background, batch=batch)
        self.cross_entropy = nn.CrossEntropyLoss(ignore_index=IGNORED)

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Of logits (B, classes, X, Y, Z) and class numbers (B, 1, X, Y, Z), `IGNORED` where there is no label."""
        if logits.ndim == label.ndim:
            return self._of_one(logits, label)
        weights = [self.level_weight**level for level in range(logits.shape[1])]
        losses = [self._of_one(head, label) for head in logits.unbind(1)]
        total: Any = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total / sum(weights)

    def _of_one(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        loss = torch.zeros((), device=logits.device)
        if self.dice_weight < 1:
            loss = loss + (1 - self.dice_weight) * self._cross_entropy(logits, label)
        if self.dice_weight > 0:
            # A voxel without probability in any class and without truth in any adds to no sum of Dice.
            known = label != IGNORED
            truth = one_hot(label * known, num_classes=logits.shape[1]) * known
            loss = loss + self.dice_weight * self.dice(logits.softmax(dim=1) * known, truth)
        return loss

    def _cross_entropy(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        # The mean over no voxel at all is not a number; a patch without a label then teaches nothing.
        loss = self.cross_entropy(logits, label[:, 0].long())
        return torch.nan_to_num(loss) if bool((label == IGNORED).all()) else loss
