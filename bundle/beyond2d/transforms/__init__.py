"""Dictionary transforms over the pure functions of the layers below, as configs name them."""

from __future__ import annotations

from .segmentation import ClassNumbersd, FinishedMaskd, KnownOneHotd, PlacesToCropd, PlannedIntensityd, SparseSlicesd
from .views import (
    BackProjectd,
    Projectd,
    RandDetectorNoised,
    RandPoseJitterd,
    RandViewAnglesd,
    Refined,
    ViewAnglesd,
    ViewStatisticsd,
    WithinHulld,
)
from .volumes import (
    Isotropic,
    Isotropicd,
    OtsuLabeld,
    RandWindowd,
    SameGridd,
    SquarePad,
    SquarePadd,
    Windowd,
)

__all__ = [
    "BackProjectd",
    "ClassNumbersd",
    "FinishedMaskd",
    "Isotropic",
    "Isotropicd",
    "KnownOneHotd",
    "OtsuLabeld",
    "PlacesToCropd",
    "PlannedIntensityd",
    "Projectd",
    "RandDetectorNoised",
    "RandPoseJitterd",
    "RandViewAnglesd",
    "RandWindowd",
    "Refined",
    "SameGridd",
    "SparseSlicesd",
    "SquarePad",
    "SquarePadd",
    "ViewAnglesd",
    "ViewStatisticsd",
    "Windowd",
    "WithinHulld",
]
