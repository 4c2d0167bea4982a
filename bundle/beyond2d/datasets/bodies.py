"""Data sets of body phantoms, abdomens and chests: NIfTI images and labels, and a datalist split by patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_choice, check_count
from ..phantoms import (
    ChestPhantom,
    ChestSpec,
    Organ,
    OrganPhantom,
    OrganSpec,
    centred_affine,
    chest_phantom,
    organ_phantom,
)
from ..writers import save_volume
from .decathlon import write_decathlon

SHARES = (4, 1, 1)
SLICES_MM = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
GRID_STREAM = 1  # beside the streams of the phantoms, which take the seed alone

Grid = tuple[tuple[int, int, int], tuple[float, float, float]]


class Body(NamedTuple):
    """A kind of body.

    phantom, spec: what makes one, and what from.
    name: of the cases.
    wide_mm, high_mm: field of view along X and Y, and along Z.
    size: voxels along X and Y if not chosen.
    labels: name of each label value above 0.
    about: describes the data set.
    """

    phantom: Callable[[int, Any], OrganPhantom | ChestPhantom]
    spec: Callable[..., Any]
    name: str
    wide_mm: float
    high_mm: float
    size: int
    labels: Mapping[int, str]
    about: str


ORGAN_NAMES = {organ.value: organ.name.lower() for organ in Organ}
BODIES = {
    "organs": Body(organ_phantom, OrganSpec, "organs", 360.0, 360.0, 96, ORGAN_NAMES, "Synthetic abdomens"),
    "chests": Body(
        chest_phantom, ChestSpec, "chest", 380.0, 300.0, 128, {1: "lung", 2: "infection"}, "Synthetic infected chests"
    ),
}


def write_body_dataset(
    out_dir: str | Path,
    kind: str,
    cases: int = 12,
    size: int | None = None,
    spacing_mm: float | None = None,
    seed: int = 0,
    anisotropy: int = 1,
    varied: bool = False,
) -> Path:
    """Writes phantoms of one kind, one a patient, with a datalist that `read_datalist` reads.

    Args:
        out_dir: gets `imagesTr`, `labelsTr` and `dataset.json`, all at the end; it must not hold them yet.
        kind: one of `BODIES`.
        cases: number of patients; case i is the phantom of `seed + i`.
        size: voxels along X and Y, by default 96 of organs and 128 of chests; along Z as many as are as long.
        spacing_mm: side of a voxel along X and Y; by default abdomens are 360 mm wide and high, chests 380 and 300.
        seed: seed of the first case and of the split.
        anisotropy: how many times thicker, and fewer, slices are than voxels are wide.
        varied: every case has a grid of its own, as scanners differ: up to a third finer or coarser along X and Y, and
            slices of `SLICES_MM` mm. Not with `anisotropy`.

    Returns:
        The path of `dataset.json`.
    """
    body = BODIES[check_choice(kind, tuple(BODIES), "kind")]
    cases, seed = check_count(cases, 1, "cases"), check_count(seed, 0, "seed")
    size = check_count(body.size if size is None else size, 1, "size")
    wide_mm = size * (body.wide_mm / size if spacing_mm is None else spacing_mm)
    thickness = check_count(anisotropy, 1, "anisotropy")

    def write_case(folder: Path, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([seed + index, GRID_STREAM])
        grid = _drawn_grid(rng, body, size, wide_mm) if varied else _grid(body, size, wide_mm, thickness)
        return _write_case(folder, f"{body.name}_{index:03d}", seed + index, body, body.spec(*grid))

    about = {
        "name": f"{kind} of phantoms",
        "description": f"{body.about} with exact labels; no data of any person",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): name for value, name in body.labels.items()}},
    }
    return write_decathlon(out_dir, cases, write_case, about, SHARES, seed)


def _grid(body: Body, size: int, wide_mm: float, thickness: float) -> Grid:
    """Voxels, and their size in mm, of a field of view `wide_mm` wide: always the same anatomy."""
    height = size * body.high_mm / body.wide_mm
    num_slices = max(1, round(height / thickness))
    side_mm = wide_mm / size
    return (size, size, num_slices), (side_mm, side_mm, side_mm * height / num_slices)


def _drawn_grid(rng: np.random.Generator, body: Body, size: int, wide_mm: float) -> Grid:
    drawn = 8 * max(1, round(size * float(rng.uniform(0.75, 1.35)) / 8))
    return _grid(body, drawn, wide_mm, float(rng.choice(SLICES_MM)) * drawn / wide_mm)


def _write_case(folder: Path, name: str, seed: int, body: Body, spec: Any) -> dict[str, Any]:
    """Writes the image and the label of one patient and returns the record of the datalist."""
    phantom = body.phantom(seed, spec)
    affine = centred_affine(spec.size, spec.spacing_mm)
    image, label = f"imagesTr/{name}.nii.gz", f"labelsTr/{name}.nii.gz"
    save_volume(folder / image, np.rint(phantom.volume), affine, np.int16)
    save_volume(folder / label, phantom.label, affine, np.uint8)
    return {"image": image, "label": label, "patient_id": name, "seed": seed}
