"""How well lungs and infections were found in many patients, and how well the infected proportion agrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from ..agreement import bland_altman, mean_absolute_percent_error, pearson
from ..checks import IGNORED
from ..geometry import spacing_of
from ..lungs import INFECTED, lung_mask, voxel_volume_ml
from ..metrics import class_dice
from ..proportions import THRESHOLDS, proportion_of
from ..readers import case_name
from ..writers import staged_folder, write_csv, write_json
from .limits import limits_picture
from .orientation import turn_of
from .segmentation import class_volume
from .tables import Table, summary_table

DICES = ("lung_dice", "infection_dice")
MEASURED = ("proportion", "lung_ml", "infection_ml")
CASE_COLUMNS = ("case", "method", *DICES, *MEASURED, *(f"true_{name}" for name in MEASURED))
THRESHOLDING = "HU thresholds"

Volume = NDArray[Any]


class InfectionScores:
    """Score every case that an evaluator predicts beside HU thresholds alone, and write it all at the end.

    Items hold under the keys of `methods` and "truth" masks (1, X, Y, Z) of class numbers (0, 1 healthy and 2 infected
    lung) and under "original" the CT in HU, all on the image's own grid. Voxels that nobody labelled (`IGNORED` in
    "truth") count for nothing, in no figure. Written are `cases.csv`, `scores.json`,
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
        case, truth = case_name(item["image"].meta["filename_or_obj"]), class_volume(item["truth"])
        spacing_mm, known = spacing_of(np.asarray(item["truth"].affine)), truth != IGNORED
        masks = {name: class_volume(item[key]) for key, name in self.methods.items()}
        if self.threshold is not None:
            masks[THRESHOLDING] = by_thresholds(item["original"], self.threshold)
        for method, mask in masks.items():
            self.rows.append({"case": case, "method": method, **case_figures(mask * known, truth * known, spacing_mm)})

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
    turn = turn_of(np.asarray(image.affine))
    hu = turn.upright(_array(image))
    lung = lung_mask(hu, turn.spacing_mm)
    return turn.undone(lung.astype(np.uint8) + (lung & (hu >= threshold)))


def _dice_by_threshold(item: Mapping[str, Any]) -> list[float]:
    """The Dice of the infection that each of `THRESHOLDS` gives, 1 where it is rightly empty."""
    turn = turn_of(np.asarray(item["original"].affine))
    hu, labels = turn.upright(_array(item["original"])), turn.upright(class_volume(item["truth"]))
    lung = lung_mask(hu, turn.spacing_mm) & (labels != IGNORED)
    return [_dice(lung & (hu >= threshold), labels == INFECTED) for threshold in THRESHOLDS]


def _array(image: torch.Tensor) -> Volume:
    return np.asarray(image[0].as_subclass(torch.Tensor).cpu().numpy())


def _dice(mask: Volume, truth: Volume) -> float:
    """Dice of two masks, 1 where both are rightly empty."""
    dice = class_dice(mask, truth, True)
    return 1.0 if math.isnan(dice) else dice
