"""How well a classifier tells a segmenter's true candidates from its false ones, and what that does to the masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from ..agreement import auc, best_dice_threshold, roc
from ..checks import InputError
from ..metrics import bootstrap_interval
from ..readers import read_candidates, read_threshold
from ..writers import staged_folder, write_json
from .curves import curves_picture

JUDGEMENT_FILES = ("judgement.json", "roc.png")
# Scores are at most 1: above it nothing stays.
NOTHING = 2.0


class JudgeCandidates:
    """Collect what a classifier says of a file's candidates, in their order, and at the end write `JUDGEMENT_FILES`.

    Args:
        path: the file, see `readers.read_candidates`.
        output_dir: folder for the files.
        threshold_file: `judgement.json` of other patients whose threshold is applied; None chooses the one with the
            best mean Dice of these patients' masks.
    """

    def __init__(self, path: str, output_dir: str, threshold_file: str | None = None) -> None:
        self.candidates = read_candidates(path)
        self.output_dir = Path(output_dir)
        self.threshold = None if threshold_file is None else read_threshold(threshold_file)
        self.scores: list[float] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.scores.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        self.scores += [float(item["pred"].sigmoid()) for item in state.output]

    def _write(self) -> None:
        scores = np.array(self.scores)
        content = judge(scores, self.candidates, self.threshold)
        false_rate, true_rate, _ = roc(scores, self.candidates["is_true"])
        area = content["auc"]
        name = f"AUC {area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}]"
        points = list(zip(false_rate.tolist(), true_rate.tolist(), strict=True))
        with staged_folder(self.output_dir) as folder:
            write_json(folder / "judgement.json", content)
            curves = {name: points, "chance": [(0, 0), (1, 1)]}
            curves_picture(folder / "roc.png", curves, across="false candidates kept", up="true candidates kept")
        before, after = content["mean_dice_before"], content["mean_dice_after"]
        print(f"{name}, threshold {content['threshold']:.3f}: mean Dice {before:.3f} before, {after:.3f} after")


def judge(
    scores: NDArray[np.float64], candidates: Mapping[str, np.ndarray], threshold: float | None = None
) -> dict[str, Any]:
    """AUC over patients, a threshold on the scores, and the patients' mean Dice with and without it, with the gain."""
    if len(scores) != len(candidates["areas"]):
        raise InputError(f"scores must be one a candidate, {len(candidates['areas'])}, got {len(scores)}")
    if threshold is None:
        counts = [candidates[key] for key in ("areas", "true_voxels", "patients", "total_true")]
        threshold = best_dice_threshold(scores, *counts).threshold
    threshold = threshold if math.isfinite(threshold) else NOTHING
    kept = scores >= threshold
    is_true = candidates["is_true"]
    before, after = case_dices(candidates, np.ones(len(scores), bool)), case_dices(candidates, kept)
    low, high = bootstrap_interval((after - before).tolist())
    return {
        "threshold": threshold,
        "auc": auc(scores, is_true, candidates["patients"].tolist())._asdict(),
        "cases": len(candidates["total_true"]),
        "true_candidates": int(is_true.sum()),
        "false_candidates": int((~is_true).sum()),
        "true_kept": int((is_true & kept).sum()),
        "false_kept": int((~is_true & kept).sum()),
        "mean_dice_before": float(before.mean()),
        "mean_dice_after": float(after.mean()),
        "gain": {"value": float((after - before).mean()), "low": low, "high": high},
    }


def case_dices(candidates: Mapping[str, np.ndarray], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The Dice of each patient's mask (p,) if these candidates (n,) are kept; 1 for a mask that is rightly empty."""
    totals = candidates["total_true"].astype(np.float64)
    patients = candidates["patients"][kept]
    found, right = (
        np.bincount(patients, candidates[key][kept], len(totals)).astype(np.float64) for key in ("areas", "true_voxels")
    )
    return np.divide(2 * right, found + totals, out=np.ones_like(totals), where=found + totals > 0)
