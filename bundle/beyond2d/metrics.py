"""How well a predicted volume agrees with the truth, and how sure the mean over several cases is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics.utils import get_edge_surface_distance

from .checks import InputError
from .surfaces import betti0, bounding_box, centreline

FIGURES = ("iou", "dice", "mse", "mae", "pixel_accuracy", "cldice", "betti0_error", "nsd", "hd95_mm")

Array = np.ndarray | torch.Tensor


class Interval(NamedTuple):
    """A mean with its confidence interval, over the `num_values` values that were not NaN."""

    mean: float
    low: float
    high: float
    num_values: int


def score(prediction: Array, truth: Array, spacing_mm: Sequence[float], threshold: float = 0.5) -> dict[str, float]:
    """All `FIGURES` of one case.

    `prediction` holds probabilities (X, Y, Z), `truth` a mask of the same shape (vessel where not zero). A voxel
    is predicted where its probability is at least `threshold`. `mse` and `mae` compare the probabilities with the
    0/1 truth over all voxels, the other figures compare the two masks:

    - `cldice`: the harmonic mean of how much of each centreline lies inside the other mask;
    - `betti0_error`: by how many the numbers of separate parts (26-connected) differ;
    - `nsd`: the part of both surfaces within one voxel (the longest side, in mm) of the other surface;
    - `hd95_mm`: the 95th percentile of the distances from one surface to the other, the larger of both ways.

    Two empty masks agree: the overlaps are 1 and the distance is 0. Where just one is empty the overlaps are 0 and
    the distance does not exist: NaN.
    """
    probabilities, target = torch.as_tensor(prediction), torch.as_tensor(truth)
    if probabilities.ndim != 3 or probabilities.shape != target.shape:
        shapes = f"{tuple(probabilities.shape)} and {tuple(target.shape)}"
        raise InputError(f"prediction and truth must be volumes (X, Y, Z) of one shape, got {shapes}")
    probabilities, target = probabilities.detach(), target.to(probabilities.device).bool()
    mask = probabilities >= threshold
    figures = _voxel_figures(probabilities, mask, target)
    return figures | _shape_figures(mask.cpu().numpy(), target.cpu().numpy(), spacing_mm)


def class_scores(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], num_classes: int
) -> list[dict[str, float]]:
    """Of two volumes (X, Y, Z) of class numbers, the figures of each class but the background.

    `dice`, `nsd` and `hd95_mm` are those of `score`, but a class that neither volume has is NaN: it says nothing
    about a method. `volume_ml` is the predicted, `truth_ml` the true volume.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    rows = []
    for number in range(1, num_classes):
        mask, target = prediction == number, truth == number
        volumes = {"volume_ml": float(mask.sum() * voxel_ml), "truth_ml": float(target.sum() * voxel_ml)}
        nsd = hd95_mm = math.nan
        if mask.any() or target.any():
            box = bounding_box(mask | target)
            nsd, hd95_mm = _surface_figures(mask[box], target[box], spacing_mm)
        rows.append({"dice": class_dice(prediction, truth, number), "nsd": nsd, "hd95_mm": hd95_mm, **volumes})
    return rows


def class_dice(prediction: np.ndarray, truth: np.ndarray, number: int) -> float:
    """Dice of one class of two volumes of class numbers; NaN where neither has it."""
    mask, target = prediction == number, truth == number
    total = int(mask.sum()) + int(target.sum())
    return 2 * int((mask & target).sum()) / total if total else math.nan


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, num_samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean: what resampled cases would have given. NaN is left out."""
    known = _known(values)
    if not known.size:
        return math.nan, math.nan
    drawn = np.random.default_rng(seed).integers(known.size, size=(num_samples, known.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(known[drawn].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def summarise(rows: Sequence[Mapping[str, Any]], figures: Sequence[str] = FIGURES) -> dict[str, Interval]:
    """Mean and 95 % interval of each figure over the rows, one row a case."""
    return {figure: _summarise_values([row[figure] for row in rows]) for figure in figures}


def _summarise_values(values: Sequence[float]) -> Interval:
    known = _known(values)
    mean = float(known.mean()) if known.size else math.nan
    return Interval(mean, *bootstrap_interval(values), num_values=known.size)


def _known(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def _voxel_figures(probabilities: torch.Tensor, mask: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """The figures that are sums over voxels, on whichever device the prediction is."""
    both, predicted, present = (int(part.sum()) for part in (mask & target, mask, target))
    error = probabilities.float() - target.float()
    return {
        "iou": _overlap(both, predicted + present - both),
        "dice": _overlap(2 * both, predicted + present),
        "mse": float(error.square().mean()),
        "mae": float(error.abs().mean()),
        "pixel_accuracy": float((mask == target).double().mean()),
    }


def _overlap(shared: float, total: float) -> float:
    return shared / total if total else 1.0


def _shape_figures(mask: np.ndarray, target: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float]:
    """The figures of connection and distance, inside the box around both masks: outside it nothing counts."""
    box = bounding_box(mask | target)
    mask, target = mask[box], target[box]
    nsd, hd95_mm = _surface_figures(mask, target, spacing_mm)
    return {
        "cldice": _centreline_dice(mask, target),
        "betti0_error": float(abs(betti0(mask) - betti0(target))),
        "nsd": nsd,
        "hd95_mm": hd95_mm,
    }


def _centreline_dice(mask: np.ndarray, target: np.ndarray) -> float:
    if not mask.any() or not target.any():
        return float(mask.any() == target.any())
    precision = float(target[centreline(mask)].mean())
    recall = float(mask[centreline(target)].mean())
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _surface_figures(mask: np.ndarray, target: np.ndarray, spacing_mm: Sequence[float]) -> tuple[float, float]:
    """Normalised surface Dice and the 95th percentile of the Hausdorff distance in mm.

    MONAI's `compute_surface_dice` and `compute_hausdorff_distance` each measure the same distances from the
    start, and the second fails on surfaces of more than 2^24 voxels; here they are measured once.
    """
    if not mask.any() and not target.any():
        return 1.0, 0.0
    if not mask.any() or not target.any():
        return 0.0, math.nan
    one, other = (torch.from_numpy(np.ascontiguousarray(part)) for part in (mask, target))
    with warnings.catch_warnings():  # MONAI 1.6 warns about an argument that it passes to itself
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        _, both_ways, _ = get_edge_surface_distance(one, other, spacing=list(spacing_mm), symmetric=True)
    nsd = (torch.cat(both_ways) <= max(spacing_mm)).double().mean()
    hd95_mm = max(np.percentile(one_way.numpy(), 95) for one_way in both_ways)
    return float(nsd), float(hd95_mm)


def best_threshold(pairs: Iterable[tuple[Array, Array]], num_steps: int = 200) -> float:
    """The threshold in 0..1 with the best mean IoU over pairs of a volume of 0..1 and its truth mask.

    One histogram a volume tells the IoU at every threshold, on a grid of `num_steps`.
    """
    edges = np.linspace(0, 1, num_steps + 1)
    curves = []
    for volume, truth in pairs:
        values, mask = np.asarray(volume), np.asarray(truth).astype(bool)
        # Voxels at or above each edge, from the highest downwards.
        predicted = np.histogram(values, edges)[0][::-1].cumsum()[::-1]
        shared = np.histogram(values[mask], edges)[0][::-1].cumsum()[::-1]
        curves.append(shared / np.maximum(predicted + mask.sum() - shared, 1))
    if not curves:
        raise InputError("best_threshold needs at least one case to choose a threshold on, got none")
    return float(edges[np.mean(curves, axis=0).argmax()])
