"""Grows the cerebral arteries: where they run, how wide they are, how much contrast they carry.

The brain is strewn with points, each of which needs the same small share of blood. A feeding artery supplies
the points nearest to its territory; every branch runs towards the points it supplies and then divides them
among two children. A vessel that carries n shares has n^(1/3) times the radius of the thinnest, so Murray's
law (r0^3 = r1^3 + r2^3) holds at every bifurcation by construction, and the angles that he derived follow from
the radii. All branches of a generation grow at once, as arrays with one row a branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .centrelines import (
    Floats,
    Ints,
    VesselGraph,
    VesselKind,
    add_curves,
    confine,
    empty_graph,
    smooth_curves,
    unit,
)

REFERENCE_HEAD_MM = 85.0
THINNEST_RADIUS_MM = 0.21
NUM_POINTS_STREWN = (9000, 10500)
MINOR_SHARE = (0.12, 0.5)
RUN_BEFORE_DIVIDING = (0.45, 0.8)
TRUNK_TORTUOSITY = 0.1
TORTUOSITY = 0.09
CONTRAST_AT_ENTRY_HU = (1000.0, 1450.0)
MIN_CONTRAST_HU = 600.0
CONTRAST_DECAY_MM = 500.0

# Entry, end of the trunk and middle of the territory of each feeding artery, as fractions of the head's
# half-axes: x to the right, y to the front, z up.
ENTRY_HEIGHT = -1.06
CAROTID = ((0.28, 0.05, ENTRY_HEIGHT), (0.17, 0.12, -0.36), (0.50, 0.25, 0.15))
BASILAR = ((0.00, -0.22, ENTRY_HEIGHT), (0.00, -0.18, -0.34), (0.00, -0.60, -0.10))
OUTER_CAROTID = ((0.50, -0.05, ENTRY_HEIGHT), (0.68, 0.05, -0.30), (0.95, 0.05, 0.25))
TO_THE_LEFT = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Branches:
    """One generation of B branches before they grow.

    starts_mm (B, 3), directions (B, 3) of length one, parents (B,) in the graph, contrast_hu (B,) at the start.
    """

    starts_mm: Floats
    directions: Floats
    parents: Ints
    contrast_hu: Floats


def grow_arteries(rng: np.random.Generator, head_mm: Floats) -> VesselGraph:
    """A seeded arterial tree in a head with half-axes `head_mm` (3,); the trunks enter from below it."""
    points = _strew_points(rng, head_mm)
    feeding = _feeding_arteries(rng) * head_mm
    entries, trunk_ends, territories = feeding[:, 0], feeding[:, 1], feeding[:, 2]
    suppliers = _nearest(points / head_mm, territories / head_mm)
    thinnest_mm = THINNEST_RADIUS_MM * np.sqrt(head_mm.mean() / REFERENCE_HEAD_MM)

    graph = empty_graph()
    branches = Branches(
        starts_mm=entries,
        directions=unit(rng.normal([0.0, 0.0, 1.0], 0.15, entries.shape)),
        parents=np.full(len(entries), -1),
        contrast_hu=rng.uniform(*CONTRAST_AT_ENTRY_HU, len(entries)),
    )
    while len(points):
        shares = np.bincount(suppliers, minlength=len(branches.parents))
        centres = _group_means(points, suppliers, shares)
        radii = thinnest_mm * np.cbrt(shares)
        is_trunk = len(graph.parents) == 0
        ends = trunk_ends if is_trunk else _branch_ends(rng, branches, centres, shares, radii)
        directions = unit(unit(centres - branches.starts_mm) + 0.6 * branches.directions)
        tortuosity = TRUNK_TORTUOSITY if is_trunk else TORTUOSITY
        curves = smooth_curves(rng, branches.starts_mm, branches.directions, ends, directions, tortuosity)
        curves = curves if is_trunk else confine(curves, head_mm)
        contrast = _contrast_along(rng, branches, curves)
        graph, last = add_curves(graph, curves, radii[:, None], branches.parents, contrast, VesselKind.ARTERY)
        grown = Branches(curves[:, -1], unit(curves[:, -1] - curves[:, -2]), last, contrast[:, -1])
        branches, points, suppliers = _divide(rng, grown, points, suppliers, shares)
    return graph


def _strew_points(rng: np.random.Generator, head_mm: Floats) -> Floats:
    """Points (P, 3) in the upper head, denser towards the surface, where the brain's vessels run."""
    count = rng.integers(*NUM_POINTS_STREWN)
    points = unit(rng.normal(size=(count, 3))) * 0.93 * rng.uniform(size=(count, 1)) ** 0.28
    base = -0.6 + 0.3 * (points[:, :2] ** 2).sum(axis=1) + rng.normal(0, 0.08, count)
    return np.asarray(points[points[:, 2] > base] * head_mm)


def _feeding_arteries(rng: np.random.Generator) -> Floats:
    """Entry, trunk end and territory of three to five arteries, (R, 3, 3), moved and turned a little."""
    carotid, outer = np.array(CAROTID), np.array(OUTER_CAROTID)
    arteries = [carotid, carotid * TO_THE_LEFT, np.array(BASILAR)]
    arteries += [side for side in (outer, outer * TO_THE_LEFT) if rng.uniform() < 0.5]
    feeding = np.stack(arteries)
    feeding += rng.normal(size=feeding.shape) * np.array([0.05, 0.06, 0.07])[:, None]
    feeding[:, 0, 2] = ENTRY_HEIGHT
    turn = np.deg2rad(rng.normal(0, 12))
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return np.asarray(feeding @ rotation.T)


def _nearest(points: Floats, centres: Floats) -> Ints:
    """Index (P,) of the centre nearest to each point."""
    return np.linalg.norm(points[:, None] - centres, axis=-1).argmin(axis=1)


def _group_means(values: Floats, groups: Ints, counts: Ints) -> Floats:
    """Mean (B, 3) of the rows of each group."""
    sums = [np.bincount(groups, weights=values[:, axis], minlength=len(counts)) for axis in range(3)]
    return np.stack(sums, axis=1) / counts[:, None]


def _branch_ends(rng: np.random.Generator, branches: Branches, centres: Floats, shares: Ints, radii: Floats) -> Floats:
    """Part of the way to the middle of what a branch supplies, all the way for the last point of all."""
    ways = centres - branches.starts_mm
    distances = np.linalg.norm(ways, axis=1)
    runs = rng.uniform(*RUN_BEFORE_DIVIDING, len(ways)) * distances
    runs = np.maximum(runs, 4 * radii)
    headings = unit(unit(ways) + 0.5 * branches.directions)
    return np.where((shares == 1)[:, None], centres, branches.starts_mm + headings * runs[:, None])


def _contrast_along(rng: np.random.Generator, branches: Branches, curves: Floats) -> Floats:
    """Contrast (B, M): it thins out on the way and differs a little from branch to branch."""
    steps = np.linalg.norm(np.diff(curves, axis=1, prepend=branches.starts_mm[:, None]), axis=-1)
    decay = np.exp(-np.cumsum(steps, axis=1) / CONTRAST_DECAY_MM)
    drift = 1 + rng.normal(0, 0.04, (len(curves), 1)) * np.linspace(0, 1, curves.shape[1])
    return np.asarray(np.maximum(branches.contrast_hu[:, None] * decay * drift, MIN_CONTRAST_HU))


def _divide(
    rng: np.random.Generator, grown: Branches, points: Floats, suppliers: Ints, shares: Ints
) -> tuple[Branches, Floats, Ints]:
    """The next generation, and the points that are left with the index of the branch that supplies each."""
    dividing = shares > 1
    rank_of = np.cumsum(dividing) - 1
    left = dividing[suppliers]
    points, suppliers = points[left], rank_of[suppliers[left]]
    grown = Branches(
        grown.starts_mm[dividing], grown.directions[dividing], grown.parents[dividing], grown.contrast_hu[dividing]
    )
    shares = shares[dividing]
    minor = np.maximum(1, np.round(rng.uniform(*MINOR_SHARE, len(shares)) * shares)).astype(np.int64)
    minor = np.minimum(minor, shares // 2)
    suppliers = 2 * suppliers + _in_minor_part(rng, grown.directions, points, suppliers, shares, minor)
    counts = np.stack([shares - minor, minor], axis=1)
    middles = _group_means(points, suppliers, counts.ravel()).reshape(-1, 2, 3)
    children = Branches(
        starts_mm=np.repeat(grown.starts_mm, 2, axis=0),
        directions=_murray_directions(rng, grown.directions, counts, middles).reshape(-1, 3),
        parents=np.repeat(grown.parents, 2),
        contrast_hu=np.repeat(grown.contrast_hu, 2),
    )
    return children, points, suppliers


def _in_minor_part(
    rng: np.random.Generator, directions: Floats, points: Floats, groups: Ints, counts: Ints, minor: Ints
) -> Ints:
    """1 for the `minor[b]` points of each group at one end of its long axis, else 0.

    Distances along the branch count half, so that children rather fan out than follow one another.
    """
    offsets = points - _group_means(points, groups, counts)[groups]
    along = (offsets * directions[groups]).sum(axis=1, keepdims=True)
    offsets = offsets - 0.5 * along * directions[groups]
    scatter = np.zeros((len(counts), 3, 3))
    np.add.at(scatter, groups, offsets[:, :, None] * offsets[:, None, :])
    long_axes = np.linalg.eigh(scatter)[1][:, :, 2] * rng.choice([-1.0, 1.0], (len(counts), 1))
    axes = unit(long_axes + rng.normal(0, 0.25, long_axes.shape))
    order = np.lexsort(((offsets * axes[groups]).sum(axis=1), groups))
    first_of_group = np.cumsum(counts) - counts
    rank = np.empty(len(points), dtype=np.int64)
    rank[order] = np.arange(len(points)) - np.repeat(first_of_group, counts)
    return (rank < minor[groups]).astype(np.int64)


def _murray_directions(rng: np.random.Generator, directions: Floats, counts: Ints, middles: Floats) -> Floats:
    """Directions (B, 2, 3) of both children: the angles that cost the least power, turned to what they supply."""
    parent_4 = counts.sum(axis=1) ** (4 / 3)
    child_4 = counts ** (4 / 3)
    cosines = (parent_4[:, None] + child_4 - child_4[:, ::-1]) / (2 * np.sqrt(parent_4)[:, None] * np.sqrt(child_4))
    sines = np.sqrt(np.maximum(0, 1 - cosines**2)) * [1.0, -1.0]
    sideways = unit(middles[:, 0] - middles[:, 1] + rng.normal(0, 1e-3, directions.shape))
    sideways = sideways - (sideways * directions).sum(axis=1, keepdims=True) * directions
    sideways = unit(sideways + rng.normal(0, 1e-6, sideways.shape))
    return np.asarray(cosines[..., None] * directions[:, None] + sines[..., None] * sideways[:, None])
