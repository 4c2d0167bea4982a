"""Candidate regions of a mask, slice by slice: found, compared with the truth, cut out as patches, taken away again.

A candidate is a connected region of one axial slice. Which candidates are false is for a second network to say, from a
patch around each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from .checks import InputError, check_count, check_same_shape, check_three_dimensions

_LABELS = "the candidates' labels"
# Axes (Z, X, Y): pixels of one slice that share a side or a corner belong together, slices do not.
_IN_PLANE_8 = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


class Candidate(NamedTuple):
    """One region: its number in the label volume, its slice Z, its pixels, and the smallest square around it.

    The square covers `side` x `side` voxels from `corner` (X, Y) on. It lies inside the slice, unless it is larger
    than that; then it is centred and the corner may be negative.
    """

    number: int
    slice_index: int
    area: int
    corner: tuple[int, int]
    side: int


class Candidates(NamedTuple):
    """The candidates of a volume: int32 labels (X, Y, Z), 0 outside, and the regions 1, 2, ... in that order."""

    labels: NDArray[np.int32]
    regions: list[Candidate]


def candidates_of(mask: NDArray[Any], min_voxels: int = 1) -> Candidates:
    """The regions of at least `min_voxels` voxels of a mask (X, Y, Z), 8-connected in each slice, from low Z to high.

    Smaller regions get no label.
    """
    check_three_dimensions(mask.shape, "mask")
    check_count(min_voxels, 1, "min_voxels")
    inside = mask.astype(bool, copy=False)
    # Slices first, so that numbers rise from slice to slice.
    by_slice = np.zeros((mask.shape[2], *mask.shape[:2]), np.int32)
    ndimage.label(np.moveaxis(inside, 2, 0), structure=_IN_PLANE_8, output=by_slice)
    labels = np.moveaxis(by_slice, 0, 2)
    found = labels[inside]
    areas = np.bincount(found)
    large = areas >= min_voxels
    labels[inside] = np.where(large, np.cumsum(large), 0)[found]
    boxes = ndimage.find_objects(by_slice, max_label=int(large.sum()))
    sized = enumerate(zip(boxes, areas[large].tolist(), strict=True), start=1)
    return Candidates(labels, [_candidate(number, box, area, mask.shape) for number, (box, area) in sized])


def _candidate(number: int, box: tuple[slice, ...], area: int, shape: tuple[int, ...]) -> Candidate:
    """The candidate of a box (Z, X, Y)."""
    side = max(edge.stop - edge.start for edge in box[1:])
    corner_x, corner_y = (_square_start(edge, side, size) for edge, size in zip(box[1:], shape, strict=False))
    return Candidate(number, box[0].start, area, (corner_x, corner_y), side)


def _square_start(edge: slice, side: int, size: int) -> int:
    """Where a square begins along one axis: centred on the region, then shifted into the slice."""
    if side > size:
        return (size - side) // 2
    centred = edge.start - (side - (edge.stop - edge.start)) // 2
    return min(max(centred, 0), size - side)


def true_voxels(candidates: Candidates, truth: NDArray[Any]) -> NDArray[np.int64]:
    """How many voxels of each candidate lie inside the truth (X, Y, Z): (n,), in the order of the regions."""
    check_same_shape(truth, candidates.labels, "truth", _LABELS)
    found = candidates.labels[truth.astype(bool, copy=False)]
    return np.bincount(found, minlength=len(candidates.regions) + 1)[1:]


def truth_of(candidates: Candidates, truth: NDArray[Any], share: float = 0.5) -> NDArray[np.bool_]:
    """Which candidates are real: at least `share` of their voxels lie inside the truth (X, Y, Z). Gives (n,)."""
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1, got {share!r}")
    areas = np.array([region.area for region in candidates.regions], dtype=np.int64)
    return np.asarray(true_voxels(candidates, truth) / areas >= share)


def patch_of(
    volume: NDArray[Any],
    labels: NDArray[np.int32],
    candidate: Candidate,
    size: int = 64,
    margin: int = 0,
    num_slices: int = 1,
    shares: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """A candidate's square and `margin` voxels around it as a patch (num_slices + 1, X, Y), X = Y = `size`.

    Channels are the image in an odd number of neighbouring slices, from low Z to high, and the region, whose share of
    each pixel is 0 to 1, times `shares` where they are given: how sure it is, voxel by voxel. `volume`, `labels` and
    `shares` are (X, Y, Z); beyond its ends the volume goes on with its edge. The resizing is linear, and smooth where
    it shrinks.
    """
    check_count(size, 1, "size")
    check_count(margin, 0, "margin")
    check_same_shape(volume, labels, "volume", _LABELS)
    wanted = np.arange(-margin, candidate.side + margin)
    columns, rows = (
        np.clip(start + wanted, 0, length - 1) for start, length in zip(candidate.corner, volume.shape, strict=False)
    )
    reach = check_count(num_slices, 1, "num_slices") // 2
    heights = np.clip(candidate.slice_index + np.arange(-reach, reach + 1), 0, volume.shape[2] - 1)
    square = columns[:, None], rows, candidate.slice_index
    region = (labels[square] == candidate.number) * (1 if shares is None else shares[square])
    channels = [*(volume[columns[:, None], rows, height] for height in heights), region]
    return np.stack([_resized(channel.astype(np.float32), size) for channel in channels])


def _resized(square: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(
        resize(square, (size, size), order=1, mode="edge", anti_aliasing=True, preserve_range=True), dtype=np.float32
    )


def without(mask: NDArray[Any], labels: NDArray[np.int32], rejected: Iterable[int]) -> NDArray[np.bool_]:
    """A mask (X, Y, Z) without the candidates of these numbers. What is no candidate stays."""
    check_same_shape(mask, labels, "mask", _LABELS)
    numbers = np.array(list(rejected), dtype=np.int64)
    if numbers.size and numbers.min() < 1:
        raise InputError(f"rejected must be numbers of candidates, which begin at 1, got {numbers.min()}")
    kept = mask.astype(bool)  # a copy, so that the caller's mask stays as it is
    found = labels[kept]
    is_rejected = np.zeros(max(found.max(initial=0), numbers.max(initial=0)) + 1, dtype=bool)
    is_rejected[numbers] = True
    kept[kept] = ~is_rejected[found]
    return kept
