"""What a classifier said of digits: scores beside baselines that need no network, and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from ..baselines import features, nearest_mean, nearest_neighbours
from ..metrics import Interval, summarise
from ..phantoms.digits import NUM_DIGITS
from ..writers import staged_folder, write_csv, write_json
from .confusion import confusion_counts, confusion_picture
from .tables import summary_table

NAMES = tuple(str(digit) for digit in range(NUM_DIGITS))
CASE_COLUMNS = ("case", "method", "label", "predicted", "accuracy")
PREDICTION_COLUMNS = ("case", "label", "predicted", "probability", *(f"probability_{name}" for name in NAMES))

Items = Sequence[Mapping[str, Any]]


class DigitScores:
    """Score every digit that an evaluator predicts and at its end write `cases.csv`, `scores.json`, `confusion.png`.

    The evaluator keeps its batches together (`decollate: false`), in the order of `cases`. Two methods that need no
    network stand beside it, both on the blurred voxels of the training digits: the nearest mean of a digit, and five
    nearest neighbours.

    Args:
        output_dir: folder for the files.
        cases: the items that are evaluated.
        training: the items that the baselines know.
        settings: what was run, for scores.json.
        network: its name in the tables.
    """

    def __init__(
        self, output_dir: str, cases: Items, training: Items, settings: Mapping[str, Any], network: str = "network"
    ) -> None:
        self.output_dir = Path(output_dir)
        self.cases = cases
        self.training = training
        self.settings = dict(settings)
        self.network = network
        self.predicted: list[int] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.predicted.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        logits: torch.Tensor = output["pred"]
        self.predicted += logits.argmax(dim=1).tolist()

    def _write(self) -> None:
        truth = _labels(self.cases)
        predicted = {self.network: np.array(self.predicted), **self._baselines()}
        rows = [
            {"case": case, "method": method, "label": label, "predicted": answer, "accuracy": float(answer == label)}
            for method, answers in predicted.items()
            for case, (label, answer) in enumerate(zip(truth.tolist(), answers.tolist(), strict=True))
        ]
        counts = {name: confusion_counts(truth, answers, NUM_DIGITS) for name, answers in predicted.items()}
        with staged_folder(self.output_dir) as folder:
            write_csv(folder / "cases.csv", rows, CASE_COLUMNS)
            write_json(folder / "scores.json", {**self.settings, "methods": _summary(rows, counts)})
            matrix = counts[self.network]
            right = f"{100 * np.trace(matrix) / matrix.sum():.1f} % of {matrix.sum()} digits right"
            confusion_picture(folder / "confusion.png", matrix, NAMES, f"{self.network}: {right}")
        print(f"\n{summary_table(rows, ['accuracy']).text()}")

    def _baselines(self) -> dict[str, NDArray[np.int64]]:
        known, labels = _features(self.training), _labels(self.training)
        unknown = _features(self.cases)
        return {
            "nearest mean": nearest_mean(unknown, known, labels),
            "nearest neighbours": nearest_neighbours(unknown, known, labels),
        }


class PredictionTable:
    """Write `predictions.csv` of what an evaluator predicts: the probabilities, and the label where there is one."""

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.rows.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        for item in output:
            probabilities: list[float] = item["pred"].tolist()
            predicted = int(np.argmax(probabilities))
            row = {"case": len(self.rows), "label": item.get("label"), "predicted": predicted}
            named = dict(zip(PREDICTION_COLUMNS[4:], probabilities, strict=True))
            self.rows.append({**row, "probability": probabilities[predicted], **named})

    def _write(self) -> None:
        with staged_folder(self.output_dir) as folder:
            write_csv(folder / "predictions.csv", self.rows, PREDICTION_COLUMNS)
        print(f"\nWrote {len(self.rows)} predictions to {self.output_dir}/predictions.csv")


def _features(items: Items) -> NDArray[np.float32]:
    return features(np.stack([item["image"] for item in items]))


def _labels(items: Items) -> NDArray[np.int64]:
    return np.array([item["label"] for item in items], dtype=np.int64)


def _summary(rows: Items, counts: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    """The accuracy of each method, in all and digit by digit, and its confusion matrix (truth, predicted)."""
    found = {}
    for method, matrix in counts.items():
        own = [row for row in rows if row["method"] == method]
        digits = {name: [row for row in own if str(row["label"]) == name] for name in NAMES}
        by_digit = {name: _accuracy(members) for name, members in digits.items() if members}
        found[method] = {"accuracy": _accuracy(own), "accuracy_by_digit": by_digit, "confusion": matrix}
    return found


def _accuracy(rows: Items) -> dict[str, float]:
    interval: Interval = summarise(rows, ["accuracy"])["accuracy"]
    return interval._asdict()
