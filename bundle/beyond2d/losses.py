"""Differentiable scalars that MONAI lacks; every other loss is MONAI's own class, named in a config."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss, SoftclDiceLoss
from torch import nn


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
