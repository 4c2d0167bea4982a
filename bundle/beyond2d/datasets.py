"""Synthetic data sets on disk: NIfTI or DICOM images, NIfTI labels, and a datalist split by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset, validate_file_meta
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat
from tqdm import tqdm

from .checks import InputError, check_count
from .phantoms import VesselSpec, centred_affine, vessel_phantom
from .writers import save_volume, staged_folder, write_json

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FIELD_OF_VIEW_MM = 192.0
SPLIT_OF_THE_PAPER = (40, 4, 5)
PARTS = ("imagesTr", "labelsTr", "dataset.json")
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


def write_vessel_dataset(
    out_dir: str | Path,
    cases: int = 49,
    size: int = 384,
    spacing_mm: float | None = None,
    seed: int = 0,
    dicom: bool = False,
) -> Path:
    """Writes vessel phantoms, one a patient, with a datalist that `load_decathlon_datalist` reads.

    Args:
        out_dir: gets `imagesTr`, `labelsTr` and `dataset.json`, all at the end; it must not hold them yet.
        cases: number of patients; case i is the phantom of `seed + i`.
        size: voxels along each side.
        spacing_mm: side of a voxel; by default the field of view is 192 mm wide.
        seed: seed of the first case and of the split.
        dicom: writes each image as a folder with a CT series instead of a NIfTI file.

    Returns:
        The path of `dataset.json`.
    """
    out_dir = Path(out_dir)
    cases, seed = check_count(cases, 1, "cases"), check_count(seed, 0, "seed")
    size = check_count(size, 1, "size")
    spacing_mm = FIELD_OF_VIEW_MM / size if spacing_mm is None else spacing_mm
    spec = VesselSpec((size, size, size), (spacing_mm, spacing_mm, spacing_mm))
    for part in PARTS:
        if (out_dir / part).exists():
            raise InputError(f"{out_dir}: already holds {part}; choose another folder or move it away")
    with staged_folder(out_dir) as unfinished:
        _write_parts(unfinished, cases, seed, spec, dicom)
    return out_dir / "dataset.json"


def split_by_patient(
    records: Sequence[Mapping[str, Any]], shares: Sequence[int] = SPLIT_OF_THE_PAPER, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Splits records into `training`, `validation` and `test` such that no patient is in two of them.

    Args:
        records: each with a `patient_id`; a patient may have several.
        shares: how patients are divided; the paper's 44 and 5, of 49, with 4 of the 44 for validation. Other
            totals are divided in proportion, with at least one patient in each part where there are three.
        seed: makes the choice of patients.
    """
    patients = sorted({record["patient_id"] for record in records})
    if len(shares) != 3 or min(shares) < 1:
        raise InputError(f"shares must be three numbers above 0: training, validation, test, got {shares}")
    if not patients:
        raise InputError("records must hold at least one patient, got none")
    num_validation, num_test = (max(1, round(len(patients) * share / sum(shares))) for share in shares[1:])
    num_validation = num_validation if len(patients) > 2 else 0
    num_test = num_test if len(patients) > 1 else 0
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    parts = {
        "test": set(shuffled[:num_test]),
        "validation": set(shuffled[num_test : num_test + num_validation]),
        "training": set(shuffled[num_test + num_validation :]),
    }
    return {
        name: [dict(record) for record in records if record["patient_id"] in parts[name]]
        for name in ("training", "validation", "test")
    }


def _write_parts(folder: Path, cases: int, seed: int, spec: VesselSpec, dicom: bool) -> None:
    """Writes every case and then the datalist into an empty folder."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir()
    indices = tqdm(range(cases), desc="phantoms", unit="case")
    records = [_write_case(folder, f"vessels_{i:03d}", seed + i, spec, dicom) for i in indices]
    split = split_by_patient(records, seed=seed)
    content = {
        "name": "vessel phantoms",
        "description": "Synthetic cerebral angiograms with exact labels; no data of any person",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "vessel"},
        "tensorImageSize": "3D",
        **{f"num{name.capitalize()}": len(members) for name, members in split.items()},
        **split,
    }
    write_json(folder / "dataset.json", content)


def _write_case(folder: Path, name: str, seed: int, spec: VesselSpec, dicom: bool) -> dict[str, Any]:
    """Writes the image and the label of one patient and returns the record of the datalist."""
    phantom = vessel_phantom(seed, spec)
    affine = centred_affine(spec.size, spec.spacing_mm)
    volume = np.rint(phantom.volume).astype(np.int16)
    image = f"imagesTr/{name}" if dicom else f"imagesTr/{name}.nii.gz"
    label = f"labelsTr/{name}.nii.gz"
    if dicom:
        write_dicom_series(folder / image, volume, affine, name, seed)
    else:
        save_volume(folder / image, volume, affine, np.int16)
    save_volume(folder / label, phantom.label, affine, np.uint8)
    return {"image": image, "label": label, "patient_id": name, "seed": seed}


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
