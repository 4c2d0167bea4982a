"""Dictionary transforms over the pure functions of the layers below, as configs name them."""

from __future__ import annotations

from .finishing import OwnGridMaskd
from .segmentation import ClassNumbersd, KnownOneHotd, PlacesToCropd, PlannedIntensityd, SparseSlicesd
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
    "Isotropic",
    "Isotropicd",
    "KnownOneHotd",
    "OtsuLabeld",
    "OwnGridMaskd",
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
