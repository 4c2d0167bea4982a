"""Data sets on disk: synthetic ones of every system, splits by patient, CT volumes as DICOM."""

from __future__ import annotations

from .dicom_series import write_dicom_series
from .splits import split_by_patient
from .vessels import write_vessel_dataset

__all__ = ["split_by_patient", "write_dicom_series", "write_vessel_dataset"]
