from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from beyond2d.checks import InputError
from beyond2d.metrics import (
    FIGURES,
    best_threshold,
    bootstrap_interval,
    class_dice,
    class_scores,
    score,
    summarise,
)

SPACING_MM = (0.5, 0.8, 1.5)
EMPTY = np.zeros((8, 9, 10), dtype=np.float32)


def two_trees(seed: int, shape=(24, 22, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and a mask that partly agree, away from the border."""
    rng = np.random.default_rng(seed)
    walk = np.clip(np.cumsum(rng.integers(-1, 2, size=(150, 3)), axis=0) + 10, 4, 15)
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(walk.T)] = True
    mask = ndimage.binary_dilation(mask)
    prediction = ndimage.gaussian_filter(mask.astype(np.float32), 1.0) * 1.3 + rng.normal(0, 0.05, shape)
    return np.clip(prediction, 0, 1).astype(np.float32), mask


def naive_surface_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From every surface voxel of one mask the distance in mm to the nearest surface voxel of the other."""
    surfaces = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * SPACING_MM for mask in (one, other)]
    return np.array([min(math.dist(voxel, target) for target in surfaces[1]) for voxel in surfaces[0]])


def test_every_figure_is_given():
    assert tuple(score(*two_trees(0), SPACING_MM)) == FIGURES


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_voxel_figures_equal_a_literal_loop(threshold):
    prediction, truth = two_trees(1)
    counts = {(predicted, present): 0 for predicted in (False, True) for present in (False, True)}
    squares = absolutes = 0.0
    for value, present in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        counts[value >= threshold, present] += 1
        squares += (value - present) ** 2
        absolutes += abs(value - present)
    hit, false, missed = counts[True, True], counts[True, False], counts[False, True]
    figures = score(prediction, truth, SPACING_MM, threshold)
    assert figures["iou"] == pytest.approx(hit / (hit + false + missed))
    assert figures["dice"] == pytest.approx(2 * hit / (2 * hit + false + missed))
    assert figures["mse"] == pytest.approx(squares / truth.size, rel=1e-5)
    assert figures["mae"] == pytest.approx(absolutes / truth.size, rel=1e-5)
    assert figures["pixel_accuracy"] == pytest.approx((hit + counts[False, False]) / truth.size)


def test_surface_figures_equal_literal_distances_in_mm():
    prediction, truth = two_trees(2)
    mask = prediction >= 0.5
    ways = [naive_surface_distances(mask, truth), naive_surface_distances(truth, mask)]
    figures = score(prediction, truth, SPACING_MM)
    assert figures["hd95_mm"] == pytest.approx(max(np.percentile(way, 95) for way in ways), abs=1e-5)
    assert figures["nsd"] == pytest.approx((np.concatenate(ways) <= max(SPACING_MM) + 1e-6).mean())


def test_hd95_of_a_line_that_stops_short():
    truth = np.zeros((3, 3, 101), dtype=bool)
    truth[1, 1] = True
    prediction = truth.astype(np.float32)
    prediction[:, :, 21:] = 0
    # From the 101 voxels of the truth: 21 times nothing, then 1 to 80 voxels; the 95th percentile is at 75.
    assert score(prediction, truth, SPACING_MM)["hd95_mm"] == pytest.approx(75 * 1.5)


def test_surface_figures_equal_those_of_monai_uncropped():
    prediction, truth = two_trees(3)
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction >= 0.5, truth)]
    style = {"include_background": True, "spacing": SPACING_MM}
    figures = score(prediction, truth, SPACING_MM)
    distance = compute_hausdorff_distance(*pair, percentile=95, **style)
    assert figures["hd95_mm"] == pytest.approx(float(distance))
    assert figures["nsd"] == pytest.approx(float(compute_surface_dice(*pair, class_thresholds=[1.5], **style)))


def test_empty_space_around_changes_only_the_figures_over_all_voxels():
    prediction, truth = (array[3:17, 3:17, 3:17] for array in two_trees(4))
    truth, prediction = truth.copy(), np.where(prediction < 0.5, 0, prediction)
    margins = [(5, 0), (2, 7), (11, 1)]
    tight = score(prediction, truth, SPACING_MM)
    padded = score(np.pad(prediction, margins), np.pad(truth, margins), SPACING_MM)
    for figure in set(FIGURES) - {"mse", "mae", "pixel_accuracy"}:
        assert padded[figure] == tight[figure], figure


@pytest.mark.parametrize(("axis", "distance_mm"), [(0, 1.5), (1, 2.4), (2, 4.5)])
def test_a_shift_of_three_voxels_is_a_distance_along_its_axis(axis, distance_mm):
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[8, 8, 8] = True
    figures = score(np.roll(truth, 3, axis=axis).astype(np.float32), truth, SPACING_MM)
    assert figures["hd95_mm"] == pytest.approx(distance_mm)
    assert figures["nsd"] == float(distance_mm <= max(SPACING_MM))


def test_a_broken_vessel_keeps_most_of_its_dice_and_is_counted_as_parts():
    x, y, _ = np.indices((15, 15, 41))
    vessel = (x - 7) ** 2 + (y - 7) ** 2 <= 9
    broken = vessel.copy()
    broken[:, :, [10, 20, 30]] = False
    figures = score(broken.astype(np.float32), vessel, (1, 1, 1))
    assert figures["betti0_error"] == 3
    assert figures["dice"] == pytest.approx(2 * 38 / (38 + 41))
    # All of the broken centreline lies in the vessel; of the vessel's own, the three gaps are missing.
    assert 0.94 < figures["cldice"] < 0.99


def test_cldice_sees_a_lost_thin_vessel_that_dice_hardly_does():
    truth = np.zeros((30, 30, 30), dtype=bool)
    truth[2:11, 2:11, 2:28] = True
    trunk = truth.copy()
    truth[20, 20, 2:28] = True
    figures = score(trunk.astype(np.float32), truth, (1, 1, 1))
    assert figures["dice"] > 0.99
    assert figures["cldice"] < 0.75


def test_two_vessels_apart_share_no_centreline():
    truth = np.zeros((20, 20, 20), dtype=bool)
    truth[5, 5, :] = True
    assert score(np.roll(truth, 6, axis=0).astype(np.float32), truth, (1, 1, 1))["cldice"] == 0.0


def test_a_perfect_prediction():
    truth = two_trees(5)[1]
    figures = score(truth.astype(np.float32), truth, SPACING_MM)
    assert [figures[name] for name in ("iou", "dice", "pixel_accuracy", "cldice", "nsd")] == [1.0] * 5
    assert [figures[name] for name in ("mse", "mae", "betti0_error", "hd95_mm")] == [0.0] * 4


def test_two_empty_masks_agree():
    figures = score(EMPTY, EMPTY, SPACING_MM)
    assert [figures[name] for name in ("iou", "dice", "cldice", "nsd")] == [1.0] * 4
    assert figures["hd95_mm"] == figures["betti0_error"] == 0.0


@pytest.mark.parametrize("empty_first", [True, False])
def test_one_empty_mask_has_no_overlap_and_no_distance(empty_first):
    full = EMPTY.copy()
    full[2:5, 2:5, 2:5] = 1
    figures = score(*((EMPTY, full) if empty_first else (full, EMPTY)), SPACING_MM)
    assert [figures[name] for name in ("iou", "dice", "cldice", "nsd")] == [0.0] * 4
    assert math.isnan(figures["hd95_mm"])
    assert figures["betti0_error"] == 1.0


def test_arrays_and_tensors_score_alike():
    prediction, truth = two_trees(6)
    tensors = torch.from_numpy(prediction).requires_grad_(), torch.from_numpy(truth.astype(np.uint8))
    assert score(*tensors, SPACING_MM) == score(prediction, truth.astype(np.uint16), SPACING_MM)


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match=r"of one shape, got \(8, 9, 10\) and \(8, 9, 9\)"):
        score(EMPTY, EMPTY[:, :, :9], SPACING_MM)
    with pytest.raises(InputError, match=r"must be volumes \(X, Y, Z\)"):
        score(EMPTY[None], EMPTY[None], SPACING_MM)


def test_bootstrap_equals_a_literal_loop():
    values = [0.2, 0.5, math.nan, 0.9, 0.4]
    rng = np.random.default_rng(7)
    known = [0.2, 0.5, 0.9, 0.4]
    means = [sum(known[pick] for pick in rng.integers(4, size=4)) / 4 for _ in range(500)]
    expected = np.percentile(means, 5), np.percentile(means, 95)
    assert bootstrap_interval(values, confidence=0.9, num_samples=500, seed=7) == pytest.approx(expected)


def test_bootstrap_is_the_same_every_time_and_holds_the_mean():
    values = np.random.default_rng(0).random(20).tolist()
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low < np.mean(values) < high
    narrow = bootstrap_interval(values, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_bootstrap_of_one_value_and_of_none():
    assert bootstrap_interval([0.4]) == (0.4, 0.4)
    assert all(math.isnan(end) for end in bootstrap_interval([math.nan]))


def test_summary_leaves_out_what_does_not_exist():
    rows = [{"iou": 0.2, "hd95_mm": math.nan}, {"iou": 0.4, "hd95_mm": 3.0}]
    summary = summarise(rows, ("iou", "hd95_mm"))
    assert summary["iou"].mean == pytest.approx(0.3)
    assert (summary["iou"].low, summary["iou"].high) == bootstrap_interval([0.2, 0.4])
    assert summary["hd95_mm"] == (3.0, 3.0, 3.0, 1)
    assert math.isnan(summarise(rows[:1], ("hd95_mm",))["hd95_mm"].mean)


def test_the_best_threshold_is_the_one_that_trying_all_finds():
    pairs = [two_trees(seed) for seed in range(3)]
    pairs = [(np.clip(values, 0, 1), mask) for values, mask in pairs]
    steps = np.arange(200) / 200
    ious = [np.mean([np.sum((v >= t) & m) / np.sum((v >= t) | m) for v, m in pairs]) for t in steps]
    found = best_threshold((torch.from_numpy(values), mask) for values, mask in pairs)
    assert np.mean([np.sum((v >= found) & m) / np.sum((v >= found) | m) for v, m in pairs]) == max(ious)


def test_the_best_threshold_needs_a_case_and_bears_an_empty_truth():
    with pytest.raises(InputError, match="at least one case"):
        best_threshold([])
    values, mask = two_trees(0)
    assert 0 <= best_threshold([(values, mask), (np.zeros_like(values), np.zeros_like(mask))]) <= 1


def class_maps(seed: int, num_classes: int = 4, shape=(20, 18, 16)) -> tuple[np.ndarray, np.ndarray]:
    """Two volumes of smooth blobs of classes that partly agree."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(num_classes, *shape)), (0, 2, 2, 2))
    shaken = fields + ndimage.gaussian_filter(rng.normal(size=fields.shape), (0, 2, 2, 2)) / 2
    return shaken.argmax(axis=0).astype(np.uint8), fields.argmax(axis=0).astype(np.uint8)


def test_figures_of_each_class_are_those_of_its_own_masks():
    prediction, truth = class_maps(0)
    rows = class_scores(prediction, truth, SPACING_MM, 4)
    assert len(rows) == 3
    for number, row in enumerate(rows, 1):
        single = score((prediction == number).astype(np.float32), truth == number, SPACING_MM)
        assert 0 < single["dice"] < 1
        assert {name: row[name] for name in ("dice", "nsd", "hd95_mm")} == pytest.approx(
            {name: single[name] for name in ("dice", "nsd", "hd95_mm")}
        )
        assert row["dice"] == class_dice(prediction, truth, number)


def test_volumes_of_each_class_are_in_millilitres():
    prediction, truth = class_maps(1)
    for number, row in enumerate(class_scores(prediction, truth, SPACING_MM, 4), 1):
        assert row["volume_ml"] == pytest.approx(np.count_nonzero(prediction == number) * 0.5 * 0.8 * 1.5 / 1000)
        assert row["truth_ml"] == pytest.approx(np.count_nonzero(truth == number) * 0.5 * 0.8 * 1.5 / 1000)


def test_a_class_that_neither_volume_has_says_nothing_and_one_that_one_has_is_wrong():
    prediction, truth = EMPTY.copy(), EMPTY.copy()
    truth[2:5, 2:5, 2:5] = 1
    prediction[2:5, 2:5, 2:5] = 3
    missed, absent, invented = class_scores(prediction, truth, SPACING_MM, 4)
    for row in (missed, invented):
        assert (row["dice"], row["nsd"]) == (0.0, 0.0)
        assert math.isnan(row["hd95_mm"])
    assert all(math.isnan(absent[figure]) for figure in ("dice", "nsd", "hd95_mm"))
    assert (absent["volume_ml"], absent["truth_ml"]) == (0.0, 0.0)
    assert math.isnan(class_dice(EMPTY, EMPTY, 1))


def test_dice_of_a_class_is_twice_what_is_shared():
    prediction, truth = np.array([[[1, 1, 2, 2, 0]]]), np.array([[[1, 2, 2, 2, 1]]])
    assert class_dice(prediction, truth, 1) == 2 * 1 / 4
    assert class_dice(prediction, truth, 2) == 2 * 2 / 5
