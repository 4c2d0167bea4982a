"""Dictionary transforms over the pure functions of the layers below, as configs name them."""

from __future__ import annotations

from .digits import LoadDigitd
from .finishing import OwnGridMaskd
from .hounsfield import BodyMaskd, HounsfieldUnitsd, SplitEstimatesd, SplitPredictionsd
from .segmentation import ClassNumbersd, CropToContentd, KnownOneHotd, PlacesToCropd, PlannedIntensityd, SparseSlicesd
from .views import (
    BackProjectd,
    Projectd,
    RandDetectorNoised,
    RandPoseJitterd,
    RandViewAnglesd,
    Refined,
    VesselMaskd,
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
    Upright,
    Uprightd,
    Windowd,
)

__all__ = [
    "BackProjectd",
    "BodyMaskd",
    "ClassNumbersd",
    "CropToContentd",
    "HounsfieldUnitsd",
    "Isotropic",
    "Isotropicd",
    "KnownOneHotd",
    "LoadDigitd",
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
    "SplitEstimatesd",
    "SplitPredictionsd",
    "SquarePad",
    "SquarePadd",
    "Upright",
    "Uprightd",
    "VesselMaskd",
    "ViewAnglesd",
    "ViewStatisticsd",
    "Windowd",
    "WithinHulld",
]
