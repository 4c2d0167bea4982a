"""Grids in world space: spacing, isotropy, squareness. Affines are 4x4, RAS, in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size (x, y, z) in mm: the lengths of the affine's columns."""
    x, y, z = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(x), float(y), float(z)


def is_isotropic(affine: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Whether the three voxel sizes agree within a share of the smallest."""
    spacing = spacing_of(affine)
    return max(spacing) - min(spacing) <= tolerance * min(spacing)


def isotropic_grid(shape: Sequence[int], affine: np.ndarray, spacing_mm: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the grid of cubes of `spacing_mm` that covers the same box as the given grid.

    The box is the one of whole voxels, so the first voxel's centre moves by half the change of the voxel size;
    the last cube may reach beyond the box by less than its own size.
    """
    old_spacing = np.array(spacing_of(affine))
    new_shape = tuple(int(n) for n in np.ceil(np.array(shape) * old_spacing / spacing_mm - 1e-3))
    zoom = spacing_mm / old_spacing
    new_affine = np.array(affine, dtype=np.float64)
    new_affine[:3, :3] = affine[:3, :3] * zoom
    new_affine[:3, 3] = affine[:3, :3] @ ((zoom - 1) / 2) + affine[:3, 3]
    return new_shape, new_affine


def is_upright(affine: np.ndarray, spacing_mm: Sequence[float], tolerance: float = 1e-3) -> bool:
    """Whether the axes run along the patient's, in the order and direction of RAS, with these voxel sizes."""
    return bool(np.allclose(affine[:3, :3], np.diag(spacing_mm), atol=tolerance * min(spacing_mm)))


def upright_grid(
    shape: Sequence[int], affine: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a grid along the patient's axes that covers all voxel centres of the given grid.

    Its own centres lie at whole multiples of the spacing in the world, so that differently stored scans of one
    patient are sampled at the same places.
    """
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape])).reshape(3, -1)
    placed = affine[:3, :3] @ corners + affine[:3, 3:]
    spacing = np.array(spacing_mm, dtype=np.float64)
    # A hundredth of a voxel beyond the last centre is no reason for another one.
    first = np.ceil(placed.min(1) / spacing - 0.99).astype(int)
    last = np.floor(placed.max(1) / spacing + 0.99).astype(int)
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = first * spacing
    return tuple(int(count) for count in last - first + 1), grid


def square_padding(shape: Sequence[int], multiple: int) -> list[tuple[int, int]]:
    """Voxels to add before and after each axis of (X, Y, Z), so that X = Y and all are multiples of `multiple`."""
    side = max(shape[0], shape[1])
    targets = [-(-size // multiple) * multiple for size in (side, side, shape[2])]
    missing = [target - size for target, size in zip(targets, shape, strict=True)]
    return [(total // 2, total - total // 2) for total in missing]
