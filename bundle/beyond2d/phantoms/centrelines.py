"""The centreline graph of a vessel tree, and the smooth curves it is made of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CENTRELINE_STEP_MM = 1.5


class VesselKind(IntEnum):
    """What a centreline point is part of; Murray's law rules the arteries only."""

    ARTERY = 0
    ANEURYSM = 1
    NIDUS = 2
    VEIN = 3


@dataclass(frozen=True)
class VesselGraph:
    """Centrelines as a forest: every point stands for the piece of vessel between itself and its parent.

    points_mm: (N, 3) in RAS, from the middle of the volume.
    radii_mm: (N,) radius of that piece.
    parents: (N,) index of the parent, always smaller than the point's own; -1 for a root.
    contrast_hu: (N,) brightness of that piece above an empty background.
    kinds: (N,) of `VesselKind`.
    """

    points_mm: Floats
    radii_mm: Floats
    parents: Ints
    contrast_hu: Floats
    kinds: Ints

    def bifurcations(self) -> Ints:
        """Indices of the points at which an artery divides."""
        arterial = (self.kinds == VesselKind.ARTERY) & (self.parents >= 0)
        return np.flatnonzero(np.bincount(self.parents[arterial], minlength=len(self.parents)) > 1)

    def followed_by(self, other: VesselGraph) -> VesselGraph:
        """Both as one graph; the parents of `other` already count on from this graph's points."""
        return VesselGraph(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


def empty_graph() -> VesselGraph:
    """A graph to add curves to."""
    return VesselGraph(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


def add_curves(
    graph: VesselGraph,
    curves_mm: Floats,
    radii_mm: Floats | float,
    parents: Ints,
    contrast_hu: Floats | float,
    kind: VesselKind,
) -> tuple[VesselGraph, Ints]:
    """The graph with B curves of M points each, and the (B,) indices of their last points.

    curves_mm is (B, M, 3); radii_mm and contrast_hu broadcast to (B, M); curve b leaves from the graph's point
    `parents[b]`, or is a root where that is -1.
    """
    indices = len(graph.parents) + np.arange(curves_mm[..., 0].size).reshape(curves_mm.shape[:2])
    grown = graph.followed_by(
        VesselGraph(
            points_mm=curves_mm.reshape(-1, 3),
            radii_mm=np.broadcast_to(radii_mm, indices.shape).ravel(),
            parents=np.concatenate([parents[:, None], indices[:, :-1]], axis=1).ravel(),
            contrast_hu=np.broadcast_to(contrast_hu, indices.shape).ravel(),
            kinds=np.full(indices.size, int(kind)),
        )
    )
    return grown, indices[:, -1]


def smooth_curves(
    rng: np.random.Generator,
    starts_mm: Floats,
    start_directions: Floats,
    ends_mm: Floats,
    end_directions: Floats,
    tortuosity: float,
) -> Floats:
    """B winding curves between given points and directions, (B, M, 3); the start itself is left out.

    A cubic Hermite curve, swayed by slow waves whose amplitude is `tortuosity` times the distance and which
    die out towards both ends, so that directions are kept there.
    """
    chords = np.linalg.norm(ends_mm - starts_mm, axis=1)
    num_points = int(np.clip(chords.max() / CENTRELINE_STEP_MM, 8, 64))
    u = (np.arange(1, num_points + 1) / num_points)[None, :, None]
    reach = chords[:, None, None]
    start, end = starts_mm[:, None], ends_mm[:, None]
    curves = (
        (1 + 2 * u) * (1 - u) ** 2 * start
        + u * (1 - u) ** 2 * reach * start_directions[:, None]
        + u**2 * (3 - 2 * u) * end
        + u**2 * (u - 1) * reach * end_directions[:, None]
    )
    for num_waves in (0.5, 1.0):
        size = rng.normal(0, tortuosity, starts_mm.shape)[:, None] * reach
        phase = rng.uniform(0, 2 * np.pi, starts_mm.shape)[:, None]
        curves += size * np.sin(2 * np.pi * num_waves * u + phase) * np.sin(np.pi * u) ** 2
    return np.asarray(curves)


def confine(points_mm: Floats, half_axes_mm: Floats, knee: float = 0.88, limit: float = 0.97) -> Floats:
    """Pulls points (..., 3) that come near the surface of a centred ellipsoid, or leave it, smoothly inside."""
    depth = np.linalg.norm(points_mm / half_axes_mm, axis=-1, keepdims=True)
    pulled = knee + (limit - knee) * np.tanh((depth - knee) / (limit - knee))
    return np.where(depth > knee, points_mm * pulled / np.maximum(depth, knee), points_mm)


def unit(vectors: Floats) -> Floats:
    """Vectors (..., 3) at length one."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
