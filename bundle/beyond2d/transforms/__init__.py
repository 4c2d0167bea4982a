"""Dictionary transforms over the pure functions of the layers below, as configs name them."""

from __future__ import annotations

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
    "Isotropic",
    "Isotropicd",
    "OtsuLabeld",
    "Projectd",
    "RandDetectorNoised",
    "RandPoseJitterd",
    "RandViewAnglesd",
    "RandWindowd",
    "Refined",
    "SameGridd",
    "SquarePad",
    "SquarePadd",
    "ViewAnglesd",
    "ViewStatisticsd",
    "Windowd",
    "WithinHulld",
]
