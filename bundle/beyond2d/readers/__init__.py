"""Readers of volumes and of real projections, to be named in configs and used by MONAI's `LoadImaged`.

Whatever they refuse, they refuse with one `InputError` that names the file; DICOM headers are reduced to what
places the image in space, so nothing about a patient travels on with it.
"""

from __future__ import annotations

from .angles import AnglesFile, read_angles_file, write_angles_file
from .cases import load_cases
from .views import ViewsReader
from .volumes import VolumeReader
from .weights import threshold_for, weights_for

__all__ = [
    "AnglesFile",
    "ViewsReader",
    "VolumeReader",
    "load_cases",
    "read_angles_file",
    "threshold_for",
    "weights_for",
    "write_angles_file",
]
