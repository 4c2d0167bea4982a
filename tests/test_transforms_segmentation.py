"""The dictionary transforms of the segmentation: values, what they refuse, and that the geometry stays."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandCropByPosNegLabeld

from beyond2d.checks import IGNORED, InputError
from beyond2d.transforms import (
    ClassNumbersd,
    CropToContentd,
    KnownOneHotd,
    PlacesToCropd,
    PlannedIntensityd,
    SparseSlicesd,
)

AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0.7, 0, -30], [0, 0, 1.2, 5], [0, 0, 0, 1.0]])


def volume(values, name="case.nii.gz"):
    """A volume with its channels, in a place of its own and from a file."""
    return MetaTensor(torch.as_tensor(values).float(), affine=AFFINE, meta={"filename_or_obj": f"/data/{name}"})


def kept_geometry(output):
    return np.array_equal(np.asarray(output.affine), AFFINE) and output.meta["filename_or_obj"].startswith("/data/")


CLIP = {"scheme": "clip", "low": -50.0, "high": 150.0, "mean": 40.0, "std": 20.0}


def test_a_clipped_channel_has_the_fixed_range_and_scale():
    image = volume([[[[-1000.0, -50.0, 40.0, 60.0, 150.0, 3000.0]]]])
    scaled = PlannedIntensityd("image", [CLIP])({"image": image})["image"]
    assert scaled.flatten().tolist() == [-4.5, -4.5, 0.0, 1.0, 5.5, 5.5]
    assert kept_geometry(scaled)


def test_a_zscored_channel_is_scaled_by_its_own_range_without_spikes():
    values = np.random.default_rng(0).normal(300, 50, (1, 20, 20, 20)).astype(np.float32)
    values[0, 0, 0, :5] = 1e6
    low, high = np.percentile(values, 0.5), np.percentile(values, 99.5)
    inside = np.minimum(np.maximum(values, low), high)
    scaled = PlannedIntensityd("image", [{"scheme": "zscore"}])({"image": volume(values)})["image"]
    np.testing.assert_allclose(scaled.numpy(), (inside - inside.mean()) / inside.std(ddof=1), atol=1e-4)
    blank = PlannedIntensityd("image", [{"scheme": "zscore"}])({"image": volume(np.full((1, 4, 4, 4), 7.0))})["image"]
    assert (blank == 0).all()


def with_margin():
    """An image of noise in a frame of zeros, and where it is."""
    values = np.zeros((1, 12, 14, 10), np.float32)
    inside = (slice(None), slice(2, 10), slice(3, 12), slice(1, 8))
    values[inside] = np.random.default_rng(0).normal(100, 20, values[inside].shape)
    return values, inside


def test_a_frame_that_was_filled_in_counts_for_nothing():
    values, inside = with_margin()
    planned = PlannedIntensityd("image", [{"scheme": "zscore"}], content_key="content")
    framed, bare = planned({"image": volume(values)}), planned({"image": volume(values[inside])})
    np.testing.assert_allclose(framed["image"][inside].numpy(), bare["image"].numpy(), atol=1e-5)
    assert framed["image"][0, 0, 5, 5] == framed["image"][0, 2, 5, 5]  # the edge is drawn out
    expected = np.zeros(values.shape)
    expected[inside] = 1
    np.testing.assert_array_equal(framed["content"].numpy(), expected)
    assert (bare["content"] == 1).all()


def test_air_around_a_ct_belongs_to_the_image():
    values, _ = with_margin()
    planned = PlannedIntensityd("image", [CLIP], content_key="content")({"image": volume(values)})
    assert (planned["content"] == 1).all()
    assert (planned["image"][:, 0] == -2).all()


def test_an_image_is_cut_to_what_is_image_and_back():
    values, inside = with_margin()
    planned = PlannedIntensityd("image", [{"scheme": "zscore"}], content_key="content")({"image": volume(values)})
    scores, crop = planned["image"][inside], CropToContentd("image")
    item = crop(planned)
    assert "content" not in item
    assert torch.equal(item["image"].as_tensor(), scores.as_tensor())
    back = crop.inverse({"image": item["image"]})["image"]
    assert back.shape == values.shape
    np.testing.assert_allclose(np.asarray(back.affine), AFFINE, atol=1e-6)
    assert torch.equal(back[inside].as_tensor(), scores.as_tensor())
    whole = crop({"image": volume(values)})["image"]
    np.testing.assert_array_equal(whole.numpy(), values)


def test_each_channel_has_its_own_scheme():
    image = volume(np.random.default_rng(0).normal(50, 30, (2, 6, 6, 6)))
    both = PlannedIntensityd("image", [CLIP, {"scheme": "zscore"}])({"image": image})["image"]
    for number, scheme in enumerate([CLIP, {"scheme": "zscore"}]):
        alone = PlannedIntensityd("image", [scheme])({"image": image[number : number + 1]})["image"]
        assert torch.equal(both[number].as_tensor(), alone[0].as_tensor())


def test_intensities_that_do_not_fit_are_refused():
    line = re.escape("/data/case.nii.gz: expected 2 channels, as the plan has it, got 1")
    with pytest.raises(InputError, match=line):
        PlannedIntensityd("image", [CLIP, CLIP])({"image": volume(np.zeros((1, 3, 3, 3)))})
    with pytest.raises(InputError, match="scheme must be one of clip, zscore, got 'window'"):
        PlannedIntensityd("image", [{"scheme": "window"}])


def test_label_values_become_class_numbers_in_the_order_of_the_plan():
    label = volume([[[[0, 1, 4, 2, 9, 0]]]])
    numbers = ClassNumbersd("label", values=[0, 2, 4, 1], ignore_label=9)({"label": label})["label"]
    assert numbers.flatten().tolist() == [0, 3, 2, 1, IGNORED, 0]
    assert kept_geometry(numbers)
    assert ClassNumbersd("label", values=[0, 2])({"image": label}) == {"image": label}


@pytest.mark.parametrize(("ignore_label", "known"), [(None, "0, 2, 4"), (3, "0, 2, 4, 3")])
def test_a_label_value_that_the_plan_lacks_is_refused_with_its_file(ignore_label, known):
    transform = ClassNumbersd("label", values=[0, 2, 4], ignore_label=ignore_label)
    line = rf"^/data/strange\.nii\.gz: expected the label values {known}, got 1 as well$"
    with pytest.raises(InputError, match=line):
        transform({"label": volume([[[[0, 4, 7, 1]]]], "strange.nii.gz")})


def organ(shape=(20, 40, 16), axis=1, first=5, last=34, name="case.nii.gz"):
    """A label with a class on the slices `first` to `last` across an axis."""
    label = torch.zeros(1, *shape)
    label.index_fill_(1 + axis, torch.arange(first, last + 1), 1)
    return volume(label, name)


def slices_left(label, axis):
    """The slices that are labelled; all of a slice is, or nothing."""
    moved = np.moveaxis(label[0].numpy() != IGNORED, axis, 0)
    left = [index for index, image in enumerate(moved) if image.any()]
    assert all(moved[index].all() for index in left)
    return left


@pytest.mark.parametrize(("axis", "first", "last"), [(0, 2, 17), (1, 5, 34), (2, 0, 15)])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.4])
def test_a_fraction_of_the_slices_stays_spread_evenly_over_the_volume(axis, first, last, fraction):
    label = organ(axis=axis, first=first, last=last)
    sparse = SparseSlicesd("label", fraction, axis=axis)({"label": label})["label"]
    left, size = slices_left(sparse, axis), label.shape[1 + axis]
    assert len(left) == max(1, round(fraction * size))
    assert any(first <= index <= last for index in left)
    assert all(abs(step - size / len(left)) < 1 for step in np.diff(left))
    index = torch.as_tensor(left)
    assert torch.equal(sparse.index_select(1 + axis, index), label.index_select(1 + axis, index))
    assert kept_geometry(sparse)


def test_at_least_one_slice_stays_and_one_that_shows_a_class():
    for case in range(10):
        label = organ(first=10, last=13, name=f"{case}.nii.gz")
        (only,) = slices_left(SparseSlicesd("label", 0.001)({"label": label})["label"], 1)
        assert 10 <= only <= 13
    empty = SparseSlicesd("label", 0.1)({"label": volume(torch.zeros(1, 20, 40, 16))})["label"]
    assert len(slices_left(empty, 1)) == 4


def test_values_that_nobody_labelled_show_no_class():
    label = organ(first=10, last=10)
    label[:, :, 20:] = IGNORED
    sparse = SparseSlicesd("label", 0.001)({"label": label})["label"]
    assert (sparse[:, :, 10] != IGNORED).all()


def test_a_case_has_the_same_slices_every_time_and_others_by_seed_and_name():
    def left(name, seed):
        return slices_left(SparseSlicesd("label", 0.1, seed=seed)({"label": organ(name=name)})["label"], 1)

    assert left("a.nii.gz", 0) == left("a.nii.gz", 0)
    assert len({tuple(left(f"{case}.nii.gz", 0)) for case in range(20)}) > 3
    assert len({tuple(left("a.nii.gz", seed)) for seed in range(20)}) > 3
    moved = organ(name="a.nii.gz")
    moved.meta["filename_or_obj"] = "elsewhere/a.nii.gz"
    assert slices_left(SparseSlicesd("label", 0.1)({"label": moved})["label"], 1) == left("a.nii.gz", 0)


def test_the_mask_tells_which_slices_are_drawn():
    output = SparseSlicesd("label", 0.1, names="drawn")({"label": organ()})
    assert torch.equal(output["drawn"].as_tensor(), (output["label"].as_tensor() != IGNORED).float())
    assert output["drawn"].shape == output["label"].shape
    assert kept_geometry(output["drawn"])


def test_a_whole_label_passes_untouched():
    label = organ()
    output = SparseSlicesd("label", 1, names="drawn")({"label": label})
    assert torch.equal(output["label"].as_tensor(), label.as_tensor())
    assert (output["drawn"] == 1).all()
    assert SparseSlicesd("label", 0.5, names="drawn")({"image": label}) == {"image": label}


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5])
def test_a_fraction_of_nothing_or_more_than_all_is_refused(fraction):
    with pytest.raises(InputError, match=f"labelled_fraction must be above 0 and at most 1, got {fraction}"):
        SparseSlicesd("label", fraction)


def mixed_label():
    """A large organ, a lesion of eight voxels, and a part that nobody labelled."""
    label = torch.zeros(1, 20, 20, 20)
    label[:, 5:15, 5:15, 5:15] = 1
    label[:, 9:11, 9:11, 9:11] = 2
    label[:, :, :, 17:] = IGNORED
    return volume(label)


def test_places_are_of_every_class_and_of_the_background_but_of_no_unlabelled_voxel():
    label = mixed_label()
    output = PlacesToCropd("label", count=200)({"label": label})
    flat = label.as_tensor().ravel()
    foreground, background = output["label_fg_indices"], output["label_bg_indices"]
    counts = {number: int((flat[foreground] == number).sum()) for number in (0, 1, 2, IGNORED)}
    assert (counts[0], counts[2], counts[IGNORED]) == (0, 8, 0)
    assert 50 < counts[1] <= 100  # no more than its half of the places
    assert (flat[background] == 0).all()
    assert 100 < len(background) <= 200
    for places in (foreground, background):
        assert len(torch.unique(places)) == len(places)
        assert places.dtype == torch.long
    x = foreground[flat[foreground] == 1] // 400
    assert set(x.tolist()) == set(range(5, 15))  # spread over all of the class


def test_places_of_a_small_label_are_all_its_voxels():
    label = mixed_label()
    output = PlacesToCropd("label")({"label": label})
    flat = label.as_tensor().ravel()
    is_class = (flat > 0) & (flat != IGNORED)
    assert sorted(output["label_fg_indices"].tolist()) == torch.nonzero(is_class).ravel().tolist()
    assert output["label_bg_indices"].tolist() == torch.nonzero(flat == 0).ravel().tolist()


@pytest.mark.parametrize("value", [0, 1, IGNORED])
def test_patches_are_cut_around_places_even_where_a_label_has_one_value(value):
    item = {"label": volume(torch.full((1, 8, 8, 8), float(value)))}
    item = PlacesToCropd("label")(item)
    assert len(item["label_fg_indices"]) == (512 if value == 1 else 0)
    assert len(item["label_bg_indices"]) == (512 if value == 0 else 0)
    if value == IGNORED:
        return
    crop = RandCropByPosNegLabeld(
        ["label"], "label", (4, 4, 4), fg_indices_key="label_fg_indices", bg_indices_key="label_bg_indices"
    )
    assert crop(item)[0]["label"].shape == (1, 4, 4, 4)


def test_unlabelled_voxels_are_in_no_map_of_prediction_and_truth():
    torch.manual_seed(0)
    label = torch.randint(3, (1, 4, 5, 6)).float()
    label[0, :2] = IGNORED
    logits = torch.randn(3, 4, 5, 6)
    output = KnownOneHotd()({"pred": logits, "label": label})
    for number in range(3):
        known = label[0] != IGNORED
        assert torch.equal(output["pred"][number].bool(), (logits.argmax(dim=0) == number) & known)
        assert torch.equal(output["label"][number].bool(), label[0] == number)
    assert output["pred"].shape == output["label"].shape == (3, 4, 5, 6)


def test_of_stacked_outputs_the_finest_is_taken():
    torch.manual_seed(0)
    label, logits = torch.randint(3, (1, 4, 4, 4)).float(), torch.randn(2, 3, 4, 4, 4)
    stacked = KnownOneHotd()({"pred": logits, "label": label})["pred"]
    assert torch.equal(stacked, KnownOneHotd()({"pred": logits[0], "label": label})["pred"])
