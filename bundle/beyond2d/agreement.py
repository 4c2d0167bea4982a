"""How well scores tell true from false, and how well two measurements of the same cases agree.

Intervals are bootstrap intervals over patients: the candidates of one patient resemble each other, so that patients
are what is drawn again, with all that belongs to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import InputError

Numbers = NDArray[np.float64]

# Of a normal distribution 95 % lie within so many standard deviations of the mean.
_NORMAL_95 = 1.96


class Estimate(NamedTuple):
    """A figure with its confidence interval; NaN where the data do not tell it."""

    value: float
    low: float
    high: float


class PercentError(NamedTuple):
    """A mean absolute error in percent of the truth, over `num_cases`; `num_excluded` have a truth of zero."""

    percent: float
    num_cases: int
    num_excluded: int


class Limits(NamedTuple):
    """The mean difference of two measurements, and the limits that 95 % of the differences lie within."""

    bias: float
    low: float
    high: float


class Choice(NamedTuple):
    """The threshold that was found best, and the mean Dice of the patients with it."""

    threshold: float
    dice: float


def roc(scores: ArrayLike, truths: ArrayLike) -> tuple[Numbers, Numbers, Numbers]:
    """False and true positive rates, and the thresholds they belong to, of scores (n,) and truths (n,).

    A score at or above the threshold counts as positive. The thresholds are all distinct scores from high to low,
    after an infinite one that calls nothing positive: the curve goes from (0, 0) to (1, 1).
    """
    values, real = _scored(scores, truths)
    order = np.argsort(-values, kind="stable")
    values, real = values[order], real[order]
    last = np.flatnonzero(np.append(np.diff(values) != 0, True))  # equal scores cannot be told apart
    hits, alarms = np.cumsum(real)[last], np.cumsum(~real)[last]
    false_rate, true_rate = (np.concatenate([[0.0], counts / counts[-1]]) for counts in (alarms, hits))
    return false_rate, true_rate, np.concatenate([[np.inf], values[last]])


def auc(
    scores: ArrayLike,
    truths: ArrayLike,
    patients: Sequence[Any],
    confidence: float = 0.95,
    num_samples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """The area under the ROC curve: how often a true one (n,) scores higher than a false one; ties count half.

    `patients` (n,) says whose each is; the interval is over them. A draw without both kinds is left out.
    """
    values, real = _scored(scores, truths)
    owners = _owners(patients, len(values))
    wins, pairs = _wins(values, real, owners)
    num_patients = len(wins)
    draws = np.random.default_rng(seed).multinomial(num_patients, np.full(num_patients, 1 / num_patients), num_samples)
    # Patients who are drawn k and m times meet k * m times.
    drawn_wins, drawn_pairs = (((draws @ counts) * draws).sum(axis=1) for counts in (wins, pairs))
    areas = np.divide(drawn_wins, drawn_pairs, out=np.full(num_samples, np.nan), where=drawn_pairs > 0)
    return Estimate(float(wins.sum() / pairs.sum()), *_interval(areas, confidence))


def _wins(values: Numbers, real: NDArray[np.bool_], owners: NDArray[np.intp]) -> tuple[Numbers, Numbers]:
    """For each two patients how often a true one of the first beats a false one of the second, and how many pairs."""
    num_patients = int(owners.max()) + 1
    true_counts, false_counts = (np.bincount(owners[those], minlength=num_patients) for those in (real, ~real))
    wins = np.zeros((num_patients, num_patients))
    for other in range(num_patients):
        beaten = np.sort(values[~real & (owners == other)])
        ranks = [np.searchsorted(beaten, values[real], side) for side in ("left", "right")]
        wins[:, other] = np.bincount(owners[real], weights=sum(ranks) / 2, minlength=num_patients)
    return wins, np.outer(true_counts, false_counts).astype(np.float64)


def pearson(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, num_samples: int = 10_000, seed: int = 0
) -> Estimate:
    """The correlation of two measurements of the same cases, (n,) each; NaN where one of them never changes."""
    pairs = np.stack(_paired(first, second, minimum=2))
    num_cases = pairs.shape[1]
    drawn = np.random.default_rng(seed).integers(num_cases, size=(num_samples, num_cases))
    return Estimate(float(_correlations(pairs)), *_interval(_correlations(pairs[:, drawn]), confidence))


def _correlations(pairs: Numbers) -> Numbers:
    """The correlation along the last axis of pairs (2, ..., n)."""
    constant = (pairs == pairs[..., :1]).all(axis=-1).any(axis=0)  # told by rounding errors otherwise
    centred = pairs - pairs.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).sum(axis=-1)).prod(axis=0)
    shared = centred.prod(axis=0).sum(axis=-1)
    return np.divide(shared, spread, out=np.full_like(spread, np.nan), where=~constant & (spread > 0))


def mean_absolute_percent_error(predicted: ArrayLike, truth: ArrayLike) -> PercentError:
    """How far the predicted values (n,) are from the true ones (n,), in percent of these.

    Cases whose truth is zero have no such error: they are left out and counted. NaN where no case is left.
    """
    values, targets = _paired(predicted, truth, minimum=1)
    known = targets != 0
    errors = np.abs(values[known] / targets[known] - 1)
    percent = 100 * float(errors.mean()) if known.any() else math.nan
    return PercentError(percent, int(known.sum()), int((~known).sum()))


def bland_altman(first: ArrayLike, second: ArrayLike) -> Limits:
    """The bias of the first measurement (n,) against the second (n,) and its limits of agreement.

    They are the mean of first - second, and 1.96 standard deviations below and above it.
    """
    values, others = _paired(first, second, minimum=2)
    differences = values - others
    bias, reach = float(differences.mean()), _NORMAL_95 * float(differences.std(ddof=1))
    return Limits(bias, bias - reach, bias + reach)


def best_dice_threshold(
    scores: ArrayLike, areas: ArrayLike, true_voxels: ArrayLike, patients: ArrayLike, total_true: ArrayLike
) -> Choice:
    """The threshold on the scores of candidates with the best mean Dice of the patients' masks.

    A candidate is kept where its score is at or above the threshold. Each candidate (n,) has its score, its voxels,
    those of them that are true, and the index of its patient; `total_true` (p,) is all that is true of each patient,
    whether a candidate covers it or not. As everywhere, a mask that is rightly empty has a Dice of 1.

    The threshold is in the middle between two scores, the lowest score where all are to be kept, infinite where none
    is. Of equally good ones it is the lowest.
    """
    values, sizes, hits = (np.asarray(numbers, dtype=np.float64) for numbers in (scores, areas, true_voxels))
    owners, totals = np.asarray(patients, dtype=np.intp), np.asarray(total_true, dtype=np.float64)
    _check_candidates(values, sizes, hits, owners, totals)
    distinct, position = np.unique(values, return_inverse=True)
    middles = (distinct[1:] + distinct[:-1]) / 2
    thresholds = np.concatenate([distinct[:1], middles, [np.inf]])
    dices = np.zeros(len(thresholds))
    for patient, total in enumerate(totals):
        own = owners == patient
        kept, shared = (_from_each_on(position[own], counts[own], len(distinct)) for counts in (sizes, hits))
        both = kept + total
        dices += np.divide(2 * shared, both, out=np.ones_like(both), where=both > 0) / len(totals)
    best = int(np.argmax(dices > dices.max() - 1e-12))  # the first of those that only rounding tells apart
    return Choice(float(thresholds[best]), float(dices[best]))


def _from_each_on(position: NDArray[np.intp], counts: Numbers, length: int) -> Numbers:
    """How much of the counts lies at each position or later: (length + 1,), at the end nothing."""
    each = np.bincount(position, weights=counts, minlength=length + 1)
    return each[::-1].cumsum()[::-1]


def _interval(drawn: Numbers, confidence: float) -> tuple[float, float]:
    """The percentiles of drawn figures that leave as much on either side; NaN is left out."""
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _owners(patients: Sequence[Any], num_scores: int) -> NDArray[np.intp]:
    """The patients (n,) as numbers from 0 on."""
    owners = np.unique(np.asarray(patients), return_inverse=True)[1]
    if owners.shape != (num_scores,):
        raise InputError(f"patients must name one for each of {num_scores} scores, got {len(owners)}")
    return owners


def _scored(scores: ArrayLike, truths: ArrayLike) -> tuple[Numbers, NDArray[np.bool_]]:
    """Finite scores (n,) and as many truths, with both kinds among them."""
    values, real = np.asarray(scores, dtype=np.float64), np.asarray(truths).astype(bool)
    if values.ndim != 1 or values.shape != real.shape:
        raise InputError(f"scores and truths must be one list each of one length, got {values.shape} and {real.shape}")
    _check_finite(values, "scores")
    if not real.any() or real.all():
        raise InputError(f"truths must hold true and false ones, got {int(real.sum())} true of {real.size}")
    return values, real


def _paired(first: ArrayLike, second: ArrayLike, minimum: int) -> tuple[Numbers, Numbers]:
    """Two lists of finite numbers of one length."""
    one, other = (np.asarray(numbers, dtype=np.float64) for numbers in (first, second))
    if one.ndim != 1 or one.shape != other.shape or one.size < minimum:
        shapes = f"{one.shape} and {other.shape}"
        raise InputError(f"both measurements must be lists of one length, at least {minimum}, got {shapes}")
    _check_finite(np.concatenate([one, other]), "measurements")
    return one, other


def _check_candidates(
    values: Numbers, sizes: Numbers, hits: Numbers, owners: NDArray[np.intp], totals: Numbers
) -> None:
    lengths = [array.shape for array in (values, sizes, hits, owners)]
    if values.ndim != 1 or len(set(lengths)) > 1 or not values.size:
        raise InputError(
            "scores, areas, true_voxels and patients must be lists of one length, at least 1, got "
            f"{', '.join(map(str, lengths))}"
        )
    _check_finite(values, "scores")
    strangers = owners[(owners < 0) | (owners >= totals.size)]
    if strangers.size:
        raise InputError(f"patients must be indices into total_true, 0 to {totals.size - 1}, got {strangers[0]}")
    if (hits > sizes).any() or (np.bincount(owners, hits, totals.size) > totals).any():
        raise InputError("true_voxels must be at most the candidate's area and, together, total_true; got more")


def _check_finite(values: Numbers, name: str) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite numbers, got {int((~np.isfinite(values)).sum())} that are not")
