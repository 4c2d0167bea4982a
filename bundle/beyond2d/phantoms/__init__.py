"""Synthetic angiograms: a seeded vessel tree in mm, rendered on any grid with its exact label.

`centrelines` holds the graph and the curves it is made of, `arteries` grows the tree, `lesions` adds aneurysms
and malformations, `rendering` turns a graph into voxels, `scene` puts everything together.
"""

from __future__ import annotations

from .arteries import grow_arteries
from .centrelines import VesselGraph, VesselKind
from .lesions import add_aneurysms, add_nidus
from .rendering import render_vessels
from .scene import Phantom, VesselSpec, centred_affine, vessel_phantom

__all__ = [
    "Phantom",
    "VesselGraph",
    "VesselKind",
    "VesselSpec",
    "add_aneurysms",
    "add_nidus",
    "centred_affine",
    "grow_arteries",
    "render_vessels",
    "vessel_phantom",
]
