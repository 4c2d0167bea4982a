"""A segmenter's probabilities with its false candidates taken back, as a second network judges them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.transforms import CenterSpatialCrop
from numpy.typing import NDArray
from torch import nn

from ..candidates import Candidates, candidates_of, patch_of
from ..checks import InputError, check_count, check_number
from ..lungs import HEALTHY, INFECTED
from .reach import device_of

NUM_SLICES = 3  # of a patch


class CandidateRejection:
    """Calls healthy lung what a classifier holds to be no infection.

    Candidates are the connected regions of each axial slice in which the infection is the most probable class. One
    whose score is below the threshold loses all of its probability to the healthy lung.

    Args:
        classifier: takes patches (N, 4, P, P) of image and region (see `patches_of`), gives logits (N, 1).
        threshold: of the score, which is 0 to 1; a candidate at or above it stays.
        patch_size: pixels of a patch.
        crop_size: pixels of its middle that the classifier is given; what training crops at random.
        margin: voxels around a candidate that its patch shows.
        batch_size: patches that the classifier is given at a time.
    """

    def __init__(
        self,
        classifier: nn.Module,
        threshold: float = 0.5,
        patch_size: int = 72,
        crop_size: int = 64,
        margin: int = 8,
        batch_size: int = 64,
    ) -> None:
        self.classifier = classifier
        self.threshold = check_number(threshold, "threshold")
        self.patch_size = check_count(patch_size, 1, "patch_size")
        self.crop = CenterSpatialCrop([check_count(crop_size, 1, "crop_size")] * 2)
        self.margin = check_count(margin, 0, "margin")
        self.batch_size = check_count(batch_size, 1, "batch_size")

    def __call__(self, images: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Of images (B, 1, X, Y, Z) and probabilities (B, 3, X, Y, Z) of background, healthy and infected lung the
        probabilities that are left."""
        if shares.ndim != 5 or shares.shape[1] != INFECTED + 1:
            raise InputError(f"shares: expected probabilities of 3 classes, got the shape {tuple(shares.shape)}")
        left = shares.clone()
        for image, share in zip(images, left, strict=True):
            self._reject(image, share)
        return left

    def _reject(self, image: torch.Tensor, shares: torch.Tensor) -> None:
        """Change the probabilities (3, X, Y, Z) of one image (1, X, Y, Z) in place."""
        candidates = candidates_of(infected(shares))
        if not candidates.regions:
            return
        patches = patches_of(image[0], shares[INFECTED], candidates, self.patch_size, self.margin)
        middles = np.stack([np.asarray(self.crop(patch)) for patch in patches])
        scores = scores_of(self.classifier, middles, self.batch_size)
        is_rejected = np.concatenate([[False], scores < self.threshold])
        false = torch.from_numpy(is_rejected[candidates.labels]).to(shares.device)
        shares[HEALTHY] += shares[INFECTED] * false
        shares[INFECTED] *= ~false


class RejectingInferer(Inferer):
    """Takes false candidates from another inferer's prediction, and gives what it was as well.

    Args:
        inferer: predicts probabilities (B, 3, X, Y, Z) of background, healthy and infected lung.
        rejection: of false candidates; None gives the prediction alone.
    """

    def __init__(self, inferer: Inferer, rejection: CandidateRejection | None = None) -> None:
        self.inferer = inferer
        self.rejection = rejection

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Of images (B, 1, X, Y, Z) the probabilities after and, behind them, before: (B, 6, X, Y, Z)."""
        shares = self.inferer(inputs, network, *args, **kwargs)
        return shares if self.rejection is None else torch.cat([self.rejection(inputs, shares), shares], dim=1)


def infected(shares: torch.Tensor) -> NDArray[np.bool_]:
    """Where the infection is the most probable of the classes (3, X, Y, Z): (X, Y, Z)."""
    return np.asarray((shares.as_subclass(torch.Tensor).argmax(dim=0) == INFECTED).cpu().numpy())


def patches_of(
    image: torch.Tensor, shares: torch.Tensor, candidates: Candidates, size: int, margin: int
) -> NDArray[np.float32]:
    """The patch of every candidate of an image (X, Y, Z) of 0..255, as the classifier sees it: (N, 4, P, P).

    Channels are three neighbouring slices of the image, and the region with the probability (X, Y, Z) that the
    segmenter gives to its infection; all are 0 to 1.
    """
    volume, sure = _array(image) / 255, _array(shares)
    patches = [
        patch_of(volume, candidates.labels, region, size, margin, NUM_SLICES, sure) for region in candidates.regions
    ]
    return np.stack(patches) if patches else np.zeros((0, NUM_SLICES + 1, size, size), np.float32)


def scores_of(classifier: nn.Module, patches: NDArray[np.float32], batch_size: int = 64) -> NDArray[np.float64]:
    """How sure a classifier is, 0 to 1, that patches (N, C, P, P) show what they were marked as: (N,)."""
    classifier.eval()
    device = device_of(classifier)
    # In full precision, as it was trained and as its threshold was chosen.
    with torch.no_grad(), torch.autocast(device.type if device else "cpu", enabled=False):
        logits = [classifier(part.to(device))[:, 0] for part in torch.from_numpy(patches).split(batch_size)]
    return torch.cat([*logits, torch.zeros(0, device=device)]).float().sigmoid().double().cpu().numpy()


def _array(volume: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(volume.as_subclass(torch.Tensor).float().cpu().numpy())
