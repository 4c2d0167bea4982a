"""Synthetic angiograms: a seeded vessel tree in mm, rendered on any grid with its exact label.

`centrelines` holds the graph and the curves it is made of, `arteries` grows the tree, `lesions` adds aneurysms
and malformations, `rendering` turns a graph into voxels, `scene` puts everything together.

`organs` makes abdomens with liver, spleen and kidneys out of the smooth random bodies of `shapes`.

`chests` makes thoraxes with healthy and infected lungs: `thorax` holds their surfaces, `trunks` paints what surrounds
the lungs, `bronchi` grows their vessels and airways, and `opacities` paints pneumonia into any lungs, real ones too.
"""

from __future__ import annotations

from .arteries import grow_arteries
from .centrelines import VesselGraph, VesselKind
from .chests import ChestPhantom, ChestSpec, chest_phantom
from .digits import DigitPose, DigitSpec, draw_digit, draw_pose, extrude
from .lesions import add_aneurysms, add_nidus
from .opacities import paint_opacities
from .organs import Organ, OrganPhantom, OrganSpec, organ_phantom
from .rendering import render_vessels
from .scene import Phantom, VesselSpec, centred_affine, vessel_phantom

__all__ = [
    "ChestPhantom",
    "ChestSpec",
    "DigitPose",
    "DigitSpec",
    "Organ",
    "OrganPhantom",
    "OrganSpec",
    "Phantom",
    "VesselGraph",
    "VesselKind",
    "VesselSpec",
    "add_aneurysms",
    "add_nidus",
    "centred_affine",
    "chest_phantom",
    "draw_digit",
    "draw_pose",
    "extrude",
    "grow_arteries",
    "organ_phantom",
    "paint_opacities",
    "render_vessels",
    "vessel_phantom",
]
