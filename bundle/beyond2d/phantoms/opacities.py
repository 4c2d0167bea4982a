"""Paints what pneumonia does to lungs into a chest in HU, with the exact mask of what was painted.

Every lesion is a height in mm above its own border, positive inside; the highest counts. The level at which the heights
are cut makes the infected part as large as asked for. Opacity is lung whose air gives way to tissue: a share of the way
from a voxel's HU to those of tissue, so that vessels stay visible and nothing ever becomes darker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from ..checks import (
    InputError,
    check_finite,
    check_number,
    check_same_shape,
    check_spacing,
    check_three_dimensions,
)
from .centrelines import Floats
from .rendering import Volume
from .shapes import Box, Grid, grid_around, random_blob, random_waves, wave_field

Mask = NDArray[np.bool_]

TISSUE_HU = 45.0
MOST = 0.8  # of the lungs
RIM_HU = (-800.0, -60.0)  # between the air of large airways and tissue
FAR_MM = np.float32(-1e3)
LARGEST_MM = 52.0
MAX_LESIONS = 400
CANDIDATES = 48
PAVING_MM = 7.0  # distance between the lines of crazy paving


class Lesion(NamedTuple):
    """One opacity.

    centre_mm, half_mm: (3,) place and half-axes; crescent: whether it only follows the border of the lung.
    share: of the air that gives way to tissue, from 0 to 1.
    core_mm: how deep below its border air is gone altogether; large where that is nowhere.
    """

    centre_mm: Floats
    half_mm: Floats
    crescent: bool
    share: float
    core_mm: float


@dataclass
class Field:
    """Heights of the highest lesion (X, Y, Z) in mm, and that lesion's `share` and `core_mm`."""

    height_mm: Volume
    share: Volume
    core_mm: Volume


def paint_opacities(
    rng: np.random.Generator,
    hu: Volume,
    lung_mask: NDArray[np.generic],
    spacing_mm: tuple[float, float, float],
    proportion: float,
) -> tuple[Volume, Mask]:
    """Any chest with opacities in its lungs.

    Args:
        rng: draws number, places, forms and kinds of the lesions.
        hu: (X, Y, Z) in HU, X to the patient's right, Y to the front, Z to the head.
        lung_mask: (X, Y, Z) lung, one side or both, is not 0.
        spacing_mm: size of a voxel along X, Y, Z.
        proportion: infected part of the mask, from 0 to 0.8.

    Returns:
        The volume (X, Y, Z), float32, and the mask (X, Y, Z) of what is infected: lung in which the opacity has at
        least half of its strength. Edges are soft, so that some voxels beside the mask are a little brighter too,
        and so are voxels next to the lungs that are partly air.
    """
    hu, lung = _checked(hu, lung_mask, spacing_mm, proportion)
    infected = np.zeros(hu.shape, bool)
    if proportion == 0:
        return hu.copy(), infected
    box = _box_around(lung)
    painted, part = hu.copy(), lung[box]
    depth_mm = distance_transform_edt(np.pad(part, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1].astype(np.float32)
    grid = _grid_of(part, np.array(spacing_mm))
    field = _grow_field(rng, grid, depth_mm, float(np.prod(spacing_mm)), proportion)
    level = np.quantile(field.height_mm[part], 1 - proportion)
    field.height_mm -= np.float32(level)
    weight = np.clip(0.5 + field.height_mm / np.float32(rng.uniform(2.0, 8.0)), 0, 1)
    weight_of_tissue = weight * (part | _rim(part, hu[box])) * _share_of_tissue(rng, grid, field)
    painted[box] += weight_of_tissue * np.maximum(np.float32(TISSUE_HU) - painted[box], 0)
    infected[box] = (weight >= 0.5) & part
    return painted, infected


def _checked(
    hu: Volume, lung_mask: NDArray[np.generic], spacing_mm: tuple[float, float, float], proportion: float
) -> tuple[Volume, Mask]:
    """The volume as float32 and the mask as booleans."""
    check_three_dimensions(hu.shape, "hu")
    check_same_shape(lung_mask, hu, "lung_mask", "hu")
    check_finite(hu, "hu")
    check_spacing(spacing_mm)
    if not 0 <= check_number(proportion, "proportion") <= MOST:
        raise InputError(f"proportion must be between 0 and {MOST}, got {proportion}")
    lung = lung_mask != 0
    if proportion > 0 and not lung.any():
        raise InputError("lung_mask must hold lung, got none")
    return hu.astype(np.float32), lung


def _box_around(mask: Mask) -> Box:
    """The box that holds a mask and the voxels beside it."""
    spans = []
    for axis in range(3):
        (places,) = np.nonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2))
    return spans[0], spans[1], spans[2]


def _rim(lung: Mask, hu: Volume) -> Mask:
    """Voxels beside a lung that are partly air: left dark, they would outline an opacity at the border."""
    return np.asarray(binary_dilation(lung) & ~lung & (hu > RIM_HU[0]) & (hu < RIM_HU[1]))


def _grid_of(lung: Mask, spacing_mm: Floats) -> Grid:
    """The grid of a mask, in mm from the lung's middle, which hardly depends on the size of the voxels."""
    size = np.array(lung.shape)
    middle = np.argwhere(lung).mean(axis=0) - (size - 1) / 2
    return grid_around(middle * spacing_mm, size, spacing_mm)


def _grow_field(rng: np.random.Generator, grid: Grid, depth_mm: Volume, voxel_mm3: float, proportion: float) -> Field:
    """Lesions until they cover at least the proportion of the lungs."""
    lung = depth_mm > 0
    lung_mm3 = float(lung.sum()) * voxel_mm3
    typical_mm = np.cbrt(proportion * lung_mm3 / rng.integers(1, 14) * 3 / (4 * np.pi))
    style = rng.uniform(0.15, 0.65), float(rng.uniform() < 0.6)  # of the patient: usual share, any cores
    field = Field(np.full(depth_mm.shape, FAR_MM), np.zeros_like(depth_mm), np.full_like(depth_mm, 99))
    wanted = proportion * float(lung.sum())
    reach_mm = _spread(grid, lung)
    for child in rng.spawn(MAX_LESIONS):  # a child each: one lesion more does not change the others
        lesion = _draw_lesion(child, grid, depth_mm, reach_mm, typical_mm, style)
        _add_lesion(child, grid, depth_mm, field, lesion)
        if (lung & (field.height_mm > 0)).sum() >= wanted:
            break
    for values in (field.share, field.core_mm):  # where two lesions meet there is no seam
        values[:] = gaussian_filter(values, 3.0 / np.array([_step(axis) for axis in grid]))
    return field


def _draw_lesion(
    rng: np.random.Generator,
    grid: Grid,
    depth_mm: Volume,
    reach_mm: Floats,
    typical_mm: float,
    style: tuple[float, float],
) -> Lesion:
    """Size, place and kind of a lesion; it lies in the lung, rather at its border, at the back and at the base."""
    half_mm = min(typical_mm * rng.uniform(0.6, 1.4), LARGEST_MM) * np.exp(rng.normal(0, 0.22, 3))
    crescent = bool(rng.uniform() < 0.4)
    places = rng.uniform(-reach_mm, reach_mm, (CANDIDATES, 3))
    depth = depth_mm[grid.indices(places)]
    taste = rng.gumbel(size=CANDIDATES) - rng.uniform(0, 2) * places[:, 1] / reach_mm[1]
    taste -= rng.uniform(0, 1.2) * places[:, 2] / reach_mm[2]
    place = places[np.where(depth > 0, taste, -np.inf).argmax()]
    if crescent:
        place = _towards_border(rng, grid, depth_mm, place)
    share = float(np.clip(rng.normal(style[0], 0.1), 0.13, 0.7))
    core_mm = rng.uniform(-2, 0.8 * half_mm.mean()) if rng.uniform() < 0.45 * style[1] else 99.0
    return Lesion(place, half_mm * (1.5 if crescent else 1.0), crescent, share, core_mm)


def _towards_border(rng: np.random.Generator, grid: Grid, depth_mm: Volume, place_mm: Floats) -> Floats:
    """The last place (3,) in the lung on a way outwards, rather to the back."""
    direction = rng.normal((0.8 * np.sign(place_mm[0]), -0.8, 0), (1, 1, 0.4))
    steps = np.arange(0, 2 * LARGEST_MM)[:, None] * direction / np.linalg.norm(direction)
    outside = depth_mm[grid.indices(place_mm + steps)] <= 0
    return np.asarray(place_mm + steps[max(int(outside.argmax()) - 1, 0)])


def _add_lesion(rng: np.random.Generator, grid: Grid, depth_mm: Volume, field: Field, lesion: Lesion) -> None:
    """Raises the field, in place, to a lesion with a ragged border."""
    ragged = rng.uniform(0.1, 0.4)
    blob = random_blob(rng, lesion.centre_mm, lesion.half_mm, rng.uniform(0.12, 0.25), tilt_deg=40)
    reach = blob.reach_mm * 1.3
    box = grid.box(blob.centre_mm, reach)
    part = grid.part(box)
    height = -blob.distance(part)
    size = float(lesion.half_mm.mean())
    if lesion.crescent:
        thickness = np.float32(rng.uniform(0.25, 0.6) * size)
        height = np.minimum(height, thickness - depth_mm[box])
    height = height + np.float32(ragged * size * 0.5) * wave_field(random_waves(rng, 14), part, blob.centre_mm, reach)
    higher = height > field.height_mm[box]
    for values, own in ((field.height_mm, height), (field.share, lesion.share), (field.core_mm, lesion.core_mm)):
        values[box] = np.where(higher, own, values[box])


def _share_of_tissue(rng: np.random.Generator, grid: Grid, field: Field) -> Volume:
    """How much of the air gives way to tissue inside the lesions (X, Y, Z), from 0 to 1."""
    share = field.share * (1 + np.float32(rng.uniform(0.05, 0.25)) * _texture(rng, grid, 14.0))
    if rng.uniform() < 0.35:  # crazy paving: thickened walls between the lobules
        walls = np.clip(1.2 - np.abs(_texture(rng, grid, PAVING_MM)) / np.float32(0.25), 0, 1)
        share = share + np.float32(rng.uniform(0.08, 0.25)) * walls * (_texture(rng, grid, 60.0) > 0)
    core = np.clip((field.height_mm - field.core_mm) / 3 + _texture(rng, grid, 12.0), 0, 1)
    bronchi = np.hypot(_texture(rng, grid, 22.0), _texture(rng, grid, 22.0))  # two surfaces meet in winding lines
    core = core * np.clip(bronchi / np.float32(rng.uniform(0.05, 0.2)), 0.15, 1)
    share = np.clip(share, 0.08, 0.75)
    return np.asarray(share + core * (np.float32(rng.uniform(0.9, 1.0)) - share), np.float32)


def _texture(rng: np.random.Generator, grid: Grid, pitch_mm: float) -> Volume:
    """A field (X, Y, Z) of standard deviation 1 whose waves are about `pitch_mm` to three times as long."""
    reach_mm = max(float(np.abs(axis).max()) for axis in grid)
    count = 8 * int(np.ceil(max(4 * reach_mm / pitch_mm, 1) / 8))  # in steps, so that the grid hardly matters
    waves = np.arange(count) / count
    frequency = np.sqrt(waves[:, None, None] ** 2 + waves[:, None] ** 2 + waves**2)
    heights = rng.standard_normal((count,) * 3) * ((frequency > 0.33) & (frequency < 1))
    heights /= np.sqrt((heights**2).sum())
    return wave_field(heights.astype(np.float32), grid, np.zeros(3), np.full(3, reach_mm))


def _spread(grid: Grid, lung: Mask) -> Floats:
    """(3,) how far a lung reaches from its middle along X, Y and Z, in mm, as if it were an ellipsoid."""
    sides = [lung.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    squares = [np.average(axis.ravel() ** 2, weights=side) for axis, side in zip(grid, sides, strict=True)]
    return np.sqrt(5 * np.array(squares)) + 1


def _step(axis: Volume) -> float:
    places = axis.ravel()
    return float(places[1] - places[0]) if places.size > 1 else 1.0
