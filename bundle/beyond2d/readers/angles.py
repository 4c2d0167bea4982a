"""The angles file: a small YAML or JSON file that says from where each view was taken."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ..checks import InputError, check_affine, check_angles, check_known_keys, one_line
from ..writers import whole_file

ANGLES_FILE = "angles.yaml"
DECIMALS = 6


@dataclass(frozen=True)
class AnglesFile:
    """What an angles file says.

    Args:
        angles_deg: one angle a view, in the order of the views.
        spacing_mm: edge of a square detector pixel at the isocentre; None leaves it to the image headers.
        files: the names of a folder's image files in the order of the angles; None means sorted by name.
        invert: true where vessels are dark, as subtraction angiograms are displayed.
        affine: 4x4 from the reconstruction grid (X, X, Z) to RAS mm; None means centred on the origin.
    """

    angles_deg: list[float]
    spacing_mm: float | None = None
    files: list[str] | None = None
    invert: bool = False
    affine: NDArray[np.float64] | None = None


def read_angles_file(path: str | Path) -> AnglesFile:
    """Reads and checks a YAML (.yaml, .yml) or JSON (.json) angles file."""
    path = Path(path)
    content = _parse(path)
    if not isinstance(content, dict) or "angles_deg" not in content:
        raise InputError(f"{path}: expected the key angles_deg with one angle a view, got a file without it")
    check_known_keys(content, [field.name for field in fields(AnglesFile)], str(path))
    angles_deg = _angles(path, content["angles_deg"])
    return AnglesFile(
        angles_deg=angles_deg,
        spacing_mm=_spacing(path, content.get("spacing_mm")),
        files=_files(path, content.get("files"), len(angles_deg)),
        invert=_flag(path, content.get("invert", False)),
        affine=_affine(path, content.get("affine")),
    )


def angles_file_of(views: Path) -> Path:
    """The angles file of views where nobody names one: with the stack's own name, or angles.yaml beside it."""
    own = f"{views.name.removesuffix('.gz').removesuffix('.nii')}.yaml"
    for name in (own, ANGLES_FILE):
        if (views.parent / name).is_file():
            return views.parent / name
    raise InputError(f"{views}: expected the angles of its views in {own} or {ANGLES_FILE} beside it, got neither")


def write_angles_file(
    path: str | Path,
    angles_deg: Sequence[float],
    spacing_mm: float | None = None,
    affine: NDArray[np.float64] | None = None,
) -> None:
    """Writes an angles file as YAML, whole or not at all, with numbers rounded to six decimals."""
    content: dict[str, Any] = {"angles_deg": _readable(check_angles(angles_deg))}
    if spacing_mm is not None:
        content["spacing_mm"] = _readable(spacing_mm)
    if affine is not None:
        content["affine"] = _readable(check_affine(affine, "affine"))
    with whole_file(path) as hidden:
        hidden.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None), encoding="utf-8")


def _parse(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such angles file; expected YAML or JSON with the key angles_deg")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected an angles file in YAML or JSON ({one_line(error)})") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _angles(path: Path, value: Any) -> list[float]:
    if not isinstance(value, list) or not value or not all(_is_number(angle) for angle in value):
        raise InputError(f"{path}: angles_deg must be a list of numbers in degrees, got {one_line(value)}")
    angles = [float(angle) for angle in value]
    angle, count = Counter(angles).most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}: angles_deg must differ from one another, got {angle:g} {count} times")
    return angles


def _spacing(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        raise InputError(f"{path}: spacing_mm must be a positive number, got {one_line(value)}")
    return float(value)


def _files(path: Path, value: Any, num_angles: int) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{path}: files must be a list of file names, got {one_line(value)}")
    if len(value) != num_angles:
        raise InputError(f"{path}: files must name one file an angle: {num_angles} angles, got {len(value)} files")
    name, count = Counter(value).most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}: files must differ from one another, got {name} {count} times")
    return value


def _flag(path: Path, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{path}: invert must be true or false, got {one_line(value)}")
    return value


def _affine(path: Path, value: Any) -> NDArray[np.float64] | None:
    if value is None:
        return None
    rows = value if isinstance(value, list) else []
    if len(rows) != 4 or not all(_is_row_of_four(row) for row in rows):
        raise InputError(f"{path}: affine must be 4 rows of 4 numbers, got {one_line(value)}")
    return check_affine(np.array(rows, np.float64), str(path))


def _is_row_of_four(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(number) for number in value)


def _readable(values: Any) -> Any:
    """Plain Python numbers, rounded; adding zero turns -0.0 into 0.0."""
    return (np.round(np.asarray(values, np.float64), DECIMALS) + 0.0).tolist()
