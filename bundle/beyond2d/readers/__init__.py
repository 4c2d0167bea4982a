"""Readers of volumes and of real projections, to be named in configs and used by MONAI's `LoadImaged`.

Whatever they refuse, they refuse with one `InputError` that names the file; DICOM headers are reduced to what
places the image in space, so nothing about a patient travels on with it. What a DICOM object made of a series has to
repeat of them, the patient's name among it, only `read_sources` reads.
"""

from __future__ import annotations

from .angles import AnglesFile, read_angles_file, write_angles_file
from .candidates import candidate_items, read_candidates
from .cases import load_cases
from .decathlon import DataList, case_name, read_datalist
from .digits import load_digits
from .figures import read_calibration, read_threshold
from .idx import Digits, read_idx_digits
from .manifests import MANIFEST, file_sha256
from .plans import fold_cases, plan_text, read_plan
from .sources import hushed, read_sources
from .views import ViewsReader
from .volumes import LabelReader, VolumeReader
from .weights import threshold_for, thresholds_of, weights_for, weights_sha256

__all__ = [
    "MANIFEST",
    "AnglesFile",
    "DataList",
    "Digits",
    "LabelReader",
    "ViewsReader",
    "VolumeReader",
    "candidate_items",
    "case_name",
    "file_sha256",
    "fold_cases",
    "hushed",
    "load_cases",
    "load_digits",
    "plan_text",
    "read_angles_file",
    "read_calibration",
    "read_candidates",
    "read_datalist",
    "read_idx_digits",
    "read_plan",
    "read_sources",
    "read_threshold",
    "threshold_for",
    "thresholds_of",
    "weights_for",
    "weights_sha256",
    "write_angles_file",
]
