"""Adds what a neuroradiologist looks for: aneurysm sacs at bifurcations and an arteriovenous nidus."""

from __future__ import annotations

import numpy as np

from .centrelines import Floats, VesselGraph, VesselKind, add_curves, confine, smooth_curves, unit

NUM_WIDE_FORKS = 24
ANEURYSM_TO_VESSEL_RADIUS = (1.4, 2.4)
FEEDER_SHARE_OF_WIDEST = (0.3, 0.6)
NIDUS_TO_HEAD_SIZE = (0.08, 0.14)
NUM_NIDUS_STRANDS = (18, 36)
NIDUS_RADIUS_MM = (0.25, 0.6)
VEIN_TO_WIDEST_RADIUS = (0.5, 0.8)


def add_aneurysms(rng: np.random.Generator, graph: VesselGraph, num_aneurysms: int) -> VesselGraph:
    """The graph with sacs that bulge from wide bifurcations, straight on where the blood hits the wall."""
    forks = graph.bifurcations()
    wide = forks[np.argsort(-graph.radii_mm[forks], kind="stable")][: max(NUM_WIDE_FORKS, num_aneurysms)]
    for fork in rng.choice(wide, num_aneurysms, replace=False):
        vessel_mm = graph.radii_mm[fork]
        sac_mm = vessel_mm * rng.uniform(*ANEURYSM_TO_VESSEL_RADIUS)
        flow = unit(graph.points_mm[fork] - graph.points_mm[graph.parents[fork]])
        way = unit(flow + rng.normal(0, 0.3, 3))
        neck = graph.points_mm[fork] + way * (vessel_mm + 0.5 * sac_mm)
        dome = neck + way * 0.3 * sac_mm
        graph, _ = add_curves(
            graph,
            np.stack([neck, dome])[None],
            np.array([0.6 * sac_mm, sac_mm]),
            np.array([fork]),
            graph.contrast_hu[fork],
            VesselKind.ANEURYSM,
        )
    return graph


def add_nidus(rng: np.random.Generator, graph: VesselGraph, head_mm: Floats) -> VesselGraph:
    """The graph with a tangle of fine vessels at the end of a feeder, and the wide vein that drains it."""
    forks = graph.bifurcations()
    share = graph.radii_mm[forks] / graph.radii_mm[forks].max()
    feeder = rng.choice(forks[(share > FEEDER_SHARE_OF_WIDEST[0]) & (share < FEEDER_SHARE_OF_WIDEST[1])])
    size_mm = head_mm.mean() * rng.uniform(*NIDUS_TO_HEAD_SIZE)
    inward = -unit(graph.points_mm[feeder])
    middle = graph.points_mm[feeder] + inward * 0.5 * size_mm
    first_strand_point = len(graph.parents)
    leaves_from = feeder
    for _ in range(rng.integers(*NUM_NIDUS_STRANDS)):
        strand = _strand(rng, graph.points_mm[leaves_from], middle, size_mm)
        radius_mm = rng.uniform(*NIDUS_RADIUS_MM)
        contrast_hu = graph.contrast_hu[feeder] * rng.uniform(0.85, 1.0)
        graph, _ = add_curves(graph, strand, radius_mm, np.array([leaves_from]), contrast_hu, VesselKind.NIDUS)
        leaves_from = rng.integers(first_strand_point, len(graph.parents))
    return _add_draining_vein(rng, graph, leaves_from, head_mm)


def _strand(rng: np.random.Generator, start_mm: Floats, middle_mm: Floats, size_mm: float) -> Floats:
    """A winding way (1, M, 3) through a ball, by way of some of its points."""
    stops = rng.integers(3, 6)
    targets = middle_mm + unit(rng.normal(size=(stops, 3))) * size_mm * rng.uniform(0.3, 1, (stops, 1))
    starts = np.concatenate([start_mm[None], targets[:-1]])
    directions = unit(rng.normal(size=(stops + 1, 3)))
    pieces = smooth_curves(rng, starts, directions[:-1], targets, directions[1:], tortuosity=0.2)
    return pieces.reshape(1, -1, 3)


def _add_draining_vein(rng: np.random.Generator, graph: VesselGraph, start: int, head_mm: Floats) -> VesselGraph:
    """A vein from a point of the nidus out to the surface and over it to the top of the head."""
    start_mm = graph.points_mm[start]
    surface = unit(start_mm / head_mm + [0, 0, 0.35] + rng.normal(0, 0.1, 3)) * 0.9 * head_mm
    top = unit(np.array([0.0, rng.uniform(-0.7, 0.3), 1.0])) * 0.92 * head_mm
    over_the_surface = unit(top - surface)
    curves = smooth_curves(
        rng,
        np.stack([start_mm, surface]),
        np.stack([unit(rng.normal(size=3)), over_the_surface]),
        np.stack([surface, top]),
        np.stack([over_the_surface, unit(top * [1, 0, 0] + [0, -1.0, 0])]),
        tortuosity=0.1,
    )
    curve = confine(curves.reshape(1, -1, 3), head_mm)
    widest_mm = graph.radii_mm[graph.kinds == VesselKind.ARTERY].max() * rng.uniform(*VEIN_TO_WIDEST_RADIUS)
    radii = widest_mm * np.linspace(0.6, 1, curve.shape[1])
    contrast_hu = 0.85 * graph.contrast_hu[start]
    graph, _ = add_curves(graph, curve, radii, np.array([start]), contrast_hu, VesselKind.VEIN)
    return graph
