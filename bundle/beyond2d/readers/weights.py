"""Which weights a workflow loads, and where their probabilities are cut."""

from __future__ import annotations

import json
from pathlib import Path

from ..checks import InputError, check_choice
from ..projection import PROJECTION_MODES, nearest_count
from .manifests import file_sha256


def weights_for(models_dir: str, num_views: int) -> str:
    """The file of weights in a folder that were trained on the number of views nearest to `num_views`.

    The files are named `views_02.pt` and so on; near is by ratio, so 4 views are nearer to 5 than to 3.
    """
    paths = {int(path.stem.removeprefix("views_")): path for path in Path(models_dir).glob("views_*.pt")}
    if not paths:
        raise InputError(f"models_dir: expected weights named views_02.pt and so on in {models_dir}, got none")
    return str(paths[nearest_count(paths, num_views)])


def threshold_for(models_dir: str, model: str, projection_mode: str, num_views: int) -> float:
    """The threshold that did best on the validation cases at the number of views nearest to `num_views`."""
    thresholds = thresholds_of(models_dir, model, projection_mode)
    return thresholds[nearest_count(thresholds, num_views)]


def thresholds_of(models_dir: str, model: str, projection_mode: str) -> dict[int, float]:
    """The thresholds that did best on the validation cases, by number of views.

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
    return {int(count): float(threshold) for count, threshold in chosen.items()}


def weights_sha256(path: str | Path) -> str:
    """The SHA-256 of a file of weights, in hex: says which they are wherever they lie."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: expected a file of weights, cannot read it ({error.strerror})") from error
