"""Data sets of abdomen phantoms: NIfTI images and labels, and a datalist split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checks import check_count
from ..phantoms import Organ, OrganSpec, centred_affine, organ_phantom
from .decathlon import write_decathlon, write_phantom

FIELD_OF_VIEW_MM = 360.0
SHARES = (4, 1, 1)
ABOUT = {
    "name": "organ phantoms",
    "description": "Synthetic abdomens with exact labels; no data of any person",
    "modality": {"0": "CT"},
    "labels": {"0": "background", **{str(organ.value): organ.name.lower() for organ in Organ}},
}


def write_organ_dataset(
    out_dir: str | Path,
    cases: int = 12,
    size: int = 96,
    spacing_mm: float | None = None,
    seed: int = 0,
    anisotropy: int = 1,
) -> Path:
    """Writes abdomen phantoms, one a patient, with a datalist that `read_datalist` reads.

    Args:
        out_dir: gets `imagesTr`, `labelsTr` and `dataset.json`, all at the end; it must not hold them yet.
        cases: number of patients; case i is the phantom of `seed + i`.
        size: voxels along X and Y, and along Z where `anisotropy` is 1.
        spacing_mm: side of a voxel along X and Y; by default the field of view is 360 mm wide.
        seed: seed of the first case and of the split.
        anisotropy: how many times thicker, and fewer, slices are than voxels are wide.

    Returns:
        The path of `dataset.json`.
    """
    cases, seed = check_count(cases, 1, "cases"), check_count(seed, 0, "seed")
    size, anisotropy = check_count(size, 1, "size"), check_count(anisotropy, 1, "anisotropy")
    spacing_mm = FIELD_OF_VIEW_MM / size if spacing_mm is None else spacing_mm
    num_slices = max(1, round(size / anisotropy))
    slice_mm = spacing_mm * size / num_slices  # the same field of view, so the same anatomy
    spec = OrganSpec((size, size, num_slices), (spacing_mm, spacing_mm, slice_mm))

    affine = centred_affine(spec.size, spec.spacing_mm)

    def write_case(folder: Path, index: int) -> dict[str, Any]:
        phantom = organ_phantom(seed + index, spec)
        return write_phantom(folder, f"organs_{index:03d}", seed + index, phantom.volume, phantom.label, affine)

    return write_decathlon(out_dir, cases, write_case, ABOUT, SHARES, seed)
