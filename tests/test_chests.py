"""Phantoms of the chest, the painter of opacities, and data sets of both."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.ndimage import label as components

from beyond2d.checks import InputError
from beyond2d.phantoms import ChestPhantom, ChestSpec, chest_phantom, paint_opacities
from beyond2d.phantoms.bronchi import grow_tree, thicker_than, together

VIEW_MM = (380.0, 380.0, 300.0)
SIZE = (80, 80, 64)
SEEDS = range(4)
HEALTHY, INFECTED = 1, 2


def spec_of(size: tuple[int, int, int] = SIZE, **more: Any) -> ChestSpec:
    """Voxels for the usual field of view."""
    return ChestSpec(size, tuple(view / length for view, length in zip(VIEW_MM, size, strict=True)), **more)


@cache
def phantom_of(seed: int, size: tuple[int, int, int] = SIZE, lesions: bool | None = None) -> ChestPhantom:
    return chest_phantom(seed, spec_of(size, lesions=lesions, contrast=0.0))


def litres(mask: np.ndarray) -> float:
    return float(mask.mean() * np.prod(VIEW_MM) / 1e6)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


# Phantoms


@pytest.mark.parametrize("seed", SEEDS)
def test_there_is_a_lung_on_each_side(seed: int) -> None:
    volume, label = phantom_of(seed)
    assert (volume.dtype, label.dtype) == (np.float32, np.uint8)
    assert volume.shape == label.shape == SIZE
    lungs, _ = components(label > 0)
    sizes = np.bincount(lungs.ravel())[1:]
    two = np.argsort(sizes)[::-1][:2]
    assert sizes[two].sum() > 0.97 * sizes.sum()
    assert sizes[two[1]] > 0.5 * sizes[two[0]]
    middles = sorted(np.argwhere(lungs == lung + 1)[:, 0].mean() for lung in two)
    assert middles[0] < 0.42 * SIZE[0] < 0.58 * SIZE[0] < middles[1]
    assert 2 < litres(label > 0) < 7


@pytest.mark.parametrize("seed", SEEDS)
def test_tissues_have_their_hu(seed: int) -> None:
    volume, label = phantom_of(seed, lesions=False)
    assert -900 < np.median(volume[label == HEALTHY]) < -770
    assert np.quantile(volume[label == HEALTHY], 0.99) > -600  # vessels are part of the lung
    assert volume[:, -3:].mean() < -980  # air in front of the body
    body = gaussian_filter(volume, 1) > -300
    assert 0.15 < body.mean() < 0.65
    assert ((volume > -130) & (volume < -70)).sum() > 0.05 * body.sum()  # fat
    assert ((volume > 20) & (volume < 80)).sum() > 0.15 * body.sum()  # muscle
    assert (volume > 200).sum() > 0.005 * body.sum()  # bone
    assert volume.min() >= -1024
    assert volume.max() < 1500


def test_the_heart_makes_room_on_the_left_and_the_liver_rises_on_the_right() -> None:
    right = sum(litres(phantom_of(seed).label[40:] > 0) for seed in SEEDS)
    left = sum(litres(phantom_of(seed).label[:40] > 0) for seed in SEEDS)
    assert left < right
    for seed in SEEDS:
        columns = (phantom_of(seed, lesions=False).label > 0).any(axis=1)
        lowest = [np.median(part[part.any(axis=1)].argmax(axis=1)) for part in (columns[:30], columns[50:])]
        assert lowest[0] <= lowest[1] + 3


def test_infected_lung_is_denser() -> None:
    found = 0
    for seed in SEEDS:
        volume, label = phantom_of(seed, lesions=True)
        proportion = litres(label == INFECTED) / litres(label > 0)
        assert 0.003 < proportion < 0.48
        found += proportion > 0.02
        assert np.median(volume[label == INFECTED]) > np.median(volume[label == HEALTHY]) + 60
    assert found


def test_infection_lies_in_the_lungs_of_the_healthy() -> None:
    healthy, infected = phantom_of(1, lesions=False), phantom_of(1, lesions=True)
    assert set(np.unique(healthy.label)) == {0, HEALTHY}
    assert set(np.unique(infected.label)) == {0, HEALTHY, INFECTED}
    np.testing.assert_array_equal(healthy.label > 0, infected.label > 0)
    away = ~binary_dilation(infected.label > 0, iterations=5)
    assert np.abs(healthy.volume - infected.volume)[away].mean() < 2  # the noise is the same, too


def test_some_patients_are_healthy() -> None:
    size = (24, 24, 20)
    ill = [(phantom_of(seed, size).label == INFECTED).any() for seed in range(10)]
    assert 0.3 < np.mean(ill) < 0.97


@pytest.mark.parametrize("size", [(128, 128, 96), (80, 80, 24), (96, 64, 48)])
def test_anatomy_belongs_to_the_seed_and_the_field_of_view(size: tuple[int, int, int]) -> None:
    common = (16, 16, 8)

    def shares(label: np.ndarray) -> np.ndarray:
        """Parts of the common, coarse voxels."""
        blocks = [step for n, c in zip(label.shape, common, strict=True) for step in (c, n // c)]
        return label.reshape(blocks).mean(axis=(1, 3, 5))

    for seed in (2, 10):
        usual, other = phantom_of(seed, lesions=True).label, phantom_of(seed, size, lesions=True).label
        assert np.abs(shares(usual > 0) - shares(other > 0)).sum() < 0.06 * shares(usual > 0).sum()
        infected = [shares(label == INFECTED) for label in (usual, other)]
        assert np.minimum(*infected).sum() > 0.8 * np.mean(infected) * infected[0].size
        assert litres(other == INFECTED) == pytest.approx(litres(usual == INFECTED), rel=0.2)
    assert dice(phantom_of(2).label > 0, phantom_of(3).label > 0) < 0.93


def test_a_seed_makes_one_phantom() -> None:
    first, again = (chest_phantom(2, spec_of((32, 32, 24))) for _ in range(2))
    np.testing.assert_array_equal(first.volume, again.volume)
    np.testing.assert_array_equal(first.label, again.label)


def test_contrast_medium_brightens_the_heart_and_no_lung() -> None:
    native, bright = (chest_phantom(3, spec_of(lesions=False, contrast=hu)) for hu in (0.0, 250.0))
    np.testing.assert_array_equal(native.label, bright.label)
    heart = (slice(32, 48), slice(40, 52), slice(20, 28))
    assert bright.volume[heart].mean() > native.volume[heart].mean() + 60
    lung = native.label > 0
    assert np.median(bright.volume[lung]) == pytest.approx(np.median(native.volume[lung]), abs=15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": (8, 32, 32)}, "size must be a whole number of at least 16, got 8"),
        ({"spacing_mm": (1, 1, 0)}, "spacing_mm must be three lengths above 0"),
        ({"lesions": "many"}, "lesions must be true, false or none, got 'many'"),
        ({"contrast": 900.0}, "contrast must be between 0 and 400 HU, got 900"),
        ({"contrast": float("nan")}, "contrast must be between 0 and 400 HU, got nan"),
    ],
)
def test_bad_specs(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ChestSpec(**{"size": (32, 32, 32), "spacing_mm": (4.0, 4.0, 4.0), **arguments})


# Trees


def test_a_tree_reaches_every_point_and_only_becomes_thinner() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(20, 80, (200, 3))
    tree = grow_tree(rng, np.zeros(3), points, 0.4, 6.0)
    gaps = np.linalg.norm(tree.points_mm[None] - points[:, None], axis=2).min(axis=1)
    assert gaps.max() < 1e-6
    grown = tree.parents >= 0
    assert (tree.radii_mm[grown] <= tree.radii_mm[tree.parents[grown]] + 1e-9).all()
    assert (tree.radii_mm.min(), tree.radii_mm.max()) == (pytest.approx(0.4), pytest.approx(6.0))
    two = together([tree, tree])
    assert (two.parents < np.arange(len(two.parents))).all()
    thick = thicker_than(two, 2.0)
    assert thick.radii_mm.min() >= 2
    assert (thick.parents < 0).sum() == 2


# Opacities


def cylinder(spacing_mm: tuple[float, float, float], view_mm: float = 120.0) -> tuple[np.ndarray, np.ndarray]:
    """A round lung with some tubes of blood in soft tissue, and its mask."""
    x, y, _ = np.meshgrid(*((np.arange(round(view_mm / s)) + 0.5) * s - view_mm / 2 for s in spacing_mm), indexing="ij")
    lung = np.hypot(x, y) < 50
    blood = np.hypot(x % 20 - 10, y % 20 - 10) < 2
    return np.where(lung, np.where(blood, 50.0, -850.0), 40.0).astype(np.float32), lung


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (1.5, 2.0, 7.5)])
@pytest.mark.parametrize("proportion", [0.005, 0.05, 0.3, 0.8])
def test_the_painted_part_is_as_large_as_asked_for(spacing_mm: tuple[float, float, float], proportion: float) -> None:
    hu, lung = cylinder(spacing_mm)
    before = hu.copy()
    for seed in range(3):
        painted, infected = paint_opacities(np.random.default_rng(seed), hu, lung, spacing_mm, proportion)
        assert (painted.dtype, infected.dtype) == (np.float32, np.bool_)
        assert infected.sum() == pytest.approx(proportion * lung.sum(), rel=0.2)
        assert not (infected & ~lung).any()
        assert (painted >= hu).all()
        np.testing.assert_array_equal(painted[~lung], hu[~lung])
    np.testing.assert_array_equal(hu, before)


def test_the_mask_is_what_became_denser() -> None:
    hu, lung = cylinder((2.0, 2.0, 2.0))
    air = lung & (hu < -800)
    for seed in range(4):
        painted, infected = paint_opacities(np.random.default_rng(seed), hu, lung, (2.0, 2.0, 2.0), 0.15)
        rise = painted - hu
        assert rise[infected & air].min() > 15
        assert np.median(rise[infected & air]) > 80
        reach = binary_dilation(infected, iterations=4)  # beyond the soft edges nothing changes
        assert rise[~reach].mean() < 0.02 * rise[infected].mean()
        blood = infected & (hu > 0)
        assert blood.any()  # vessels belong to a lesion and stay as bright as they were
        np.testing.assert_array_equal(painted[blood], hu[blood])


def test_there_are_ground_glass_and_consolidation() -> None:
    hu, lung = cylinder((2.0, 2.0, 2.0))
    infected_hu = []
    for seed in range(12):
        painted, infected = paint_opacities(np.random.default_rng(seed), hu, lung, (2.0, 2.0, 2.0), 0.2)
        infected_hu.append(painted[infected & (hu < -800)])
    together_hu = np.concatenate(infected_hu)
    assert ((together_hu > -750) & (together_hu < -350)).mean() > 0.4
    assert 0.02 < (together_hu > -150).mean() < 0.5
    assert max(np.median(values) for values in infected_hu) > min(np.median(values) for values in infected_hu) + 100


def test_the_back_is_hit_more_often_than_the_front() -> None:
    hu, lung = cylinder((3.0, 3.0, 3.0))
    masks = [paint_opacities(np.random.default_rng(s), hu, lung, (3.0, 3.0, 3.0), 0.1)[1] for s in range(12)]
    front = sum(mask[:, 20:].sum() for mask in masks)
    assert sum(mask.sum() for mask in masks) > 2.2 * front


def test_no_dark_rim_is_left_at_the_border_of_the_lung() -> None:
    hu, lung = cylinder((2.0, 2.0, 2.0))
    hu = np.where(binary_dilation(lung) & ~lung, -400, hu).astype(np.float32)  # partly air
    painted, infected = paint_opacities(np.random.default_rng(5), hu, lung, (2.0, 2.0, 2.0), 0.6)
    rim = hu == -400
    near = rim & binary_dilation(infected)
    assert (painted[near] > -400).mean() > 0.95
    np.testing.assert_array_equal(painted[~lung & ~rim], hu[~lung & ~rim])
    assert not (infected & rim).any()


def test_nothing_is_painted_where_nothing_is_asked_for() -> None:
    hu, lung = cylinder((3.0, 3.0, 3.0))
    painted, infected = paint_opacities(np.random.default_rng(0), hu, lung, (3.0, 3.0, 3.0), 0.0)
    np.testing.assert_array_equal(painted, hu)
    assert painted is not hu
    assert not infected.any()


def test_a_lung_at_the_end_of_the_volume_can_be_painted() -> None:
    lung = np.zeros((20, 20, 6), bool)
    lung[12:, :, 3:4] = True
    painted, infected = paint_opacities(
        np.random.default_rng(0), np.full(lung.shape, -850, np.float32), lung.astype(np.uint8), (2.0, 2.0, 5.0), 0.3
    )
    assert infected.sum() == pytest.approx(0.3 * lung.sum(), rel=0.2)
    assert np.isfinite(painted).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"hu": np.zeros((4, 4), np.float32)}, "hu: expected a 3D volume, got 2 dimensions"),
        ({"lung_mask": np.ones((4, 4, 5), bool)}, "lung_mask must have the shape of hu, 4 x 4 x 4, got 4 x 4 x 5"),
        ({"lung_mask": np.zeros((4, 4, 4), bool)}, "lung_mask must hold lung, got none"),
        ({"hu": np.full((4, 4, 4), np.nan, np.float32)}, "hu must be finite, got 64 voxels that are NaN or infinite"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm must be three lengths above 0"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "spacing_mm must be three lengths above 0"),
        ({"proportion": 0.9}, "proportion must be between 0 and 0.8, got 0.9"),
        ({"proportion": -0.1}, "proportion must be between 0 and 0.8, got -0.1"),
        ({"proportion": float("nan")}, "proportion must be a number, got nan"),
    ],
)
def test_bad_arguments_paint_nothing(arguments: dict[str, Any], words: str) -> None:
    usual: dict[str, Any] = {
        "hu": np.zeros((4, 4, 4), np.float32),
        "lung_mask": np.ones((4, 4, 4), bool),
        "spacing_mm": (1.0, 1.0, 1.0),
        "proportion": 0.1,
    }
    with pytest.raises(InputError, match=words):
        paint_opacities(np.random.default_rng(0), **{**usual, **arguments})
