"""What the pages of all systems have in common: how they begin, what they are not for, and what was run."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import monai
import numpy as np
import torch

from .. import __version__
from . import html
from .html import Markup, Section

USE = "For research; not for diagnosis or treatment."
NO_DEVICE = "This is a research tool. It is no medical device and must not decide on a diagnosis or a treatment."
_VERSIONS = {
    "Python": platform.python_version(), "PyTorch": torch.__version__, "MONAI": monai.__version__,
    "NumPy": np.__version__,
}  # fmt: skip

Rows = Sequence[tuple[str, str]]


class Kind(NamedTuple):
    """What all pages of one system say: their title, how they were made, the system's own limits, and the file that
    holds the figures."""

    title: str
    made: str
    limits: Sequence[str]
    figures: str


def result_page(
    kind: Kind,
    title: str | None,
    headline: Markup,
    sections: Iterable[Section],
    rows: Rows,
    settings: Mapping[str, Any],
) -> str:
    """The page of one result under the kind's title or one of its own; what was run are `rows`, then `settings`."""
    limits = Section("Limits and intended use", html.bullets([NO_DEVICE, *kind.limits]))
    footer = f"beyond2d {__version__}. All figures of this page are in {kind.figures}."
    parts = [*sections, limits, _run_section(rows, settings)]
    return html.document(title or kind.title, f"{kind.made} {USE}", headline, parts, footer)


def grid_rows(shape: Sequence[int], spacing_mm: Sequence[float]) -> Rows:
    """Rows of a grid's voxels and their size."""
    sides = " × ".join(f"{side:.3g}" for side in spacing_mm)
    return [("voxels", " × ".join(str(size) for size in shape)), ("voxel size (mm)", sides)]


def in_words(value: Any) -> str:
    """A setting's value as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    return {None: "–", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _run_section(rows: Rows, settings: Mapping[str, Any]) -> Section:
    """The versions of what ran, then rows of the page's own, then settings."""
    versions = [
        ("beyond2d", __version__),
        ("software", ", ".join(f"{name} {version}" for name, version in _VERSIONS.items())),
    ]
    table = html.table("Input and settings", ("Setting", "Value"), [*versions, *rows, *_flat(settings)], "words")
    return Section("What was run", table)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings in words, those within others as "outer.inner"."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}".replace("_", " "), in_words(value)
