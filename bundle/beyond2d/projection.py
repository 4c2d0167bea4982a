"""Parallel projection of volumes to views, and back-projection of views to volumes.

A view at angle a is the volume turned by `a` about Z, then collapsed along Y. Turning follows
`scipy.ndimage.rotate(volume, a, axes=(0, 1), reshape=False, order=1)`: about the centre of the grid, linear, and
zero for every sample outside the grid. Because the turn leaves Z alone, a whole column of voxels (or a whole row
of a view) shares its interpolation weights: each operator is a weighted sum of rows, which torch has as
`embedding_bag`, on the CPU and on CUDA, with gradients.

Volumes are (..., X, Y, Z) with X = Y; stacks of views are (..., V, X, Z); angles are degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.special import cosdg, sindg
from torch.nn.functional import embedding_bag

from .checks import MAX_VIEWS, InputError, check_angles, check_choice, check_num_views

PROJECTION_MODES = ("max", "sum")
FUSIONS = ("sum", "mean", "min", "max")
STATISTICS = ("mean", "min", "second_min", "spread")

# Voxels of the turned volume made at a time: a block of this size stays in the processor's cache until it is
# collapsed, instead of being written to memory and read back.
_VOXELS_PER_BLOCK = 4 * 384 * 384
# Views summed by one call; bounds the size of the joined index table.
_VIEWS_PER_SUM = 16

Table = tuple[torch.Tensor, torch.Tensor]


def sample_views(num_views: int, total: int = MAX_VIEWS) -> list[int]:
    """Indices of `num_views` out of `total` views: every ceil((total - 1) / (num_views - 1))-th and the last.

    Where that rule yields another number of views than asked for, the indices are as even as can be instead,
    both ends included.
    """
    check_num_views(num_views, total)
    step = math.ceil((total - 1) / (num_views - 1))
    indices = [*range(0, total - 1, step), total - 1]
    if len(indices) != num_views:
        indices = [round(index * (total - 1) / (num_views - 1)) for index in range(num_views)]
    return indices


def view_angles(num_views: int, total: int = MAX_VIEWS, span_deg: float = 90.0) -> list[float]:
    """Angles in degrees of the sampled views; the first is 0, the last is `span_deg`."""
    return [index * span_deg / (total - 1) for index in sample_views(num_views, total)]


def nearest_count(counts: Iterable[int], num_views: int) -> int:
    """The number of views nearest to `num_views` by ratio: 4 is nearer to 5 than to 3."""
    return min(counts, key=lambda known: abs(math.log(known / num_views)))


def project(volume: torch.Tensor, angles_deg: Sequence[float], mode: str = "max") -> torch.Tensor:
    """Project a volume (..., X, Y, Z) to views (..., V, X, Z).

    `mode` collapses the turned volume along Y by its maximum (as an angiogram is simulated in the paper) or by
    its sum (the line integral in voxels; times the voxel size it is in mm).
    """
    check_choice(mode, PROJECTION_MODES, "mode")
    angles = check_angles(angles_deg)
    size = _square_size(volume)
    lead, (_, _, depth) = volume.shape[:-3], volume.shape[-3:]
    volumes = _floating(volume).reshape(-1, size * size, depth)
    views = [torch.stack([_project_one(columns, size, angle, mode) for angle in angles]) for columns in volumes]
    return torch.stack(views).reshape(*lead, len(angles), size, depth)


def back_project(images: torch.Tensor, angles_deg: Sequence[float], fuse: str = "sum") -> torch.Tensor:
    """Smear views (..., V, X, Z) back through the volume and fuse them to (..., X, Y, Z).

    Each view is repeated along Y, turned by minus its angle, and the views are fused voxel by voxel: `sum` (the
    paper), `mean`, `min` (the visual hull) or `max`. This is not the exact adjoint of `project`: where a method
    needs that, differentiate `project(mode="sum")`.
    """
    check_choice(fuse, FUSIONS, "fuse")
    if images.ndim < 3:
        raise InputError(f"images must be views of shape (..., V, X, Z), got {tuple(images.shape)}")
    lead, (num_views, size, depth) = images.shape[:-3], images.shape[-3:]
    angles = check_angles(angles_deg, num_views)
    stacks = _floating(images).reshape(-1, num_views, size, depth)
    fuse_one = _sum_views if fuse in ("sum", "mean") else _extreme_of_views
    volumes = [fuse_one(stack, angles, fuse) for stack in stacks]
    # One volume is reshaped in place; stacking it would copy the largest array there is.
    return (volumes[0] if len(volumes) == 1 else torch.stack(volumes)).reshape(*lead, size, size, depth)


def view_statistics(images: torch.Tensor, angles_deg: Sequence[float]) -> torch.Tensor:
    """What all views together say about each voxel: views (V, X, Z) to (4, X, Y, Z), in the order of `STATISTICS`.

    Each view is smeared back as in `back_project`; voxel by voxel the mean over the views, the smallest and the
    second smallest value, and the standard deviation are kept. They do not depend on the order of the views, and
    mean the same for any number of them. From two views they keep all there is, save which view said what.
    """
    if images.ndim != 3:
        raise InputError(f"images must be one stack of views (V, X, Z), got {tuple(images.shape)}")
    num_views, size, depth = images.shape
    if num_views < 2:
        raise InputError(f"images must hold at least 2 views for their statistics, got {num_views}")
    stack = _floating(images)
    tables = [_row_table(size, angle, stack.device) for angle in check_angles(angles_deg, num_views)]
    statistics = stack.new_empty((len(STATISTICS), size * size, depth))
    for rows in _blocks(size, depth):
        parts = (
            _gather(view, (indices[rows], weights[rows]))
            for view, (indices, weights) in zip(stack, tables, strict=True)
        )
        _statistics_of(parts, num_views, out=statistics[:, rows])
    return statistics.reshape(-1, size, size, depth)


def _statistics_of(parts: Iterator[torch.Tensor], num_views: int, out: torch.Tensor) -> None:
    """The `STATISTICS` of what the views say about a block of columns (N, Z), into `out` (4, N, Z)."""
    total, smallest, second, squares = out
    total[:] = next(parts)
    smallest[:] = total
    second.fill_(math.inf)
    torch.square(total, out=squares)
    for part in parts:
        total += part
        squares += part.square()
        torch.minimum(second, torch.maximum(smallest, part), out=second)
        torch.minimum(smallest, part, out=smallest)
    total /= num_views
    squares.div_(num_views).sub_(total.square()).clamp_(min=0).sqrt_()


def scale_to_unit(volume: torch.Tensor) -> torch.Tensor:
    """Scale every volume (..., X, Y, Z) to 0..1 by its own minimum and maximum; a constant volume becomes 0."""
    low = volume.amin(dim=(-3, -2, -1), keepdim=True)
    extent = volume.amax(dim=(-3, -2, -1), keepdim=True) - low
    return (volume - low).div_(torch.where(extent > 0, extent, torch.ones_like(extent)))


def detect(
    views: torch.Tensor, photons: float, absorbance: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """What a photon-counting detector gives for noise-free views (..., V, X, Z) of values 0..1.

    A pixel of value v receives on average photons * exp(-absorbance * v) quanta, counted with Poisson noise, and
    the count is turned back into a value by the logarithm. Bright (dense) pixels are therefore the noisy ones.
    """
    expected = photons * torch.exp(-absorbance * views)
    counted = torch.poisson(expected, generator=generator).clamp_(min=1.0)
    return torch.log(photons / counted) / absorbance


def subtract(
    vessels: torch.Tensor,
    tissue: torch.Tensor,
    photons: float,
    absorbance: float,
    tissue_absorbance: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A digital subtraction angiogram from noise-free line integrals (..., V, X, Z), both scaled to 0..1.

    By Beer and Lambert's law an exposure without contrast agent (the mask) counts photons *
    exp(-tissue_absorbance * tissue) quanta, one with it exp(-absorbance * vessels) times as many; both have Poisson
    noise. The logarithm of their ratio leaves the vessels, in units of `absorbance`, and the noise of both.
    """
    behind_tissue = photons * torch.exp(-tissue_absorbance * tissue)
    mask = torch.poisson(behind_tissue, generator=generator).clamp_(min=1.0)
    live = torch.poisson(behind_tissue * torch.exp(-absorbance * vessels), generator=generator).clamp_(min=1.0)
    return torch.log(mask / live) / absorbance


def _square_size(volume: torch.Tensor) -> int:
    if volume.ndim < 3 or volume.shape[-3] != volume.shape[-2]:
        raise InputError(f"volume must be (..., X, Y, Z) with X = Y to be turned, got {tuple(volume.shape)}")
    return volume.shape[-3]


def _floating(array: torch.Tensor) -> torch.Tensor:
    """The array as contiguous float32, or float64 if it is that already."""
    plain = array.as_subclass(torch.Tensor)
    return (plain if plain.dtype == torch.float64 else plain.float()).contiguous()


def _project_one(columns: torch.Tensor, size: int, angle_deg: float, mode: str) -> torch.Tensor:
    """One view (X, Z) of the columns (X * Y, Z) of a volume."""
    collapse = (lambda block: block.amax(1)) if mode == "max" else (lambda block: block.sum(1))
    indices, weights = _corner_table(size, angle_deg, columns.device)
    # With gradients every block would bring a gradient of the size of the whole volume: take the view at once.
    step = size * size if columns.requires_grad else _columns_per_block(size, columns.shape[1])
    view = [
        collapse(_gather(columns, (index, weight)).view(-1, size, columns.shape[1]))
        for index, weight in zip(indices.split(step), weights.split(step), strict=True)
    ]
    return torch.cat(view)


def _sum_views(stack: torch.Tensor, angles_deg: list[float], fuse: str) -> torch.Tensor:
    """Sum or mean over the views (V, X, Z) of what each smears back: (X * Y, Z)."""
    size = stack.shape[1]
    total: torch.Tensor | None = None
    for first in range(0, len(angles_deg), _VIEWS_PER_SUM):
        views = stack[first : first + _VIEWS_PER_SUM]
        tables = [_row_table(size, angle, stack.device) for angle in angles_deg[first : first + _VIEWS_PER_SUM]]
        indices = torch.cat([table[0] + number * size for number, table in enumerate(tables)], dim=1)
        weights = torch.cat([table[1] for table in tables], dim=1)
        part = _gather(views.reshape(-1, stack.shape[-1]), (indices, weights))
        total = part if total is None else total.add_(part)
    assert total is not None
    return total / len(angles_deg) if fuse == "mean" else total


def _extreme_of_views(stack: torch.Tensor, angles_deg: list[float], fuse: str) -> torch.Tensor:
    """Minimum or maximum over the views (V, X, Z) of what each smears back: (X * Y, Z)."""
    keep: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.minimum if fuse == "min" else torch.maximum
    size = stack.shape[1]
    tables = [_row_table(size, angle, stack.device) for angle in angles_deg]
    blocks = []
    for rows in _blocks(size, stack.shape[2]):
        block: torch.Tensor | None = None
        for view, (indices, weights) in zip(stack, tables, strict=True):
            part = _gather(view, (indices[rows], weights[rows]))
            block = part if block is None else keep(block, part)
        assert block is not None
        blocks.append(block)
    return torch.cat(blocks)


def _columns_per_block(size: int, depth: int) -> int:
    """Columns of `depth` voxels in a block of whole rows of `size` columns."""
    return size * max(1, _VOXELS_PER_BLOCK // (size * depth))


def _blocks(size: int, depth: int) -> Iterator[slice]:
    step = _columns_per_block(size, depth)
    return (slice(first, first + step) for first in range(0, size * size, step))


def _gather(rows: torch.Tensor, table: Table) -> torch.Tensor:
    """Weighted sums of rows (N, Z) by a table of indices and weights (M, K): (M, Z)."""
    indices, weights = table
    return embedding_bag(indices, rows, per_sample_weights=weights.to(rows.dtype), mode="sum")


@lru_cache(maxsize=16)
def _corner_table(size: int, angle_deg: float, device: torch.device) -> Table:
    """For each voxel (x, y) of a volume turned by `angle_deg`: the four columns around its source, (X * Y, 4)."""
    (x, near_x), (y, near_y), inside = _sources(size, angle_deg)
    corners = [
        (np.minimum(x + dx, size - 1) * size + np.minimum(y + dy, size - 1), share_x * share_y * inside)
        for dx, share_x in ((0, 1 - near_x), (1, near_x))
        for dy, share_y in ((0, 1 - near_y), (1, near_y))
    ]
    return _as_table(corners, device)


@lru_cache(maxsize=2 * _VIEWS_PER_SUM)
def _row_table(size: int, angle_deg: float, device: torch.device) -> Table:
    """For each voxel (x, y): the two rows of the view at `angle_deg` that it is smeared from, (X * Y, 2)."""
    (x, near_x), _, inside = _sources(size, -angle_deg)
    rows = [(x, (1 - near_x) * inside), (np.minimum(x + 1, size - 1), near_x * inside)]
    return _as_table(rows, device)


def _sources(size: int, angle_deg: float) -> tuple[tuple, tuple, np.ndarray]:
    """Where each voxel (x, y) of the turned grid comes from.

    Returns for X and for Y the lower neighbour's index and the share of the upper neighbour, and whether the
    source is inside the grid; all of shape (X * Y,). Sines and cosines are exact at multiples of 90 degrees, so
    that no border row is lost to rounding there.
    """
    cosine, sine = float(cosdg(angle_deg)), float(sindg(angle_deg))
    centre = (size - 1) / 2
    x, y = (axis.ravel().astype(np.float64) for axis in np.indices((size, size)))
    source_x = cosine * x + sine * y + (centre - (cosine * centre + sine * centre))
    source_y = -sine * x + cosine * y + (centre - (-sine * centre + cosine * centre))
    inside = (source_x >= 0) & (source_x <= size - 1) & (source_y >= 0) & (source_y <= size - 1)
    return _neighbours(source_x, size), _neighbours(source_y, size), inside


def _neighbours(position: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    lower = np.clip(np.floor(position), 0, size - 1).astype(np.int32)
    return lower, position - lower


def _as_table(entries: list[tuple[np.ndarray, np.ndarray]], device: torch.device) -> Table:
    indices = torch.from_numpy(np.stack([index for index, _ in entries], axis=1).astype(np.int32))
    weights = torch.from_numpy(np.stack([weight for _, weight in entries], axis=1).astype(np.float32))
    return indices.to(device), weights.to(device)
