"""Pictures of figures against what was spent on them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..writers import whole_file
from .page import BACKGROUND, COLOURS, DPI, INK

Points = Sequence[tuple[float, float]]


def curves_picture(
    path: str | Path,
    curves: Mapping[str, Points],
    *,
    across: str,
    up: str,
    title: str = "",
    logarithmic: bool = False,
    faint: Mapping[str, Sequence[Points]] | None = None,
) -> None:
    """Write a PNG of curves by name, each a list of (across, up).

    `faint` are the single runs whose mean a curve is, thin and in its colour. With `logarithmic` equal ratios are
    equally far apart, and only the points' own places are marked.
    """
    figure = Figure(figsize=(8, 4.8), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=BACKGROUND)
    for colour, (name, points) in zip(itertools.cycle(COLOURS), curves.items(), strict=False):
        for single in (faint or {}).get(name, ()):
            axes.plot(*zip(*single, strict=True), color=colour, linewidth=0.8, alpha=0.35)
        marker = "o" if len(points) < 12 else None
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, marker=marker, label=name)
    if logarithmic:
        places = sorted({across for points in curves.values() for across, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(places, minor=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
    axes.set(xlabel=across, ylabel=up, title=title)
    axes.grid(color=INK, alpha=0.15)
    axes.legend(frameon=False, labelcolor=INK)
    for part in (axes.title, axes.xaxis.label, axes.yaxis.label):
        part.set_color(INK)
    axes.tick_params(colors=INK)
    axes.spines[:].set_visible(False)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png", dpi=DPI)
