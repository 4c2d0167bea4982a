"""Data sets of chest phantoms: NIfTI images and labels, and a datalist split by patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checks import check_count
from ..phantoms import ChestSpec, centred_affine, chest_phantom
from .decathlon import write_decathlon, write_phantom

FIELD_OF_VIEW_MM = 380.0
HEIGHT_MM = 300.0
SHARES = (4, 1, 1)
ABOUT = {
    "name": "chest phantoms",
    "description": "Synthetic chests with infected lungs and exact labels; no data of any person",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "lung", "2": "infection"},
}


def write_chest_dataset(
    out_dir: str | Path,
    cases: int = 12,
    size: int = 128,
    spacing_mm: float | None = None,
    seed: int = 0,
    anisotropy: int = 1,
) -> Path:
    """Writes chest phantoms, one a patient, with a datalist that `read_datalist` reads.

    Args:
        out_dir: gets `imagesTr`, `labelsTr` and `dataset.json`, all at the end; it must not hold them yet.
        cases: number of patients; case i is the phantom of `seed + i`.
        size: voxels along X and Y; slices cover 300 mm where these cover 380 mm.
        spacing_mm: side of a voxel along X and Y; by default the field of view is 380 mm wide.
        seed: seed of the first case and of the split.
        anisotropy: how many times thicker, and fewer, slices are than voxels are wide.

    Returns:
        The path of `dataset.json`.
    """
    cases, seed = check_count(cases, 1, "cases"), check_count(seed, 0, "seed")
    size, anisotropy = check_count(size, 1, "size"), check_count(anisotropy, 1, "anisotropy")
    spacing_mm = FIELD_OF_VIEW_MM / size if spacing_mm is None else spacing_mm
    height = size * HEIGHT_MM / FIELD_OF_VIEW_MM
    num_slices = max(1, round(height / anisotropy))
    slice_mm = spacing_mm * height / num_slices  # the same field of view, so the same anatomy
    spec = ChestSpec((size, size, num_slices), (spacing_mm, spacing_mm, slice_mm))

    affine = centred_affine(spec.size, spec.spacing_mm)

    def write_case(folder: Path, index: int) -> dict[str, Any]:
        phantom = chest_phantom(seed + index, spec)
        return write_phantom(folder, f"chest_{index:03d}", seed + index, phantom.volume, phantom.label, affine)

    return write_decathlon(out_dir, cases, write_case, ABOUT, SHARES, seed)
