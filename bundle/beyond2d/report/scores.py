"""Scores of a network and of the baselines that need none, case by case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch.utils.data import Dataset

from ..geometry import spacing_of
from ..metrics import FIGURES, best_threshold, score
from ..readers import case_name
from ..writers import staged_folder, write_csv, write_json
from .tables import CASE_COLUMNS, summary_table


class ScoreTable:
    """Score every case that an evaluator predicts, and at its end write `cases.csv` and `scores.json`.

    The network is scored at `threshold`, or without one at the threshold that gives the best mean IoU on the
    `tuning` cases. The baselines need no network: each is the volume of 0..1 under a key of the item, cut at its best
    threshold in the same way; what refinement makes of the network's result (the item's "refined") is cut where the
    network is.
    `settings` says what was run and goes into scores.json; its `num_views` goes into every row.
    """

    def __init__(
        self,
        output_dir: str,
        tuning: Dataset,
        settings: Mapping[str, Any],
        baselines: Mapping[str, str],
        threshold: float | None = None,
        network: str = "network",
        refined: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.threshold = threshold
        self.tuning = tuning
        self.settings = dict(settings)
        self.baselines = dict(baselines)
        self.network = network
        self.refined = refined
        self.methods: dict[str, tuple[str, float]] = {}
        self.rows: list[dict[str, Any]] = []
        self.errors: dict[str, list[float]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._choose_thresholds)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score_batch)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _choose_thresholds(self, engine: Engine) -> None:
        self.rows, self.errors = [], {}
        chosen = self._best_threshold(engine, "pred") if self.threshold is None else self.threshold
        self.methods = {self.network: ("pred", chosen)}
        if self.refined:
            self.methods[f"{self.network}, refined"] = ("refined", chosen)
        for method, key in self.baselines.items():
            self.methods[method] = (key, self._best_threshold(engine, key))

    def _best_threshold(self, engine: Engine, key: str) -> float:
        return best_threshold((item[key][0], item["label"][0]) for item in self._tuning_cases(engine, key))

    def _tuning_cases(self, engine: Any, key: str) -> Iterator[dict[str, Any]]:
        """The tuning cases one by one, with the network's prediction where that is asked for."""
        for index in range(len(self.tuning)):  # type: ignore[arg-type]
            item = dict(self.tuning[index])
            if key == "pred":
                with torch.no_grad(), engine.mode(engine.network):
                    logits = engine.inferer(item["image"][None].to(engine.state.device), engine.network)
                item["pred"] = logits[0].sigmoid().cpu()
            yield item

    def _score_batch(self, engine: Engine) -> None:
        state: Any = engine.state
        for inputs, outputs in zip(state.batch, state.output, strict=True):
            item = {**inputs, **outputs}
            image, truth = item["image"], item["label"][0]
            case = {"case": case_name(image.meta["filename_or_obj"]), "num_views": self.settings["num_views"]}
            self.errors[case["case"]] = item["reprojection_error"]
            spacing_mm = spacing_of(np.asarray(image.affine))
            for method, (key, threshold) in self.methods.items():
                self.rows.append({**case, "method": method, **score(item[key][0], truth, spacing_mm, threshold)})

    def _write(self) -> None:
        table = summary_table(self.rows, FIGURES[:5])
        thresholds = {method: threshold for method, (_, threshold) in self.methods.items()}
        with staged_folder(self.output_dir) as folder:
            write_csv(folder / "cases.csv", self.rows, CASE_COLUMNS)
            write_json(folder / "scores.json", self._content(thresholds))
        print(f"\n{table.text()}")

    def _content(self, thresholds: dict[str, float]) -> dict[str, Any]:
        errors = {case: dict(zip(("before", "after"), pair, strict=True)) for case, pair in self.errors.items()}
        return {**self.settings, "thresholds": thresholds, "reprojection_errors": errors, "cases": self.rows}
