"""First labels of a chest CT from thresholds alone, for a person to correct, and how they depend on the thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose, LoadImaged
from numpy.typing import NDArray

from ..checks import InputError
from ..lungs import lung_mask
from ..proportions import Sweep, infection_sweep, lung_sweep
from ..readers import LabelReader, VolumeReader, case_name
from ..transforms import SameGridd
from ..writers import save_volume, staged_folder, write_csv
from .curves import curves_picture
from .orientation import turn_of
from .overlays import overlay_picture

DRAFT_FILES = ("label.nii.gz", "overlay.png", "thresholds.csv", "thresholds.png")
LUNG, INFECTION = 1, 2
COLUMNS = ("mask", "threshold", "volume_ml", "dice", "best")
# The lung is what is darker, the infection what is brighter than its threshold.
SIDES = {"lung": "below", "infection": "above"}
SHOWN_HU = (-1200, 600)

Volume = NDArray[Any]


def write_draft_labels(image: str | Path, out: str | Path, reference: str | Path | None = None) -> dict[str, Sweep]:
    """Write `DRAFT_FILES` of a chest CT in HU: a label map of lung (1) and infection (2) on its grid, and how it came.

    The lung is taken at the best of many thresholds, and of it as infection what is above the best of them again:
    best by Dice with `reference`, a label map of the same two values, and without one where the volume depends
    least on the threshold. Gives both sweeps by name.
    """
    hu, truth, affine = _load(image, reference)
    turn = turn_of(affine)
    label, sweeps = draft_label(turn.upright(hu), turn.spacing_mm, None if truth is None else turn.upright(truth))
    if not label.any():
        raise InputError(f"{image}: expected a chest CT in HU, found no lung in it")
    label = turn.undone(label)
    with staged_folder(out) as folder:
        save_volume(folder / "label.nii.gz", label, affine, np.uint8)
        names = [f"{name} {SIDES[name]} {sweep.best.threshold:g} HU" for name, sweep in sweeps.items()]
        shown = hu.clip(*SHOWN_HU)
        overlay_picture(folder / "overlay.png", shown, label, affine, names=names, truth=truth, title=case_name(image))
        write_csv(folder / "thresholds.csv", list(_rows(sweeps)), COLUMNS)
        _picture(folder / "thresholds.png", sweeps)
    return sweeps


def draft_label(
    hu: Volume, spacing_mm: list[float], reference: Volume | None = None
) -> tuple[NDArray[np.uint8], dict[str, Sweep]]:
    """The label map (X, Y, Z) of a CT in HU with axes near RAS, and the sweeps that chose its two thresholds."""
    lung_truth = None if reference is None else reference > 0
    # A healthy chest has nothing to choose the second threshold by.
    infected = None if reference is None or not (reference == INFECTION).any() else reference == INFECTION
    lungs = lung_sweep(hu, spacing_mm, lung_truth, progress=True)
    lung = lung_mask(hu, spacing_mm, lungs.best.threshold)
    infections = infection_sweep(hu, lung, spacing_mm, infected)
    label = np.where(lung, LUNG, 0).astype(np.uint8)
    label[lung & (hu >= infections.best.threshold)] = INFECTION
    return label, {"lung": lungs, "infection": infections}


def _load(image: str | Path, reference: str | Path | None) -> tuple[Volume, Volume | None, NDArray[np.float64]]:
    """The CT and, on its grid, the reference, both (X, Y, Z) in the file's own axes; and their affine."""
    options: dict[str, Any] = {"ensure_channel_first": True, "image_only": True}
    load = Compose(
        [
            LoadImaged("image", reader=VolumeReader, **options),
            LoadImaged("reference", reader=LabelReader, allow_missing_keys=True, **options),
            SameGridd("reference"),
        ]
    )
    paths = {"image": image} if reference is None else {"image": image, "reference": reference}
    item: Any = load({key: str(path) for key, path in paths.items()})
    truth = None if reference is None else item["reference"][0].numpy()
    if truth is not None and (unknown := set(np.unique(truth).tolist()) - {0, LUNG, INFECTION}):
        raise InputError(f"{reference}: expected the label values 0, 1 (lung), 2 (infection), got {min(unknown):g}")
    return item["image"][0].numpy(), truth, np.asarray(item["image"].affine, dtype=np.float64)


def _rows(sweeps: dict[str, Sweep]) -> Iterator[dict[str, Any]]:
    for name, sweep in sweeps.items():
        for step in sweep.steps:
            figures = {"threshold": step.threshold, "volume_ml": round(step.volume_ml, 1), "dice": step.dice}
            yield {"mask": name, **figures, "best": step == sweep.best}


def _picture(path: Path, sweeps: dict[str, Sweep]) -> None:
    """Dice of each mask, or, where nothing says how right it is, its volume as a share of its largest."""
    curves = {}
    for name, sweep in sweeps.items():
        largest = max(step.volume_ml for step in sweep.steps) or 1.0
        figure = "relative volume" if sweep.best.dice is None else "Dice"
        heights = [step.volume_ml / largest if step.dice is None else step.dice for step in sweep.steps]
        points = zip((step.threshold for step in sweep.steps), heights, strict=True)
        curves[f"{figure} of the {name}, best at {sweep.best.threshold:g} HU"] = list(points)
    curves_picture(path, curves, across="threshold (HU)", up="0 to 1", title="What the threshold decides")
