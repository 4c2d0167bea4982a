"""Tables for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..metrics import FIGURES, Interval, summarise

# The columns of a per-case CSV file.
CASE_COLUMNS = ("case", "method", "num_views", *FIGURES)

_TITLES = {
    "iou": "IoU",
    "dice": "Dice",
    "mse": "MSE",
    "mae": "MAE",
    "pixel_accuracy": "Pixel accuracy",
    "cldice": "clDice",
    "betti0_error": "Betti-0 error",
    "nsd": "NSD",
    "hd95_mm": "HD95 (mm)",
    "num_views": "Views",
    "volume_ml": "Volume (ml)",
    "lung_dice": "Lung Dice",
    "infection_dice": "Infection Dice",
    "infection_dice_of_the_infected": "… where any is",
    "infection_dice_from_2_percent": "… where 2 % are",
}
_DECIMALS = {"mse": 4, "mae": 4, "pixel_accuracy": 4, "betti0_error": 1, "hd95_mm": 1}


class Table(NamedTuple):
    """A header, rows of text, and how each column is set: one letter a column, `l` (left) or `r` (right)."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str

    def text(self) -> str:
        """The table for a terminal, in columns two spaces apart."""
        rule = ["─" * width for width in self._widths()]
        return "\n".join("  ".join(row).rstrip() for row in self._padded([self.header, rule, *self.rows]))

    def markdown(self) -> str:
        """The table for a page; its columns line up in the source too."""
        rule = [
            "-" * (width - 1) + (":" if side == "r" else "-")
            for width, side in zip(self._widths(), self.align, strict=True)
        ]
        return "\n".join(f"| {' | '.join(row)} |" for row in self._padded([self.header, rule, *self.rows]))

    def _widths(self) -> list[int]:
        columns = zip(self.header, *self.rows, strict=True)
        return [max(3, *(len(cell) for cell in column)) for column in columns]

    def _padded(self, rows: Sequence[Sequence[str]]) -> list[list[str]]:
        signs = {"l": "<", "r": ">"}
        styles = [f"{signs[side]}{width}" for side, width in zip(self.align, self._widths(), strict=True)]
        return [[format(cell, style) for cell, style in zip(row, styles, strict=True)] for row in rows]


def summary_table(
    rows: Sequence[Mapping[str, Any]],
    figures: Sequence[str] = FIGURES,
    group_by: Sequence[str] = ("method",),
) -> Table:
    """Mean and 95 % interval of each figure for each group of per-case rows, groups in the order they appear.

    A row holds the `group_by` columns and the figures, as `CASE_COLUMNS` has them. Cases whose figure does not
    exist (NaN) are left out of its mean, and the cell says how many were counted.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in group_by), []).append(row)
    lines = []
    for group, members in groups.items():
        summary = summarise(members, figures)
        cells = [_interval_cell(summary[figure], len(members), _DECIMALS.get(figure, 3)) for figure in figures]
        lines.append([*map(str, group), *cells])
    return Table([_title(name) for name in (*group_by, *figures)], lines, "l" * len(group_by) + "r" * len(figures))


def comparison_table(
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    figure: str,
    printed: Mapping[str, Mapping[int, float]],
) -> Table:
    """One figure, a line for each number of views (most first) and a column for each method that has rows.

    A cell is the mean over the cases with its 95 % interval, or the value where there is one case only. `printed`
    are columns of numbers that others published, by number of views.
    """
    decimals = _DECIMALS.get(figure, 3)
    present = [method for method in methods if any(row["method"] == method for row in rows)]
    lines = []
    for num_views in sorted({row["num_views"] for row in rows}, reverse=True):
        cells = [str(num_views)]
        for method in present:
            found = [row for row in rows if (row["num_views"], row["method"]) == (num_views, method)]
            interval = summarise(found, [figure])[figure]
            alone = len(found) == 1
            cells.append(
                _value_cell(interval.mean, decimals) if alone else _interval_cell(interval, len(found), decimals)
            )
        cells += [f"{column[num_views]:.{decimals}f}" if num_views in column else "–" for column in printed.values()]
        lines.append(cells)
    return Table([_title("num_views"), *present, *printed], lines, "r" * (1 + len(present) + len(printed)))


def case_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """The values of single cases, one line a row."""
    cells = [[_value_cell(row[column], _DECIMALS.get(column, 3)) for column in columns] for row in rows]
    return Table([_title(column) for column in columns], cells, "r" * len(columns))


def _value_cell(value: Any, decimals: int) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


def _interval_cell(interval: Interval, num_cases: int, decimals: int) -> str:
    if math.isnan(interval.mean):
        return "–"
    mean, low, high = (f"{value:.{decimals}f}" for value in interval[:3])
    counted = "" if interval.num_values == num_cases else f" ({interval.num_values} of {num_cases})"
    return f"{mean} [{low}, {high}]{counted}"


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " ").capitalize())
