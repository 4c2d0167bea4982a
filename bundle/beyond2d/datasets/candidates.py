"""The data set of a candidate classifier: what a segmenter marked in patients, right and wrong, as patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..candidates import candidates_of, true_voxels, truth_of
from ..inferers import infected, patches_of
from ..lungs import INFECTED
from ..readers import case_name
from ..writers import whole_file


class CollectCandidates:
    """Gather the candidates of every case that an evaluator predicts, and at its end write them to one file.

    Items hold under "image" what the segmenter saw, 0..255, under "pred" its probabilities (3, X, Y, Z), under "label"
    the class numbers (1, X, Y, Z), all on one grid. The file is read by `readers.read_candidates`.

    Args:
        path: of the .npz file.
        patch_size: pixels of a patch; training crops smaller ones out of it at random.
        margin: voxels around a candidate that its patch shows.
        true_share: a candidate is true if so much of it is infected.
    """

    def __init__(self, path: str, patch_size: int, margin: int, true_share: float = 0.25) -> None:
        self.true_share = true_share
        self.path = Path(path)
        self.patch_size = patch_size
        self.margin = margin
        self.cases: list[str] = []
        self.totals: list[int] = []
        self.found: list[dict[str, np.ndarray]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        for item in state.output:
            self._note(item["image"], item["pred"], item["label"])

    def _note(self, image: torch.Tensor, shares: torch.Tensor, label: torch.Tensor) -> None:
        candidates = candidates_of(infected(shares))
        truth = label[0].as_subclass(torch.Tensor).cpu().numpy() == INFECTED
        patches = patches_of(image[0], shares[INFECTED], candidates, self.patch_size, self.margin)
        known = {
            "patches": np.rint(patches * 255).astype(np.uint8),
            "is_true": truth_of(candidates, truth, self.true_share),
            "areas": np.array([region.area for region in candidates.regions], np.int64),
            "true_voxels": true_voxels(candidates, truth),
            "patients": np.full(len(candidates.regions), len(self.cases), np.int64),
        }
        self.found.append(known)
        self.totals.append(int(np.count_nonzero(truth)))
        self.cases.append(case_name(getattr(image, "meta", {}).get("filename_or_obj", f"case {len(self.cases)}")))

    def _write(self, engine: Engine) -> None:
        joined: dict[str, Any] = {key: np.concatenate([found[key] for found in self.found]) for key in self.found[0]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path) as hidden:
            np.savez_compressed(hidden, **joined, total_true=np.array(self.totals), cases=np.array(self.cases))
        right = int(joined["is_true"].sum())
        print(
            f"{len(self.cases)} cases, {right} true and {len(joined['is_true']) - right} false candidates: {self.path}"
        )
