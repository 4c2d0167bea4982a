"""Scores of digits: baselines, confusion, the files of an evaluation."""

import csv
import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from beyond2d.baselines import features, nearest_mean, nearest_neighbours
from beyond2d.report.confusion import confusion_counts, confusion_picture
from beyond2d.report.digits import NAMES, DigitScores


@pytest.fixture(scope="module")
def clouds():
    """Rows around four centres, known and unknown, with their labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 200)
    rows = random.normal(size=(4, 6))[labels] + 0.7 * random.normal(size=(200, 6))
    return rows[:40].astype(np.float32), labels[:40], rows[40:].astype(np.float32), labels[40:]


def test_nearest_mean_is_what_its_name_says(clouds):
    rows, truth, known, labels = clouds
    means = np.stack([known[labels == digit].mean(axis=0) for digit in range(4)])
    expected = [int(np.argmin([np.linalg.norm(row - mean) for mean in means])) for row in rows]
    assert nearest_mean(rows, known, labels).tolist() == expected
    assert (np.array(expected) == truth).mean() > 0.5


def test_a_digit_without_examples_is_never_said(clouds):
    rows, _, known, labels = clouds
    assert set(nearest_mean(rows, known[labels > 1], labels[labels > 1])) == {2, 3}


def test_nearest_neighbours_vote(clouds):
    rows, _, known, labels = clouds
    for count in (1, 2, 5):
        for row, answer in zip(rows, nearest_neighbours(rows, known, labels, count), strict=True):
            near = labels[np.argsort(np.linalg.norm(known - row, axis=1))[:count]]
            votes = np.bincount(near, minlength=4)
            best = np.flatnonzero(votes == votes.max())
            assert answer in best
            assert answer == near[0] or near[0] not in best


def test_features_blur_within_a_volume_only():
    volumes = np.zeros((2, 16, 16, 16), dtype=np.uint8)
    volumes[0, 8, 8, 8] = 255
    rows = features(volumes)
    assert rows.shape == (2, 4096)
    assert rows[0].sum() == pytest.approx(1.0, abs=1e-4)
    assert 0.1 < rows[0].max() < 0.9
    assert not rows[1].any()


def test_confusion_counts_truth_in_rows():
    counts = confusion_counts(np.array([0, 0, 2]), np.array([0, 1, 2]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_the_picture_shows_right_answers_green_and_wrong_ones_red(tmp_path):
    path = tmp_path / "confusion.png"
    confusion_picture(path, np.array([[90, 10], [0, 0]]), ("one", "other"), "title")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    right, wrong, empty = pixels[152, 124], pixels[152, 192], pixels[220, 124]  # the corners of three cells
    assert right[1] > right[0] + 50
    assert wrong[0] > wrong[1] + 20
    assert empty.max() < 50
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


def test_scores_are_those_of_the_answers(tmp_path):
    random = np.random.default_rng(0)
    items = [{"image": random.integers(0, 255, (16, 16, 16), dtype=np.uint8), "label": i % 10} for i in range(20)]
    answers = torch.eye(10)[[*range(10), *[3] * 10]]  # the first ten right, of the others one
    engine = Engine(lambda _, batch: {"pred": batch})
    DigitScores(str(tmp_path), items, items, {"seed": 7}, "net").attach(engine)
    engine.run([answers[:12], answers[12:]])
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    net = scores["methods"]["net"]
    assert scores["seed"] == 7
    assert (net["accuracy"]["mean"], net["accuracy"]["num_values"]) == (pytest.approx(0.55), 20)
    assert net["accuracy"]["low"] < 0.55 < net["accuracy"]["high"]
    assert [net["accuracy_by_digit"][name]["mean"] for name in NAMES] == [0.5] * 3 + [1.0] + [0.5] * 6
    assert np.array(net["confusion"])[:, 3].tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
    with (tmp_path / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows[::20]] == ["net", "nearest mean", "nearest neighbours"]
    assert rows[11] == {"case": "11", "method": "net", "label": "1", "predicted": "3", "accuracy": "0.0"}
    assert (tmp_path / "confusion.png").is_file()
    engine.run([answers[:12], answers[12:]])  # a second run begins anew
