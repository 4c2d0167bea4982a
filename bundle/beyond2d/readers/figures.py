"""Figures that lie beside weights because a prediction needs them: found on validation patients, kept as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from ..checks import InputError, check_number, one_line
from ..proportions import Calibration


def read_threshold(path: str | Path) -> float:
    """The score, 0 to 1, that a candidate needs to stay, from the file beside a classifier's weights."""
    (threshold,) = _numbers(path, ("threshold",), "the threshold of the classifier")
    return threshold


def read_calibration(path: str | Path) -> Calibration:
    """How far the interval of a proportion has to reach, from the file beside a segmenter's weights."""
    return Calibration(*_numbers(path, ("level", "reach"), "the calibration of the interval"))


def _numbers(path: str | Path, names: tuple[str, ...], what: str) -> list[float]:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected {what}, there is no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected {what}, got no JSON ({one_line(error)})") from error
    for name in names:
        if not isinstance(content, dict) or name not in content:
            raise InputError(f"{path}: expected JSON with the number {name!r}, it has none")
    return [check_number(content[name], f"{path}: {name}") for name in names]
