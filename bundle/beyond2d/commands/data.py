"""Commands about data sets: making synthetic ones, and looking through one before a training."""

from __future__ import annotations

from typing import Any

from ..checks import InputError, check_choice
from ..datasets import BODIES, write_body_dataset, write_digit_dataset, write_vessel_dataset
from ..integrity import check_dataset
from ..report.tables import Table


def phantom(
    kind: str = "vessels",
    *,
    out: str,
    cases: int | None = None,
    size: int | None = None,
    spacing_mm: float | None = None,
    seed: int = 0,
    dicom: bool = False,
    source: str | None = None,
    varied: bool = False,
) -> None:
    """Write a data set of synthetic patients: images, exact labels, and a list split by patient.

    Args:
        kind: `vessels` (cerebral trees, for reconstruction), `organs` (abdomens, for segmentation), `chests` (lungs
            with and without pneumonia) or `digits` (16 x 16 x 16 voxels, for classification).
        out: folder for the data set; refused if it holds one already.
        cases: number of patients: 49 for vessels, 12 for organs and chests if not given; of digits all of the source.
        size: voxels along each axis: 384 for vessels, 96 for organs, 128 for chests if not given.
        spacing_mm: voxel size; by default vessels are 192 mm wide, organs 360 mm, chests 380 mm.
        seed: the first patient's seed; the others count on from it.
        dicom: write each image of vessels as a DICOM series instead of NIfTI.
        source: folder of MNIST's idx files, to make the digits from.
        varied: organs and chests on grids that differ from case to case, as scanners do.
    """
    check_choice(kind, ("vessels", *BODIES, "digits"), "kind")
    given: dict[str, Any] = {"cases": cases, "size": size, "spacing_mm": spacing_mm}
    chosen = {name: value for name, value in given.items() if value is not None}
    if kind == "vessels":
        write_vessel_dataset(out, **chosen, seed=seed, dicom=dicom)
    elif kind in BODIES:
        write_body_dataset(out, kind, **chosen, seed=seed, varied=varied)
    else:
        write_digit_dataset(out, source, cases=cases, seed=seed)
    systems = {"vessels": "reconstruction", "chests": "infection", "digits": "digits"}
    system = systems.get(kind, "segmentation")
    print(f"Wrote {out}/dataset.json and what it lists")
    print(f"Next        beyond2d train {system} --dataset_dir {out} --ckpt_dir runs/{system}")


def check_data(dataset_dir: str) -> None:
    """Look through a folder in the decathlon layout, and list every file that would spoil a training.

    Args:
        dataset_dir: holds dataset.json and what it lists.
    """
    findings = check_dataset(dataset_dir)
    if findings:
        print(Table(("File", "Problem"), findings, "ll").text())
        raise InputError(f"{dataset_dir}: {len(findings)} problem{'s' if len(findings) > 1 else ''} found")
    print(f"{dataset_dir}: every listed file is sound")
    print(f"Next        beyond2d train segmentation --dataset_dir {dataset_dir} --ckpt_dir runs/segmentation")
