"""An abdomen as computed tomography shows it: three organs with their exact labels among what surrounds them.

Everything is placed in parts of the half field of view (x to the patient's right, y to the front, z up), so that the
anatomy belongs to the seed and the field of view; voxels only sample it. Bodies are painted from the outside in and
from the back to the front, and what is painted later covers what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..checks import InputError, check_count
from .centrelines import Floats
from .rendering import Volume, average_blocks
from .scene import check_grid
from .shapes import Blob, Box, Canvas, Grid, grid_around, joined, random_blob, random_waves, wave_field

AIR_HU = -1000.0
LUNG_HU = -830.0
FAT_HU = -100.0
GAS_HU = -950.0
WATER_HU = 8.0
DISC_HU = 85.0
MARROW_HU = 190.0
BONE_HU = 520.0
REFERENCE_MM = 180.0  # half a field of view in which lengths in mm below are those of an adult

# HU in the phases of contrast medium: before it, arterial, portal venous, delayed.
PHASES_HU = {
    "liver": (58.0, 72.0, 112.0, 95.0),
    "spleen": (48.0, 110.0, 122.0, 100.0),
    "kidney": (34.0, 160.0, 190.0, 165.0),
    "artery": (42.0, 290.0, 165.0, 120.0),
    "vein": (42.0, 80.0, 172.0, 122.0),
    "muscle": (52.0, 56.0, 62.0, 60.0),
}
SPREAD = {"liver": 0.12, "spleen": 0.07, "kidney": 0.08, "artery": 0.1, "vein": 0.08, "muscle": 0.06}  # parts of it
LAST_PHASE = 3.0


class Organ(IntEnum):
    """The values of the label."""

    LIVER = 1
    SPLEEN = 2
    KIDNEYS = 3


@dataclass(frozen=True)
class OrganSpec:
    """What to render.

    size: voxels along X, Y, Z.
    spacing_mm: size of a voxel along X, Y, Z.
    phase: of the contrast medium, from 0 (none) over 1 (arterial) and 2 (portal venous) to 3 (delayed); None draws it
        from the seed.
    blur_mm: standard deviation of the scanner's blur.
    noise_hu: standard deviation of the noise.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    phase: float | None = None
    blur_mm: float = 0.8
    noise_hu: float = 15.0

    def __post_init__(self) -> None:
        check_grid(self.size, self.spacing_mm)
        if self.phase is not None and not (isinstance(self.phase, Real) and 0 <= self.phase <= LAST_PHASE):
            raise InputError(f"phase must be between 0 and {LAST_PHASE:g}, got {self.phase}")
        for name in ("blur_mm", "noise_hu"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")


class OrganPhantom(NamedTuple):
    """A rendered abdomen: volume (X, Y, Z) in HU, label (X, Y, Z) of 0 and the values of `Organ`."""

    volume: Volume
    label: NDArray[np.uint8]


def organ_phantom(seed: int, spec: OrganSpec) -> OrganPhantom:
    """The phantom of a seed. Its anatomy depends on the seed and the field of view, not on the size of the voxels."""
    rng = np.random.default_rng(check_count(seed, 0, "seed"))
    size, spacing_mm = np.array(spec.size), np.array(spec.spacing_mm)
    splits = np.maximum(1, np.round(spacing_mm / spacing_mm.min())).astype(int)  # long voxels average several
    voxel_mm = spacing_mm / splits
    half_mm = size * spacing_mm / 2
    grid = grid_around(rng.normal(0, (0.015, 0.015, 0.05)) * half_mm, size * splits, voxel_mm)
    canvas = Canvas(grid, float(np.cbrt(voxel_mm.prod())), len(Organ), AIR_HU)
    _Painter(rng, canvas, half_mm, _brightness(rng, spec.phase)).paint()

    volume = gaussian_filter(average_blocks(canvas.volume, splits), spec.blur_mm / spacing_mm)
    volume += _noise(rng, spec)
    label = np.zeros(spec.size, np.uint8)
    for organ in Organ:
        label[average_blocks(canvas.shares[organ - 1], splits) > 0.5] = organ
    return OrganPhantom(np.maximum(volume, np.float32(-1024)), label)


def _brightness(rng: np.random.Generator, phase: float | None) -> dict[str, float]:
    """HU of each tissue in a phase, between two of the known ones, with what differs from patient to patient."""
    drawn = rng.uniform(0, LAST_PHASE)
    moment = drawn if phase is None else phase
    return {
        name: float(np.interp(moment, range(len(values)), values) * rng.normal(1, SPREAD[name]))
        for name, values in PHASES_HU.items()
    }


def _noise(rng: np.random.Generator, spec: OrganSpec) -> Volume:
    """Grainy noise (X, Y, Z): neighbours are alike, as after the filter of a reconstruction."""
    noise = gaussian_filter(rng.standard_normal(spec.size, dtype=np.float32), 0.6)
    return np.asarray(noise * np.float32(spec.noise_hu / noise.std()))


class _Painter:
    """Paints one patient: `scale` turns the lengths of an adult into those of the field of view."""

    def __init__(self, rng: np.random.Generator, canvas: Canvas, half_mm: Floats, hu: dict[str, float]) -> None:
        self.rng, self.canvas, self.half_mm, self.hu = rng, canvas, half_mm, hu
        self.scale = float(half_mm[:2].mean()) / REFERENCE_MM
        self.fat_mm = rng.uniform(7, 26) * self.scale
        self.wall_mm = rng.uniform(9, 14) * self.scale
        self.depth = self._depth_below_skin()
        self.outside_cavity = self.fat_mm + self.wall_mm - self.depth  # mm, negative inside

    def paint(self) -> None:
        """From the skin to the organs."""
        self._paint_layers()
        self._paint_ribs()
        self._paint_chest()
        self._paint_back()
        self._paint_vessels()
        self._paint_bowel()
        self._paint_liver()
        self._paint_spleen()
        for side in (1.0, -1.0):
            self._paint_kidney(side)

    def _depth_below_skin(self) -> Volume:
        """How far below the skin each voxel lies, in mm (X, Y, Z); negative outside of the body."""
        half_x, half_y = self.half_mm[:2] * self.rng.uniform((0.86, 0.62), (0.93, 0.72))
        x, y = self.canvas.grid.x, self.canvas.grid.y
        power = np.float32(2.5)
        flat = (np.abs(x / np.float32(half_x)) ** power + np.abs(y / np.float32(half_y)) ** power) ** (1 / power)
        radius = np.sqrt(x**2 + y**2)
        form = wave_field(random_waves(self.rng), self.canvas.grid, np.zeros(3), self.half_mm)
        return np.asarray(radius / np.maximum(flat, np.float32(1e-3)) * (1 + np.float32(0.025) * form) - radius)

    def _paint_layers(self) -> None:
        """Skin, fat under it, the muscles of the wall, fat between the organs."""
        form = wave_field(random_waves(self.rng), self.canvas.grid, np.zeros(3), self.half_mm)
        self.canvas.tint(-self.depth, 15.0)
        self.canvas.tint(1.8 * self.scale - self.depth, FAT_HU)
        self.canvas.tint(self.fat_mm * (1 + np.float32(0.12) * form) - self.depth, self.hu["muscle"])
        self.canvas.tint(self.outside_cavity, FAT_HU)

    def _paint_ribs(self) -> None:
        """Slanting rings in the wall of the upper body."""
        x, y, z = self.canvas.grid
        pitch_mm, slope = 0.17 * self.half_mm[2], self.rng.uniform(0.35, 0.6)
        across = np.abs(self.depth - self.fat_mm - 0.45 * self.wall_mm) - 3.5 * self.scale
        height = (z - np.float32(slope) * y + np.float32(self.rng.uniform(0, pitch_mm))) % np.float32(pitch_mm)
        along = np.abs(height - np.float32(pitch_mm / 2)) - 5.0 * self.scale
        lowest_mm = np.float32(0.2 * self.half_mm[2])
        below = lowest_mm - z - np.float32(0.6 * slope) * np.abs(x)
        ribs = np.maximum(np.maximum(across, along), below)
        self.canvas.tint(ribs, BONE_HU)
        self.canvas.tint(ribs + 2.5 * self.scale, MARROW_HU)

    def _paint_chest(self) -> None:
        """Lungs and heart above the diaphragm."""
        for side in (1.0, -1.0):
            self._paint_inside((0.4 * side, -0.05, 1.02), (0.42, 0.55, 0.42), LUNG_HU, gap_mm=-2)
        self._paint_inside((-0.1, 0.22, 1.05), (0.34, 0.26, 0.3), self.hu["vein"])

    def _paint_back(self) -> None:
        """The spine with its discs and canal, and the muscles beside it."""
        tall = 3.0
        for side in (1.0, -1.0):
            self._paint_blob((0.26 * side, -0.52, 0.0), (0.24, 0.13, tall), self.hu["muscle"], 0.04)
            self._paint_blob((0.22 * side, -0.30, -0.75), (0.11, 0.13, 0.75), self.hu["muscle"], 0.05)
        spine = self._blob((0.0, -0.34, 0.0), (0.145, 0.115, tall), roughness=0.02, tilt_deg=0)
        process = self._blob((0.0, -0.56, 0.0), (0.035, 0.10, tall), roughness=0.02, tilt_deg=0)
        pitch_mm = 0.2 * self.half_mm[2]
        height = np.abs((self.canvas.grid.z + np.float32(self.rng.uniform(0, pitch_mm))) % pitch_mm - pitch_mm / 2)
        disc = height - np.float32(0.14 * pitch_mm)
        box, distance = self._seen(spine)
        self.canvas.tint(distance, BONE_HU, box)
        self.canvas.tint(distance + 3 * self.scale, MARROW_HU, box)
        self.canvas.tint(np.maximum(distance, disc[:, :, box[2]]), DISC_HU, box)
        box, distance = self._seen(process)
        self.canvas.tint(np.maximum(distance, -disc[:, :, box[2]]), BONE_HU, box)
        self._paint_blob((0.0, -0.475, 0.0), (0.055, 0.05, tall), 30.0, 0.0, tilt_deg=0)

    def _paint_vessels(self) -> None:
        """Aorta and vena cava in front of the spine."""
        self._paint_blob((-0.06, -0.17, 0.0), (0.065, 0.065, 3.0), self.hu["artery"], 0.04, tilt_deg=0.5)
        self._paint_blob((0.12, -0.16, 0.0), (0.075, 0.06, 3.0), self.hu["vein"], 0.06, tilt_deg=0.5)

    def _paint_bowel(self) -> None:
        """The stomach and loops with food, fluid and gas, which rises to the front."""
        self._paint_loop((-0.36, 0.26, 0.36), self._sizes(0.28, 0.26, 0.32), 0.12)
        for side in (1.0, -1.0):
            for height in np.arange(-0.95, 0.0, 0.16):
                self._paint_loop((0.62 * side, 0.02, height), (0.10, 0.12, 0.11), 0.12)
        for _ in range(self.rng.integers(35, 80)):
            x, y, z = self.rng.uniform((-0.55, -0.08, -1.0), (0.55, 0.5, 0.15))
            self._paint_loop((x, y, z - 0.2 * (x > 0)), self.rng.uniform(0.06, 0.14, 3), 0.12)

    def _paint_loop(self, place: Sequence[float], half: Sequence[float] | Floats, roughness: float) -> None:
        blob = self._blob(place, half, roughness, tilt_deg=20)
        box, distance = self._seen(blob)
        inside = np.maximum(distance, self.outside_cavity[box] + 2 * self.scale)
        self.canvas.tint(inside, self.hu["muscle"], box)
        self.canvas.tint(inside + 3 * self.scale, self.rng.uniform(WATER_HU, 60), box)
        level = blob.centre_mm[1] + blob.half_mm[1] * self.rng.uniform(-0.3, 2.0)
        gas = np.maximum(inside + 3 * self.scale, np.float32(level) - self.canvas.grid.part(box).y)
        self.canvas.tint(gas, GAS_HU, box)

    def _paint_liver(self) -> None:
        """Two lobes under the diaphragm, cut off below by the slanting side that faces the bowel, and their veins."""
        right = self._blob((0.42, 0.0, 0.2), self._sizes(0.4, 0.48, 0.48), 0.06, turn_deg=(0, 20, 0))
        left = self._blob((-0.02, 0.25, 0.34), self._sizes(0.4, 0.2, 0.19), 0.07, turn_deg=(0, 15, -15))
        box = self.canvas.grid.box(right.centre_mm * [0.5, 1, 1], right.reach_mm * [1.6, 1.2, 1.2])
        grid = self.canvas.grid.part(box)
        distance = joined(right.distance(grid), left.distance(grid), 10 * self.scale)
        distance = -joined(-distance, -self._below_liver(grid), 6 * self.scale)
        distance = np.maximum(distance, self.outside_cavity[box] + 3 * self.scale)
        self.canvas.paint(distance, self.hu["liver"], box, Organ.LIVER - 1)
        for _ in range(2):  # two surfaces meet in winding lines
            fields = [wave_field(random_waves(self.rng, 8), grid, right.centre_mm, right.reach_mm) for _ in range(2)]
            veins = (np.hypot(*fields) - np.float32(0.2)) * np.float32(right.reach_mm.mean() / 8)
            self.canvas.tint(np.maximum(veins, distance + 5 * self.scale), self.hu["vein"], box)
        self._paint_inside((0.33, 0.34, -0.1), self._sizes(0.09, 0.11, 0.14), WATER_HU)

    def _below_liver(self, grid: Grid) -> Volume:
        """Distance in mm above (negative) a wavy plane that falls from the left to the right."""
        edge_mm = np.array((0.72, 0.0, self.rng.uniform(-0.4, -0.2))) * self.half_mm
        normal = np.array((-0.5, -0.15, -0.85)) + self.rng.normal(0, 0.06, 3)
        normal = (normal / np.linalg.norm(normal)).astype(np.float32)
        waves = wave_field(random_waves(self.rng), grid, np.zeros(3), self.half_mm)
        places = zip(normal, grid, edge_mm, strict=True)
        return np.asarray(sum(n * (axis - np.float32(mm)) for n, axis, mm in places) + 6 * self.scale * waves)

    def _paint_spleen(self) -> None:
        place = np.array((-0.62, -0.22, 0.3)) + self.rng.normal(0, (0.02, 0.03, 0.05))
        blob = self._blob(place, self._sizes(0.16, 0.3, 0.3), 0.08, turn_deg=(15, 0, 25))
        box, distance = self._seen(blob)
        distance = np.maximum(distance, self.outside_cavity[box] + 3 * self.scale)
        self.canvas.paint(distance, self.hu["spleen"], box, Organ.SPLEEN - 1)

    def _paint_kidney(self, side: float) -> None:
        """One kidney, on the right (side 1) or on the left (-1): cortex, marrow, and fat where its vessels enter."""
        place = np.array((0.41 * side, -0.27, -0.12 - 0.04 * side)) + self.rng.normal(0, (0.02, 0.015, 0.04))
        blob = self._blob(place, self._sizes(0.145, 0.16, 0.31), 0.05, turn_deg=(-8, -12 * side, 25 * side))
        inner = place - np.array((0.11 * side, -0.05, 0.0))
        hilum = self._blob(inner, self._sizes(0.085, 0.07, 0.12), 0.06)
        box, distance = self._seen(blob)
        grid = self.canvas.grid.part(box)
        self.canvas.paint(distance - 5 * self.scale, FAT_HU, box)
        kidney = np.maximum(distance, -hilum.distance(grid))
        self.canvas.paint(kidney, self.hu["kidney"], box, Organ.KIDNEYS - 1)
        self.canvas.tint(np.maximum(distance + 9 * self.scale, kidney + 3 * self.scale), 0.75 * self.hu["kidney"], box)

    def _sizes(self, *half: float) -> Floats:
        """Half-axes as parts of the half field of view, larger or smaller in one patient than in another."""
        return np.array(half) * self.rng.normal(1, 0.06) * self.rng.normal(1, 0.04, 3)

    def _blob(
        self,
        place: Sequence[float] | Floats,
        half: Sequence[float] | Floats,
        roughness: float,
        turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
        tilt_deg: float = 6.0,
    ) -> Blob:
        return random_blob(
            self.rng, np.array(place) * self.half_mm, np.array(half) * self.half_mm, roughness, turn_deg, tilt_deg
        )

    def _seen(self, blob: Blob) -> tuple[Box, Volume]:
        """The box around a body and the distances from its surface in there."""
        box = self.canvas.grid.box(blob.centre_mm, blob.reach_mm)
        return box, blob.distance(self.canvas.grid.part(box))

    def _paint_blob(
        self,
        place: Sequence[float],
        half: Sequence[float],
        hu: float,
        roughness: float = 0.05,
        tilt_deg: float = 3.0,
    ) -> None:
        box, distance = self._seen(self._blob(place, half, roughness, tilt_deg=tilt_deg))
        self.canvas.paint(distance, hu, box)

    def _paint_inside(
        self, place: Sequence[float], half: Sequence[float] | Floats, hu: float, gap_mm: float = 2.0
    ) -> None:
        """A body that ends at the wall of the cavity."""
        box, distance = self._seen(self._blob(place, half, 0.05))
        self.canvas.paint(np.maximum(distance, self.outside_cavity[box] + gap_mm * self.scale), hu, box)
