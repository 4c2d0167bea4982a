"""Loops that call a given network many times, as configs name them.

`wrappers` go around any other inferer, `exact_tiles` predicts a volume in tiles without a seam by what `reach` finds
out about the network, `slabs` predicts a volume with a 2D network that sees a few neighbouring slices, `rejection` lets
a second network take back what the first one marked, `estimates` gives several answers instead of one.
"""

from __future__ import annotations

from .estimates import EstimatesInferer, estimate_names
from .exact_tiles import ExactTileInferer
from .reach import derive_reach
from .rejection import CandidateRejection, RejectingInferer, infected, patches_of, scores_of
from .slabs import OneSlabInferer, SlabInferer, as_slices, as_volume
from .wrappers import MirrorInferer, MixedPrecisionInferer

__all__ = [
    "CandidateRejection",
    "EstimatesInferer",
    "ExactTileInferer",
    "MirrorInferer",
    "MixedPrecisionInferer",
    "OneSlabInferer",
    "RejectingInferer",
    "SlabInferer",
    "as_slices",
    "as_volume",
    "derive_reach",
    "estimate_names",
    "infected",
    "patches_of",
    "scores_of",
]
