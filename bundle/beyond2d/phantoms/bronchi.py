"""Trees that fill the lungs: the pulmonary vessels and the airways, as graphs of centrelines in mm.

A lung is strewn with points. A branch runs towards the middle of the points it serves, then divides them among two
children along their longest direction, until one point is left; its radius follows from how many it serves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .centrelines import Floats, Ints, VesselGraph, VesselKind, add_curves, empty_graph, smooth_curves, unit

RUN_BEFORE_DIVIDING = (0.45, 0.75)
NEAR_HILUM = 0.55  # the large ones divide sooner
TORTUOSITY = 0.05
HU_ON_TOP = 1.0  # the graphs are rendered for how much of a voxel they fill


def grow_tree(
    rng: np.random.Generator,
    root_mm: Floats,
    points_mm: Floats,
    thinnest_mm: float,
    widest_mm: float,
) -> VesselGraph:
    """The tree from one root (3,) to points (N, 3); radii grow from the thinnest at a tip to the widest at the root."""
    num_points = len(points_mm)
    power = np.log(widest_mm / thinnest_mm) / np.log(max(num_points, 2))
    graph, groups = empty_graph(), np.zeros(len(points_mm), np.int64)
    starts, parents = root_mm[None], np.array([-1])
    directions = unit(points_mm.mean(axis=0, keepdims=True) - root_mm)
    while len(points_mm):
        counts = np.bincount(groups)
        middles = _means(points_mm, groups)
        runs = rng.uniform(*RUN_BEFORE_DIVIDING, len(counts)) * np.where(counts > num_points / 6, NEAR_HILUM, 1)
        runs[counts == 1] = 1
        ends = starts + runs[:, None] * (middles - starts)
        headings = unit(middles - starts + 1e-6)
        curves = smooth_curves(rng, starts, directions, ends, headings, TORTUOSITY)
        curves = np.concatenate([starts[:, None], curves], axis=1)
        radii = thinnest_mm * counts.astype(float) ** power
        graph, last = add_curves(graph, curves, radii[:, None], parents, HU_ON_TOP, VesselKind.ARTERY)
        going = counts[groups] > 1
        points_mm, groups = points_mm[going], groups[going]
        halves = _halves(rng, points_mm, groups)
        branches, groups = np.unique(2 * groups + halves, return_inverse=True)
        starts, directions, parents = ends[branches // 2], headings[branches // 2], last[branches // 2]
    return graph


def trunk(points_mm: Floats, radius_mm: float) -> VesselGraph:
    """A tube of one radius through points (N, 3)."""
    graph, _ = add_curves(empty_graph(), points_mm[None], radius_mm, np.array([-1]), HU_ON_TOP, VesselKind.ARTERY)
    return graph


def together(graphs: list[VesselGraph]) -> VesselGraph:
    """Several forests as one."""
    joint = graphs[0]
    for graph in graphs[1:]:
        parents = np.where(graph.parents < 0, -1, graph.parents + len(joint.parents))
        joint = joint.followed_by(replace(graph, parents=parents))
    return joint


def thicker_than(graph: VesselGraph, radius_mm: float) -> VesselGraph:
    """The pieces of at least a radius; trees only become thinner, so that every kept piece keeps its parent."""
    kept = graph.radii_mm >= radius_mm
    place = np.cumsum(kept) - 1
    parents = np.where(graph.parents[kept] < 0, -1, place[graph.parents[kept]])
    return VesselGraph(graph.points_mm[kept], graph.radii_mm[kept], parents, graph.contrast_hu[kept], graph.kinds[kept])


def _means(values: Floats, groups: Ints) -> Floats:
    """Mean of each group's rows; values (N, C) give (G, C)."""
    sums = np.stack([np.bincount(groups, column) for column in values.T], axis=1)
    return np.asarray(sums / np.bincount(groups)[:, None])


def _halves(rng: np.random.Generator, points_mm: Floats, groups: Ints) -> Ints:
    """0 or 1 for each point (N,): on which side of the middle of its group it lies, along the longest direction."""
    if not len(points_mm):
        return np.zeros(0, np.int64)
    _, groups = np.unique(groups, return_inverse=True)
    offsets = points_mm - _means(points_mm, groups)[groups]
    products = (offsets[:, :, None] * offsets[:, None, :]).reshape(-1, 9)
    longest = np.linalg.eigh(_means(products, groups).reshape(-1, 3, 3))[1][:, :, 2]
    longest = longest * np.sign(longest.sum(axis=1, keepdims=True) + 1e-9)
    return ((offsets * longest[groups]).sum(axis=1) > 0).astype(np.int64)
