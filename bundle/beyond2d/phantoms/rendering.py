"""Turns a centreline graph into voxels with partial volume at the walls.

Vessels are cut into straight pieces about a voxel long. Around each, the share of a voxel that is vessel falls
linearly across the wall, over one voxel. The radius of the ramp is chosen so that the cross-section is pi r^2;
a vessel too thin for that (its ramp would end in a point) keeps the thinnest ramp and fades instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .centrelines import Floats, VesselGraph

Volume = NDArray[np.float32]

CELLS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Pieces:
    """S straight pieces: centres_mm (S, 3), directions (S, 3), halves_mm, radii_mm and contrast_hu (S,)."""

    centres_mm: Floats
    directions: Floats
    halves_mm: Floats
    radii_mm: Floats
    contrast_hu: Floats

    def __getitem__(self, chosen: NDArray[np.int64]) -> Pieces:
        return Pieces(*(getattr(self, f.name)[chosen] for f in fields(self)))


def render_vessels(
    graph: VesselGraph, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[Volume, Volume]:
    """How much of each voxel is vessel (0 to 1), and that times the vessel's contrast in HU; both (X, Y, Z).

    The middle of the volume is the origin of the graph's mm. Where voxels are long on one axis, they are
    rendered as several of about equal sides and averaged. Where vessels meet, the fuller one counts.
    """
    splits = np.maximum(1, np.round(np.array(spacing_mm) / min(spacing_mm))).astype(int)
    voxel_mm = np.array(spacing_mm) / splits
    fraction = np.zeros(splits * size, dtype=np.float32)
    vessels = np.zeros_like(fraction)
    side_mm = float(np.cbrt(voxel_mm.prod()))
    pieces = _straight_pieces(graph, side_mm)
    for group, reach in _grouped_by_reach(pieces, side_mm, voxel_mm):
        _splat(fraction, vessels, group, reach, side_mm, voxel_mm)
    return average_blocks(fraction, splits), average_blocks(vessels, splits)


def _straight_pieces(graph: VesselGraph, longest_mm: float) -> Pieces:
    """Every edge of the graph cut into equal pieces; a root is a piece without length."""
    ends = graph.points_mm
    starts = np.where(graph.parents[:, None] >= 0, ends[graph.parents], ends)
    lengths = np.linalg.norm(ends - starts, axis=1)
    counts = np.maximum(1, np.ceil(lengths / longest_mm)).astype(np.int64)
    edge = np.repeat(np.arange(len(ends)), counts)
    place_in_edge = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (place_in_edge + 0.5) / counts[edge]
    return Pieces(
        centres_mm=starts[edge] + share[:, None] * (ends - starts)[edge],
        directions=((ends - starts) / np.maximum(lengths, 1e-9)[:, None])[edge],
        halves_mm=(lengths / counts / 2)[edge],
        radii_mm=graph.radii_mm[edge],
        contrast_hu=graph.contrast_hu[edge],
    )


def _ramp(radii_mm: Floats, side_mm: float) -> tuple[Floats, Floats]:
    """Middle of the wall's ramp in mm and height (S,), so that a ramp one voxel wide encloses pi r^2.

    A ramp around radius R encloses pi (R^2 + side^2 / 12), as long as it does not overlap itself, R >= side/2.
    """
    squares = radii_mm**2 - side_mm**2 / 12
    middles = np.sqrt(np.maximum(squares, side_mm**2 / 4))
    heights = np.minimum(1, 3 * radii_mm**2 / side_mm**2)
    return middles, heights


def _grouped_by_reach(pieces: Pieces, side_mm: float, voxel_mm: Floats) -> Iterator[tuple[Pieces, NDArray[np.int64]]]:
    """Pieces that fit one box of `reach` (3,) voxels to each side of the nearest, few enough at once."""
    furthest_mm = _ramp(pieces.radii_mm, side_mm)[0] + side_mm / 2 + pieces.halves_mm
    reaches = np.ceil(furthest_mm / voxel_mm.min() - 0.5).astype(np.int64)
    for reach in np.unique(reaches):
        members = np.flatnonzero(reaches == reach)
        box = np.ceil(reach * voxel_mm.min() / voxel_mm).astype(np.int64)
        at_once = max(1, CELLS_AT_ONCE // int((2 * box + 1).prod()))
        for first in range(0, len(members), at_once):
            yield pieces[members[first : first + at_once]], box


def _splat(
    fraction: Volume,
    vessels: Volume,
    pieces: Pieces,
    reach: NDArray[np.int64],
    side_mm: float,
    voxel_mm: Floats,
) -> None:
    """Raises both volumes, in place, to what the pieces put into the boxes around them."""
    size = np.array(fraction.shape)
    places = pieces.centres_mm / voxel_mm + (size - 1) / 2
    indices, offsets = [], []
    for axis in range(3):
        shape = [len(places), 1, 1, 1]
        shape[axis + 1] = -1
        index = np.round(places[:, axis, None]).astype(np.int64) + np.arange(-reach[axis], reach[axis] + 1)
        indices.append(index.reshape(shape))
        offset = (index - places[:, axis, None]) * voxel_mm[axis]
        offsets.append(offset.astype(np.float32).reshape(shape))
    inside = np.logical_and.reduce(
        np.broadcast_arrays(*((i >= 0) & (i < n) for i, n in zip(indices, size, strict=True)))
    )
    flat = (indices[0] * size[1] + indices[1]) * size[2] + indices[2]

    share = _share_of_vessel(pieces, offsets, side_mm)
    covered = inside & (share > 0)
    piece_of = np.nonzero(covered)[0]
    flat, share = flat[covered], share[covered]
    np.maximum.at(fraction.reshape(-1), flat, share)
    np.maximum.at(vessels.reshape(-1), flat, share * pieces.contrast_hu.astype(np.float32)[piece_of])


def _share_of_vessel(pieces: Pieces, offsets_mm: list[Volume], side_mm: float) -> Volume:
    """The share (S, x, y, z) at offsets from the pieces' centres, each offset along one axis of the box."""
    middles, heights = _ramp(pieces.radii_mm, side_mm)

    def column(values: Floats) -> Volume:
        return values.astype(np.float32)[:, None, None, None]

    x, y, z = offsets_mm
    along = x * column(pieces.directions[:, 0])
    along = along + y * column(pieces.directions[:, 1]) + z * column(pieces.directions[:, 2])
    halves = column(pieces.halves_mm)
    nearest = np.clip(along, -halves, halves)
    squares = x**2 + y**2 + z**2 - nearest * (2 * along - nearest)
    distance = np.sqrt(np.maximum(squares, 0))
    return np.asarray(column(heights) * np.clip(0.5 + (column(middles) - distance) / np.float32(side_mm), 0, 1))


def average_blocks(volume: Volume, splits: NDArray[np.int64]) -> Volume:
    """Mean over blocks of `splits` voxels."""
    if (splits == 1).all():
        return volume
    x, y, z = np.array(volume.shape) // splits
    return volume.reshape(x, splits[0], y, splits[1], z, splits[2]).mean(axis=(1, 3, 5), dtype=np.float32)
