"""Curves, correlations and thresholds, held to their definitions counted pair by pair."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

from beyond2d.agreement import (
    auc,
    best_dice_threshold,
    bland_altman,
    mean_absolute_percent_error,
    pearson,
    roc,
)
from beyond2d.checks import InputError

RNG = np.random.default_rng(0)
# Few distinct scores, so that there are ties between true and false ones.
TRUTHS = RNG.random(60) < 0.4
SCORES = np.round(TRUTHS * 0.3 + RNG.random(60), 1)
PATIENTS = [f"patient {number}" for number in RNG.integers(0, 7, 60)]


def area_by_pairs(scores, truths):
    pairs = list(itertools.product(scores[truths], scores[~truths]))
    return sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs)


def test_roc_is_counted_threshold_by_threshold():
    false_rate, true_rate, thresholds = roc(SCORES, TRUTHS)
    assert thresholds.tolist() == [math.inf, *sorted(set(SCORES.tolist()), reverse=True)]
    for false, true, threshold in zip(false_rate, true_rate, thresholds, strict=True):
        positive = threshold <= SCORES
        assert true == pytest.approx((positive & TRUTHS).sum() / TRUTHS.sum())
        assert false == pytest.approx((positive & ~TRUTHS).sum() / (~TRUTHS).sum())
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert trapezoid(true_rate, false_rate) == pytest.approx(area_by_pairs(SCORES, TRUTHS))


def test_area_is_how_often_true_beats_false():
    estimate = auc(SCORES, TRUTHS, PATIENTS, num_samples=200)
    assert estimate.value == pytest.approx(area_by_pairs(SCORES, TRUTHS))
    assert estimate.low < estimate.value < estimate.high
    order = RNG.permutation(60)
    shuffled = auc(SCORES[order], TRUTHS[order], [PATIENTS[index] for index in order], num_samples=200)
    assert shuffled == pytest.approx(estimate)
    assert auc([0, 1, 2, 3], [0, 0, 1, 1], [1, 2, 3, 4]).value == 1
    assert auc([1, 1, 1, 1], [0, 0, 1, 1], [1, 2, 3, 4])[:] == (0.5, 0.5, 0.5)


def test_interval_of_the_area_draws_whole_patients():
    """Against a loop that puts the drawn patients' candidates together and counts anew."""
    names, owners = np.unique(PATIENTS, return_inverse=True)
    draws = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), 300)
    areas = []
    for draw in draws:
        chosen = np.concatenate([np.flatnonzero(owners == index) for index in np.repeat(range(len(names)), draw)])
        areas.append(area_by_pairs(SCORES[chosen], TRUTHS[chosen]))
    estimate = auc(SCORES, TRUTHS, PATIENTS, num_samples=300, seed=3)
    np.testing.assert_allclose(estimate[1:], np.quantile(areas, [0.025, 0.975]))
    narrow = auc(SCORES, TRUTHS, PATIENTS, confidence=0.5, num_samples=300, seed=3)
    np.testing.assert_allclose(narrow[1:], np.quantile(areas, [0.25, 0.75]))


def test_patients_who_are_alike_inside_widen_the_interval():
    scores = np.repeat(RNG.normal(size=20), 30) + RNG.normal(scale=0.1, size=600)
    truths = np.repeat(np.arange(20) % 2 == 0, 30)
    by_patient = auc(scores, truths, np.repeat(np.arange(20), 30), num_samples=500)
    by_candidate = auc(scores, truths, np.arange(600), num_samples=500)
    assert by_patient.value == by_candidate.value
    assert by_patient.high - by_patient.low > 2 * (by_candidate.high - by_candidate.low)


def test_draws_without_both_kinds_are_left_out():
    one = auc([1, 2, 3], [False, True, True], ["only", "only", "only"], num_samples=50)
    assert one == (1, 1, 1)
    two = auc([1, 2], [False, True], ["false", "true"], num_samples=50)
    assert two == (1, 1, 1)


def test_correlation_is_scipys():
    first = RNG.gamma(2, 100, 30)
    second = first * 0.9 + RNG.normal(0, 40, 30)
    estimate = pearson(first, second, num_samples=500)
    assert estimate.value == pytest.approx(stats.pearsonr(first, second).statistic)
    drawn = np.random.default_rng(0).integers(30, size=(500, 30))
    each = [stats.pearsonr(first[draw], second[draw]).statistic for draw in drawn]
    np.testing.assert_allclose(estimate[1:], np.quantile(each, [0.025, 0.975]))
    assert pearson(first, -3 * first + 7)[:] == pytest.approx((-1, -1, -1))


def test_a_constant_has_no_correlation():
    assert all(math.isnan(value) for value in pearson([0.1] * 6, range(6)))
    # Two cases: half of the draws take one of them twice, and tell nothing.
    assert pearson([1, 2], [3, 9], num_samples=40)[:] == pytest.approx((1, 1, 1))


def test_percent_error_leaves_healthy_cases_out_and_counts_them():
    error = mean_absolute_percent_error([110, 40, 3, 0], [100, 50, 0, 0])
    assert error[:] == (pytest.approx(15), 2, 2)
    none = mean_absolute_percent_error([3, 0], [0, 0])
    assert math.isnan(none.percent)
    assert none[1:] == (0, 2)


def test_limits_of_agreement():
    first, second = RNG.normal(100, 10, 4000), RNG.normal(97, 10, 4000)
    limits = bland_altman(first, second)
    differences = first - second
    assert limits.bias == pytest.approx(differences.mean())
    assert limits.high - limits.low == pytest.approx(2 * 1.96 * np.std(differences, ddof=1))
    assert np.mean((differences > limits.low) & (differences < limits.high)) == pytest.approx(0.95, abs=0.01)
    assert bland_altman([1, 2], [3, 4])[:] == (-2, -2, -2)


def mean_dice(threshold, scores, areas, hits, owners, totals):
    dices = []
    for patient, total in enumerate(totals):
        kept = (owners == patient) & (scores >= threshold)
        both = areas[kept].sum() + total
        dices.append(2 * hits[kept].sum() / both if both else 1.0)
    return np.mean(dices)


@pytest.mark.parametrize("seed", range(5))
def test_best_threshold_is_that_of_trying_them_all(seed):
    rng = np.random.default_rng(seed)
    areas = rng.integers(5, 200, 40)
    real = rng.random(40) < 0.6
    hits = np.where(real, (areas * 0.8).astype(int), 0)
    scores = np.round(0.3 * real + rng.random(40), 1)
    owners = rng.integers(0, 5, 40)
    totals = np.bincount(owners, hits, minlength=7) + np.array([10, 0, 500, 3, 0, 20, 0])
    found = best_dice_threshold(scores, areas, hits, owners, totals)
    every = [mean_dice(threshold, scores, areas, hits, owners, totals) for threshold in [*np.unique(scores), math.inf]]
    assert found.dice == pytest.approx(max(every))
    assert mean_dice(found.threshold, scores, areas, hits, owners, totals) == pytest.approx(found.dice)


def test_best_threshold_lies_between_scores():
    assert best_dice_threshold([0.1, 0.9], [10, 10], [0, 10], [0, 0], [10])[:] == (0.5, 1.0)
    assert best_dice_threshold([0.1, 0.9], [10, 10], [10, 10], [0, 0], [20])[:] == (0.1, 1.0)
    assert best_dice_threshold([0.1, 0.9], [10, 10], [0, 0], [0, 1], [0, 0])[:] == (math.inf, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: roc([1, 2], [True]),
            "scores and truths must be one list each of one length, got (2,) and (1,)",
        ),
        (lambda: roc([1, math.nan], [True, False]), "scores must be finite numbers, got 1 that are not"),
        (lambda: roc([1, 2], [True, True]), "truths must hold true and false ones, got 2 true of 2"),
        (lambda: auc([], [], []), "truths must hold true and false ones, got 0 true of 0"),
        (
            lambda: auc([1, 2], [True, False], ["one"]),
            "patients must name one for each of 2 scores, got 1",
        ),
        (
            lambda: pearson([1], [2]),
            "both measurements must be lists of one length, at least 2, got (1,) and (1,)",
        ),
        (
            lambda: bland_altman([1, 2], [1, 2, 3]),
            "both measurements must be lists of one length, at least 2, got (2,) and (3,)",
        ),
        (
            lambda: mean_absolute_percent_error([1, math.inf], [1, 2]),
            "measurements must be finite numbers, got 1 that are not",
        ),
        (
            lambda: best_dice_threshold([], [], [], [], [3]),
            "scores, areas, true_voxels and patients must be lists of one length, at least 1, got "
            "(0,), (0,), (0,), (0,)",
        ),
        (
            lambda: best_dice_threshold([0.5], [3], [2], [1], [3]),
            "patients must be indices into total_true, 0 to 0, got 1",
        ),
        (
            lambda: best_dice_threshold([0.5, 0.6], [3, 3], [2, 2], [0, -1], [3]),
            "patients must be indices into total_true, 0 to 0, got -1",
        ),
        (
            lambda: best_dice_threshold([0.5], [3], [4], [0], [9]),
            "true_voxels must be at most the candidate's area and, together, total_true; got more",
        ),
    ],
)
def test_refuses_what_does_not_fit(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words
