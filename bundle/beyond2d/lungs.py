"""Where the lungs are in a chest CT, from its intensities alone.

Volumes are (X, Y, Z) in RAS: X grows to the patient's right, Y to the front, Z to the head. Intensities are HU,
lengths mm, volumes ml. What is where is decided on a coarse copy of about `COARSE_MM`; the borders of the masks are
those of the volume's own voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from .checks import check_finite, check_number, check_spacing, check_three_dimensions

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Values = NDArray[np.float64]
Spacing = Sequence[float]

RIGHT, LEFT = 1, 2
HEALTHY, INFECTED = 1, 2  # class numbers of lung; 0 is everything else

COARSE_MM = 2.5
BODY_HU = -350.0
PADDING_HU = -1500.0
# Free gas, outside of the body or in the bowel, is darker than any lung, which holds blood as well.
GAS_HU = -930.0
LUNG_MEAN_HU = -400.0
# A voxel at the border that is half lung (-850 HU) and half tissue (40 HU) belongs to either.
LUNG_HU = -405.0
PLATE_MM, LIMB_MM = 3.0, 8.0
LUNG_DEPTH_MM = 6.0
SMALLEST_LUNG_ML = 40.0
SMALLEST_SHARE = 0.05
CLOSING_MM = 10.0
# The cross-section of a windpipe in mm2, how far from the midline it runs, over which height it is found.
WINDPIPE_MM2 = (40.0, 900.0)
WINDPIPE_ASIDE_MM, WINDPIPE_HEIGHT_MM = 40.0, 20.0
BRONCHI_ML = 40.0
BRONCHI_HU = (-700.0, -800.0, -850.0, -900.0, -930.0, -950.0, -970.0)
BRONCHUS_MM, WALL_MM = 3.0, 3.0
SPLITTING_MM = (0.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0)

# Voxels of one axial slice that share an edge.
_IN_SLICE = np.zeros((3, 3, 3), dtype=bool)
_IN_SLICE[:, 1, 1] = _IN_SLICE[1, :, 1] = True


class _Chest(NamedTuple):
    """A coarse copy of a volume (X, Y, Z): HU, the body, the large airways; `factors` fine voxels are one."""

    hu: Floats
    body: Mask
    airways: Mask
    factors: tuple[int, ...]
    spacing_mm: tuple[float, ...]


def padding_mask(hu: np.ndarray) -> Mask:
    """Voxels (X, Y, Z) outside of the reconstruction's field, which hold a filling value instead of a measurement.

    That is anything at or below -1500 HU, and the volume's minimum where all four upright edges hold nothing else:
    there the voxels that are connected with an edge within their slice.
    """
    padding: Mask = hu <= PADDING_HU
    edges = hu[[0, 0, -1, -1], [0, -1, 0, -1]]
    if edges.min() == edges.max() == hu.min():
        parts, num_parts = ndimage.label(hu == edges.min(), structure=_IN_SLICE)
        at_edge = np.zeros(num_parts + 1, dtype=bool)
        at_edge[parts[[0, 0, -1, -1], [0, -1, 0, -1]]] = True
        padding |= at_edge[parts]
    return padding


def body_mask(hu: np.ndarray, spacing_mm: Spacing) -> Mask:
    """The patient in a CT (X, Y, Z), lungs and other gas inside of the body included; no table, no outside air."""
    _check_ct(hu, spacing_mm)
    chest = _coarse_chest(hu, spacing_mm)
    inside, around = _core_and_rim(chest.body)
    return _fine(inside, hu.shape, chest.factors) | (_fine(around, hu.shape, chest.factors) & (hu > BODY_HU))


def lung_mask(hu: np.ndarray, spacing_mm: Spacing, threshold: float = LUNG_HU) -> Mask:
    """Both lungs of a CT (X, Y, Z): vessels and enclosed opacities included, windpipe and main bronchi not.

    A lung is gas below `threshold` in HU within the body that is too dense for bowel gas. Its border is closed over
    gaps of up to 20 mm, so that vessels and small opacities at the pleura belong to it; an opacity that takes away a
    whole side of a lung does not. Without a lung the mask is empty.
    """
    return next(lung_masks(hu, spacing_mm, [check_number(threshold, "threshold")]))


def lung_masks(hu: np.ndarray, spacing_mm: Spacing, thresholds: Iterable[float]) -> Iterator[Mask]:
    """`lung_mask` at one threshold after the other; what they share is found once."""
    _check_ct(hu, spacing_mm)
    chest = _coarse_chest(hu, spacing_mm)
    for threshold in thresholds:
        yield _lung_at(hu, chest, threshold)


def split_lungs(lung: np.ndarray, spacing_mm: Spacing) -> Labels:
    """Which lung each voxel (X, Y, Z) of a lung mask belongs to: 1 right, 2 left, 0 none.

    Lungs that touch are eroded until they come apart, and meet again where the distance to the border is least.
    Two parts are two lungs when they lie apart along X rather than along Y or Z. A single lung is on the side of
    the volume's middle where its centre is.
    """
    check_three_dimensions(lung.shape, "lung")
    check_spacing(spacing_mm)
    factors, coarse_mm = _coarse_grid(spacing_mm)
    inside = lung.astype(bool, copy=False)
    sides = _sides(_block_mean(inside, factors) >= 0.5, coarse_mm)
    return np.where(inside, _fine(sides, lung.shape, factors), 0).astype(np.uint8)


def voxel_volume_ml(spacing_mm: Spacing) -> float:
    """The volume of one voxel in ml."""
    return math.prod(spacing_mm) / 1000


def _coarse_chest(hu: np.ndarray, spacing_mm: Spacing) -> _Chest:
    factors, coarse_mm = _coarse_grid(spacing_mm)
    coarse = np.maximum(_block_mean(hu, factors), -1024)
    padding = padding_mask(hu[tuple(slice(None, None, factor) for factor in factors)])
    body = _coarse_body(coarse, padding, coarse_mm)
    return _Chest(coarse, body, _airways(coarse, body, coarse_mm), factors, coarse_mm)


def _coarse_body(hu: Floats, padding: Mask, spacing_mm: Spacing) -> Mask:
    """The body on the coarse grid. Plates and cloth go first, for they enclose air; then what hangs on the body."""
    dense = hu > BODY_HU
    tissue = _grow(_shrink(dense, PLATE_MM, spacing_mm), PLATE_MM + COARSE_MM, spacing_mm) & dense
    body = ~_outside(hu, tissue, padding, spacing_mm)
    body &= _grow(_shrink(body, LIMB_MM, spacing_mm), LIMB_MM, spacing_mm)
    return _largest(body)


def _outside(hu: Floats, tissue: Mask, padding: Mask, spacing_mm: Spacing) -> Mask:
    """The air around the body: what reaches the image's side within its axial slice, unless it is no free gas.

    The slice matters: through the mouth the windpipe is connected with the room. The density matters where the
    field of view cuts a lung.
    """
    free = ~tissue & ~padding
    slices, num_slices = ndimage.label(free, structure=_IN_SLICE)
    at_side = np.zeros(num_slices + 1, dtype=bool)
    beside_padding = ndimage.binary_dilation(padding)
    for border in (slices[0], slices[-1], slices[:, 0], slices[:, -1], slices[beside_padding]):
        at_side[border] = True
    # Over all slices, because in some of them a mattress may fill what is left of the room.
    parts, num_parts = ndimage.label(at_side[slices] & free)
    deep = _shrink(free, LUNG_DEPTH_MM, spacing_mm)
    gas, depth = _deep_mean(hu < GAS_HU, parts, num_parts, deep)
    rim = np.zeros(num_parts + 1, dtype=bool)  # half-filled voxels between the body and the padding
    rim[parts[beside_padding]] = True
    around = (gas > 0.5) | (rim & (depth == 0))
    around[0] = False
    return padding | around[parts]


def _airways(hu: Floats, body: Mask, spacing_mm: Spacing) -> Mask:
    """The windpipe and, if they can be followed without a leak into the lung, the main bronchi; with their wall."""
    windpipe = _windpipe(body & (hu < -500), body, spacing_mm)
    if not windpipe.any():
        return windpipe
    most = windpipe.sum() + BRONCHI_ML / voxel_volume_ml(spacing_mm)
    found = windpipe
    for limit in BRONCHI_HU:
        grown = _part_with((body & (hu < limit)) | windpipe, windpipe)
        if grown.sum() <= most:
            thick = _grow(_shrink(grown, BRONCHUS_MM, spacing_mm), BRONCHUS_MM + WALL_MM, spacing_mm) & grown
            found = _part_with(thick | windpipe, windpipe)
            break
    return _grow(found, WALL_MM, spacing_mm)


def _windpipe(air: Mask, body: Mask, spacing_mm: Spacing) -> Mask:
    """The tallest stack of round, small cross-sections of air near the body's midline; empty if there is none."""
    sections, num_sections = ndimage.label(air, structure=_IN_SLICE)
    if not num_sections:
        return air
    round_ones = _round_sections(sections, num_sections, float(np.nonzero(body)[0].mean()), spacing_mm)
    stacks, _ = ndimage.label(round_ones[sections])
    heights = [(box[2].stop - box[2].start) * spacing_mm[2] for box in ndimage.find_objects(stacks)]
    if not heights or max(heights) < WINDPIPE_HEIGHT_MM:
        return np.zeros_like(air)
    return np.asarray(stacks == int(np.argmax(heights)) + 1)


def _round_sections(sections: np.ndarray, num_sections: int, midline: float, spacing_mm: Spacing) -> Mask:
    """Which of the numbered parts of axial slices could be a windpipe's, by size, place and second moments."""
    x, y, _ = np.nonzero(sections)
    numbers = sections[sections > 0]
    counts = np.maximum(np.bincount(numbers, minlength=num_sections + 1), 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(numbers, weights=values, minlength=num_sections + 1) / counts

    x_mm, y_mm = (x - midline) * spacing_mm[0], y * spacing_mm[1]
    middle_x, middle_y = mean(x_mm), mean(y_mm)
    # A voxel's own extent has a variance too, of a twelfth.
    var_x = np.maximum(mean(x_mm**2) - middle_x**2, 0) + spacing_mm[0] ** 2 / 12
    var_y = np.maximum(mean(y_mm**2) - middle_y**2, 0) + spacing_mm[1] ** 2 / 12
    covariance = mean(x_mm * y_mm) - middle_x * middle_y
    half, root = (var_x + var_y) / 2, np.sqrt(((var_x - var_y) / 2) ** 2 + covariance**2)
    long, short = half + root, np.maximum(half - root, 1e-3)
    areas = counts * spacing_mm[0] * spacing_mm[1]
    fills_its_ellipse = areas > 0.8 * 4 * np.pi * np.sqrt(long * short)
    fits = (areas > WINDPIPE_MM2[0]) & (areas < WINDPIPE_MM2[1]) & (long < 6 * short) & fills_its_ellipse
    fits &= np.abs(middle_x) < WINDPIPE_ASIDE_MM
    fits[0] = False
    return np.asarray(fits)


def _lung_at(hu: np.ndarray, chest: _Chest, threshold: float) -> Mask:
    """The lungs at one threshold on the fine grid: the coarse lungs with the border of the fine voxels."""
    air = chest.body & (chest.hu < threshold) & ~chest.airways
    raw = _lung_parts(chest.hu, air, chest.spacing_mm)
    if not raw.any():
        return np.zeros(hu.shape, dtype=bool)
    closed = _closed(raw, chest)
    if max(chest.factors) == 1:
        return closed
    inside, around = _core_and_rim(closed)
    # Where the closing added tissue there is no edge of air to follow.
    whole = inside | (closed & ~ndimage.binary_dilation(raw))
    around &= ~chest.airways
    return _fine(whole, hu.shape, chest.factors) | (_fine(around, hu.shape, chest.factors) & (hu < threshold))


def _lung_parts(hu: Floats, air: Mask, spacing_mm: Spacing) -> Mask:
    """The one or two connected parts of the air in the body that are lungs by size, thickness, density and place."""
    parts, num_parts = ndimage.label(air)
    volumes_ml = np.bincount(parts.ravel(), minlength=num_parts + 1) * voxel_volume_ml(spacing_mm)
    deep = _shrink(air, LUNG_DEPTH_MM, spacing_mm)
    means, depth = _deep_mean(hu, parts, num_parts, deep)
    gas, _ = _deep_mean(hu < GAS_HU, parts, num_parts, deep)
    likely = (volumes_ml >= SMALLEST_LUNG_ML) & (depth > 0) & (gas < 0.5) & (means < LUNG_MEAN_HU)
    likely[0] = False
    ranked = sorted(np.flatnonzero(likely), key=lambda number: -volumes_ml[number])
    if not ranked:
        return np.zeros_like(air)
    boxes = ndimage.find_objects(parts)
    first, kept = boxes[ranked[0] - 1][2], [ranked[0]]
    for number in ranked[1:]:
        other = boxes[number - 1][2]
        shared = min(first.stop, other.stop) - max(first.start, other.start)
        beside = 2 * shared >= other.stop - other.start
        if beside and volumes_ml[number] >= SMALLEST_SHARE * volumes_ml[ranked[0]] and len(kept) < 2:
            kept.append(number)
    return np.isin(parts, kept)


def _closed(raw: Mask, chest: _Chest) -> Mask:
    """Each lung for itself closed and its holes filled: both at once would take in the heart between them."""
    sides = _sides(raw, chest.spacing_mm)
    closed = np.zeros_like(raw)
    for side in (RIGHT, LEFT):
        lung = raw & (sides == side)
        if lung.any():
            box = _box(lung, CLOSING_MM, chest.spacing_mm)
            grown = _grow(lung[box], CLOSING_MM, chest.spacing_mm)
            whole = _shrink(grown, CLOSING_MM, chest.spacing_mm) | lung[box]
            whole &= chest.body[box] & ~chest.airways[box]
            closed[box] |= _without_holes(whole)
    return closed


def _sides(lung: Mask, spacing_mm: Spacing) -> Labels:
    """Every voxel of the grid, right (1) or left (2), by the lung that it is in or nearest to."""
    if not lung.any():
        return np.full(lung.shape, RIGHT, dtype=np.uint8)
    depths = ndimage.distance_transform_edt(np.pad(lung, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    for radius in SPLITTING_MM:
        markers = _two_markers(depths > radius, spacing_mm)
        if markers is not None:
            labels = watershed(-depths, markers, mask=lung)
            nearest = ndimage.distance_transform_edt(
                labels == 0, sampling=spacing_mm, return_distances=False, return_indices=True
            )
            return np.asarray(labels[tuple(nearest)], dtype=np.uint8)
    centre = np.nonzero(lung)[0].mean()
    return np.full(lung.shape, RIGHT if centre >= (lung.shape[0] - 1) / 2 else LEFT, dtype=np.uint8)


def _two_markers(core: Mask, spacing_mm: Spacing) -> NDArray[np.int32] | None:
    """The right (1) and the left (2) part of an eroded mask; None where it has no two such parts."""
    parts, num_parts = ndimage.label(core)
    if num_parts < 2:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    numbers = [number for number in np.argsort(-sizes)[:6] if sizes[number] >= SMALLEST_SHARE * sizes.max()]
    centres = np.array(ndimage.center_of_mass(core, parts, numbers)) * spacing_mm
    for number, centre in zip(numbers[1:], centres[1:], strict=True):
        apart = centre - centres[0]
        if abs(apart[0]) >= np.abs(apart).max():
            first_side = LEFT if apart[0] > 0 else RIGHT
            markers = np.where(parts == numbers[0], first_side, 0) + np.where(parts == number, 3 - first_side, 0)
            return markers.astype(np.int32)
    return None


def _deep_mean(values: np.ndarray, parts: np.ndarray, num_parts: int, deep: Mask) -> tuple[Values, Values]:
    """The mean over each numbered part's deep voxels, or over all where it has none; and how many are deep."""
    deep_counts = np.bincount(parts[deep], minlength=num_parts + 1)
    deep_sums = np.bincount(parts[deep], weights=values[deep], minlength=num_parts + 1)
    counts = np.bincount(parts.ravel(), minlength=num_parts + 1)
    sums = np.bincount(parts.ravel(), weights=values.ravel(), minlength=num_parts + 1)
    means = np.where(deep_counts > 0, deep_sums / np.maximum(deep_counts, 1), sums / np.maximum(counts, 1))
    return means, np.asarray(deep_counts, dtype=np.float64)


def _grow(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """The mask and everything within a radius of it."""
    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm)


def _shrink(mask: Mask, radius_mm: float, spacing_mm: Spacing) -> Mask:
    """The mask without what is within a radius of its outside. Beyond the volume's faces the mask goes on."""
    if mask.all():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm) > radius_mm)


def _part_with(mask: Mask, seed: Mask) -> Mask:
    """The connected part of a mask that holds the seed, which is connected and inside of the mask."""
    parts, _ = ndimage.label(mask)
    return np.asarray(parts == parts[seed][0])


def _largest(mask: Mask) -> Mask:
    parts, num_parts = ndimage.label(mask)
    return np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1) if num_parts else mask


def _without_holes(mask: Mask) -> Mask:
    """The mask with what each axial slice of it encloses."""
    parts, num_parts = ndimage.label(np.pad(~mask, ((1, 1), (1, 1), (0, 0)), constant_values=True), _IN_SLICE)
    open_ones = np.zeros(num_parts + 1, dtype=bool)
    open_ones[parts[0, 0]] = True
    return ~open_ones[parts[1:-1, 1:-1]]


def _box(mask: Mask, margin_mm: float, spacing_mm: Spacing) -> tuple[slice, ...]:
    """The box around a mask with a margin of more than `margin_mm`."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    margins = [int(margin_mm / side) + 2 for side in spacing_mm]
    return tuple(slice(max(s.start - margin, 0), s.stop + margin) for s, margin in zip(box, margins, strict=True))


def _coarse_grid(spacing_mm: Spacing) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """How many voxels along each axis make a coarse one of at most `COARSE_MM`, or one; and its sides in mm."""
    factors = tuple(max(int(COARSE_MM / side + 1e-6), 1) for side in spacing_mm)
    return factors, tuple(factor * side for factor, side in zip(factors, spacing_mm, strict=True))


def _block_mean(volume: np.ndarray, factors: Sequence[int]) -> Floats:
    """The mean of blocks of voxels; at the far end of an axis a block may be smaller."""
    mean = volume
    for axis, factor in enumerate(factors):
        starts = np.arange(0, volume.shape[axis], factor)
        sizes = np.diff(np.append(starts, volume.shape[axis])).astype(np.float32)
        shape = [-1 if other == axis else 1 for other in range(3)]
        mean = np.add.reduceat(mean, starts, axis=axis, dtype=np.float32) / sizes.reshape(shape)
    return np.asarray(mean)


def _fine(coarse: np.ndarray, shape: Sequence[int], factors: Sequence[int]) -> np.ndarray:
    """A coarse volume on the fine grid, each voxel repeated."""
    places = [np.arange(size) // factor for size, factor in zip(shape, factors, strict=True)]
    return coarse[np.ix_(*places)]


def _core_and_rim(mask: Mask) -> tuple[Mask, Mask]:
    """The mask less its border voxels (beyond the volume's faces it goes on), and the mask with those around it."""
    return ndimage.binary_erosion(mask, border_value=1), ndimage.binary_dilation(mask)


def _check_ct(hu: np.ndarray, spacing_mm: Spacing) -> None:
    check_three_dimensions(hu.shape, "hu")
    check_spacing(spacing_mm)
    check_finite(hu, "hu")
