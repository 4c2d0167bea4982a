"""How far the interval of an infected proportion has to reach, and how often it then holds the truth.

Reports are those of `beyond2d quantify` with a label and without a calibration: their interval spans the estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beyond2d.proportions import ProportionInterval, interval, reach_beyond
from beyond2d.report.tables import Table

LEVEL = 0.9  # what share of true proportions the interval is to hold
HEADER = ("Data", "Infected", "Truth within the estimates", "Truth within the interval", "Median width (%)")

Reports = Sequence[Mapping[str, Any]]


def infected_only(reports: Reports) -> list[Mapping[str, Any]]:
    return [report for report in reports if true_proportion(report) > 0]


def fitted_reach(reports: Reports) -> float:
    """The reach that holds `LEVEL` of the infected patients' true proportions, and of further ones like them."""
    infected = infected_only(reports)
    bounds = [(found.low, found.high) for found in intervals(infected)]
    return reach_beyond(bounds, [true_proportion(report) for report in infected], LEVEL)


def coverage_table(reports: Mapping[str, Reports], reach: float) -> Table:
    """A line a data set, over its infected patients; widths are relative to what was measured."""
    return Table(HEADER, [_line(name, infected_only(found), reach) for name, found in reports.items()], "lrrrr")


def intervals(reports: Reports, reach: float = 0.0) -> list[ProportionInterval]:
    return [interval(report["proportion_interval"], report["proportion"], reach=reach) for report in reports]


def true_proportion(report: Mapping[str, Any]) -> float:
    return float(report["scores"]["true_proportion"])


def _line(name: str, reports: Reports, reach: float) -> list[str]:
    true = np.array([true_proportion(report) for report in reports])
    estimates, wide = np.array(intervals(reports)), np.array(intervals(reports, reach))
    inside = [int(((found[:, 1] <= true) & (true <= found[:, 2])).sum()) for found in (estimates, wide)]
    measured = wide[wide[:, 0] > 0]
    width = np.median((measured[:, 2] - measured[:, 1]) / measured[:, 0])
    return [name, str(len(reports)), *map(str, inside), f"{100 * width:.0f}"]
