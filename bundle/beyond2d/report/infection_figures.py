"""The figures of a quantified infection of the lungs, and what about them a person has to look at.

Class numbers are 0 none, 1 healthy lung, 2 infected lung. A proportion is infected lung over lung, 0..1, and None
where there is no lung; so is every other figure that does not exist, as JSON has no NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..checks import IGNORED, check_same_shape
from ..geometry import spacing_of
from ..lungs import INFECTED, padding_mask
from ..metrics import class_dice
from ..proportions import SIDES, Calibration, by_region, cut_share, growth, histogram, interval, proportion_of

SCHEMA_VERSION = 1
SYSTEM = "infection"
# The lung bases on top of an abdominal CT measured 124 ml; the smallest lungs of adults measure several times this.
MINIMUM_LUNG_ML = 300.0
PLAUSIBLE_LUNG_ML = (1000.0, 9000.0)
# Of both lungs; of healthy adults' the left is the smaller one, with about 0.45.
ONE_LUNG_SHARE, UNEVEN_SHARE = 0.1, 0.38
CUT_MM2 = 100.0
THICK_SLICE_MM = 7.0
SHORT_SCAN_MM = 150.0
# Estimates lie far apart when they reach over more than this share of the proportion, and this much of the lung.
WIDE_SHARE, WIDE_PROPORTION = 0.5, 0.02
DENSE_SHARE = 0.4
FACE_WORDS = {
    "left": "at the patient's left",
    "right": "at the patient's right",
    "back": "at the back",
    "front": "at the front",
    "bottom": "towards the feet",
    "top": "towards the head",
    "field": "at the edge of the round field",
}

Volume = NDArray[Any]
Figures = dict[str, Any]
Flags = Iterator[tuple[str, str]]


class Chest(NamedTuple):
    """A CT in HU and its class numbers, (X, Y, Z) with axes nearest to RAS, and their affine."""

    hu: Volume
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return spacing_of(self.affine)


def upright(hu: Volume, label: NDArray[np.uint8], affine: NDArray[np.float64]) -> Chest:
    """A CT and its class numbers (X, Y, Z) on a grid of any orientation, turned to the nearest RAS without copies."""
    check_same_shape(label, hu, "label", "hu")
    to_ras = nib.io_orientation(affine)
    turned = affine @ nib.orientations.inv_ornt_aff(to_ras, label.shape)
    return Chest(nib.apply_orientation(hu, to_ras), nib.apply_orientation(label, to_ras), turned)


def figures(
    hu: Volume,
    label: NDArray[np.uint8],
    affine: NDArray[np.float64],
    estimates: Sequence[Mapping[str, Any]],
    *,
    calibration: Calibration | None = None,
    truth: NDArray[np.uint8] | None = None,
    earlier: float | None = None,
    hours: float | None = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Figures:
    """What report.json holds of a CT in HU and its class numbers, both (X, Y, Z) on one grid of any orientation.

    `estimates` are further estimates of the proportion, each with "name" and "proportion"; `calibration` is how far
    beyond them the interval reaches; `truth` are the right class numbers; `earlier` is the proportion of a scan that
    was made `hours` before. `settings` tell what was run.
    """
    chest = upright(hu, label, affine)
    regions = _regions(chest)
    overall = regions["overall"]
    samples = [float(estimate["proportion"]) for estimate in estimates]
    spread, bounds = (_bounds(samples, overall["proportion"], how) for how in (None, calibration))
    densities: Any = histogram(chest.hu, chest.label == INFECTED)
    shares = {name: _known(share) for name, share in densities["shares"].items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "system": SYSTEM,
        "beyond2d_version": __version__,
        "title": title,
        **{key: overall[key] for key in ("proportion", "lung_ml", "infection_ml")},
        "proportion_interval": bounds,
        "interval_level": None if calibration is None else calibration.level,
        "regions": regions,
        "densities": {"shares": shares, "edges_hu": densities["edges"], "counts": densities["counts"]},
        "estimates": [
            {"name": str(estimate["name"]), "proportion": _known(sample)}
            for estimate, sample in zip(estimates, samples, strict=True)
        ],
        "flags": [{"code": code, "text": text} for code, text in _flags(chest, regions, spread, shares)],
        "input": {"shape": list(label.shape), "spacing_mm": list(spacing_of(affine))},
        "growth": None if earlier is None else _growth(earlier, overall["proportion"], hours),
        "scores": None if truth is None else _scores(label, truth),
        "settings": dict(settings or {}),
    }


def known_estimates(report: Mapping[str, Any]) -> list[float]:
    """The proportions of those estimates of a report that found a lung."""
    return [estimate["proportion"] for estimate in report["estimates"] if estimate["proportion"] is not None]


def brackets(report: Mapping[str, Any]) -> str:
    """The interval as it stands behind a proportion, [9.8, 14.1]; nothing where nothing tells how far it may be off."""
    low, high = report["proportion_interval"]
    if low is None or (len(known_estimates(report)) < 2 and report["interval_level"] is None):
        return ""
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def percent(share: float | None, sign: bool = False) -> str:
    """A share in words: 12.3 %."""
    if share is None:
        return "–"
    if 0 < share < 0.0005 and not sign:
        return "< 0.1 %"
    return f"{100 * share:{'+' if sign else ''}.1f} %".replace("-", "−")


def millilitres(volume_ml: float) -> str:
    """A volume in words: 4,312 ml."""
    if 0 < volume_ml < 0.5:
        return "< 1 ml"
    return f"{volume_ml:,.0f} ml"


def _regions(chest: Chest) -> dict[str, dict[str, float | None]]:
    """Lung, infection and proportion of each region; no proportion where both lungs are too small for one."""
    spacing_mm = chest.spacing_mm
    regions = by_region(chest.label == INFECTED, chest.label > 0, spacing_mm)
    # 1 for right angles, as scanners have them; a sheared grid's voxels are smaller than their sides tell.
    scale = abs(float(np.linalg.det(chest.affine[:3, :3]))) / math.prod(spacing_mm)
    enough = regions["overall"].lung_ml * scale >= MINIMUM_LUNG_ML
    return {
        name: {
            "lung_ml": region.lung_ml * scale,
            "infection_ml": region.infection_ml * scale,
            "proportion": _known(region.proportion) if enough else None,
        }
        for name, region in regions.items()
    }


def _bounds(samples: Sequence[float], proportion: float | None, calibration: Calibration | None) -> list[float | None]:
    if proportion is None:
        return [None, None]
    found = interval(samples, proportion, reach=0.0 if calibration is None else calibration.reach)
    return [_known(found.low), _known(found.high)]


def _growth(earlier: float, later: float | None, hours: float | None) -> Figures:
    change = growth(earlier, math.nan if later is None else later, hours)
    known = {name: _known(change[name]) for name in ("absolute", "relative")}
    return {"earlier_proportion": earlier, **known, "hours": hours, "rapid": change["rapid"]}


def _scores(label: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Figures:
    """Dice of the lung and of the infection over all voxels that somebody labelled, and the true proportion."""
    known = truth != IGNORED
    found, wanted = label * known, truth * known
    return {
        "lung_dice": _known(class_dice(found > 0, wanted > 0, True)),
        "infection_dice": _known(class_dice(found, wanted, INFECTED)),
        "true_proportion": _known(proportion_of(wanted == INFECTED, wanted > 0)),
    }


def _flags(
    chest: Chest, regions: Mapping[str, Mapping[str, Any]], spread: Sequence[Any], shares: Mapping[str, Any]
) -> Flags:
    """The codes of what a person has to look at, and a sentence or two on each."""
    areas = cut_share(chest.label > 0, chest.spacing_mm, padding_mask(chest.hu))
    cut = [name for name, area in areas.items() if area > CUT_MM2]
    where = _listed([FACE_WORDS[name] for name in cut])
    overall = regions["overall"]
    if overall["proportion"] is None:
        yield "no_lung", _no_lung(overall["lung_ml"], where)
    if cut:
        lost = "What lies outside is not measured, and all figures are those of the part in view."
        yield "cut_by_field_of_view", f"The field of view cuts the lungs {where}. {lost}"
    if overall["proportion"] is not None:
        yield from _lung_flags(regions)
    yield from _scan_flags(chest)
    if overall["proportion"] is not None:
        yield from _infection_flags(overall["proportion"], spread, shares)


def _no_lung(lung_ml: float, where: str) -> str:
    found = f"{millilitres(lung_ml)} of lung were found; a proportion needs at least {millilitres(MINIMUM_LUNG_ML)}."
    if where:
        return f"{found} The field of view cuts this lung {where}: the scan shows only a part of the lungs."
    return f"{found} The field of view does not cut any lung. Is this a chest CT, with its values in HU?"


def _lung_flags(regions: Mapping[str, Mapping[str, Any]]) -> Flags:
    both_ml = regions["overall"]["lung_ml"]
    low, high = PLAUSIBLE_LUNG_ML
    if not low <= both_ml <= high:
        why = "It may be a child, some lung may be missing from the mask, or the mask may hold what is no lung."
        yield (
            "implausible_lung_volume",
            f"Both lungs together measure {millilitres(both_ml)}; those of adults mostly measure {low:,.0f} to "
            f"{millilitres(high)}. {why}",
        )
    side = min(SIDES, key=lambda name: regions[name]["lung_ml"])
    lung = f"The {side} lung measures {millilitres(regions[side]['lung_ml'])}, less than"
    if regions[side]["lung_ml"] < ONE_LUNG_SHARE * both_ml:
        why = "It may be collapsed, resected, filled with fluid, or only not found."
        yield "one_lung", f"{lung} a tenth of both. {why} The proportion is in effect that of the other lung."
    elif regions[side]["lung_ml"] < UNEVEN_SHARE * both_ml:
        why = "A lobe may be collapsed, resected or consolidated as a whole: it is then missing from the lung."
        yield "uneven_lungs", f"{lung} {percent(UNEVEN_SHARE)} of both. {why} Compare the outlines with the slices."


def _scan_flags(chest: Chest) -> Flags:
    slice_mm, height_mm = max(chest.spacing_mm), chest.label.shape[2] * chest.spacing_mm[2]
    if slice_mm > THICK_SLICE_MM:
        yield (
            "thick_slices",
            f"Slices are {slice_mm:.1f} mm apart, more than {THICK_SLICE_MM:g} mm. What lies between them is not "
            "seen, and volumes are coarse.",
        )
    if height_mm < SHORT_SCAN_MM:
        yield (
            "few_slices",
            f"The scan is {height_mm:.0f} mm high, less than {SHORT_SCAN_MM:g} mm from feet to head. Whole lungs "
            "hardly fit into it, and figures may be those of a part.",
        )


def _infection_flags(proportion: float, spread: Sequence[Any], shares: Mapping[str, Any]) -> Flags:
    low, high = spread
    if low is not None and high - low > max(WIDE_SHARE * proportion, WIDE_PROPORTION):
        yield (
            "wide_interval",
            f"The estimates reach from {percent(low)} to {percent(high)}, over more than half of the "
            "proportion. The figure is unsteady; judge the pictures rather than the number.",
        )
    # None where nothing is infected
    dense = (shares["consolidation"] or 0.0) + (shares["denser"] or 0.0)
    if dense > DENSE_SHARE:
        yield (
            "dense_part",
            f"{percent(dense)} of the infected part is as dense as soft tissue or consolidation (−300 HU or more). "
            "Atelectasis, a tumour or the border of an effusion look the same to this tool: a person has to look.",
        )


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _known(value: Any) -> float | None:
    """The number, or None where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else None
