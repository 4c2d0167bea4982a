"""Proportions of infected lung against literal counts, over regions, thresholds, estimates and time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_lungs import body, dice, ellipsoid, load, places

from beyond2d.checks import InputError
from beyond2d.lungs import lung_mask, padding_mask
from beyond2d.proportions import (
    HISTOGRAM_EDGES,
    SweepStep,
    by_region,
    choose_step,
    cut_share,
    growth,
    histogram,
    infection_sweep,
    interval,
    lung_sweep,
    lung_volumes_ml,
    proportion_of,
    reach_beyond,
    thirds,
)

SPACING_MM = (2.0, 2.5, 4.0)


def boxes():
    """A left lung of 8 x 10 x 12 voxels and a right one of 8 x 10 x 9 that begins higher."""
    lung = np.zeros((30, 16, 20), bool)
    lung[3:11, 3:13, 2:14] = True
    lung[19:27, 3:13, 8:17] = True
    return lung


def test_a_proportion_counts_voxels_of_the_lung_only():
    lung = boxes()
    infection = np.zeros_like(lung)
    infection[19:27, 3:8, 8:17] = True
    assert proportion_of(infection, lung) == 360 / 1680
    infection[:3] = True
    assert proportion_of(infection, lung) == 360 / 1680
    assert proportion_of(lung, lung) == 1
    assert math.isnan(proportion_of(infection, np.zeros_like(lung)))


def test_thirds_are_of_each_lungs_own_height():
    labels = thirds(boxes(), SPACING_MM)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels[5, 5, 2:14], [3] * 4 + [2] * 4 + [1] * 4)
    np.testing.assert_array_equal(labels[22, 5, 8:17], [3] * 3 + [2] * 3 + [1] * 3)
    np.testing.assert_array_equal(labels > 0, boxes())


@pytest.mark.parametrize(("height", "parts"), [(1, [2]), (2, [3, 1]), (4, [3, 2, 2, 1]), (5, [3, 3, 2, 1, 1])])
def test_a_slice_is_in_the_third_that_its_middle_is_in(height, parts):
    lung = np.zeros((12, 6, 8), bool)
    lung[1:4, 1:5, 1 : 1 + height] = True
    np.testing.assert_array_equal(thirds(lung, (5.0, 5.0, 5.0))[2, 2, 1 : 1 + height], parts)


def test_regions_add_up_and_say_where_the_infection_is():
    lung, voxel_ml = boxes(), 0.02
    infection = np.zeros_like(lung)
    infection[19:27, 3:13, 8:11] = True  # the lower third of the right lung, whole
    infection[3:11, 3:8, 10:14] = True  # half of the left lung's upper third
    infection[:, :2] = True  # outside
    regions = by_region(infection, lung, SPACING_MM)
    assert len(regions) == 9
    np.testing.assert_allclose(regions["overall"], [1680 * voxel_ml, 400 * voxel_ml, 400 / 1680])
    np.testing.assert_allclose(regions["right"], [720 * voxel_ml, 240 * voxel_ml, 1 / 3])
    np.testing.assert_allclose(regions["left"], [960 * voxel_ml, 160 * voxel_ml, 1 / 6])
    assert {name: region.proportion for name, region in regions.items() if "_" in name} == {
        "right_upper": 0,
        "right_middle": 0,
        "right_lower": 1,
        "left_upper": 0.5,
        "left_middle": 0,
        "left_lower": 0,
    }


def test_a_missing_lung_has_no_proportion():
    lung = boxes()
    lung[:15] = False
    regions = by_region(lung, lung, SPACING_MM)
    assert regions["left"][:2] == (0, 0)
    assert math.isnan(regions["left"].proportion)
    assert math.isnan(regions["left_lower"].proportion)
    assert regions["right"].proportion == regions["overall"].proportion == 1
    nothing = by_region(lung, np.zeros_like(lung), SPACING_MM)
    assert all(math.isnan(region.proportion) and region.infection_ml == 0 for region in nothing.values())


def test_volumes_of_each_lung():
    volumes = lung_volumes_ml(boxes(), SPACING_MM)
    np.testing.assert_allclose([volumes["right"], volumes["left"], volumes["both"]], [14.4, 19.2, 33.6])
    assert lung_volumes_ml(np.zeros((3, 4, 5), bool), SPACING_MM) == {"right": 0, "left": 0, "both": 0}


def test_the_histogram_has_documented_bins():
    hu = np.array([-2000, -900, -750, -301, -300, 49, 50, 3000, 0, 0], np.float32).reshape(10, 1, 1)
    infection = np.ones(hu.shape, bool)
    infection[8:] = False
    found = histogram(hu, infection)
    assert found["shares"] == {"aerated": 0.25, "ground_glass": 0.25, "consolidation": 0.25, "denser": 0.25}
    assert len(found["edges"]) == len(found["counts"]) + 1 == len(HISTOGRAM_EDGES)
    counts = dict(zip(found["edges"], found["counts"], strict=False))
    assert {edge: count for edge, count in counts.items() if count} == {
        -1000: 1,
        -900: 1,
        -750: 1,
        -350: 1,
        -300: 1,
        0: 1,
        50: 1,
        150: 1,
    }
    empty = histogram(hu, np.zeros(hu.shape, bool))
    assert all(math.isnan(share) for share in empty["shares"].values())
    assert sum(empty["counts"]) == 0


def test_an_interval_of_few_estimates_is_their_range():
    assert interval([0.2, 0.3, 0.25]) == (0.25, 0.2, 0.3)
    assert interval([0.2, math.nan, 0.3], central=0.4) == (0.4, 0.2, 0.4)
    assert interval([0.2, 0.3], central=0.1) == (0.1, 0.1, 0.3)
    assert interval([-0.1, 1.2]) == (0.5, 0, 1)
    assert interval([0.7]) == (0.7, 0.7, 0.7)
    assert np.isnan(interval([])).all()


def test_an_interval_reaches_further_by_what_was_found_on_patients():
    middle, low, high = interval([0.2, 0.3], reach=0.05)
    assert middle == 0.25
    assert low == pytest.approx(0.201 * math.exp(-0.05) - 0.001)
    assert high == pytest.approx(0.301 * math.exp(0.05) - 0.001)
    assert interval([0.0, 1.0], reach=0.05) == (0.5, 0, 1)
    assert interval([0.0], reach=0.05).high == pytest.approx(0.001 * math.exp(0.05) - 0.001)
    assert np.isnan(interval([], reach=0.05)).all()


def test_the_reach_holds_the_share_of_truths_that_was_asked_for():
    rng = np.random.default_rng(0)
    true = rng.uniform(0.01, 0.4, 4000)
    found = true * np.exp(rng.normal(0, 0.2, true.size))
    bounds = [(value, value) for value in found]
    reach = reach_beyond(bounds[:2000], true[:2000], level=0.9)
    assert reach == pytest.approx(1.645 * 0.2, rel=0.1)
    rest = zip(bounds[2000:], true[2000:], strict=True)
    inside = [interval(pair, reach=reach).low <= truth <= interval(pair, reach=reach).high for pair, truth in rest]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.03)


def test_a_reach_is_never_negative_and_needs_enough_patients():
    assert reach_beyond([(0.1, 0.5)] * 9, [0.3] * 9, level=0.9) == 0
    with pytest.raises(InputError, match=r"at least 9 patients for a level of 0\.9, got 8"):
        reach_beyond([(0.1, 0.5)] * 8, [0.3] * 8, level=0.9)
    with pytest.raises(InputError, match="level must be above 0 and below 1, got 1"):
        reach_beyond([(0.1, 0.5)] * 9, [0.3] * 9, level=1)


def test_an_interval_of_many_estimates_leaves_out_their_tails():
    samples = np.linspace(0, 1, 101)
    np.testing.assert_allclose(interval(samples), (0.5, 0.025, 0.975))
    np.testing.assert_allclose(interval(samples, level=0.5), (0.5, 0.25, 0.75))
    assert interval(samples, central=0.99).high == 0.99


@pytest.mark.parametrize(
    ("earlier", "later", "hours", "relative", "rapid"),
    [
        (0.1, 0.2, 36, 1.0, True),
        (0.1, 0.14, 48, 0.4, False),
        (0.5, 0.75, 24, 0.5, False),  # just 50 % is not more than 50 %
        (0.1, 0.2, 12, 1.0, True),
        (0.1, 0.14, 12, 0.4, None),
        (0.1, 0.2, 72, 1.0, None),
        (0.1, 0.2, None, 1.0, None),
        (0.4, 0.1, 30, -0.75, False),
        (0.0, 0.1, 30, math.inf, True),
        (0.0, 0.0, 30, 0.0, False),
    ],
)
def test_growth_and_the_rule_of_severe_cases(earlier, later, hours, relative, rapid):
    found = growth(earlier, later, hours)
    np.testing.assert_allclose([found["absolute"], found["relative"]], [later - earlier, relative])
    assert found["rapid"] is rapid


def test_growth_of_what_is_unknown_is_unknown():
    found = growth(math.nan, 0.3, 30)
    assert math.isnan(found["absolute"])
    assert math.isnan(found["relative"])
    assert found["rapid"] is None


def test_the_best_threshold_is_that_of_the_best_dice():
    hu, right, left = body((4.0, 4.0, 4.0))
    sweep = lung_sweep(hu, (4.0, 4.0, 4.0), right | left, [-900, -500, 100])
    assert [step.threshold for step in sweep.steps] == [-900, -500, 100]
    mask = lung_mask(hu, (4.0, 4.0, 4.0), -500)
    assert sweep.best is sweep.steps[1]
    assert sweep.best.dice == pytest.approx(dice(mask, right | left))
    assert sweep.best.volume_ml == pytest.approx(mask.sum() * 0.064)


def test_without_a_reference_the_longest_plateau_is_taken():
    hu = body((4.0, 4.0, 4.0))[0]
    sweep = lung_sweep(hu, (4.0, 4.0, 4.0))
    assert len(sweep.steps) == 17
    assert -700 <= sweep.best.threshold <= -100
    assert all(step.dice is None for step in sweep.steps)
    volumes = [10, 50, 51, 51.5, 90, 91, 92, 92.5, 93, 200]
    steps = [SweepStep(-100.0 + 10 * index, volume) for index, volume in enumerate(volumes)]
    assert choose_step(steps).volume_ml == 92
    steep = [SweepStep(float(index), volume) for index, volume in enumerate([0, 0, 10, 20, 22, 40])]
    assert choose_step(steep).volume_ml == 20
    assert choose_step([SweepStep(float(index), 0.0) for index in range(5)]).threshold == 2


def test_infection_is_the_lung_less_its_aerated_part():
    hu, right, left = body((4.0, 4.0, 4.0), noise=0)
    spot = np.broadcast_to(ellipsoid(places((4.0, 4.0, 4.0)), (60, 0, 0), (20, 20, 20)), hu.shape)
    hu[spot] = -450
    sweep = infection_sweep(hu, right | left, (4.0, 4.0, 4.0), spot)
    by_threshold = {step.threshold: step for step in sweep.steps}
    assert -850 < sweep.best.threshold <= -450
    assert sweep.best.dice == 1
    assert by_threshold[-450].volume_ml == pytest.approx(spot.sum() * 0.064)
    assert by_threshold[-400].volume_ml == 0
    assert by_threshold[-400].dice == 0
    assert infection_sweep(hu, right | left, (4.0, 4.0, 4.0)).best.volume_ml == pytest.approx(spot.sum() * 0.064)


FACES = ("left", "right", "back", "front", "bottom", "top")


@pytest.mark.parametrize("index", range(6))
def test_each_face_that_cuts_a_lung_is_named_with_its_area(index):
    lung = np.zeros((12, 13, 14), bool)
    lung[3:8, 3:9, 3:10] = True
    assert cut_share(lung, SPACING_MM) == {}
    axis, far = divmod(index, 2)
    edge = np.moveaxis(lung, axis, 0)
    edge[-4:] = edge[5] if far else False
    edge[:4] = False if far else edge[5]
    section = np.moveaxis(lung, axis, 0)[-1 if far else 0].sum()
    area_mm2 = section * np.prod(SPACING_MM) / SPACING_MM[axis]
    assert area_mm2 > 0
    assert cut_share(lung, SPACING_MM) == {FACES[index]: pytest.approx(area_mm2)}


def test_a_round_field_cuts_lungs_too():
    hu = body((4.0, 4.0, 4.0))[0]
    whole = lung_mask(hu, (4.0, 4.0, 4.0))
    assert cut_share(whole, (4.0, 4.0, 4.0), padding_mask(hu)) == {}
    grid = places((4.0, 4.0, 4.0))
    hu[np.broadcast_to(grid[0] ** 2 + grid[1] ** 2 > 95**2, hu.shape)] = -3024
    cut = cut_share(lung_mask(hu, (4.0, 4.0, 4.0)), (4.0, 4.0, 4.0), padding_mask(hu))
    assert list(cut) == ["field"]
    assert cut["field"] > 5000


def test_what_is_wrong_is_said():
    lung = boxes()
    with pytest.raises(InputError, match=r"infection must have the shape of lung, 30 x 16 x 20, got 29 x 16 x 20"):
        proportion_of(lung[1:], lung)
    with pytest.raises(InputError, match=r"reference must have the shape of hu"):
        infection_sweep(lung * 1.0, lung, SPACING_MM, lung[1:])
    with pytest.raises(InputError, match=r"thresholds must hold at least one finite number in HU, got \[\]"):
        lung_sweep(lung * 1.0, SPACING_MM, thresholds=[])
    with pytest.raises(InputError, match=r"later must be a proportion between 0 and 1, got 20"):
        growth(0.1, 20)
    with pytest.raises(InputError, match=r"hours must be above 0, got -5"):
        growth(0.1, 0.2, -5)
    with pytest.raises(InputError, match=r"level must be above 0 and below 1, got 95"):
        interval([0.1], level=95)


@pytest.mark.real_data
def test_a_real_field_of_view_that_cuts_the_lungs_is_noticed(real_data):
    hu, spacing_mm = load(real_data / "chest" / "cta_aorta_1p5mm.nii.gz")
    cut = cut_share(lung_mask(hu, spacing_mm), spacing_mm, padding_mask(hu))
    assert {"left", "right", "top"} <= set(cut)
    assert min(cut["left"], cut["right"]) > 10_000


@pytest.mark.real_data
def test_a_real_whole_chest_is_not_cut(real_data):
    hu, spacing_mm = load(real_data / "chest" / "chest_ct_2p5mm.nii.gz")
    assert cut_share(lung_mask(hu, spacing_mm), spacing_mm, padding_mask(hu)) == {}
