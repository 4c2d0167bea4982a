"""Data sets on disk: synthetic ones of every system, splits by patient, CT volumes as DICOM."""

from __future__ import annotations

from .bodies import BODIES, write_body_dataset
from .candidates import CollectCandidates
from .dicom_series import write_dicom_series
from .digits import write_digit_dataset
from .downloads import decathlon_folder
from .splits import split_by_patient
from .vessels import write_vessel_dataset

__all__ = [
    "BODIES",
    "CollectCandidates",
    "decathlon_folder",
    "split_by_patient",
    "write_body_dataset",
    "write_dicom_series",
    "write_digit_dataset",
    "write_vessel_dataset",
]
