"""CT volumes as DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset, validate_file_meta
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from ..checks import InputError
from ..writers import staged_folder

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CT_TAGS = {
    "SOPClassUID": CTImageStorage,
    "Modality": "CT",
    "Manufacturer": "beyond2d",
    "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
    "SeriesDescription": "synthetic vessel phantom",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,  # signed
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    # The standard wants these to be there, be it empty.
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "PositionReferenceIndicator": "",
    "KVP": None,
}


def write_dicom_series(
    folder: str | Path, volume: NDArray[np.int16], affine: NDArray[np.float64], patient_id: str, seed: int = 0
) -> None:
    """Writes a volume as a CT series, one file a slice along Z; the folder appears whole or not at all.

    Args:
        folder: the series' folder, new or empty.
        volume: int16 voxels (X, Y, Z).
        affine: 4x4, from voxel indices to RAS mm, without shear.
        patient_id: goes into PatientID and, marked as a phantom, into PatientName.
        seed: together with the patient id it makes the UIDs, so the same call writes the same files.
    """
    folder = Path(folder)
    if volume.dtype != np.int16 or volume.ndim != 3:
        raise InputError(f"volume must be int16 (X, Y, Z), got {volume.dtype} with {volume.ndim} dimensions")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a new or an empty folder for the DICOM series")
    affine = _from_right_to_left_and_front_to_back(affine, volume.shape)
    volume = volume[::-1, ::-1]
    with staged_folder(folder) as series:
        for index in range(volume.shape[2]):
            path = series / f"slice_{index:04d}.dcm"
            _ct_slice(path, volume[:, :, index], affine, index, patient_id, seed).save_as(path)


def _from_right_to_left_and_front_to_back(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The LPS affine of `volume[::-1, ::-1]`: an upright RAS volume then has the usual axial orientation."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise InputError("affine must have perpendicular axes to be written as DICOM, got a sheared one")
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(shape[:2]) - 1
    return np.asarray(RAS_TO_LPS @ affine @ flip)


def _ct_slice(
    path: Path, pixels: NDArray[np.int16], affine: NDArray[np.float64], index: int, patient_id: str, seed: int
) -> FileDataset:
    """One axial slice, pixels (X, Y) on the LPS affine; DICOM stores rows (Y) of columns (X)."""

    def uid(name: str) -> UID:
        return generate_uid(entropy_srcs=[patient_id, str(seed), name])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(f"slice {index}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    validate_file_meta(meta)
    tags = {
        **CT_TAGS,
        **_geometry_tags(affine, index),
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": uid("study"),
        "SeriesInstanceUID": uid("series"),
        "FrameOfReferenceUID": uid("frame of reference"),
        "PatientID": patient_id,
        "PatientName": f"PHANTOM^{patient_id}",
        "InstanceNumber": index + 1,
        "Columns": pixels.shape[0],
        "Rows": pixels.shape[1],
        "PixelData": pixels.T.astype("<i2").tobytes(),
    }
    slice_ = FileDataset(
        str(path), {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    for keyword, value in tags.items():
        setattr(slice_, keyword, value)
    return slice_


def _geometry_tags(affine: NDArray[np.float64], index: int) -> dict[str, Any]:
    """Where slice `index` of a volume on this LPS affine lies."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    slice_distance = _decimals(spacing[2:])[0]
    return {
        "ImagePositionPatient": _decimals(affine[:3, 3] + index * affine[:3, 2]),
        "ImageOrientationPatient": _decimals(axes[:, :2].T.ravel()),
        "PixelSpacing": _decimals(spacing[[1, 0]]),  # between rows, then between columns
        "SliceThickness": slice_distance,
        "SpacingBetweenSlices": slice_distance,
    }


def _decimals(values: NDArray[np.float64]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters, as the standard asks; adding 0.0 turns -0.0 into 0."""
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]
