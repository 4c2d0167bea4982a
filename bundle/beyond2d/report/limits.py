"""A picture of how a measured proportion agrees with the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..agreement import bland_altman
from ..writers import whole_file
from .page import BACKGROUND, COLOURS, DPI, INK


def limits_picture(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Write a PNG of two plots of rows with `proportion` and `true_proportion`: one against the other, and the
    differences over the means with their limits of agreement (Bland and Altman). Rows without a proportion are left
    out.
    """
    pairs = np.array([[row["proportion"], row["true_proportion"]] for row in rows], float).reshape(-1, 2) * 100
    found, true = pairs[~np.isnan(pairs).any(axis=1)].T
    figure = Figure(figsize=(11, 4.8), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    end = 1.05 * max([1.0, *found, *true])
    left.plot([0, end], [0, end], color=INK, linewidth=1, alpha=0.5)
    left.plot(true, found, "o", color=COLOURS[0], alpha=0.85)
    _dress(left, "true proportion (%)", "measured proportion (%)")
    right.plot((found + true) / 2, found - true, "o", color=COLOURS[1], alpha=0.85)
    if len(found) > 1:
        limits = bland_altman(found, true)
        for name, height in zip(("bias", "-1.96 SD", "+1.96 SD"), limits, strict=True):
            right.axhline(height, color=INK, linewidth=1, linestyle="-" if name == "bias" else "--", alpha=0.6)
            right.annotate(
                f"{name} {height:+.2f}",
                (0.99, height),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=INK,
                fontsize=9,
            )
    _dress(right, "mean of both (%)", "measured less true (percentage points)")
    figure.suptitle(title, color=INK)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png", dpi=DPI)


def _dress(axes: Axes, across: str, up: str) -> None:
    axes.set(xlabel=across, ylabel=up, facecolor=BACKGROUND)
    axes.grid(color=INK, alpha=0.15)
    for part in (axes.xaxis.label, axes.yaxis.label):
        part.set_color(INK)
    axes.tick_params(colors=INK)
    axes.spines[:].set_visible(False)
