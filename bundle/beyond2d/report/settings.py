"""What was run, as the last section of every page tells it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import monai
import numpy as np
import torch

from .. import __version__
from . import html
from .html import Section

_VERSIONS = {
    "Python": platform.python_version(), "PyTorch": torch.__version__, "MONAI": monai.__version__,
    "NumPy": np.__version__,
}  # fmt: skip

Rows = Sequence[tuple[str, str]]


def run_section(rows: Rows, settings: Mapping[str, Any]) -> Section:
    """The versions of what ran, then rows of the page's own, then settings."""
    versions = [
        ("beyond2d", __version__),
        ("software", ", ".join(f"{name} {version}" for name, version in _VERSIONS.items())),
    ]
    table = html.table("Input and settings", ("Setting", "Value"), [*versions, *rows, *_flat(settings)], "words")
    return Section("What was run", table)


def grid_rows(shape: Sequence[int], spacing_mm: Sequence[float]) -> Rows:
    """Rows of a grid's voxels and their size."""
    sides = " × ".join(f"{side:.3g}" for side in spacing_mm)
    return [("voxels", " × ".join(str(size) for size in shape)), ("voxel size (mm)", sides)]


def in_words(value: Any) -> str:
    """A setting's value as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return {None: "–", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings in words, those within others as "outer.inner"."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}".replace("_", " "), in_words(value)
