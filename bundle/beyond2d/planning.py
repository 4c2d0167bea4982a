"""What a segmentation needs to know of its data before it trains: from figures of the cases to a plan.

The rules follow nnU-Net's idea (Isensee et al. 2021): spacing, intensities and network follow from the data and the
memory, not from taste. A plan is a plain dictionary, so that it can stand in a small file that a person edits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import InputError

# An axis is pooled as long as at least so many voxels are left along it.
MIN_EDGE = 5
MAX_FEATURES = 320
# An axis whose voxels are longer than this many times the shortest is coarse: no pooling, no kernel along it.
COARSE = 2.0
# From here on the spacing of a data set is that of its finer cases, so that thick slices do not set the standard.
ANISOTROPIC = 3.0
SAMPLED_VOXELS = 10_000
# Mirror images are as real as images where the labels lie alike in both: on a grid of so many boxes along each axis,
# at least this share of every class falls into boxes that the mirrored class has as well.
BOXES = 8
MIRRORED_SHARE = 0.8
# Bytes of activations a voxel and feature: about eleven maps a level (measured in docs/segmentation.md) of float32.
BYTES_PER_FEATURE = 11 * 4
MAX_BATCH = 2

Size = tuple[int, ...]


def case_figures(
    image: NDArray[Any], label: NDArray[Any], spacing_mm: Sequence[float], seed: int = 0
) -> dict[str, Any]:
    """What the plan needs of one case: image (C, X, Y, Z) and label (X, Y, Z), both in RAS.

    Gives its shape, its spacing, how many voxels each label value has and where they lie (the share of them in each
    of 8 x 8 x 8 boxes), and a sample (C, n) of foreground intensities.
    """
    values, counts = np.unique(label, return_counts=True)
    foreground = image[:, label > 0]
    chosen = np.random.default_rng(seed).integers(0, max(1, foreground.shape[1]), SAMPLED_VOXELS)
    sample = foreground[:, chosen] if foreground.shape[1] > SAMPLED_VOXELS else foreground
    return {
        "shape": tuple(label.shape),
        "spacing_mm": tuple(spacing_mm),
        "counts": {int(value): int(count) for value, count in zip(values, counts, strict=True)},
        "places": {int(value): class_places(label == value) for value in values if value > 0},
        "foreground": sample,
    }


def class_places(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Which share of a mask (X, Y, Z) lies in each of the boxes that the volume is divided into."""
    boxes = np.argwhere(mask) * BOXES // np.array(mask.shape)
    shares = np.zeros((BOXES,) * mask.ndim)
    np.add.at(shares, tuple(boxes.T), 1 / len(boxes))
    return shares


def mirror_axes(cases: Sequence[Mapping[str, Any]]) -> list[int]:
    """The axes along which a mirrored label lies where labels lie anyway, for every class of the data set."""
    places: dict[int, Any] = {}
    for case in cases:
        for value, shares in case["places"].items():
            places[value] = places.get(value, 0) + shares
    means = [total / total.sum() for total in places.values()]
    alike = [min(np.minimum(mean, np.flip(mean, axis)).sum() for mean in means) if means else 0.0 for axis in range(3)]
    return [axis for axis, share in enumerate(alike) if share >= MIRRORED_SHARE]


def make_plan(
    cases: Sequence[Mapping[str, Any]],
    channels: Sequence[str],
    labels: Mapping[int, str],
    ignore_label: int | None,
    memory_gb: float,
) -> dict[str, Any]:
    """The plan of a data set from the `case_figures` of its training cases and the memory there is for training."""
    spacing_mm = target_spacing([case["spacing_mm"] for case in cases]).tolist()
    shapes = [np.array(case["shape"]) * case["spacing_mm"] / spacing_mm for case in cases]
    median = tuple(round(size) for size in np.median(shapes, axis=0))
    base = 32 if memory_gb >= 8 else 16
    patch, strides = fitting_patch(median, spacing_mm, base, memory_gb)
    features = level_features(base, len(strides))
    affordable = int(memory_gb * 2**30 / training_bytes(patch, strides, features))
    foregrounds = [[case["foreground"][number] for case in cases] for number in range(len(channels))]
    return {
        "channels": list(channels),
        "labels": dict(labels),
        "ignore_label": ignore_label,
        "spacing_mm": [float(f"{mm:.4g}") for mm in spacing_mm],
        "intensity": [intensity_scheme(*pair) for pair in zip(channels, foregrounds, strict=True)],
        "patch_size": list(patch),
        "batch_size": max(1, min(affordable, MAX_BATCH)),
        "patches_per_case": 1 if np.prod(median) <= 2 * np.prod(patch) else 2,
        "mirror_axes": mirror_axes(cases),
        "kernel_size": [list(kernel) for kernel in level_kernels(strides, spacing_mm)],
        "strides": [list(stride) for stride in strides],
        "features": features,
        "keep_largest": [],
        "num_members": 1,
        "fingerprint": _fingerprint(cases, median, labels),
    }


def target_spacing(spacings: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The median spacing in mm; along an axis that is much coarser than the others, that of the finest tenth."""
    table = np.array(spacings, np.float64)
    target: NDArray[np.float64] = np.median(table, axis=0)
    worst = int(target.argmax())
    if target[worst] > ANISOTROPIC * np.delete(target, worst).max():
        target[worst] = max(np.percentile(table[:, worst], 10), np.delete(target, worst).max())
    return target


def intensity_scheme(channel: str, samples: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """How a channel is scaled: CT by what the foreground of all cases has, everything else by each image alone."""
    if channel.upper() != "CT":
        return {"scheme": "zscore"}
    values = np.concatenate([sample.ravel() for sample in samples])
    if not values.size:
        raise InputError("dataset_dir: expected labels with foreground to scale a CT by, got none in any case")
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = values.clip(low, high)
    figures = {"low": low, "high": high, "mean": clipped.mean(), "std": max(float(clipped.std()), 1e-3)}
    return {"scheme": "clip", **{name: float(f"{value:.6g}") for name, value in figures.items()}}


def fitting_patch(
    median: Size, spacing_mm: Sequence[float], base: int, memory_gb: float
) -> tuple[Size, list[tuple[int, ...]]]:
    """The largest patch in the proportions of the median case that can be trained in the memory, and its strides."""
    patch = np.array(median)
    while True:
        strides = level_strides(tuple(patch), spacing_mm)
        multiple = np.prod(strides, axis=0)
        whole = tuple(int(size) for size in -(-patch // multiple) * multiple)
        features = level_features(base, len(strides))
        if training_bytes(whole, strides, features) * 2 <= memory_gb * 2**30 or patch.max() <= 2 * MIN_EDGE:
            return whole, strides
        largest = int((patch / median * (patch > 2 * MIN_EDGE)).argmax())
        patch[largest] -= max(1, min(int(multiple[largest]), patch[largest] - 2 * MIN_EDGE))


def level_strides(patch: Size, spacing_mm: Sequence[float]) -> list[tuple[int, ...]]:
    """The stride of each level of the network, the first one 1: coarse axes wait until the others have caught up."""
    size, spacing = np.array(patch, np.float64), np.array(spacing_mm, np.float64)
    strides = [(1,) * len(patch)]
    while True:
        able = np.ceil(size / 2) >= MIN_EDGE
        if not able.any():
            break
        pooled = able & (spacing <= COARSE * spacing[able].min())
        strides.append(tuple(int(stride) for stride in np.where(pooled, 2, 1)))
        size, spacing = np.where(pooled, np.ceil(size / 2), size), np.where(pooled, spacing * 2, spacing)
    # MONAI's DynUNet has at least three levels.
    return strides + [(1,) * len(patch)] * (3 - len(strides))


def level_kernels(strides: Sequence[Sequence[int]], spacing_mm: Sequence[float]) -> list[tuple[int, ...]]:
    """Kernels of 3, but of 1 along an axis as long as its voxels are much longer than the others."""
    spacing = np.array(spacing_mm, np.float64)
    kernels = []
    for stride in strides:
        spacing = spacing * stride
        kernels.append(tuple(int(kernel) for kernel in np.where(spacing > COARSE * spacing.min(), 1, 3)))
    return kernels


def level_features(base: int, num_levels: int) -> list[int]:
    """Features that double from level to level up to a limit."""
    return [min(base * 2**level, MAX_FEATURES) for level in range(num_levels)]


def training_bytes(patch: Sequence[int], strides: Sequence[Sequence[int]], features: Sequence[int]) -> float:
    """About how much memory the activations of one patch take in training."""
    voxels, total = float(np.prod(patch)), 0.0
    for stride, count in zip(strides, features, strict=True):
        voxels /= float(np.prod(stride))
        total += voxels * count * BYTES_PER_FEATURE
    return total


def _fingerprint(cases: Sequence[Mapping[str, Any]], median: Size, labels: Mapping[int, str]) -> dict[str, Any]:
    """What the plan was derived from, for people to read."""
    spacings = np.array([case["spacing_mm"] for case in cases])
    shapes = np.array([case["shape"] for case in cases])
    totals = {name: sum(case["counts"].get(value, 0) for case in cases) for value, name in labels.items()}
    everything = max(1, sum(totals.values()))
    return {
        "num_cases": len(cases),
        "median_shape_at_spacing": list(median),
        "shapes": {"smallest": shapes.min(0).tolist(), "largest": shapes.max(0).tolist()},
        "spacings_mm": {"finest": spacings.min(0).round(4).tolist(), "coarsest": spacings.max(0).round(4).tolist()},
        "share_of_voxels": {name: float(f"{count / everything:.3g}") for name, count in totals.items()},
    }
