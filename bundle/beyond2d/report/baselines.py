"""What can be said of a digit without a network: which known digits its voxels are nearest to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..phantoms.digits import NUM_DIGITS

# Voxels are blurred first, or a stroke that lies one voxel beside another would be as far away as any.
BLUR_VOXELS = 0.75
BLOCK = 512

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def features(volumes: NDArray[np.uint8]) -> Floats:
    """Volumes (N, X, Y, Z) of 0..255 as blurred rows (N, voxels) of 0..1."""
    blurred = gaussian_filter(volumes.astype(np.float32) / 255, (0, *[BLUR_VOXELS] * 3))
    return blurred.reshape(len(volumes), -1)


def nearest_mean(rows: Floats, known: Floats, labels: Labels) -> Labels:
    """The digit whose mean over the known rows is nearest to each row."""
    present = np.unique(labels)
    means = np.stack([known[labels == digit].mean(axis=0) for digit in present])
    return np.asarray(present[_distances(rows, means).argmin(axis=1)])


def nearest_neighbours(rows: Floats, known: Floats, labels: Labels, num_neighbours: int = 5) -> Labels:
    """The digit that most of the nearest known rows are; among equals the one of the nearest row."""
    found = []
    for start in range(0, len(rows), BLOCK):  # all distances at once would take much memory
        distances = _distances(rows[start : start + BLOCK], known)
        nearest = labels[distances.argsort(axis=1)[:, :num_neighbours]]
        votes = np.eye(NUM_DIGITS)[nearest]
        votes[:, 0] *= 1.5  # decides between equals only: votes are whole numbers
        found.append(votes.sum(axis=1).argmax(axis=1))
    return np.concatenate(found)


def _distances(rows: Floats, others: Floats) -> Floats:
    """Squared distances (rows, others), less the squared length of each row, which changes no order."""
    return np.asarray((others**2).sum(axis=1) - 2 * rows @ others.T)
