"""How much of a lung is infected: proportions by region, over thresholds, over estimates and over time.

Volumes are (X, Y, Z) in RAS: X grows to the patient's right, Y to the front, Z to the head. Intensities are HU,
lengths mm, volumes ml. A proportion is infected lung over lung, 0..1, and NaN where there is no lung.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import label
from tqdm import tqdm

from .checks import InputError, check_finite, check_number, check_same_shape, check_spacing, check_three_dimensions
from .lungs import (
    LEFT,
    RIGHT,
    Labels,
    Mask,
    Spacing,
    lung_masks,
    split_lungs,
    voxel_volume_ml,
)

THRESHOLDS = tuple(range(-800, 1, 50))
PLATEAU_STEP = 0.03
UPPER, MIDDLE, LOWER = 1, 2, 3
SIDES = {"right": RIGHT, "left": LEFT}
HEIGHTS = {"upper": UPPER, "middle": MIDDLE, "lower": LOWER}
FACES = (("left", "right"), ("back", "front"), ("bottom", "top"))
# Bounds in HU, the lower one included. Those of ground glass and consolidation follow common use in quantitative
# CT of COVID-19, where the exact numbers differ from study to study; the other bins are ours.
BINS = {
    "aerated": (-math.inf, -750.0),
    "ground_glass": (-750.0, -300.0),
    "consolidation": (-300.0, 50.0),
    "denser": (50.0, math.inf),
}
HISTOGRAM_EDGES = tuple(range(-1000, 201, 50))
# From so many estimates on, percentiles say more than the extremes do.
MANY_SAMPLES = 20
# So little of a lung is lost among vessels and noise; above it errors are shares of the proportion.
FLOOR = 0.001
# Severe case in the Chinese diagnosis and treatment protocol for COVID-19, trial version 7: on imaging, lesions
# that progressed by more than 50 % within 24 to 48 hours.
RAPID_GROWTH = 0.5
RAPID_HOURS = (24.0, 48.0)


@dataclass(frozen=True)
class SweepStep:
    """A mask's volume, and its Dice with the reference where there is one, at one threshold in HU."""

    threshold: float
    volume_ml: float
    dice: float | None = None


@dataclass(frozen=True)
class Sweep:
    """A mask at several thresholds, and the best of them (see `choose_step`)."""

    steps: tuple[SweepStep, ...]
    best: SweepStep


class Region(NamedTuple):
    """A part of the lungs: its volume, its infected volume, and their proportion."""

    lung_ml: float
    infection_ml: float
    proportion: float


class ProportionInterval(NamedTuple):
    """A proportion with the bounds between which its estimates lie."""

    central: float
    low: float
    high: float


class Calibration(NamedTuple):
    """How far beyond its estimates an interval reaches, so that it holds this share of true proportions (`level`)."""

    level: float
    reach: float


def proportion_of(infection: np.ndarray, lung: np.ndarray) -> float:
    """The share of a lung mask's voxels (X, Y, Z) that are infected. Infection outside of the lung does not count."""
    check_same_shape(infection, lung, "infection", "lung")
    inside = lung.astype(bool, copy=False)
    return _share(np.count_nonzero(infection.astype(bool, copy=False) & inside), np.count_nonzero(inside))


def by_region(infection: np.ndarray, lung: np.ndarray, spacing_mm: Spacing) -> dict[str, Region]:
    """Of masks (X, Y, Z) the figures of both lungs ("overall"), of each ("right"), and of thirds ("right_upper")."""
    check_three_dimensions(lung.shape, "lung")
    check_spacing(spacing_mm)
    check_same_shape(infection, lung, "infection", "lung")
    sides = split_lungs(lung, spacing_mm)
    numbers = 4 * sides + _thirds_of(sides)
    voxel_ml = voxel_volume_ml(spacing_mm)
    lungs = np.bincount(numbers.ravel(), minlength=12) * voxel_ml
    infected = np.bincount(numbers[infection.astype(bool, copy=False)], minlength=12) * voxel_ml
    places = {"overall": [4 * side + height for side in SIDES.values() for height in HEIGHTS.values()]}
    for side, number in SIDES.items():
        places[side] = [4 * number + height for height in HEIGHTS.values()]
        places |= {f"{side}_{height}": [4 * number + third] for height, third in HEIGHTS.items()}
    return {name: _region(lungs[place].sum(), infected[place].sum()) for name, place in places.items()}


def histogram(hu: np.ndarray, infection: np.ndarray) -> dict[str, dict[str, float] | list[float]]:
    """How dense the infected part of a CT (X, Y, Z) is.

    "shares" are those of `BINS`; "counts" are voxels between the "edges" in HU, the lower one included, with what
    lies beyond the edges in the first and last bin. Without infection every share is NaN.
    """
    check_same_shape(infection, hu, "infection", "hu")
    values = hu[infection.astype(bool, copy=False)]
    shares = {
        name: _share(np.count_nonzero((values >= low) & (values < high)), values.size)
        for name, (low, high) in BINS.items()
    }
    inner = np.digitize(values, HISTOGRAM_EDGES[1:-1])
    counts = np.bincount(inner, minlength=len(HISTOGRAM_EDGES) - 1)
    return {"shares": shares, "edges": [float(edge) for edge in HISTOGRAM_EDGES], "counts": counts.tolist()}


def interval(
    samples: Sequence[float], central: float | None = None, level: float = 0.95, reach: float = 0.0
) -> ProportionInterval:
    """Bounds of a proportion from several estimates of it, such as those of flipped copies or of several models.

    From 20 estimates on the bounds are the central percentiles of `level`, below that the least and the greatest:
    so few have no tails. The central estimate, the samples' median where none is given, is always inside, and
    nothing leaves 0..1. They tell how far the estimates disagree; how far all of them may be off together tells the
    `reach` that `reach_beyond` found on patients whose truth is known, by which the bounds are moved apart. NaN
    samples are left out; without any sample the bounds are NaN.
    """
    if not 0 < check_number(level, "level") < 1:
        raise InputError(f"level must be above 0 and below 1, got {level}")
    known = np.asarray(samples, dtype=np.float64)
    known = np.clip(known[~np.isnan(known)], 0, 1)
    if not known.size:
        return ProportionInterval(math.nan if central is None else central, math.nan, math.nan)
    tail = (1 - level) / 2 if known.size >= MANY_SAMPLES else 0.0
    low, high = np.quantile(known, [tail, 1 - tail])
    middle = float(np.median(known)) if central is None else min(max(float(central), 0.0), 1.0)
    low, high = min(float(low), middle), max(float(high), middle)
    return ProportionInterval(middle, _moved(low, -reach), _moved(high, reach))


def reach_beyond(bounds: Sequence[tuple[float, float]], truths: Sequence[float], level: float = 0.9) -> float:
    """How far intervals have to reach beyond their bounds so that a share of `level` of them holds the truth.

    Of patients with their (low, high) and their true proportion; meant for `interval`. It is split conformal
    prediction: a further patient like these is inside with at least this probability. Distances are those of
    log(p + `FLOOR`): what is missed or too much is a share of what there is.
    """
    if not 0 < check_number(level, "level") < 1:
        raise InputError(f"level must be above 0 and below 1, got {level}")
    (lows, highs), true = np.array(bounds, np.float64).reshape(-1, 2).T, np.asarray(truths, np.float64)
    beyond = np.sort(np.maximum(_height(lows) - _height(true), _height(true) - _height(highs)))
    rank = math.ceil((len(beyond) + 1) * level - 1e-9)
    if rank > len(beyond):
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise InputError(f"truths must be of at least {needed} patients for a level of {level:g}, got {len(beyond)}")
    return max(float(beyond[rank - 1]), 0.0)


def growth(earlier: float, later: float, hours: float | None = None) -> dict[str, float | bool | None]:
    """How a proportion changed between two scans: "absolute" and "relative" growth, and "rapid".

    "rapid" is the rule of severe cases in the Chinese protocol (trial version 7): more than 50 % growth within 24
    to 48 hours. It is None where the hours are unknown, or outside of that window, for which the rule says nothing;
    a growth of as much in less than 24 hours is rapid all the sooner. From nothing any growth is infinite.
    """
    for name, value in (("earlier", earlier), ("later", later)):
        if math.isnan(value):
            return {"absolute": math.nan, "relative": math.nan, "rapid": None}
        if not 0 <= value <= 1:
            raise InputError(f"{name} must be a proportion between 0 and 1, got {value}")
    if hours is not None and check_number(hours, "hours") <= 0:
        raise InputError(f"hours must be above 0, got {hours}")
    absolute = later - earlier
    relative = absolute / earlier if earlier else (math.inf if later else 0.0)
    return {"absolute": absolute, "relative": relative, "rapid": _rapid(relative, hours)}


def thirds(lung: np.ndarray, spacing_mm: Spacing) -> Labels:
    """The third of its lung that each voxel (X, Y, Z) is in: 1 upper, 2 middle, 3 lower, 0 no lung.

    Each lung's own height along Z is cut in three equal parts; a slice belongs to the part that its middle is in.
    """
    return _thirds_of(split_lungs(lung, spacing_mm))


def lung_sweep(
    hu: np.ndarray,
    spacing_mm: Spacing,
    reference: np.ndarray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: bool = False,
) -> Sweep:
    """`lung_mask` at every threshold in HU, compared with a reference mask (X, Y, Z) where there is one."""
    _check_thresholds(thresholds)
    masks = lung_masks(hu, spacing_mm, thresholds)
    shown = tqdm(masks, desc="thresholds", total=len(thresholds), disable=not progress)
    return _sweep(shown, thresholds, spacing_mm, reference)


def infection_sweep(
    hu: np.ndarray,
    lung: np.ndarray,
    spacing_mm: Spacing,
    reference: np.ndarray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> Sweep:
    """The lung less its aerated part, which is below the threshold in HU, at every threshold; as `lung_sweep`."""
    _check_thresholds(thresholds)
    check_spacing(spacing_mm)
    check_finite(hu, "hu")
    check_same_shape(lung, hu, "lung", "hu")
    inside = lung.astype(bool)
    return _sweep((inside & (hu >= value) for value in thresholds), thresholds, spacing_mm, reference)


def choose_step(steps: Sequence[SweepStep]) -> SweepStep:
    """With a reference the threshold of the best Dice; without one the middle of the longest plateau.

    On a plateau the volume changes by at most 3 % from each threshold to the next: where the mask hardly depends
    on the threshold, it follows an edge of the image. Without a plateau the flattest place is taken.
    """
    known = [step for step in steps if step.dice is not None and not math.isnan(step.dice)]
    if known:
        return max(known, key=lambda step: step.dice or 0.0)
    volumes = np.array([step.volume_ml for step in steps])
    if len(steps) < 3 or not volumes.any():
        return steps[len(steps) // 2]
    larger = np.maximum(np.maximum(volumes[1:], volumes[:-1]), 1e-9)
    changes = np.where((volumes[1:] > 0) & (volumes[:-1] > 0), np.abs(np.diff(volumes)) / larger, np.inf)
    flat, num_plateaus = label(changes <= PLATEAU_STEP)
    if not num_plateaus:
        return steps[int(changes.argmin())]
    longest = np.flatnonzero(flat == np.bincount(flat)[1:].argmax() + 1)
    return steps[int(longest[0] + longest[-1] + 1) // 2]


def cut_share(lung: np.ndarray, spacing_mm: Spacing, padding: np.ndarray | None = None) -> dict[str, float]:
    """Where the field of view cuts a lung mask (X, Y, Z): the area in mm2 that lies against each face of the volume.

    Only faces that a lung touches are there: left, right, back, front, bottom, top. "field" is the area against
    the `padding` (see `padding_mask`), the edge of a round reconstruction field.
    """
    check_three_dimensions(lung.shape, "lung")
    check_spacing(spacing_mm)
    inside = lung.astype(bool, copy=False)
    areas: dict[str, float] = {}
    field = 0.0
    for axis, names in enumerate(FACES):
        voxel_mm2 = math.prod(spacing_mm) / spacing_mm[axis]
        moved = np.moveaxis(inside, axis, 0)
        areas |= {name: float(moved[end].sum() * voxel_mm2) for name, end in zip(names, (0, -1), strict=True)}
        if padding is not None:
            check_same_shape(padding, lung, "padding", "lung")
            beyond = np.moveaxis(padding.astype(bool, copy=False), axis, 0)
            touching = (moved[1:] & beyond[:-1]).sum() + (moved[:-1] & beyond[1:]).sum()
            field += float(touching * voxel_mm2)
    return {name: area for name, area in {**areas, "field": field}.items() if area}


def lung_volumes_ml(lung: np.ndarray, spacing_mm: Spacing) -> dict[str, float]:
    """The volumes of a lung mask (X, Y, Z) in ml: right, left, both."""
    counts = np.bincount(split_lungs(lung, spacing_mm).ravel(), minlength=3)
    right, left = (float(counts[side] * voxel_volume_ml(spacing_mm)) for side in (RIGHT, LEFT))
    return {"right": right, "left": left, "both": right + left}


def _height(proportion: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(proportion + FLOOR))


def _moved(proportion: float, by: float) -> float:
    """A proportion `by` so much further on the scale of `_height`; it stays in 0..1, and itself where `by` is 0."""
    return min(max((proportion + FLOOR) * math.exp(by) - FLOOR, 0.0), 1.0) if by else proportion


def _rapid(relative: float, hours: float | None) -> bool | None:
    fast = relative > RAPID_GROWTH
    if hours is None or hours > RAPID_HOURS[1] or (hours < RAPID_HOURS[0] and not fast):
        return None
    return fast


def _thirds_of(sides: Labels) -> Labels:
    labels = np.zeros(sides.shape, dtype=np.uint8)
    for side in SIDES.values():
        slices = np.flatnonzero((sides == side).any(axis=(0, 1)))
        if slices.size:
            height = slices[-1] - slices[0] + 1
            from_top = (slices[-1] - np.arange(sides.shape[2]) + 0.5) / height
            parts = np.clip(np.floor(3 * from_top), 0, 2).astype(np.uint8) + UPPER
            np.copyto(labels, parts, where=sides == side)
    return labels


def _share(part: float | np.integer, whole: float | np.integer) -> float:
    return float(part / whole) if whole else math.nan


def _region(lung_ml: float, infection_ml: float) -> Region:
    return Region(float(lung_ml), float(infection_ml), _share(infection_ml, lung_ml))


def _sweep(
    masks: Iterable[Mask], thresholds: Sequence[float], spacing_mm: Spacing, reference: np.ndarray | None
) -> Sweep:
    voxel_ml, truth = voxel_volume_ml(spacing_mm), None if reference is None else reference.astype(bool)
    pairs = zip(masks, thresholds, strict=True)
    steps = [SweepStep(float(value), np.count_nonzero(mask) * voxel_ml, _dice(mask, truth)) for mask, value in pairs]
    return Sweep(tuple(steps), choose_step(steps))


def _dice(mask: Mask, truth: Mask | None) -> float | None:
    """Of a mask (X, Y, Z) and a reference where there is one; NaN where both are empty."""
    if truth is None:
        return None
    check_same_shape(truth, mask, "reference", "hu")
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else math.nan


def _check_thresholds(thresholds: Sequence[float]) -> None:
    if not len(thresholds) or not all(math.isfinite(value) for value in thresholds):
        raise InputError(f"thresholds must hold at least one finite number in HU, got {list(thresholds)}")
