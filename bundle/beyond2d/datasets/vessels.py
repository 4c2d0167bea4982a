"""Data sets of vessel phantoms: NIfTI or DICOM images, NIfTI labels, and a datalist split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count
from ..phantoms import VesselSpec, centred_affine, vessel_phantom
from ..writers import save_volume
from .decathlon import write_decathlon
from .dicom_series import write_dicom_series

FIELD_OF_VIEW_MM = 192.0
ABOUT = {
    "name": "vessel phantoms",
    "description": "Synthetic cerebral angiograms with exact labels; no data of any person",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "vessel"},
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
    cases, seed = check_count(cases, 1, "cases"), check_count(seed, 0, "seed")
    size = check_count(size, 1, "size")
    spacing_mm = FIELD_OF_VIEW_MM / size if spacing_mm is None else spacing_mm
    spec = VesselSpec((size, size, size), (spacing_mm, spacing_mm, spacing_mm))

    def write_case(folder: Path, index: int) -> dict[str, Any]:
        return _write_case(folder, f"vessels_{index:03d}", seed + index, spec, dicom)

    return write_decathlon(out_dir, cases, write_case, ABOUT, seed=seed)


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
