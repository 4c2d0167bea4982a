"""Data sets of vessel phantoms: NIfTI or DICOM images, NIfTI labels, and a datalist split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..checks import InputError, check_count
from ..phantoms import VesselSpec, centred_affine, vessel_phantom
from ..writers import save_volume, staged_folder, write_json
from .dicom_series import write_dicom_series
from .splits import split_by_patient

FIELD_OF_VIEW_MM = 192.0
PARTS = ("imagesTr", "labelsTr", "dataset.json")


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
