"""The dictionary transforms: what they compute, and that they carry the geometry through and back."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd
from skimage.filters import threshold_otsu

from beyond2d.checks import InputError
from beyond2d.projection import back_project, project, scale_to_unit, view_angles
from beyond2d.readers import VolumeReader
from beyond2d.transforms import (
    BackProjectd,
    Isotropicd,
    LoadDigitd,
    OtsuLabeld,
    Projectd,
    RandDetectorNoised,
    RandPoseJitterd,
    RandViewAnglesd,
    RandWindowd,
    Refined,
    SameGridd,
    SquarePadd,
    Upright,
    VesselMaskd,
    ViewAnglesd,
    ViewStatisticsd,
    Windowd,
    WithinHulld,
    volumes,
)


def oblique_affine(spacing_mm):
    turn = np.deg2rad(12)
    axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag(spacing_mm)
    affine[:3, 3] = [-40, 25, 7]
    return affine


def image(shape, affine=None, seed=0):
    values = np.random.default_rng(seed).random((1, *shape), dtype=np.float32)
    return MetaTensor(values, affine=np.eye(4) if affine is None else affine)


def blob(shape, affine):
    """A smooth ball in the middle of the volume."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    values = np.exp(-4 * sum(axis**2 for axis in axes))
    return MetaTensor(values[None].astype(np.float32), affine=affine)


GEOMETRY = [
    Orientationd(keys=["image", "label"], axcodes="RAS", labels=None),
    Isotropicd(keys=["image", "label"], mode=("bilinear", "nearest")),
    SquarePadd(keys=["image", "label"]),
]


@pytest.mark.parametrize(
    "affine",
    [np.eye(4), np.diag([-0.7, -0.7, 1.0, 1.0]), oblique_affine([0.6, 0.6, 1.5]), oblique_affine([-1.1, 0.8, 0.9])],
    ids=["plain", "flipped", "oblique", "anisotropic"],
)
@pytest.mark.parametrize("shape", [(24, 24, 24), (30, 41, 22)])
def test_geometry_goes_there_and_back(shape, affine):
    item = {"image": blob(shape, affine)}
    item["label"] = (item["image"] > 0.5).float()
    there = Compose(GEOMETRY)
    turned = there(dict(item))
    x, y, z = turned["image"].shape[1:]
    assert x == y
    assert (x % 8, z % 8) == (0, 0)
    spacing = np.linalg.norm(np.asarray(turned["image"].affine)[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, np.abs(np.linalg.norm(affine[:3, :3], axis=0)).min(), rtol=1e-6)

    back = Invertd(keys="pred", transform=there, orig_keys="image", nearest_interp=False)
    restored = back({**turned, "pred": turned["image"]})["pred"]
    assert restored.shape == item["image"].shape
    np.testing.assert_allclose(np.asarray(restored.affine), affine, atol=1e-6)
    inner = (slice(None), *[slice(2, -2)] * 3)
    np.testing.assert_allclose(restored[inner].numpy(), item["image"][inner].numpy(), atol=0.03)


def test_isotropic_input_is_not_touched():
    item = {"image": image((8, 10, 6), np.diag([2.0, 2.0, 2.0, 1.0]))}
    assert torch.equal(Isotropicd(keys="image", mode=["bilinear"])(item)["image"], item["image"])


def test_resampling_keeps_things_where_they_are_in_the_world():
    affine = oblique_affine([0.5, 0.5, 2.0])
    item = {"image": blob((40, 40, 20), affine)}
    fine = Isotropicd(keys="image", mode=["bilinear"])(item)["image"]

    def centre_of_mass(volume):
        mass = volume[0].numpy() / float(volume.sum())
        index = [float((mass * grid).sum()) for grid in np.indices(mass.shape)]
        return np.asarray(volume.affine) @ [*index, 1]

    np.testing.assert_allclose(centre_of_mass(fine), centre_of_mass(item["image"]), atol=0.02)


def blurred_step(slice_mm):
    """A border between two slices, averaged over slices of that thickness."""
    fine = torch.zeros(8, 8, 80)
    fine[..., 37:] = 1000.0
    thick = fine.unfold(2, slice_mm, slice_mm).mean(-1)
    affine = np.diag([2.0, 2.0, slice_mm, 1.0])
    affine[2, 3] = (slice_mm - 1) / 2
    return MetaTensor(thick[None], affine=affine)


@pytest.mark.parametrize("slice_mm", [2, 4, 5])
def test_thick_slices_alone_are_interpolated_by_a_spline(slice_mm):
    volume = blurred_step(slice_mm)
    linear, cubic, found = (
        Upright([2.0, 2.0, 2.5], mode)(volume.clone()) for mode in ("bilinear", "cubic", "cubic_if_thick")
    )
    assert not torch.equal(linear, cubic)
    assert torch.equal(found, cubic if slice_mm > 2.5 else linear)


def test_a_volume_too_large_for_a_spline_is_interpolated_linearly(monkeypatch):
    monkeypatch.setattr(volumes, "LARGEST_CUBIC", 1000)
    linear, cubic = (Upright([2.0, 2.0, 2.5], mode)(blurred_step(5)) for mode in ("bilinear", "cubic"))
    assert torch.equal(linear, cubic)
    with pytest.raises(InputError, match="mode must be one of bilinear, nearest, cubic, cubic_if_thick, got 'spline'"):
        Upright([2.0, 2.0, 2.5], "spline")


def test_projection_and_back_projection_are_the_pure_functions():
    item = {"image": image((16, 16, 8), oblique_affine([1, 1, 1]))}
    chain = Compose([ViewAnglesd(num_views=5), Projectd(), BackProjectd(fuse="min")])
    output = chain(dict(item))
    views = project(item["image"][0], view_angles(5))
    assert torch.equal(output["views"].as_tensor(), views)
    assert torch.equal(output["image"][0].as_tensor(), scale_to_unit(back_project(views, view_angles(5), "min")))
    np.testing.assert_array_equal(output["image"].affine, item["image"].affine)
    np.testing.assert_array_equal(output["image"].meta["angles_deg"], view_angles(5))


def test_several_numbers_of_views_are_drawn():
    choose = ViewAnglesd(num_views=[2, 3, 10])
    choose.set_random_state(0)
    assert {len(choose({})["angles_deg"]) for _ in range(40)} == {2, 3, 10}


def test_pose_error_moves_the_views_and_not_their_angles():
    item = {"image": blob((16, 16, 8), np.eye(4))}
    chain = Compose([ViewAnglesd(num_views=4), RandPoseJitterd(max_error_deg=5.0), Projectd()])
    chain.set_random_state(0)
    output = chain(dict(item))
    exact = project(item["image"][0], view_angles(4))
    np.testing.assert_array_equal(output["views"].meta["angles_deg"], view_angles(4))
    assert not torch.allclose(output["views"].as_tensor(), exact)
    errors = output["pose_error_deg"]
    assert (np.abs(errors) <= 5.0).all()
    assert errors.std() > 0
    assert torch.equal(output["views"].as_tensor(), project(item["image"][0], (view_angles(4) + errors).tolist()))


def test_detector_noise_repeats_with_its_seed_and_can_be_off():
    views = MetaTensor(torch.rand(3, 16, 16))
    noisy = RandDetectorNoised(photons=500.0)
    first = noisy.set_random_state(3)({"views": views})["views"]
    again = noisy.set_random_state(3)({"views": views})["views"]
    other = noisy.set_random_state(4)({"views": views})["views"]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(RandDetectorNoised(prob=0.0)({"views": views})["views"], views)


def test_otsu_fills_in_for_a_missing_label_only():
    item = {"image": blob((12, 12, 12), np.eye(4))}
    filled = OtsuLabeld()(dict(item))["label"]
    assert torch.equal(filled.bool(), item["image"] > threshold_otsu(item["image"].numpy()))
    assert filled.meta["label_source"] == "otsu"
    drawn = MetaTensor(torch.zeros(1, 12, 12, 12)).index_fill_(1, torch.tensor([3]), 7.0)
    kept = OtsuLabeld()({**item, "label": drawn})["label"]
    assert torch.equal(kept.as_tensor(), (drawn.as_tensor() > 0).float())
    assert kept.meta["label_source"] == "file"


def test_window_clips_and_scales():
    item = {"image": MetaTensor(torch.tensor([-1000.0, 150.0, 375.0, 600.0, 3000.0]).reshape(1, 5, 1, 1))}
    windowed = Windowd(keys="image", window=[150, 600])(item)["image"].flatten().tolist()
    assert windowed == [0.0, 0.0, 0.5, 1.0, 1.0]
    own_range = Windowd(keys="image")(item)["image"]
    assert (float(own_range.min()), float(own_range.max())) == (0.0, 1.0)


@pytest.mark.parametrize("window", [[600, 150], [1], "low", [0, float("nan")], [1, 2, 3], ["a", "b"]])
def test_a_bad_window_is_refused(window):
    with pytest.raises(InputError, match="window must be two numbers, the lower first"):
        Windowd(keys="image", window=window)


def test_a_window_above_the_image_is_refused():
    with pytest.raises(InputError, match="window: expected an image with values above 5"):
        Windowd(keys="image", window=[5, 9])({"image": image((4, 4, 4))})


@pytest.mark.parametrize(
    ("shape", "shift_mm", "line"),
    [((9, 8, 8), 0.0, r"label: expected the image's shape \(8, 8, 8\), got \(9, 8, 8\)"),
     ((8, 8, 8), 3.0, "label: expected the image's place in the world, got a grid up to 3 mm away")],
)  # fmt: skip
def test_a_label_elsewhere_is_refused(shape, shift_mm, line):
    affine = np.eye(4)
    affine[0, 3] = shift_mm
    with pytest.raises(InputError, match=line):
        SameGridd()({"image": image((8, 8, 8)), "label": image(shape, affine)})
    assert "label" not in SameGridd()({"image": image((8, 8, 8))})


def test_angles_nobody_listed():
    transform = RandViewAnglesd(num_views=(2, 12), spans_deg=(90.0, 180.0), uneven=0.5)
    transform.set_random_state(seed=0)
    drawn = [transform({})["angles_deg"] for _ in range(400)]
    counts = np.array([len(angles) for angles in drawn])
    assert (counts.min(), counts.max()) == (2, 12)
    assert (counts == 2).sum() > (counts == 11).sum()  # even on a logarithmic scale
    spans = np.array([np.ptp(angles) for angles in drawn])
    assert spans.max() <= 180 + 1e-9
    assert min(np.diff(angles).min() for angles in drawn) >= 1 - 1e-9
    even = np.array([np.ptp(np.diff(angles)) < 1e-6 for angles in drawn if len(angles) > 2])
    assert 0.35 < even.mean() < 0.65
    quarter_turns = np.array([angles[0] % 90 == 0 for angles, flat in zip(drawn, counts > 2, strict=True) if flat])
    assert 0.2 < quarter_turns.mean() < 0.7


def test_an_item_may_name_its_own_number_of_views_and_angles_may_be_listed():
    assert len(ViewAnglesd(num_views=10)({"num_views": 4})["angles_deg"]) == 4
    np.testing.assert_array_equal(ViewAnglesd(angles_deg=[3, 40, 77])({})["angles_deg"], [3, 40, 77])


def test_a_random_window_keeps_to_0_and_1():
    volume = image((12, 12, 12))
    transform = RandWindowd(prob=1.0, low=(0.1, 0.2), high=(0.7, 0.8))
    transform.set_random_state(seed=3)
    cut = transform({"image": volume})["image"]
    assert (float(cut.min()), float(cut.max())) == (0.0, 1.0)
    assert (cut == 0).float().mean() > 0.05
    inside = (volume > 0.25) & (volume < 0.65)
    assert torch.equal(cut[inside].argsort(), volume[inside].argsort())


def test_line_integrals_leave_the_tissue_to_the_mask_exposure():
    volume = image((16, 16, 8))
    volume[:] = 0.1  # tissue
    volume[0, 4:6, 4:6] = 1.0
    item = Projectd(mode="sum")(ViewAnglesd(num_views=3)({"image": volume}))
    assert float(item["views"].max()) == 1.0
    assert (item["views"][0] > 0).float().mean() < 0.2  # only the vessel, not the tissue
    assert float(item["tissue_views"].max()) == 1.0
    noisy = RandDetectorNoised(photons=1e9)(item)["views"]
    torch.testing.assert_close(noisy.as_tensor(), item["views"].as_tensor(), rtol=0, atol=2e-3)


def test_statistics_do_not_depend_on_the_brightness_of_the_views():
    item = Projectd()(ViewAnglesd(num_views=4)({"image": image((16, 16, 8))}))
    dim = dict(item)
    dim["views"] = item["views"] * 0.25
    one, other = ViewStatisticsd()(item)["image"], ViewStatisticsd()(dim)["image"]
    assert one.shape == (4, 16, 16, 8)
    torch.testing.assert_close(one.as_tensor(), other.as_tensor(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(one.meta["angles_deg"], item["angles_deg"])


def test_the_mask_is_cut_at_the_threshold_of_the_nearest_number_of_views():
    item = Projectd()(ViewAnglesd(num_views=4)({"image": image((16, 16, 8))}))
    item["pred"] = image((16, 16, 8), seed=1)
    for threshold, expected in ((0.7, 0.7), ({2: 0.1, 5: 0.6, 10: 0.3}, 0.6)):
        mask = VesselMaskd(threshold=threshold)(item)["pred"]
        assert mask.dtype == torch.uint8
        assert torch.equal(mask.as_tensor(), (item["pred"] >= expected).as_tensor().to(torch.uint8))
        assert torch.equal(mask.affine, item["pred"].affine)


def test_a_digit_is_read_from_a_file_or_taken_as_it_is(tmp_path):
    digit = np.random.default_rng(0).integers(0, 255, (16, 16, 16)).astype(np.uint8)
    load = LoadDigitd("image", VolumeReader())
    nib.save(nib.Nifti1Image(digit, np.eye(4)), tmp_path / "digit.nii.gz")
    np.testing.assert_array_equal(load({"image": str(tmp_path / "digit.nii.gz")})["image"], digit)
    assert load({"image": digit})["image"] is digit
    nib.save(nib.Nifti1Image(digit[:8], np.eye(4)), tmp_path / "half.nii.gz")
    with pytest.raises(InputError, match=r"half.nii.gz: expected a digit of 16 x 16 x 16 voxels, got 8 x 16 x 16"):
        load({"image": str(tmp_path / "half.nii.gz")})


def test_refining_and_the_hull_as_transforms():
    item = Projectd()(ViewAnglesd(num_views=4)({"image": blob((16, 16, 8), np.eye(4))}))
    item["pred"] = image((16, 16, 8), seed=1) * 0.5
    refined = Refined(steps=3)(item)
    before, after = refined["reprojection_error"]
    assert after < before
    untouched = Refined(steps=0)(item)
    assert untouched["reprojection_error"][0] == untouched["reprojection_error"][1] == before
    assert torch.equal(untouched["pred"].as_tensor(), item["pred"].as_tensor())
    assert torch.equal(WithinHulld(level=0.0)(item)["pred"].as_tensor(), item["pred"].as_tensor())
    assert (WithinHulld(level=0.5)(item)["pred"] == 0).float().mean() > 0.3
    with pytest.raises(InputError, match="refine_steps"):
        Refined(steps=-1)
