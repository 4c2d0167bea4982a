"""Tables and pictures."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from beyond2d.report.pictures import ANGLES_DEG, projections_picture
from beyond2d.report.tables import CASE_COLUMNS, Table, case_table, comparison_table, summary_table

AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0.7, 0, -30], [0, 0, 1.2, 5], [0, 0, 0, 1.0]])


def test_a_table_in_columns_and_in_markdown():
    table = Table(("method", "IoU"), [("sum", "0.1"), ("autoencoder", "0.25")], "lr")
    assert table.text().splitlines() == [
        "method        IoU",
        "───────────  ────",
        "sum           0.1",
        "autoencoder  0.25",
    ]
    assert table.markdown().splitlines() == [
        "| method      |  IoU |",
        "| ----------- | ---: |",
        "| sum         |  0.1 |",
        "| autoencoder | 0.25 |",
    ]


def test_single_cases_stand_as_they_are():
    table = case_table([{"num_views": 5, "iou": 0.25, "hd95_mm": math.nan}], ("num_views", "iou", "hd95_mm"))
    assert table.header == ["Views", "IoU", "HD95 (mm)"]
    assert table.rows == [["5", "0.250", "–"]]


def test_summary_groups_in_the_order_of_the_rows_and_counts_what_was_left_out():
    rows = [
        {"method": "sum", "num_views": 2, "iou": 0.2, "hd95_mm": math.nan},
        {"method": "net", "num_views": 2, "iou": 0.6, "hd95_mm": 2.0},
        {"method": "sum", "num_views": 2, "iou": 0.2, "hd95_mm": 4.0},
        {"method": "sum", "num_views": 5, "iou": 0.5, "hd95_mm": math.nan},
    ]
    table = summary_table(rows, ("iou", "hd95_mm"), group_by=("num_views", "method"))
    assert table.header == ["Views", "Method", "IoU", "HD95 (mm)"]
    assert table.align == "llrr"
    assert table.rows == [
        ["2", "sum", "0.200 [0.200, 0.200]", "4.0 [4.0, 4.0] (1 of 2)"],
        ["2", "net", "0.600 [0.600, 0.600]", "2.0 [2.0, 2.0]"],
        ["5", "sum", "0.500 [0.500, 0.500]", "–"],
    ]
    assert CASE_COLUMNS[:4] == ("case", "method", "num_views", "iou")


def test_comparison_puts_methods_side_by_side_most_views_first():
    rows = [
        {"method": "net", "num_views": 2, "iou": 0.5},
        {"method": "net", "num_views": 2, "iou": 0.7},
        {"method": "sum", "num_views": 2, "iou": 0.1},
        {"method": "net", "num_views": 10, "iou": 0.8},
    ]
    table = comparison_table(rows, ("sum", "net", "absent"), "iou", {"printed": {2: 0.268}})
    assert table.header == ["Views", "sum", "net", "printed"]
    assert table.rows[0] == ["10", "–", "0.800", "–"]
    assert table.rows[1][::3] == ["2", "0.268"]
    assert table.rows[1][1] == "0.100"
    assert table.rows[1][2].startswith("0.600 [0.5")


def panels_of(path: Path, num_rows: int) -> np.ndarray:
    """The pixels of the panels (row, view, height, width, 3), found as the only pure black boxes."""
    pixels = matplotlib.image.imread(path)[..., :3]
    background = pixels[0, 0]
    # In the gaps between panels a whole line of the picture is background.
    panel_columns = runs((pixels[120:-64] != background).any(axis=(0, 2)), at_least=100)
    panel_rows = runs((pixels[:, panel_columns[0]] != background).any(axis=(1, 2)), at_least=100)
    assert (len(panel_rows), len(panel_columns)) == (num_rows, len(ANGLES_DEG))
    return np.array([[pixels[rows, columns] for columns in panel_columns] for rows in panel_rows])


def runs(marked: np.ndarray, at_least: int) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [slice(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= at_least]


def test_the_picture_has_z_up_x_to_the_right_and_colours_for_what_agrees(tmp_path):
    prediction = np.zeros((32, 32, 32), dtype=np.float32)
    truth = prediction.copy()
    prediction[20:28, 12:20, 2:6] = truth[20:28, 12:20, 2:6] = 1  # low and right: in both
    prediction[12:20, 12:20, 14:18] = 0.9  # in the middle: predicted only
    truth[4:12, 12:20, 26:30] = 1  # high and left: missed
    projections_picture(tmp_path / "views.png", prediction, truth, spacing_mm=(1, 1, 1), title="three blocks")
    front = panels_of(tmp_path / "views.png", 3)[:, 0]
    high_left, middle, low_right = (
        front[:, int(row * front.shape[1]), int(column * front.shape[2])]
        for row, column in ((1 / 8, 1 / 4), (1 / 2, 1 / 2), (7 / 8, 3 / 4))
    )
    assert (low_right[0] > 0.99).all()
    assert np.allclose(middle[0], 0.9, atol=0.01)
    assert (high_left[0] == 0).all()
    assert (high_left[1] > 0.99).all()
    assert (middle[1] == 0).all()
    assert [int(colour[2].argmax()) for colour in (middle, low_right, high_left)] == [0, 1, 2]  # red, green, blue


def test_the_picture_is_to_scale_in_mm_where_the_grid_is_not(tmp_path):
    prediction = torch.zeros(30, 20, 25)
    prediction[8:22, 5:15, 9:16] = 1  # a block of 14 x 15 x 14 mm
    projections_picture(tmp_path / "views.png", prediction, spacing_mm=(1.0, 1.5, 2.0))
    first, *_, last = panels_of(tmp_path / "views.png", 1)[0]
    assert first.shape[0] / first.shape[1] == pytest.approx(25 * 2 / 30, abs=0.01)
    millimetre = first.shape[1] / 30
    for panel, width_mm in ((first, 14), (last, 15)):
        bright = panel[..., 0] > 0.5
        assert bright.any(axis=0).sum() / millimetre == pytest.approx(width_mm, abs=1)
        assert bright.any(axis=1).sum() / millimetre == pytest.approx(14, abs=1)
