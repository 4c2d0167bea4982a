"""Loops that call a given network many times, as configs name them.

`wrappers` go around any other inferer, `exact_tiles` predicts a volume in tiles without a seam by what `reach` finds
out about the network, `slabs` predicts a volume with a 2D network that sees a few neighbouring slices.
"""

from __future__ import annotations

from .exact_tiles import ExactTileInferer
from .reach import derive_reach
from .slabs import OneSlabInferer, SlabInferer, as_slices, as_volume
from .wrappers import MirrorInferer, MixedPrecisionInferer

__all__ = [
    "ExactTileInferer",
    "MirrorInferer",
    "MixedPrecisionInferer",
    "OneSlabInferer",
    "SlabInferer",
    "as_slices",
    "as_volume",
    "derive_reach",
]
