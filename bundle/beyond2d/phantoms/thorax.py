"""The body of a chest phantom: where its surfaces run, in mm of an adult, and what is painted between them.

Surfaces are signed distances (negative inside) that belong to the seed alone; a grid only samples them. `Thorax`
works out the large ones, the chest cavity, the diaphragm, what lies between the lungs and the lungs themselves;
`trunks` paints everything but the lungs by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from .centrelines import Floats
from .rendering import Volume
from .shapes import Box, Canvas, Grid, joined, random_blob, random_waves, wave_field

FAT_HU = -100.0
MUSCLE_HU = 50.0
GAS_HU = -960.0
MARROW_HU = 180.0
DISC_HU = 80.0
CARTILAGE_HU = 100.0
REACH_MM = np.array([190.0, 190.0, 190.0])  # of the waves that make one body unlike another

# Cross-sections from the abdomen to the neck: height, half-width, half-depth and middle along Y, all in mm.
CAVITY = (
    (-240, 122, 84, 0),
    (-150, 127, 90, -4),
    (-90, 129, 93, -5),
    (-30, 126, 91, -5),
    (20, 116, 86, -8),
    (60, 99, 75, -14),
    (90, 77, 59, -21),
    (108, 54, 43, -27),
    (121, 31, 26, -31),
    (132, 6, 6, -33),
    (240, 5, 5, -33),
)
SHELL = (  # the outside of the muscles
    (-240, 134, 104, -8),
    (-100, 142, 112, -12),
    (-30, 142, 113, -14),
    (30, 144, 111, -18),
    (70, 156, 105, -24),
    (105, 175, 93, -29),
    (132, 163, 80, -30),
    (156, 88, 66, -27),
    (185, 58, 58, -17),
    (240, 57, 58, -12),
)
# Half the width of what lies between the lungs, from the spine (-1) to the breastbone (1).
BETWEEN_LUNGS = (
    (-1.0, 31.0),
    (-0.85, 23.0),
    (-0.65, 19.0),
    (-0.4, 22.0),
    (0.0, 23.0),
    (0.3, 19.0),
    (0.6, 11.0),
    (0.85, 7.0),
    (1, 13),
)
SPINE_Y_MM = -56.0

Place = tuple[float, float, float]


def ring(grid: Grid, sections: Sequence[Sequence[float]], widths: Floats, power: float) -> tuple[Volume, Volume]:
    """Distance in mm from a body given by cross-sections (X, Y, Z), and places across it from -1 to 1 (1, Y, Z).

    `widths` (2,) stretch it along X and Y; `power` 2 makes ellipses, more makes them squarer.
    """
    heights, half_x, half_y, middle = np.array(sections, float).T
    z = grid.z.ravel().astype(float)
    half_x, half_y, middle = (
        PchipInterpolator(heights, values, extrapolate=False)(np.clip(z, heights[0], heights[-1])).astype(np.float32)
        for values in (half_x * widths[0], half_y * widths[1], middle)
    )
    across = (grid.y - middle) / half_y
    flat = np.abs(grid.x / half_x) ** np.float32(power) + np.abs(across) ** np.float32(power)
    flat **= np.float32(1 / power)
    radius = np.sqrt(grid.x**2 + (grid.y - middle) ** 2)
    return np.asarray(radius * (1 - 1 / np.maximum(flat, np.float32(1e-2)))), across


def capsule(grid: Grid, start_mm: Floats, end_mm: Floats, radius_mm: float) -> Volume:
    """Distance in mm (X, Y, Z) from a straight rod with round ends."""
    start, along = start_mm.astype(np.float32), (end_mm - start_mm).astype(np.float32)
    offsets = [axis - middle for axis, middle in zip(grid, start, strict=True)]
    share = sum(offset * part for offset, part in zip(offsets, along, strict=True)) / (along**2).sum()
    share = np.clip(share, 0, 1)
    squares = sum((offset - share * part) ** 2 for offset, part in zip(offsets, along, strict=True))
    return np.asarray(np.sqrt(squares) - np.float32(radius_mm))


class Thorax:
    """One patient's large surfaces on a grid in mm of an adult (x to the right, y to the front, z up).

    cavity, shell, skin: (X, Y, Z) distance from the chest's inner wall, the muscles' outside and the skin.
    diaphragm: (X, Y, Z) how far below it.
    between: (X, Y, Z) distance from heart, vessels and spine between the lungs.
    lungs: (X, Y, Z) distance from both lungs.
    """

    def __init__(self, rng: np.random.Generator, canvas: Canvas) -> None:
        self.rng, self.canvas, self.grid = rng, canvas, canvas.grid
        self.widths = rng.normal((1.02, 1), (0.06, 0.07))
        self.fat_mm = rng.uniform(5, 24)
        self.heart = random_blob(
            rng,
            np.array((-22.0, 27.0, -38.0)) + rng.normal(0, (5, 4, 6)),
            np.array((64.0, 43.0, 46.0)) * rng.normal(1, 0.09) * rng.normal(1, 0.05, 3),
            0.07,
            (0, 25, -25),
        )
        self.cavity, self.across = ring(self.grid, CAVITY, self.widths, rng.uniform(2.1, 2.6))
        self.cavity += np.float32(4) * self.waves()
        self.shell, _ = ring(self.grid, SHELL, self.widths, rng.uniform(2.3, 2.7))
        self.shell = np.minimum(self.shell, self.cavity - 13)  # the muscles never end inside of the ribs
        self.skin = self._skin()
        self.diaphragm = self._below_diaphragm()
        self.vessels = self._great_vessels()
        self.between = self._between_lungs()
        self.lungs = self._lungs()

    def waves(self, num_waves: int = 4) -> Volume:
        """A slow random field (X, Y, Z) of standard deviation 1."""
        return wave_field(random_waves(self.rng, num_waves), self.grid, np.zeros(3), REACH_MM)

    def _skin(self) -> Volume:
        fat = self.fat_mm * (1 + np.float32(0.15) * self.waves() + np.float32(0.3) * np.clip(self.grid.y / 100, -1, 1))
        skin = np.asarray(self.shell - fat, np.float32)
        size = self.rng.uniform(-45, 75)  # half of the patients have breasts
        if size > 15:
            for side in (1.0, -1.0):
                middle = np.array((side * 72.0, 78.0 + 0.8 * self.fat_mm, -8.0)) + self.rng.normal(0, 5, 3)
                breast = random_blob(self.rng, middle, np.array((60.0, 14 + 0.55 * size, 58.0)), 0.05)
                box = self.grid.box(breast.centre_mm, breast.reach_mm)
                skin[box] = joined(skin[box], breast.distance(self.grid.part(box)), 4.0)
        return skin

    def _below_diaphragm(self) -> Volume:
        """Two domes that fall off steeply along the wall: there the lungs reach far down beside liver and spleen."""
        x, y = self.grid.x, self.grid.y
        level = int(np.abs(self.grid.z + 60).argmin())
        wall = np.minimum(self.cavity[:, :, level, None], 0)
        heights = []
        top, breath = self.rng.uniform(-72, -32), self.rng.uniform(40, 75)
        for side in (1.0, -1.0):
            middle = np.array((66.0 * side, 8.0)) + self.rng.normal(0, 5, 2)
            squares = ((x - middle[0]) / 75) ** 2 + ((y - middle[1]) / 85) ** 2
            recess = (1 - 0.7 * np.clip(y / 70, -0.4, 1)) * breath * np.exp(wall / np.float32(self.rng.uniform(9, 17)))
            heights.append((top - 22 * squares - recess).astype(np.float32))
            top -= self.rng.uniform(3, 18)  # the liver pushes the right one up
        rightness = np.clip(0.5 + x / 30, 0, 1)
        height = heights[1] + rightness * (heights[0] - heights[1])
        level_grid = Grid(x, y, np.zeros((1, 1, 1), np.float32))
        height += np.float32(4) * wave_field(random_waves(self.rng, 6), level_grid, np.zeros(3), REACH_MM)
        slope = np.hypot(*np.gradient(height[..., 0], x.ravel(), y.ravel()))
        return np.asarray((height - self.grid.z) / np.sqrt(1 + slope[..., None] ** 2), np.float32)

    def _great_vessels(self) -> list[tuple[Floats, Floats, float]]:
        """Start, end and radius of the straight pieces of aorta, caval veins and pulmonary trunk, in mm."""
        pieces: list[tuple[Place, Place, float]] = [
            ((8, 28, -15), (14, 24, 46), 15),
            ((14, 24, 46), (-14, -26, 54), 13.5),
            ((-16, -28, 54), (-25, -42, 30), 12.5),
            ((-25, -42, 30), (-15, -42, -240), 11.5),
            ((25, 14, 0), (23, 10, 85), 9),
            ((22, 2, -240), (22, 8, -50), 11),
            ((-12, 34, 6), (-20, 8, 26), 13),
            ((-12, 10, 24), (36, 2, 16), 10),
            ((-18, 8, 27), (-38, -8, 20), 10),
            ((-14, 5, 60), (-24, -5, 150), 6),
            ((10, 12, 60), (25, 5, 150), 7),
        ]
        shift, wide = self.rng.normal(0, (3, 3, 5)), self.rng.normal(1, 0.08)
        jitter = self.rng.normal(0, 2, (len(pieces), 2, 3))
        return [
            (np.array(start) + shift + move[0], np.array(end) + shift + move[1], radius * wide)
            for (start, end, radius), move in zip(pieces, jitter, strict=True)
        ]

    def spine(self, grid: Grid) -> Volume:
        """Distance from the vertebral bodies (X, Y, Z)."""
        before = self.before_spine(grid)
        return np.asarray(np.sqrt((grid.x / 17) ** 2 + (before / 15) ** 2) * 16 - 16, np.float32)

    def before_spine(self, grid: Grid) -> Volume:
        """How far in front of the middle of the vertebrae (1, Y, Z), in mm: negative behind; they bend at the top."""
        bend = np.float32(9e-4) * (grid.z - 20) ** 2 * (grid.z > 20)
        return np.asarray(grid.y - np.float32(SPINE_Y_MM) + bend, np.float32)

    def _between_lungs(self) -> Volume:
        places, half_mm = np.array(BETWEEN_LUNGS).T
        wide = np.interp(self.across, places, half_mm * self.rng.normal(1, 0.08))
        wide = wide * np.interp(self.grid.z, (30, 75, 125), (1, 1.2, 0.9)) * self.rng.normal(1, 0.08)
        between = (np.abs(self.grid.x - np.float32(self.rng.normal(0, 2))) - wide).astype(np.float32)
        between += np.float32(1.5) * self.waves(6)
        between = joined(between, self.spine(self.grid) - 4, 4.0)
        box, heart = self.seen(self.heart.centre_mm, self.heart.reach_mm * 1.2, self.heart.distance)
        between[box] = joined(between[box], heart - 3, 4.0)
        hila = [(np.array((s * 34.0, 0, 12.0)), np.array((s * 37.0, -8, -8.0)), 9.0) for s in (1.0, -1.0)]
        for start, end, radius in [*self.vessels, *hila]:
            box, rod = self.rod(start, end, radius + 2)
            between[box] = joined(between[box], rod, 3.0)
        return between

    def _lungs(self) -> Volume:
        lungs = -joined(-(self.cavity + 1), self.between, 3.0)
        lungs = -joined(-lungs, -self.diaphragm, 2.0)
        if self.rng.uniform() < 0.15:  # fluid that sinks to the back of one side
            side, level = self.rng.choice((-1.0, 1.0)), self.rng.uniform(-85, -45)
            height = level + 8 * np.exp(np.minimum(self.cavity, 0) / 9) + 3 * self.waves(8)  # it climbs along the wall
            surface = height - self.grid.y - 0.15 * (self.grid.z + 60)
            fluid = np.maximum(surface, -side * self.grid.x - 5)
            lungs = np.maximum(lungs, np.where(side * self.grid.x > 0, fluid, -99).astype(np.float32))
        return np.asarray(lungs)

    def seen(self, centre_mm: Floats, reach_mm: Floats, distance: Callable[[Grid], Volume]) -> tuple[Box, Volume]:
        """The box around a place and the distances of a body in there."""
        box = self.grid.box(centre_mm, reach_mm)
        return box, distance(self.grid.part(box))

    def rod(self, start_mm: Floats, end_mm: Floats, radius_mm: float, more_mm: float = 12.0) -> tuple[Box, Volume]:
        """The box around a rod, `more_mm` wider than it, and the distances in there."""
        reach = np.abs(end_mm - start_mm) / 2 + radius_mm + more_mm
        box = self.grid.box((start_mm + end_mm) / 2, reach)
        return box, capsule(self.grid.part(box), start_mm, end_mm, radius_mm)
