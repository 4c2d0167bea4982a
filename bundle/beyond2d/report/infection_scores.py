"""How well lungs and infections were found in many patients, and how well the infected proportion agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from ..agreement import bland_altman, mean_absolute_percent_error, pearson
from ..geometry import spacing_of
from ..lungs import lung_mask, voxel_volume_ml
from ..proportions import THRESHOLDS, proportion_of
from ..readers import case_name
from ..writers import staged_folder, write_csv, write_json
from .limits import limits_picture
from .tables import Table, summary_table

INFECTED = 2
DICES = ("lung_dice", "infection_dice")
MEASURED = ("proportion", "lung_ml", "infection_ml")
CASE_COLUMNS = ("case", "method", *DICES, *MEASURED, *(f"true_{name}" for name in MEASURED))
THRESHOLDING = "HU thresholds"

Volume = NDArray[Any]


class InfectionScores:
    """Score every case that an evaluator predicts beside HU thresholds alone, and write it all at the end.

    Items hold under the keys of `methods` and "truth" masks (1, X, Y, Z) of class numbers (0, 1 healthy and 2 infected
    lung) and under "original" the CT in HU, all on the image's own grid. Written are `cases.csv`, `scores.json`,
    `proportions.png`. The baseline finds lungs by `lungs.lung_mask` and calls infected what lies above the threshold
    that was the best on the reference cases.

    Args:
        output_dir: for the files.
        methods: the name of each predicted mask by its key; the first is drawn.
        reference: items with "original" and "truth", of patients other than those to be scored.
        settings: what was run, for scores.json.
    """

    def __init__(
        self,
        output_dir: str,
        methods: Mapping[str, str],
        reference: Dataset | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.methods = dict(methods)
        self.reference = reference
        self.settings = dict(settings or {})
        self.threshold: float | None = None
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._learn_threshold)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score_batch)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _learn_threshold(self, engine: Engine) -> None:
        self.rows, self.threshold = [], None
        if self.reference is not None:
            indices = tqdm(range(len(self.reference)), desc="thresholds")  # type: ignore[arg-type]
            dices = [_dice_by_threshold(self.reference[index]) for index in indices]
            self.threshold = float(THRESHOLDS[int(np.mean(dices, axis=0).argmax())])

    def _score_batch(self, engine: Engine) -> None:
        state: Any = engine.state
        for inputs, outputs in zip(state.batch, state.output, strict=True):
            self._score({**inputs, **outputs})

    def _score(self, item: Mapping[str, Any]) -> None:
        case, truth = case_name(item["image"].meta["filename_or_obj"]), _numbers(item["truth"])
        spacing_mm = spacing_of(np.asarray(item["truth"].affine))
        masks = {name: _numbers(item[key]) for key, name in self.methods.items()}
        if self.threshold is not None:
            masks[THRESHOLDING] = by_thresholds(item["original"], self.threshold)
        for method, mask in masks.items():
            self.rows.append({"case": case, "method": method, **case_figures(mask, truth, spacing_mm)})

    def _write(self, engine: Engine) -> None:
        write_scores(self.output_dir, self.rows, {**self.settings, "hu_threshold": self.threshold})


def write_scores(output_dir: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Write the files of `InfectionScores` from rows of `CASE_COLUMNS`, and print their means."""
    agreements = {method: agreement(rows_of(rows, method)) for method in methods_of(rows)}
    with staged_folder(output_dir) as folder:
        write_csv(folder / "cases.csv", rows, CASE_COLUMNS)
        write_json(folder / "scores.json", {**settings, "agreement": agreements, "cases": list(rows)})
        limits_picture(folder / "proportions.png", rows_of(rows, methods_of(rows)[0]))
    print(f"\n{summary_table(rows, DICES).text()}\n\n{agreement_table(rows).text()}")


def case_figures(mask: Volume, truth: Volume, spacing_mm: Sequence[float]) -> dict[str, float]:
    """Figures of one patient's class numbers (X, Y, Z) against the true ones. A rightly empty mask has Dice 1."""
    voxel_ml = voxel_volume_ml(spacing_mm)
    figures: dict[str, float] = {}
    for start, numbers in (("", mask), ("true_", truth)):
        figures[f"{start}proportion"] = proportion_of(numbers == INFECTED, numbers > 0)
        figures[f"{start}lung_ml"] = float((numbers > 0).sum() * voxel_ml)
        figures[f"{start}infection_ml"] = float((numbers == INFECTED).sum() * voxel_ml)
    dices = _dice(mask > 0, truth > 0), _dice(mask == INFECTED, truth == INFECTED)
    return {**dict(zip(DICES, dices, strict=True)), **figures}


def agreement(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the proportions of one method agree with the true ones, over patients."""
    known = [row for row in rows if not math.isnan(row["proportion"])]
    found, true = ([row[name] for row in known] for name in ("proportion", "true_proportion"))
    healthy = [row["proportion"] for row in known if row["true_proportion"] == 0]
    if len(known) < 2:
        return {"num_cases": len(known)}
    return {
        "num_cases": len(known),
        "pearson": pearson(found, true)._asdict(),
        "percent_error": mean_absolute_percent_error(found, true)._asdict(),
        "limits": bland_altman(found, true)._asdict(),
        "largest_in_healthy": max(healthy, default=math.nan),
    }


def agreement_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A line a method: correlation, percent error, limits of agreement in percentage points."""
    header = ("Method", "Pearson r", "mAPE (%)", "Bias and limits (points)", "Most in healthy lungs (%)")
    lines = []
    for method in methods_of(rows):
        content = agreement(rows_of(rows, method))
        if "pearson" in content:
            area, error, limits = (content[name] for name in ("pearson", "percent_error", "limits"))
            points = [f"{100 * limits[name]:.2f}" for name in ("bias", "low", "high")]
            correlation = f"{area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]"
            healthy = content["largest_in_healthy"]
            most = "–" if math.isnan(healthy) else f"{100 * healthy:.2f}"
            infected = f"{error['percent']:.1f} ({error['num_cases']} infected)"
            lines.append([method, correlation, infected, f"{points[0]} [{points[1]}, {points[2]}]", most])
    return Table(header, lines, "lrrrr")


def methods_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def rows_of(rows: Sequence[Mapping[str, Any]], method: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["method"] == method]


def by_thresholds(image: Any, threshold: float) -> Volume:
    """The class numbers (X, Y, Z) that HU alone give of a CT (1, X, Y, Z): lungs, and what in them is denser."""
    hu, spacing_mm, back = _upright(image)
    lung = lung_mask(hu, spacing_mm)
    return nib.apply_orientation(lung.astype(np.uint8) + (lung & (hu >= threshold)), back)


def _dice_by_threshold(item: Mapping[str, Any]) -> list[float]:
    """The Dice of the infection that each of `THRESHOLDS` gives, 1 where it is rightly empty."""
    hu, spacing_mm, _ = _upright(item["original"])
    lung = lung_mask(hu, spacing_mm)
    truth = _upright(item["truth"])[0].round() == INFECTED
    return [_dice(lung & (hu >= threshold), truth) for threshold in THRESHOLDS]


def _upright(image: Any) -> tuple[Volume, list[float], Volume]:
    """A volume (1, X, Y, Z) with axes near RAS as (X, Y, Z), its spacing in mm, and the way back."""
    affine = np.asarray(image.affine)
    to_ras = nib.io_orientation(affine)
    back = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], to_ras)
    spacing_mm = np.array(spacing_of(affine))[np.argsort(to_ras[:, 0])].tolist()
    volume = image[0].as_subclass(torch.Tensor).cpu().numpy()
    return nib.apply_orientation(volume, to_ras), spacing_mm, back


def _numbers(label: torch.Tensor) -> Volume:
    return np.asarray(label[0].as_subclass(torch.Tensor).cpu().numpy()).round().astype(np.uint8)


def _dice(mask: Volume, truth: Volume) -> float:
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0
