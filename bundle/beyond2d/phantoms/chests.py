"""A chest as computed tomography shows it: healthy and infected lung with exact labels, among all that surrounds them.

Anatomy is built in mm of an adult whose body fits a field of view 380 mm wide, so that it belongs to the seed and the
field of view; voxels only sample it. Lung is what a radiologist would outline: with its small vessels and airways, but
without trachea, main bronchi and vessels of `HILAR_RADIUS_MM` and more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter, gaussian_filter1d

from ..checks import InputError, check_count
from .bronchi import grow_tree, thicker_than, together, trunk
from .centrelines import Floats, Ints, VesselGraph
from .opacities import paint_opacities
from .rendering import Volume, average_blocks, render_vessels
from .scene import check_grid
from .shapes import Canvas, grid_around
from .thorax import GAS_HU, Thorax
from .trunks import paint_trunk

AIR_HU = -1000.0
REFERENCE_MM = 190.0  # half a field of view in which an adult has the lengths in mm below
HILAR_RADIUS_MM = 3.5
FINEST_MM = 1.6  # long voxels are painted as several, but none shorter than this
HEALTHY_SHARE = 0.25
CONTRAST_SHARE = 0.35
PROPORTIONS = (0.005, 0.45)
TIPS = 1100  # of the arteries, and of the veins, of one lung
AIRWAY_TIPS = 70


@dataclass(frozen=True)
class ChestSpec:
    """What to render.

    size: voxels along X, Y, Z.
    spacing_mm: size of a voxel along X, Y, Z.
    lesions: whether part of the lungs is infected; None draws it from the seed.
    contrast: HU that contrast medium adds to blood, from 0 to 400; None draws it from the seed, most often 0.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    lesions: bool | None = None
    contrast: float | None = None

    def __post_init__(self) -> None:
        check_grid(self.size, self.spacing_mm)
        if self.lesions not in (None, True, False):
            raise InputError(f"lesions must be true, false or none, got {self.lesions!r}")
        if self.contrast is not None and not (isinstance(self.contrast, Real) and 0 <= self.contrast <= 400):
            raise InputError(f"contrast must be between 0 and 400 HU, got {self.contrast!r}")


class ChestPhantom(NamedTuple):
    """A rendered chest: volume (X, Y, Z) in HU; label (X, Y, Z) of 0, 1 for healthy and 2 for infected lung."""

    volume: Volume
    label: NDArray[np.uint8]


def chest_phantom(seed: int, spec: ChestSpec) -> ChestPhantom:
    """The phantom of a seed. Its anatomy depends on the seed and the field of view, not on the size of the voxels."""
    rng = np.random.default_rng(check_count(seed, 0, "seed"))
    body_rng, lung_rng, lesion_rng, scan_rng = rng.spawn(4)  # more voxels in one must not change the others
    size, spacing_mm = np.array(spec.size), np.array(spec.spacing_mm)
    spacing_mm = spacing_mm * REFERENCE_MM / (size * spacing_mm / 2)[:2].mean()
    splits = _splits(spacing_mm)
    middle_mm = body_rng.normal((0, 12, 2), (4, 5, 5))
    voxel_mm = spacing_mm / splits
    canvas = Canvas(grid_around(middle_mm, size * splits, voxel_mm), float(np.cbrt(voxel_mm.prod())), 0, AIR_HU)
    blood_hu = 42.0 + _contrast(body_rng, spec.contrast)

    thorax = Thorax(body_rng, canvas)
    paint_trunk(thorax, body_rng, blood_hu)
    lung = _LungPainter(thorax, lung_rng, middle_mm, blood_hu).paint()
    canvas.volume, infected = _infect(lesion_rng, canvas.volume, lung, voxel_mm, spec.lesions)
    blurred = _motion(scan_rng, thorax, canvas.volume, voxel_mm)
    volume = _scan(scan_rng, average_blocks(blurred, splits), spacing_mm)

    lung_share, infected_share = (average_blocks(mask.astype(np.float32), splits) for mask in (lung, infected))
    label = (lung_share > 0.5).astype(np.uint8)
    label[(label > 0) & (infected_share > lung_share / 2)] = 2
    return ChestPhantom(volume, label)


def _splits(spacing_mm: Floats) -> Ints:
    """Into how many voxels, along each axis, a long one is painted."""
    return np.maximum(1, np.round(spacing_mm / max(FINEST_MM, spacing_mm.min()))).astype(np.int64)


def _contrast(rng: np.random.Generator, contrast: float | None) -> float:
    drawn = rng.uniform(100, 300) if rng.uniform() < CONTRAST_SHARE else 0.0
    return drawn if contrast is None else float(contrast)


class _LungPainter:
    """Paints air-filled lungs with vessels, airways and fissures into a body."""

    def __init__(self, thorax: Thorax, rng: np.random.Generator, middle_mm: Floats, blood_hu: float) -> None:
        self.thorax, self.rng, self.middle_mm, self.blood_hu = thorax, rng, middle_mm, blood_hu
        self.canvas = thorax.canvas
        grid = self.canvas.grid
        self.size = (grid.x.size, grid.y.size, grid.z.size)
        self.voxel_mm = tuple(float(axis.ravel()[1] - axis.ravel()[0]) for axis in grid)

    def paint(self) -> NDArray[np.bool_]:
        """Paints the lungs and returns which voxels they are (X, Y, Z)."""
        thorax, volume = self.thorax, self.canvas.volume
        inside = np.clip(np.float32(0.5) - thorax.lungs / self.canvas.side_mm, 0, 1)
        volume += inside * (self._parenchyma() - volume)
        airways, main = self._airways()
        vessels = self._vessels()
        share = self._rendered(vessels)
        volume += share * np.clip(0.5 - thorax.lungs / 4, 0, 1) * (np.float32(self.blood_hu) - volume)
        volume += self._rendered(replace(airways, radii_mm=airways.radii_mm * 1.2 + 0.5)) * (np.float32(10) - volume)
        volume += self._rendered(airways) * (np.float32(GAS_HU) - volume)
        lung = thorax.lungs < 0
        lung &= self._rendered(thicker_than(vessels, HILAR_RADIUS_MM)) < 0.5
        lung &= self._rendered(replace(main, radii_mm=main.radii_mm + 1.5)) < 0.5
        return np.asarray(lung)

    def _parenchyma(self) -> Volume:
        """HU of lung without vessels: denser at the back, hazy where it lies lowest, and never quite even."""
        rng, thorax = self.rng, self.thorax
        y, z = self.canvas.grid.y, self.canvas.grid.z
        hu = rng.normal(-862, 22) + 10 * thorax.waves() + 9 * thorax.waves(14)
        hu = hu - np.float32(rng.uniform(5, 45)) * np.clip(y / 80, -1, 1)
        haze = (
            rng.uniform(0, 150) * (rng.uniform() < 0.6) * np.clip(-(y + 35) / 35, 0, 1) * np.clip(0.6 - z / 150, 0, 1)
        )
        hu = hu + haze * np.exp(np.minimum(thorax.lungs, 0) / np.float32(rng.uniform(4, 10)))
        for side, tilt in ((1.0, 0.95), (-1.0, 0.85)):
            plane = z + tilt * y + np.float32(rng.normal(5, 6)) + 6 * thorax.waves()
            thin = np.clip(1 - np.abs(plane) / (1.4 * self.canvas.side_mm), 0, 1) * (side * self.canvas.grid.x > 0)
            hu = hu + thin * np.float32(rng.uniform(20, 160) / self.canvas.side_mm)
        return np.asarray(hu, np.float32)

    def _points(self, side: float, count: int) -> Floats:
        """Places (N, 3) strewn through one lung, the same ones whatever the voxels."""
        places = self.rng.uniform((8, -100, -135), (132, 95, 130), (5 * count, 3)) * (side, 1, 1)
        depth = self.thorax.lungs[self.canvas.grid.indices(places)]
        return np.asarray(places[depth < -2.5][:count])

    def _vessels(self) -> VesselGraph:
        """Arteries and veins of both lungs."""
        trees = []
        for side in (1.0, -1.0):
            widest = self.rng.uniform(4.8, 6.5)
            for hilum, tips in (((36.0, 2.0, 14.0), TIPS), ((30.0, 4.0, -8.0), TIPS)):
                root = np.array(hilum) * (side, 1, 1) + self.rng.normal(0, 2, 3)
                thinnest = self.rng.uniform(0.36, 0.56)
                trees.append(grow_tree(self.rng, root, self._points(side, tips), thinnest, widest))
        return together(trees)

    def _airways(self) -> tuple[VesselGraph, VesselGraph]:
        """All airways, and of them trachea and main bronchi, which are no lung."""
        rng = self.rng
        carina = np.array((2.0, -12.0, 36.0)) + rng.normal(0, (2, 2, 5))
        tubes = [trunk(np.stack([carina, np.array((0.0, -4.0, 240.0))]), rng.uniform(7, 9.5))]
        trees = []
        for side in (1.0, -1.0):
            end = np.array((side * 34.0, -8.0, 12.0)) + rng.normal(0, 2, 3)
            tubes.append(trunk(np.stack([carina, end]), rng.uniform(5, 6.5)))
            trees.append(grow_tree(rng, end, self._points(side, AIRWAY_TIPS), rng.uniform(0.5, 0.8), 4.2))
        main = together(tubes)
        return together([main, *trees]), main

    def _rendered(self, graph: VesselGraph) -> Volume:
        """How much of each voxel a graph fills (X, Y, Z)."""
        moved = replace(graph, points_mm=graph.points_mm + self.middle_mm)
        return render_vessels(moved, self.size, self.voxel_mm)[0]  # type: ignore[arg-type]


def _infect(
    rng: np.random.Generator, volume: Volume, lung: NDArray[np.bool_], voxel_mm: Floats, lesions: bool | None
) -> tuple[Volume, NDArray[np.bool_]]:
    """Lungs with opacities in most patients, more often few than many."""
    drawn = bool(rng.uniform() > HEALTHY_SHARE)
    least, most = PROPORTIONS
    proportion = least * (most / least) ** rng.uniform()
    if not (drawn if lesions is None else lesions):
        proportion = 0.0
    x, y, z = voxel_mm.tolist()
    return paint_opacities(rng, volume, lung, (x, y, z), proportion)


def _motion(rng: np.random.Generator, thorax: Thorax, volume: Volume, voxel_mm: Floats) -> Volume:
    """Breathing blurs the diaphragm, or shows it twice; the beating heart does so to its border."""
    grid = thorax.grid
    moved = volume
    if rng.uniform() < 0.5:
        near = np.exp(-((thorax.diaphragm / np.float32(rng.uniform(8, 18))) ** 2)) * (thorax.cavity < 4)
        double = gaussian_filter1d(volume, rng.uniform(1, 3) / voxel_mm[2], axis=2)
        if rng.uniform() < 0.5:
            double = convolve1d(volume, _two_places(rng.uniform(4, 9) / voxel_mm[2]), axis=2, mode="nearest")
        moved = volume + near * (double - volume)
    if rng.uniform() < 0.6:
        squares = sum(
            ((axis - middle) / (1.3 * half)) ** 2
            for axis, middle, half in zip(grid, thorax.heart.centre_mm, thorax.heart.half_mm, strict=True)
        )
        near = np.exp(-(np.asarray(squares, np.float32) ** 2)) * np.float32(rng.uniform(0.4, 1))
        kernel = _two_places(rng.uniform(2, 6) / voxel_mm[0])
        moved = moved + near * (convolve1d(moved, kernel, axis=0, mode="nearest") - moved)
    return np.asarray(moved, np.float32)


def _two_places(apart: float) -> Floats:
    """A kernel that shows everything twice, `apart` voxels from each other."""
    reach = int(np.ceil(apart / 2))
    places = np.arange(-reach, reach + 1)
    return np.asarray(sum(np.maximum(0, 1 - np.abs(places - sign * apart / 2)) for sign in (-1, 1)) / 2)


def _scan(rng: np.random.Generator, volume: Volume, spacing_mm: Floats) -> Volume:
    """Blur and sharpening of a reconstruction, its noise, and streaks through the shoulders."""
    blur_mm = rng.uniform(0.5, 1.7) * np.array((1, 1, 1.2))
    volume = gaussian_filter(volume, blur_mm / spacing_mm)
    if rng.uniform() < 0.35:  # a sharp kernel overshoots at borders
        volume = volume + rng.uniform(0.2, 0.8) * (volume - gaussian_filter(volume, 1.5 * blur_mm / spacing_mm))
    noise = gaussian_filter(rng.standard_normal(volume.shape, dtype=np.float32), rng.uniform(0.3, 0.8))
    volume = volume + noise * np.float32(np.exp(rng.uniform(np.log(5), np.log(35))) / noise.std())
    if rng.uniform() < 0.5:
        mass = np.clip(volume + 1000, 0, None).mean(axis=(0, 1))
        strength = rng.uniform(5, 25) * np.clip(mass / np.median(mass) - 0.9, 0, 1.2)
        streaks = gaussian_filter1d(rng.standard_normal(volume.shape[1:], dtype=np.float32), 0.7, axis=0)
        volume = volume + (streaks * strength).astype(np.float32)[None] * (volume > -900)
    return np.clip(volume, -1024, 3071).astype(np.float32)
