"""Tiles of a volume, and how far a network reads around one: whole-number arithmetic, no network is run here.

A network of layers that each read a bounded window gives, for an aligned block of its output, exactly the values
of the whole volume when it is given that block with a *halo* around it. "Aligned" means that the block starts and
ends on the network's *grid*, the product of its poolings and strides. `network_reach` derives both from the
layers; `tile_boxes` cuts a volume accordingly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Tile:
    """One tile, as slices along the spatial axes.

    `read` is what the network sees of the volume (tile and halo), `write` is the part of the whole output that the
    tile fills, and `crop` is where that part lies within the prediction for `read`.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]
    crop: tuple[slice, ...]


@dataclass(frozen=True)
class Window:
    """How one layer reads its input along one axis.

    Output voxel k reads input voxels k * stride - padding up to k * stride - padding + extent - 1. In a layer that
    `upsamples` the two change roles, as in a transposed convolution: input voxel k reaches those output voxels.
    """

    extent: int = 1
    stride: int = 1
    padding: int = 0
    upsamples: bool = False

    @property
    def scale(self) -> Fraction:
        """Input voxels for one step of the output."""
        return Fraction(1, self.stride) if self.upsamples else Fraction(self.stride)

    def fits(self, size_in: int, size_out: int) -> bool:
        """Whether the layer changes the size by its stride and nothing else, so that blocks stay aligned."""
        return size_out * self.stride == size_in if not self.upsamples else size_out == size_in * self.stride

    def reads(self, first: int, last: int) -> tuple[int, int]:
        """First and last input voxel that output voxels `first` to `last` depend on."""
        if not self.upsamples:
            return first * self.stride - self.padding, last * self.stride - self.padding + self.extent - 1
        begin = -((self.extent - 1 - self.padding - first) // self.stride)  # rounded up
        end = (last + self.padding) // self.stride
        return min(begin, end), max(begin, end)  # they cross where a stride leaves output voxels that read nothing


@dataclass(frozen=True)
class Layer:
    """One step of a network: the positions of the layers it reads, and its window along each axis.

    The first layer of a network stands for its input: it reads nothing, and its windows go unused.
    """

    sources: tuple[int, ...] = ()
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Reach:
    """Grid and halo of a network in voxels along each spatial axis; the halo is a multiple of the grid."""

    grid: tuple[int, ...]
    halo: tuple[int, ...]


def network_reach(layers: Sequence[Layer]) -> Reach:
    """Grid and halo of the network whose `layers` stand in the order they run; the last gives its output.

    Layers that read several others must find them at the same size, and the output must have the input's size.
    """
    per_axis = [_reach_along(layers, axis) for axis in range(len(layers[0].windows))]
    return Reach(grid=tuple(grid for grid, _ in per_axis), halo=tuple(halo for _, halo in per_axis))


def _reach_along(layers: Sequence[Layer], axis: int) -> tuple[int, int]:
    """Grid and halo along one axis, by walking back from one grid cell of the output to all that it depends on."""
    steps = _steps_along(layers, axis)
    grid = math.lcm(*(step.numerator for step in steps))
    output = len(layers) - 1
    needed = {output: (0, grid - 1)}
    halo = Fraction(0)
    for index in range(output, -1, -1):
        if index not in needed:
            continue
        first, last = needed[index]
        # Every layer counts, not the input alone: a tile must hold each voxel on the way, at each resolution.
        halo = max(halo, -first * steps[index], (last + 1) * steps[index] - grid)
        for source in layers[index].sources:
            begin, end = layers[index].windows[axis].reads(first, last)
            known_begin, known_end = needed.get(source, (begin, end))
            needed[source] = min(begin, known_begin), max(end, known_end)
    return grid, math.ceil(halo / grid) * grid


def _steps_along(layers: Sequence[Layer], axis: int) -> list[Fraction]:
    """Voxels of the network's input for one step of each layer's output."""
    steps: list[Fraction] = []
    for layer in layers:
        steps.append(steps[layer.sources[0]] * layer.windows[axis].scale if layer.sources else Fraction(1))
    return steps


def tile_boxes(shape: Sequence[int], tile_size: Sequence[int], halo: Sequence[int]) -> list[Tile]:
    """Tiles that together write each voxel of a volume of `shape` once; the last along an axis may be smaller.

    A tile reads `halo` voxels more on each inner side and none beyond the volume's border, where the network's own
    padding then acts as it does on the whole volume. All three arguments hold one number an axis.
    """
    per_axis = [_tiles_along(*sizes) for sizes in zip(shape, tile_size, halo, strict=True)]
    return [Tile(*zip(*parts, strict=True)) for parts in itertools.product(*per_axis)]


def _tiles_along(length: int, size: int, halo: int) -> list[tuple[slice, slice, slice]]:
    """The (read, write, crop) slices along one axis."""
    tiles = []
    for start in range(0, length, size):
        stop = min(start + size, length)
        read_start = max(start - halo, 0)
        read = slice(read_start, min(stop + halo, length))
        tiles.append((read, slice(start, stop), slice(start - read_start, stop - read_start)))
    return tiles
