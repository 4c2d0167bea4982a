"""What can be said without a network, for networks to be compared with.

Of a volume's labels: what other labels alone tell, and what lies between labelled slices. Of a digit: which known
digits its voxels are nearest to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

from .checks import IGNORED

Label = NDArray[np.uint8]
Shares = NDArray[np.float32]
Rows = NDArray[np.float32]
Classes = NDArray[np.int64]

# Digits are blurred first, or a stroke that lies one voxel beside another would be as far away as any.
BLUR_VOXELS = 0.75
BLOCK = 512
# Every label is brought to a grid of so many voxels along each axis before the mean is taken.
GRID = 48


def mean_label(labels: Iterable[Label], num_classes: int) -> Shares:
    """How often each class is at each place, (classes, 48, 48, 48), over labels (X, Y, Z) of any sizes.

    Places count relative to the volume's edges. Voxels that nobody labelled count for nothing.
    """
    total = np.zeros((num_classes, GRID, GRID, GRID), np.float32)
    for label in labels:
        stretch = [GRID / size for size in label.shape]
        near = zoom(label, stretch, order=0, mode="nearest", grid_mode=True)
        for number in range(num_classes):
            total[number] += near == number
    return total / np.maximum(total.sum(0), 1)


def fit_label(shares: Shares, shape: Sequence[int]) -> Label:
    """The class that is most frequent at each place of a volume of `shape` (X, Y, Z)."""
    stretch = [size / GRID for size in shape]
    fitted = [zoom(share, stretch, order=1, mode="nearest", grid_mode=True) for share in shares]
    return np.argmax(fitted, axis=0).astype(np.uint8)


def between_slices(label: Label, num_classes: int, axis: int) -> Label:
    """A label (X, Y, Z) with the slices that are `IGNORED` filled in from the labelled ones along `axis`.

    Between two slices each class's signed distance from its edge is interpolated, and the class that lies deepest
    wins; beyond the first and the last one these are repeated. Where there is none, all is background.
    """
    moved = np.moveaxis(label, axis, 0)
    drawn = np.flatnonzero((moved != IGNORED).any(axis=(1, 2)))
    if not drawn.size:
        return np.zeros_like(label)
    depths = np.stack([_depths(moved[index], num_classes) for index in drawn])
    places = np.interp(np.arange(len(moved)), drawn, np.arange(len(drawn)))
    filled = np.empty(moved.shape, np.uint8)
    for index, place in enumerate(places):
        low = int(place)
        high, share = min(low + 1, len(drawn) - 1), place - low
        filled[index] = ((1 - share) * depths[low] + share * depths[high]).argmax(0)
    return np.moveaxis(filled, 0, axis)


def _depths(image: NDArray[np.uint8], num_classes: int) -> NDArray[np.float64]:
    """How deep inside of each class a pixel lies, in pixels, negative outside: (classes, rows, columns)."""
    far = float(sum(image.shape))
    depths = []
    for number in range(num_classes):
        inside = image == number
        within = distance_transform_edt(inside) if not inside.all() else np.full(image.shape, far)
        outside = distance_transform_edt(~inside) if inside.any() else np.full(image.shape, far)
        depths.append(within - outside)
    return np.stack(depths)


def features(volumes: NDArray[np.uint8]) -> Rows:
    """Volumes (N, X, Y, Z) of 0..255 as blurred rows (N, voxels) of 0..1."""
    blurred = gaussian_filter(volumes.astype(np.float32) / 255, (0, *[BLUR_VOXELS] * 3))
    return blurred.reshape(len(volumes), -1)


def nearest_mean(rows: Rows, known: Rows, labels: Classes) -> Classes:
    """The digit whose mean over the known rows is nearest to each row."""
    present = np.unique(labels)
    means = np.stack([known[labels == digit].mean(axis=0) for digit in present])
    return np.asarray(present[_distances(rows, means).argmin(axis=1)])


def nearest_neighbours(rows: Rows, known: Rows, labels: Classes, num_neighbours: int = 5) -> Classes:
    """The digit that most of the nearest known rows are; among equals the one of the nearest row."""
    found = []
    for start in range(0, len(rows), BLOCK):  # all distances at once would take much memory
        distances = _distances(rows[start : start + BLOCK], known)
        nearest = labels[distances.argsort(axis=1)[:, :num_neighbours]]
        votes = np.eye(int(labels.max()) + 1)[nearest]
        votes[:, 0] *= 1.5  # decides between equals only: votes are whole numbers
        found.append(votes.sum(axis=1).argmax(axis=1))
    return np.concatenate(found)


def _distances(rows: Rows, others: Rows) -> Rows:
    """Squared distances (rows, others), less the squared length of each row, which changes no order."""
    return np.asarray((others**2).sum(axis=1) - 2 * rows @ others.T)
