"""From figures of the cases to a plan, each rule against its plainest case; and networks that MONAI builds from it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from beyond2d.checks import InputError
from beyond2d.planning import (
    BOXES,
    MIN_EDGE,
    SAMPLED_VOXELS,
    case_figures,
    class_places,
    fitting_patch,
    intensity_scheme,
    level_features,
    level_kernels,
    level_strides,
    make_plan,
    mirror_axes,
    target_spacing,
    training_bytes,
)
from beyond2d.readers import plan_text, read_plan
from beyond2d.readers.plans import PLAN_KEYS
from beyond2d.workflow import config_files

LABELS = {0: "background", 1: "organ", 4: "lesion"}


def ball(shape, centre, radius):
    """A ball; centre and radius as shares of the volume's edges."""
    grids = np.meshgrid(*[(np.arange(size) + 0.5) / size for size in shape], indexing="ij")
    return sum((grid - middle) ** 2 for grid, middle in zip(grids, centre, strict=True)) <= radius**2


def figures_of(shape, spacing_mm=(1, 1, 1), channels=1, seed=0):
    """The figures of a case with an organ in the middle and a lesion in it."""
    label = np.where(ball(shape, (0.5,) * 3, 0.3), 1, 0)
    label[ball(shape, (0.5,) * 3, 0.12)] = 4
    image = np.random.default_rng(seed).normal(100, 20, (channels, *shape)).astype(np.float32)
    return case_figures(image, label, spacing_mm)


def test_figures_of_a_case():
    rng = np.random.default_rng(0)
    label = np.zeros((8, 20, 11), np.int16)
    label[1:4, 3:9, 2:5], label[6, 10:19, 7] = 2, 5
    image = rng.normal(size=(2, *label.shape))
    figures = case_figures(image, label, (0.5, 0.6, 3.0))
    assert (figures["shape"], figures["spacing_mm"]) == ((8, 20, 11), (0.5, 0.6, 3.0))
    assert figures["counts"] == {0: label.size - 54 - 9, 2: 54, 5: 9}
    np.testing.assert_array_equal(figures["foreground"], image[:, label > 0])
    assert set(figures["places"]) == {2, 5}
    for value, shares in figures["places"].items():
        literal = np.zeros((BOXES,) * 3)
        places = np.argwhere(label == value).tolist()
        for x, y, z in places:
            literal[x * BOXES // 8, y * BOXES // 20, z * BOXES // 11] += 1 / len(places)
        np.testing.assert_allclose(shares, literal)


def test_a_sample_of_a_large_foreground_keeps_channels_together_and_repeats():
    first = np.random.default_rng(0).normal(size=(24, 24, 24))
    image, label = np.stack([first, first + 1]), np.ones(first.shape, int)
    label[0] = 0
    sample = case_figures(image, label, (1, 1, 1))["foreground"]
    assert sample.shape == (2, SAMPLED_VOXELS)
    np.testing.assert_allclose(sample[1], sample[0] + 1)
    assert np.isin(sample[0], first[1:]).all()
    np.testing.assert_array_equal(sample, case_figures(image, label, (1, 1, 1))["foreground"])
    assert not np.array_equal(sample, case_figures(image, label, (1, 1, 1), seed=1)["foreground"])


def test_a_case_without_foreground_has_figures_too():
    figures = case_figures(np.zeros((1, 4, 4, 4)), np.zeros((4, 4, 4), int), (1, 1, 1))
    assert figures["foreground"].shape == (1, 0)
    assert (figures["counts"], figures["places"]) == ({0: 64}, {})


def test_spacing_is_the_median_of_each_axis():
    spacings = [[1.0, 0.8, 2.0], [1.2, 0.7, 2.5], [3.0, 0.9, 1.0]]
    assert target_spacing(spacings).tolist() == [1.2, 0.8, 2.0]
    assert target_spacing([[1, 1, 3]] * 4 + [[1, 1, 1]]).tolist() == [1, 1, 3]  # three times is not yet much coarser


def test_thick_slices_do_not_set_the_spacing():
    thickness = np.linspace(1, 9, 41)
    spacings = [[0.7, thick, 0.5] for thick in thickness]
    np.testing.assert_allclose(target_spacing(spacings), [0.7, np.percentile(thickness, 10), 0.5])
    finer_than_in_the_plane = [[0.7, 0.5, 0.1]] * 2 + [[0.7, 0.5, 5.0]] * 8
    np.testing.assert_allclose(target_spacing(finer_than_in_the_plane), [0.7, 0.5, 0.7])


@pytest.mark.parametrize("channel", ["CT", "ct"])
def test_a_ct_is_clipped_to_percentiles_of_the_foreground_of_all_cases(channel):
    rng = np.random.default_rng(0)
    samples = [rng.normal(50, 40, 3000), rng.normal(120, 15, (2, 700))]
    values = np.concatenate([samples[0], samples[1].ravel()])
    low, high = np.percentile(values, 0.5), np.percentile(values, 99.5)
    inside = np.minimum(np.maximum(values, low), high)
    scheme = intensity_scheme(channel, samples)
    assert scheme.pop("scheme") == "clip"
    assert scheme == pytest.approx({"low": low, "high": high, "mean": inside.mean(), "std": inside.std()}, rel=1e-5)


@pytest.mark.parametrize("channel", ["T1", "CTA", "image"])
def test_other_images_are_scaled_by_their_own_range(channel):
    assert intensity_scheme(channel, [np.zeros(0)]) == {"scheme": "zscore"}


def test_a_ct_of_one_intensity_is_not_divided_by_nothing():
    assert intensity_scheme("CT", [np.full(9, 40.0)])["std"] == 1e-3


def test_a_ct_without_foreground_is_refused():
    line = "dataset_dir: expected labels with foreground to scale a CT by, got none in any case"
    with pytest.raises(InputError, match=line):
        intensity_scheme("CT", [np.zeros((1, 0)), np.zeros((1, 0))])


def organ_at(*centres, numbers=None):
    """A case with a ball at each centre, all of one class or numbered."""
    masks = [ball((24, 24, 24), centre, 0.2) for centre in centres]
    classes: dict[int, np.ndarray] = {}
    for number, mask in zip(numbers or [1] * len(masks), masks, strict=True):
        classes[number] = classes.get(number, False) | mask
    return {"places": {number: class_places(mask) for number, mask in classes.items()}}


@pytest.mark.parametrize(
    ("cases", "axes"),
    [
        ([organ_at((0.5, 0.5, 0.5))], [0, 1, 2]),
        ([organ_at((0.25, 0.5, 0.5))], [1, 2]),
        ([organ_at((0.25, 0.5, 0.75))], [1]),
        ([organ_at((0.25, 0.5, 0.5), (0.75, 0.5, 0.5))], [0, 1, 2]),  # a pair of one class
        ([organ_at((0.25, 0.5, 0.5), (0.75, 0.5, 0.5), numbers=[1, 2])], [1, 2]),  # left and right by name
        ([organ_at((0.5, 0.5, 0.5), (0.5, 0.5, 0.2), numbers=[1, 2])], [0, 1]),  # one class is enough
        ([organ_at((0.25, 0.5, 0.5)), organ_at((0.75, 0.5, 0.5))], [0, 1, 2]),  # lies on either side
        ([{"places": {}}], []),
    ],
    ids=["middle", "one side", "two sides", "pair", "named pair", "one of two", "either side", "no label"],
)
def test_mirror_images_are_real_where_organs_lie_alike(cases, axes):
    assert mirror_axes(cases) == axes


MEDIANS = [
    ((160, 160, 160), (1, 1, 1)),
    ((512, 512, 90), (0.8, 0.8, 5.0)),
    ((35, 50, 36), (1, 1, 1)),
    ((240, 31, 240), (0.7, 3.6, 0.7)),
    ((13, 400, 9), (1, 1, 1)),
]


@pytest.mark.parametrize("memory_gb", [0.1, 1, 4, 40])
@pytest.mark.parametrize(("median", "spacing_mm"), MEDIANS)
def test_a_patch_fits_the_memory_the_strides_and_the_case(median, spacing_mm, memory_gb):
    patch, strides = fitting_patch(median, spacing_mm, 16, memory_gb)
    multiple = np.prod(strides, axis=0)
    assert not (np.array(patch) % multiple).any()
    assert (np.array(patch) - median < multiple).all()  # no more than rounding up
    assert 2 * training_bytes(patch, strides, level_features(16, len(strides))) <= memory_gb * 2**30


@pytest.mark.parametrize(("median", "spacing_mm"), MEDIANS)
def test_more_memory_never_makes_a_smaller_patch_and_much_holds_the_case(median, spacing_mm):
    patches = [np.array(fitting_patch(median, spacing_mm, 16, memory_gb)[0]) for memory_gb in (0.1, 0.5, 2, 8, 1000)]
    assert all(before.prod() <= after.prod() for before, after in itertools.pairwise(patches))
    assert (patches[-1] >= median).all()


def test_a_patch_that_must_be_smaller_keeps_the_proportions_of_the_case():
    patch, strides = fitting_patch((400, 200, 200), (1, 1, 1), 16, 2)
    coarsest = np.prod(strides, axis=0).max()
    assert patch[1] == patch[2] < 200
    assert abs(patch[0] - 2 * patch[1]) <= 2 * coarsest


@pytest.mark.parametrize("median", [(7, 5, 6), (10, 10, 10), (3, 64, 64), (1, 1, 1)])
def test_small_volumes_are_seen_whole(median):
    patch, strides = fitting_patch(median, (1, 1, 1), 16, 4)
    assert (np.array(patch) >= median).all()
    assert (np.array(patch) - median < np.prod(strides, axis=0)).all()


def test_where_no_patch_fits_the_smallest_is_taken():
    patch, _ = fitting_patch((64, 64, 64), (1, 1, 1), 16, 1e-6)
    assert max(patch) <= 2 * MIN_EDGE + 2


def test_every_axis_is_pooled_while_five_voxels_are_left():
    assert level_strides((32, 32, 32), (1, 1, 1)) == [(1, 1, 1), (2, 2, 2), (2, 2, 2)]
    assert level_strides((80, 80, 20), (1, 1, 1)) == [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 2, 1)]
    for patch in itertools.product((5, 9, 10, 48, 161), repeat=3):
        strides = level_strides(patch, (1, 1, 1))
        left = [size / pooling for size, pooling in zip(patch, np.prod(strides, axis=0), strict=True)]
        assert len(strides) >= 3
        assert all(np.ceil(edge) >= min(size, MIN_EDGE) for edge, size in zip(left, patch, strict=True))


def test_a_coarse_axis_waits_for_the_others_and_has_no_kernel_until_then():
    strides = level_strides((192, 192, 40), (1, 1, 5))
    assert strides[:4] == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)]
    assert level_kernels(strides, (1, 1, 5))[:4] == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]
    first = level_strides((40, 192, 192), (5, 1, 1))
    assert first == [stride[::-1] for stride in strides]


def test_two_times_as_long_is_not_yet_coarse():
    assert level_strides((48, 48, 24), (1, 1, 2))[1] == (2, 2, 2)
    assert level_kernels([(1, 1, 1)], (1, 1, 2)) == [(3, 3, 3)]
    assert level_kernels([(1, 1, 1)], (1, 1, 2.01)) == [(3, 3, 1)]


def test_the_smallest_volume_gets_three_levels_without_pooling():
    assert level_strides((6, 7, 5), (1, 1, 1)) == [(1, 1, 1)] * 3


def test_features_double_up_to_their_limit():
    assert level_features(32, 6) == [32, 64, 128, 256, 320, 320]


def test_memory_is_counted_level_by_level():
    strides, features = [(1, 1, 1), (2, 2, 1), (2, 2, 2)], [16, 32, 64]
    voxels = [24 * 24 * 12, 12 * 12 * 12, 6 * 6 * 6]
    literal = sum(11 * 4 * count * number for count, number in zip(voxels, features, strict=True))
    assert training_bytes((24, 24, 12), strides, features) == pytest.approx(literal)


def plan_of(shapes, spacing_mm=(1, 1, 1), channels=("CT",), memory_gb=4.0):
    cases = [figures_of(shape, spacing_mm, len(channels), seed) for seed, shape in enumerate(shapes)]
    return make_plan(cases, channels, LABELS, None, memory_gb)


def test_a_plan_has_the_keys_of_its_file_and_survives_it(tmp_path):
    plan = plan_of([(40, 40, 30), (44, 38, 32), (50, 40, 34)], (1.0, 1.0, 1.23456), ("CT", "PET"))
    assert list(plan) == list(PLAN_KEYS)
    (tmp_path / "plan.yaml").write_text(plan_text(plan))
    assert read_plan(tmp_path / "plan.yaml") == plan


def test_what_a_plan_tells_of_its_data():
    plan = plan_of([(40, 40, 30), (44, 38, 32), (50, 42, 34)], (0.5, 0.5, 1.23456), ("CT", "PET"))
    assert (plan["channels"], plan["labels"], plan["ignore_label"]) == (["CT", "PET"], LABELS, None)
    assert plan["spacing_mm"] == [0.5, 0.5, 1.235]
    assert [entry["scheme"] for entry in plan["intensity"]] == ["clip", "zscore"]
    assert (plan["mirror_axes"], plan["keep_largest"], plan["num_members"]) == ([0, 1, 2], [], 1)
    fingerprint = plan["fingerprint"]
    assert (fingerprint["num_cases"], fingerprint["median_shape_at_spacing"]) == (3, [44, 40, 32])
    assert fingerprint["shapes"] == {"smallest": [40, 38, 30], "largest": [50, 42, 34]}
    assert sum(fingerprint["share_of_voxels"].values()) == pytest.approx(1, abs=2e-3)


def test_the_batch_is_what_the_memory_holds_up_to_two_and_large_cases_give_two_patches():
    small, large = plan_of([(24, 24, 24)] * 2), plan_of([(96, 96, 96)], memory_gb=0.2)
    assert (small["batch_size"], small["patches_per_case"]) == (2, 1)
    assert large["patches_per_case"] == 2
    assert plan_of([(24, 24, 24)], memory_gb=1e-6)["batch_size"] == 1


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "memory_gb"),
    [((48, 48, 48), (1, 1, 1), 0.2), ((60, 60, 20), (0.8, 0.8, 5), 0.3), ((6, 7, 5), (1, 1, 1), 4),
     ((40, 40, 3), (1, 1, 6), 4)],
    ids=["isotropic", "anisotropic", "tiny", "three slices"],
)  # fmt: skip
def test_the_network_of_a_plan_gives_every_voxel_of_a_patch_a_class(shape, spacing_mm, memory_gb):
    plan = plan_of([shape], spacing_mm, memory_gb=memory_gb)
    parser = ConfigParser()
    parser.read_config(config_files("segmentation", "train"))
    parser["plan"] = plan
    network = parser.get_parsed_content("architecture")
    patch = torch.randn(1, 1, *plan["patch_size"])
    with torch.no_grad():
        stacked, single = network.train()(patch), network.eval()(patch)
    assert single.shape == (1, len(LABELS), *plan["patch_size"])
    heads = 1 + min(2, len(plan["strides"]) - 2)
    assert stacked.shape == (1, heads, *single.shape[1:])
    assert torch.isfinite(stacked).all()
