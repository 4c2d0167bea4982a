"""Phantoms of the abdomen, and data sets of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import label as components

from beyond2d.checks import InputError
from beyond2d.phantoms import Organ, OrganSpec, organ_phantom
from beyond2d.phantoms.shapes import Blob, Canvas, grid_around, random_waves, wave_field

VIEW_MM = 360.0
SEEDS = range(4)


def spec_of(size: int = 48, slices: int | None = None, **more: Any) -> OrganSpec:
    """Voxels for the usual field of view."""
    shape = (size, size, slices or size)
    return OrganSpec(shape, tuple(VIEW_MM / length for length in shape), **more)


def volumes_ml(label: np.ndarray) -> np.ndarray:
    voxel_ml = VIEW_MM**3 / label.size / 1000
    return np.array([(label == organ).sum() * voxel_ml for organ in Organ])


def dice(first: np.ndarray, second: np.ndarray, organ: int) -> float:
    a, b = first == organ, second == organ
    return 2 * (a & b).sum() / (a.sum() + b.sum())


# Shapes


def ball(centre_mm: tuple[float, ...], radius_mm: float) -> Blob:
    return Blob(np.array(centre_mm), np.full(3, radius_mm), np.eye(3), np.zeros((4, 4, 4), np.float32))


def test_the_distance_of_a_ball_is_exact() -> None:
    grid = grid_around(np.zeros(3), np.array([20, 24, 28]), np.array([1.0, 1.5, 0.5]))
    distance = ball((1.0, 2.0, -1.0), 6.0).distance(grid)
    expected = np.sqrt((grid.x - 1) ** 2 + (grid.y - 2) ** 2 + (grid.z + 1) ** 2) - 6
    np.testing.assert_allclose(distance, expected, atol=1e-4)


def test_a_painted_ball_has_its_volume_and_covers_what_was_there() -> None:
    canvas = Canvas(grid_around(np.zeros(3), np.full(3, 30), np.ones(3)), 1.0, 2, air_hu=-1000)
    for organ, (centre, radius) in enumerate([((0, 0, 0), 9.0), ((6, 0, 0), 6.0)]):
        blob = ball(centre, radius)
        box = canvas.grid.box(blob.centre_mm, blob.reach_mm)
        canvas.paint(blob.distance(canvas.grid.part(box)), 100.0 * (organ + 1), box, organ)
    assert canvas.shares[1].sum() == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.01)
    assert canvas.shares.sum(axis=0).max() <= 1 + 1e-6
    assert canvas.shares[0].sum() < 4 / 3 * np.pi * 9**3
    assert canvas.volume[21, 15, 15] == 200
    assert canvas.volume[8, 15, 15] == 100
    assert canvas.volume[0, 0, 0] == -1000


def test_waves_are_fields_of_standard_deviation_one() -> None:
    grid = grid_around(np.zeros(3), np.full(3, 24), np.ones(3))
    fields = [
        wave_field(random_waves(np.random.default_rng(i)), grid, np.zeros(3), np.full(3, 12.0)) for i in range(40)
    ]
    assert np.std(fields) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(fields)) < 0.05


# Phantoms


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_have_their_size_and_side(seed: int) -> None:
    volume, label = organ_phantom(seed, spec_of())
    assert (volume.dtype, label.dtype) == (np.float32, np.uint8)
    assert volume.shape == label.shape == (48, 48, 48)
    sizes = volumes_ml(label)
    assert (sizes > [1000, 60, 200]).all()
    assert (sizes < [3200, 600, 550]).all()
    right = {organ: np.argwhere(label == organ)[:, 0] for organ in Organ}
    assert right[Organ.LIVER].mean() > 26  # X grows to the right
    assert right[Organ.SPLEEN].max() < 20
    assert (right[Organ.KIDNEYS] > 24).any()
    assert (right[Organ.KIDNEYS] < 24).any()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_liver_is_one_piece_and_the_kidneys_are_two(seed: int) -> None:
    label = organ_phantom(seed, spec_of(64)).label
    sizes = [np.sort(np.bincount(components(label == organ)[0].ravel())[1:])[::-1] for organ in Organ]
    assert sizes[0][1:].sum() < 0.02 * sizes[0][0]
    assert sizes[1][1:].sum() < 0.02 * sizes[1][0]
    assert sizes[2][1] > 0.5 * sizes[2][0]
    assert sizes[2][2:].sum() < 0.02 * sizes[2][0]


def test_brightness_follows_the_contrast_medium() -> None:
    native, arterial, portal = (organ_phantom(3, spec_of(phase=phase, noise_hu=0.0)) for phase in (0, 1, 2))
    np.testing.assert_array_equal(native.label, portal.label)

    def mean_hu(phantom: Any, organ: Organ) -> float:
        return float(np.median(phantom.volume[phantom.label == organ]))

    for organ in Organ:
        assert 20 < mean_hu(native, organ) < 90
        assert mean_hu(portal, organ) > mean_hu(native, organ) + 30
    assert mean_hu(arterial, Organ.KIDNEYS) > mean_hu(arterial, Organ.LIVER) + 30


def test_there_is_air_fat_and_bone_around() -> None:
    volume, label = organ_phantom(0, spec_of(64, noise_hu=0.0))
    assert volume[0, 0].max() < -950
    assert ((volume > -110) & (volume < -90))[label == 0].mean() > 0.05
    assert volume.max() > 350
    assert volume.min() >= -1024


def test_anatomy_belongs_to_the_seed_and_the_field_of_view() -> None:
    fine = organ_phantom(5, spec_of(96)).label
    coarse = organ_phantom(5, spec_of(48)).label.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    thick = organ_phantom(5, spec_of(96, slices=32)).label.repeat(3, 2)
    other = organ_phantom(6, spec_of(96)).label
    for organ in Organ:
        assert dice(fine, coarse, organ) > 0.88
        assert dice(fine, thick, organ) > 0.92
        assert dice(fine, other, organ) < 0.9


def test_a_seed_makes_one_phantom() -> None:
    first, again = (organ_phantom(2, spec_of(32)) for _ in range(2))
    np.testing.assert_array_equal(first.volume, again.volume)
    np.testing.assert_array_equal(first.label, again.label)


def test_noise_has_its_strength() -> None:
    clean, noisy = (organ_phantom(2, spec_of(noise_hu=strength)) for strength in (0.0, 30.0))
    inside = clean.volume > -900  # in air the scale ends
    assert np.std((noisy.volume - clean.volume)[inside]) == pytest.approx(30, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": (8, 32, 32)}, "size must be a whole number of at least 16, got 8"),
        ({"spacing_mm": (1, 1, 0)}, "spacing_mm must be three lengths above 0"),
        ({"phase": 4}, "phase must be between 0 and 3, got 4"),
        ({"phase": float("nan")}, "phase must be between 0 and 3, got nan"),
        ({"noise_hu": -1.0}, "noise_hu must be 0 or more, got -1"),
        ({"blur_mm": float("inf")}, "blur_mm must be 0 or more, got inf"),
    ],
)
def test_bad_specs(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        OrganSpec(**{"size": (32, 32, 32), "spacing_mm": (4.0, 4.0, 4.0), **arguments})
