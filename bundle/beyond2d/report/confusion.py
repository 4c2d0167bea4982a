"""Pictures of which class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from ..writers import whole_file
from .page import BACKGROUND, DPI, TITLE, Page

_CELL, _GAP = 64, 4
_LEFT, _RIGHT, _TOP, _BOTTOM = 120, 132, 148, 32
_RIGHT_ANSWER, _WRONG_ANSWER = "#1f9d5b", "#e5484d"


def confusion_counts(truth: NDArray[Any], predicted: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """How often each class (row) was taken for each class (column)."""
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def confusion_picture(path: str | Path, counts: NDArray[np.int64], names: Sequence[str], title: str = "") -> None:
    """Write a PNG of a confusion matrix (truth, predicted), with the share of right answers beside each row.

    A cell is the brighter the larger its share of its row is, by the square root of it, so that rare mistakes can be
    seen beside the many right answers.
    """
    size = len(names) * (_CELL + _GAP)
    page = Page(_LEFT + size + _RIGHT, _TOP + size + _BOTTOM)
    page.text(_LEFT, _TOP - 112, title, pixels=TITLE)
    page.text(_LEFT + size / 2, _TOP - 64, "predicted", align="center")
    page.text(_LEFT + size + _RIGHT / 2, _TOP - 24, "right", align="center")
    page.text(16, _TOP + size / 2, "truth")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        middle = _TOP + row * (_CELL + _GAP) + _CELL / 2
        page.text(_LEFT + row * (_CELL + _GAP) + _CELL / 2, _TOP - 24, name, align="center")
        page.text(_LEFT - 16, middle, name, align="right")
        for column in range(len(names)):
            _draw_cell(page, row, column, int(counts[row, column]), float(shares[row, column]))
        right = f"{100 * shares[row, row]:.1f} %" if counts[row].any() else "–"
        page.text(page.width - 24, middle, right, align="right")
    with whole_file(path) as hidden:
        page.figure.savefig(hidden, format="png", dpi=DPI)


def _draw_cell(page: Page, row: int, column: int, count: int, share: float) -> None:
    left, top = _LEFT + column * (_CELL + _GAP), _TOP + row * (_CELL + _GAP)
    page.box(left, top, _CELL, _CELL, _shade(_RIGHT_ANSWER if row == column else _WRONG_ANSWER, share))
    if count:
        page.text(left + _CELL / 2, top + _CELL / 2, str(count), align="center")


def _shade(colour: str, share: float) -> str:
    """From a little above the background at a share of 0 to the colour itself at 1."""
    strength = 0.06 + 0.94 * share**0.5
    return to_hex((1 - strength) * np.array(to_rgb(BACKGROUND)) + strength * np.array(to_rgb(colour)))
