"""Which weights a workflow loads, and where their probabilities are cut."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

from ..checks import InputError, check_choice
from ..projection import PROJECTION_MODES


def weights_for(models_dir: str, num_views: int) -> str:
    """The file of weights in a folder that were trained on the number of views nearest to `num_views`.

    The files are named `views_02.pt` and so on; near is by ratio, so 4 views are nearer to 5 than to 3.
    """
    paths = {int(path.stem.removeprefix("views_")): path for path in Path(models_dir).glob("views_*.pt")}
    if not paths:
        raise InputError(f"models_dir: expected weights named views_02.pt and so on in {models_dir}, got none")
    return str(paths[_nearest(paths, num_views)])


def threshold_for(models_dir: str, model: str, projection_mode: str, num_views: int) -> float:
    """The threshold that did best on the validation cases at the number of views nearest to `num_views`.

    `record.json` in the folder holds them, by network, image model and number of views.
    """
    check_choice(projection_mode, PROJECTION_MODES, "projection_mode")
    path = Path(models_dir) / "record.json"
    try:
        chosen = json.loads(path.read_text(encoding="utf-8"))["thresholds"][f"{model} {projection_mode}"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"threshold: expected thresholds of {model} {projection_mode} in {path}, got none; give --threshold"
        ) from error
    thresholds = {int(count): float(threshold) for count, threshold in chosen.items()}
    return thresholds[_nearest(thresholds, num_views)]


def _nearest(counts: Iterable[int], num_views: int) -> int:
    """The nearest number of views by ratio."""
    return min(counts, key=lambda known: abs(math.log(known / num_views)))
