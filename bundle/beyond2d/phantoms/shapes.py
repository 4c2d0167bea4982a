"""Smooth random bodies, as distances from their surfaces on a grid in mm, and what paints them into a volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .centrelines import Floats
from .rendering import Volume

Box = tuple[slice, slice, slice]

NUM_WAVES = 4
REACH = 1.5  # how far a deformed body reaches, in half-axes


class Grid(NamedTuple):
    """Where voxels lie, in mm: x (X, 1, 1), y (1, Y, 1), z (1, 1, Z), so that they broadcast to (X, Y, Z)."""

    x: Volume
    y: Volume
    z: Volume

    def box(self, centre_mm: Floats, reach_mm: Floats) -> Box:
        """The part of the grid within `reach_mm` (3,) of a place; at least a voxel along each axis."""
        slices = []
        for axis, middle, reach in zip(self, centre_mm, reach_mm, strict=True):
            first, last = np.searchsorted(axis.ravel(), [middle - reach, middle + reach])
            first = min(int(first), axis.size - 1)
            slices.append(slice(first, max(int(last), first + 1)))
        return slices[0], slices[1], slices[2]

    def indices(self, places_mm: Floats) -> tuple[NDArray[np.intp], ...]:
        """The voxels (3 arrays of N) at places (N, 3); for places beyond the grid its outermost ones."""
        return tuple(
            np.clip(np.searchsorted(axis.ravel(), column), 0, axis.size - 1)
            for axis, column in zip(self, places_mm.T, strict=True)
        )

    def part(self, box: Box) -> Grid:
        """The grid of a box."""
        return Grid(self.x[box[0]], self.y[:, box[1]], self.z[:, :, box[2]])


def grid_around(middle_mm: Floats, size: NDArray[np.int64], voxel_mm: Floats) -> Grid:
    """The grid of a volume; the origin of its mm lies `middle_mm` (3,) away from the middle of the volume."""
    axes = [
        ((np.arange(n) - (n - 1) / 2) * side - middle).astype(np.float32)
        for n, side, middle in zip(size, voxel_mm, middle_mm, strict=True)
    ]
    return Grid(axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])


def random_waves(rng: np.random.Generator, num_waves: int = NUM_WAVES) -> Volume:
    """Heights (N, N, N) of cosine waves, the longest the highest, that make a field of standard deviation 1."""
    waves = np.arange(num_waves)
    decay = 1 / (1 + waves[:, None, None] + waves[:, None] + waves)
    decay[0, 0, 0] = 0  # a constant would only shift the field
    heights = rng.standard_normal((num_waves,) * 3) * decay
    return (heights / np.sqrt((decay**2).sum())).astype(np.float32)


def wave_field(heights: Volume, grid: Grid, centre_mm: Floats, reach_mm: Floats) -> Volume:
    """The field of `random_waves` (X, Y, Z), whose longest waves span a box of `reach_mm` around a place."""
    field = heights
    waves = np.arange(len(heights), dtype=np.float32)[:, None]
    for axis, middle, reach in zip(grid, centre_mm, reach_mm, strict=True):
        places = (axis.reshape(1, -1) - np.float32(middle)) / np.float32(2 * reach) + np.float32(0.5)
        cosines = np.cos(np.float32(np.pi) * waves * places) * np.where(waves > 0, np.float32(2**0.5), np.float32(1))
        field = np.tensordot(field, cosines, axes=(0, 0))
    return np.asarray(field)


@dataclass(frozen=True)
class Blob:
    """An ellipsoid that low waves deform.

    centre_mm: (3,).
    half_mm: (3,) half-axes.
    axes: (3, 3) directions of the half-axes, one a row.
    waves: heights of the deformation as parts of the radius, from `random_waves`.
    """

    centre_mm: Floats
    half_mm: Floats
    axes: Floats
    waves: Volume

    @property
    def reach_mm(self) -> Floats:
        """(3,) how far the body reaches along X, Y and Z."""
        return REACH * np.sqrt(((self.axes * self.half_mm[:, None]) ** 2).sum(axis=0))

    def distance(self, grid: Grid) -> Volume:
        """About how far each voxel lies outside the surface, in mm (X, Y, Z); negative inside.

        The squares of a place in half-axes sum up to 1 on an ellipsoid; their root, less 1 and divided by its slope,
        is the distance near the surface.
        """
        offsets = [axis - np.float32(middle) for axis, middle in zip(grid, self.centre_mm, strict=True)]
        squares = slopes = np.float32(1e-12)
        for direction, half in zip(self.axes.astype(np.float32), self.half_mm.astype(np.float32), strict=True):
            along = sum(part * offset for part, offset in zip(direction, offsets, strict=True)) / half
            squares = squares + along**2
            slopes = slopes + (along / half) ** 2
        root = np.sqrt(squares)
        deformed = root * (1 - wave_field(self.waves, grid, self.centre_mm, self.reach_mm))
        return np.asarray((deformed - 1) * root / np.sqrt(slopes))


def random_blob(
    rng: np.random.Generator,
    centre_mm: Floats,
    half_mm: Floats,
    roughness: float = 0.07,
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    tilt_deg: float = 6.0,
) -> Blob:
    """A body turned by `turn_deg` about X, Y and Z and by a random tilt, of a random form."""
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True)
    tilt = Rotation.from_rotvec(rng.normal(0, tilt_deg, 3), degrees=True)
    return Blob(centre_mm, half_mm, (tilt * turn).as_matrix().T, np.float32(roughness) * random_waves(rng))


def joined(first: Volume, second: Volume, width_mm: float) -> Volume:
    """The distance of two bodies as one; the seam is rounded over about `width_mm`."""
    width = np.float32(width_mm)
    return np.asarray(-width * np.logaddexp(-first / width, -second / width))


class Canvas:
    """A volume in HU and how much of each voxel the organs fill, painted body upon body.

    volume: (X, Y, Z) in HU, at first air.
    shares: (organs, X, Y, Z) from 0 to 1.
    """

    def __init__(self, grid: Grid, side_mm: float, num_organs: int, air_hu: float) -> None:
        size = (grid.x.size, grid.y.size, grid.z.size)
        self.grid, self.side_mm = grid, np.float32(side_mm)
        self.volume = np.full(size, air_hu, np.float32)
        self.shares = np.zeros((num_organs, *size), np.float32)

    def paint(self, distance_mm: Volume, hu: float, box: Box = (slice(None),) * 3, organ: int | None = None) -> None:
        """Covers what was there with a body, over a ramp one voxel wide; it is part of an organ, or of none."""
        share = self._tint(distance_mm, hu, box)
        self.shares[(slice(None), *box)] *= 1 - share
        if organ is not None:
            self.shares[(organ, *box)] += share

    def tint(self, distance_mm: Volume, hu: float, box: Box = (slice(None),) * 3) -> None:
        """Changes the brightness of what is there: a vessel inside of the liver is still liver."""
        self._tint(distance_mm, hu, box)

    def _tint(self, distance_mm: Volume, hu: float, box: Box) -> Volume:
        share = np.clip(np.float32(0.5) - distance_mm / self.side_mm, 0, 1)
        self.volume[box] += share * (np.float32(hu) - self.volume[box])
        return np.asarray(share)
