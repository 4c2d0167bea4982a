"""What is painted into a chest phantom around its lungs: skin, muscles, bones, heart, belly and table."""

from __future__ import annotations

import numpy as np

from .centrelines import Floats
from .rendering import Volume
from .shapes import Canvas, random_blob
from .thorax import CARTILAGE_HU, DISC_HU, FAT_HU, GAS_HU, MARROW_HU, MUSCLE_HU, Thorax

SIDES = (1.0, -1.0)  # right, left


def paint_trunk(thorax: Thorax, rng: np.random.Generator, blood_hu: float) -> None:
    """Everything but the lungs, from the outside in; `blood_hu` is that of heart and great vessels."""
    _TrunkPainter(thorax, rng, blood_hu).paint()


class _TrunkPainter:
    def __init__(self, thorax: Thorax, rng: np.random.Generator, blood_hu: float) -> None:
        self.thorax, self.rng, self.blood_hu = thorax, rng, blood_hu
        self.canvas: Canvas = thorax.canvas
        self.bone_hu = rng.uniform(380, 750)
        self.marrow_hu = MARROW_HU * rng.uniform(0.6, 1.4)

    def paint(self) -> None:
        self._paint_table()
        self._paint_layers()
        self._paint_shoulders()
        self._paint_ribs()
        self._paint_belly()
        self._paint_middle()
        self._paint_spine()

    def _paint_table(self) -> None:
        """One or two thin arcs below the back, and sometimes a mattress."""
        x, y, _ = self.canvas.grid
        back_mm = -126 - self.thorax.fat_mm * 0.7
        bend = np.float32(self.rng.uniform(2e-4, 1.4e-3)) * x**2
        depth = y - np.float32(back_mm - self.rng.uniform(2, 12)) - bend
        depth = depth + np.zeros_like(self.canvas.grid.z)
        for gap, thick, hu in ((0, 2.0, -300.0), (self.rng.uniform(14, 40), 3.0, 60.0)):
            if self.rng.uniform() < 0.7:
                self.canvas.tint(np.abs(depth + np.float32(gap)) - np.float32(thick), hu * self.rng.uniform(0.3, 1.5))
        if self.rng.uniform() < 0.4:
            self.canvas.tint(np.abs(depth + 6) - 6, self.rng.uniform(-990, -880))

    def _paint_layers(self) -> None:
        """Skin, fat, glands in the breasts, muscles with fat between them, fat inside the chest."""
        thorax, canvas = self.thorax, self.canvas
        canvas.tint(thorax.skin, 10.0)
        canvas.tint(thorax.skin + 2, FAT_HU)
        glands = 16 - 11 * thorax.waves(10) + np.maximum(0, -12 - thorax.skin) + 0.5 * np.abs(canvas.grid.z + 8)
        glands = np.maximum(np.maximum(glands, 12 - thorax.shell), 40 - canvas.grid.y)
        canvas.tint(np.maximum(glands, thorax.skin + 8), 20.0)
        canvas.tint(thorax.shell, MUSCLE_HU)
        planes = 9 * np.abs(thorax.waves(9)) - self.rng.uniform(1.5, 4)
        deep = np.maximum(17 - thorax.cavity, thorax.shell + 5)
        canvas.tint(np.maximum(planes, deep), FAT_HU)
        canvas.tint(thorax.cavity + 0.5, FAT_HU)

    def _paint_shoulders(self) -> None:
        """Shoulder blades, collar bones and the heads of the arms; arms beside the body in some."""
        raised = self.rng.uniform() < 0.75
        for side in SIDES:
            blade = np.array((side * 92, -82, 62)) + self.rng.normal(0, 3, 3)
            self._paint_bone(blade, np.array((40.0, 4.5, 55.0)), (10, 0, -side * self.rng.uniform(20, 40)))
            self._paint_bone(
                blade + np.array((side * 30, 10, 42)), np.array((32.0, 8.0, 7.0)), (0, -side * 15, side * 20)
            )
            head = np.array((side * 150, -30, 118 if raised else 100)) + self.rng.normal(0, 4, 3)
            self._paint_rod(head, head + np.array((side * 60, 10, 90 if raised else -280)), 11.0)
            self._paint_rod(head, head + np.array((0, 1, 1)), 21.0)
            self._paint_rod(np.array((side * 14, 40, 98)), np.array((side * 70, 42, 118)), 6.0)
            self._paint_rod(np.array((side * 70, 42, 118)), head + np.array((-side * 15, 5, 14)), 5.5)

    def _paint_bone(self, centre_mm: Floats, half_mm: Floats, turn_deg: tuple[float, float, float]) -> None:
        bone = random_blob(self.rng, centre_mm, half_mm, 0.06, turn_deg)
        box, distance = self.thorax.seen(bone.centre_mm, bone.reach_mm, bone.distance)
        inside = np.maximum(6 - self.thorax.cavity[box], self.thorax.shell[box] + 4)
        self._tint_bone(np.maximum(distance, inside), box, 2.5)

    def _paint_rod(self, start_mm: Floats, end_mm: Floats, radius_mm: float) -> None:
        """A long bone with the muscle and the fat around it."""
        box, distance = self.thorax.rod(start_mm, end_mm, radius_mm, more_mm=45.0)
        outside = 10 - self.thorax.cavity[box]
        if radius_mm > 9:  # an arm
            self.canvas.tint(np.maximum(np.maximum(distance - 30, -self.thorax.shell[box]), outside), FAT_HU, box)
            self.canvas.tint(np.maximum(distance - 22, outside), MUSCLE_HU, box)
        self._tint_bone(np.maximum(distance, outside - 4), box, 3.0)

    def _tint_bone(self, distance: Volume, box: tuple[slice, slice, slice], cortex_mm: float) -> None:
        self.canvas.tint(distance, self.bone_hu, box)
        self.canvas.tint(distance + cortex_mm, self.marrow_hu, box)

    def _paint_ribs(self) -> None:
        """Oblique bands around the chest that end in cartilage; the breastbone closes them in front."""
        x, y, z = self.canvas.grid
        thorax, pitch = self.thorax, np.float32(self.rng.uniform(26, 31))
        around = np.arctan2(np.abs(x), -(y + 8)) / np.float32(np.pi)  # 0 at the spine, 1 at the breastbone
        fall = np.float32(self.rng.uniform(90, 140)) * around - 45 * np.maximum(around - np.float32(0.65), 0)
        phase = np.float32(self.rng.uniform(0, pitch)) + 3 * np.sign(x)
        height = np.abs((z + fall + phase) % pitch - pitch / 2) * np.float32(0.85)
        across = (thorax.cavity - 6.5) / np.float32(3.6)
        ribs = (np.sqrt(across**2 + (height / np.float32(4.6)) ** 2) - 1) * 3.8
        lowest = -70 - z - 40 * (around - 0.6)  # the lower ones stay in the back
        ribs = np.maximum(ribs, np.minimum(lowest, 60 * (around - 0.6)))
        bony = around - np.float32(0.76)
        self.canvas.tint(np.maximum(ribs, -60 * bony), CARTILAGE_HU)
        ribs = np.maximum(ribs, 60 * bony)
        self._tint_bone(ribs, (slice(None),) * 3, 2.2)
        plate = np.maximum(np.abs(thorax.cavity - 9) - 5.5, np.abs(x) - 16)
        plate = np.maximum(np.maximum(plate, -y), np.abs(z - 28) - 75)
        self._tint_bone(plate, (slice(None),) * 3, 2.5)

    def _paint_belly(self) -> None:
        """Liver on the right, stomach with gas and spleen on the left, bowel below."""
        thorax, rng = self.thorax, self.rng
        inside = np.maximum(thorax.cavity + 3, 3 - thorax.diaphragm)
        liver_hu = rng.uniform(45, 65) + max(0.0, self.blood_hu - 60) * 0.3
        self.canvas.tint(np.maximum(inside - 3, -thorax.diaphragm - 0.5), MUSCLE_HU)
        self.canvas.tint(inside, FAT_HU)
        x, _, z = self.canvas.grid
        for _ in range(14):
            centre = rng.uniform((-90, -20, -260), (90, 75, -130))
            self._paint_loop(centre, rng.uniform(14, 28, 3), inside, rng.uniform(-0.2, 2.5))
        slant = 0.85 * (-x) + 0.5 * (-z - 150) - 25 + 6 * thorax.waves()
        self.canvas.tint(np.maximum(inside, slant.astype(np.float32)), liver_hu)
        self._paint_loop(np.array((-52.0, 18, -98)), rng.uniform(28, 48, 3), inside, rng.uniform(-0.4, 1.5))
        spleen = random_blob(rng, np.array((-92.0, -38, -112)), np.array((26.0, 44, 45)), 0.08)
        box, distance = thorax.seen(spleen.centre_mm, spleen.reach_mm, spleen.distance)
        self.canvas.tint(np.maximum(distance, inside[box]), liver_hu - 6, box)

    def _paint_loop(self, centre_mm: Floats, half_mm: Floats, inside: Volume, level: float) -> None:
        """Stomach or bowel with fluid, and gas above a level in parts of its depth."""
        loop = random_blob(self.rng, centre_mm, half_mm, 0.1)
        box, distance = self.thorax.seen(loop.centre_mm, loop.reach_mm, loop.distance)
        distance = np.maximum(distance, inside[box])
        self.canvas.tint(distance, MUSCLE_HU, box)
        self.canvas.tint(distance + 3, self.rng.uniform(5, 60), box)
        gas_from = np.float32(centre_mm[1] + level * half_mm[1])
        self.canvas.tint(np.maximum(distance + 3, gas_from - self.canvas.grid.part(box).y), GAS_HU, box)

    def _paint_middle(self) -> None:
        """Heart, great vessels, gullet, and strands and nodes in the fat between the lungs."""
        thorax = self.thorax
        nodes = np.maximum(4 * (0.9 - thorax.waves(12)), thorax.cavity + 2)
        self.canvas.tint(np.maximum(nodes, thorax.between + 2), 35.0)
        box, heart = thorax.seen(thorax.heart.centre_mm, thorax.heart.reach_mm, thorax.heart.distance)
        heart = np.maximum(heart, thorax.diaphragm[box] + 3)
        self.canvas.tint(heart, MUSCLE_HU + 0.25 * (self.blood_hu - MUSCLE_HU), box)
        self.canvas.tint(np.maximum(heart + 10, 4 * np.abs(thorax.waves(5)[box]) - 3), self.blood_hu, box)
        for start, end, radius in thorax.vessels:
            box, distance = thorax.rod(start, end, radius)
            self.canvas.tint(distance, self.blood_hu * self.rng.uniform(0.9, 1.05), box)
        gullet = np.array((-4.0, -34, 0)) + self.rng.normal(0, 2, 3)
        box, distance = thorax.rod(gullet + np.array((0, 0, -70)), gullet + np.array((4, 2, 200)), 7.0)
        self.canvas.tint(distance, 35.0, box)
        if self.rng.uniform() < 0.4:
            self.canvas.tint(distance + 4.5, GAS_HU, box)

    def _paint_spine(self) -> None:
        """Vertebrae with discs, the canal behind them, their processes, and the muscles of the back."""
        grid, thorax = self.canvas.grid, self.thorax
        body, pitch = thorax.spine(grid), np.float32(self.rng.uniform(24, 29))
        height = np.abs((grid.z + np.float32(self.rng.uniform(0, pitch))) % pitch - pitch / 2)
        before = thorax.before_spine(grid)
        self.canvas.tint(np.maximum(np.maximum(thorax.between + 1, before + 4), thorax.shell), MUSCLE_HU)
        self._tint_bone(body, (slice(None),) * 3, 2.5)
        self.canvas.tint(np.maximum(body, height - 3), DISC_HU)
        arch = np.maximum(np.hypot(grid.x, before + 24) - 14, height * -1 + 3)
        process = np.maximum(np.maximum(np.abs(grid.x) - 3.5, np.abs(before + 46) - 14), 5 - height)
        wings = np.maximum(np.abs(before + 26 + 0.3 * np.abs(grid.x)) - 5, np.abs(grid.x) - 32)
        wings = np.maximum(wings, 7.5 - height)
        for part in (arch, process, wings):
            self._tint_bone(part, (slice(None),) * 3, 3.0)
        self.canvas.tint(np.hypot(grid.x, before + 24) - 9, 30.0)
