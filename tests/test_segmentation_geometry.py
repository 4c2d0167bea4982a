"""A segmentation follows the patient, not the file: turned, flipped and stretched copies of an image get one mask."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import PLAN
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, Spacingd
from scipy.ndimage import map_coordinates

from beyond2d.__main__ import main
from beyond2d.readers import plan_text
from beyond2d.transforms import OwnGridMaskd
from beyond2d.workflow import home, run_task

SHIPPED = home() / "models" / "segmentation" / "hippocampus"
ORIGINAL = nib.affines.from_matvec(np.diag([1.0, 1.0, 1.0]), [-20, -25, 10])
SHAPE = (44, 50, 40)


def rotation(axis, degrees):
    """About X (0) or Z (2)."""
    turn, (one, other) = np.eye(3), [place for place in range(3) if place != axis]
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[one, one] = turn[other, other] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    return turn


def oblique_grid(shape, affine, spacing_mm=(0.5, 0.7, 0.9), about_z=12.0, about_x=8.0):
    """Shape and affine of a grid that covers another one whole, oblique to it and with its first axis flipped."""
    axes = rotation(2, about_z) @ rotation(0, about_x) @ np.diag([-1, 1, 1]) @ np.diag(spacing_mm)
    corners = np.array(np.meshgrid(*[(-0.5, size - 0.5) for size in shape])).reshape(3, -1).T
    placed = nib.affines.apply_affine(affine, corners) @ np.linalg.inv(axes).T
    covering = np.ceil(np.ptp(placed, axis=0)).astype(int) + 1
    return tuple(covering.tolist()), nib.affines.from_matvec(axes, axes @ placed.min(0))


def resample(volume, affine, shape, target, order, **options):
    """A volume on another grid."""
    places = nib.affines.apply_affine(np.linalg.inv(affine) @ target, np.moveaxis(np.indices(shape), 0, -1))
    return map_coordinates(volume.astype(np.float64), np.moveaxis(places, -1, 0), order=order, **options)


def resample_mask(mask, affine, shape, target):
    """A mask on another grid, each voxel the class that most of it has."""
    shares = [resample(mask == number, affine, shape, target, 1) for number in range(int(mask.max()) + 1)]
    return np.argmax(shares, axis=0)


def dice(one, other, number):
    one, other = one == number, other == number
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def save(path, voxels, affine):
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)
    return path


def blobs(shape, affine):
    """An image of two soft blobs on a grid: the same in the world, whatever the grid."""
    places = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    image = np.zeros(shape)
    for middle_mm, radii_mm in (((0, -4, 28), (8, 12, 9)), ((12, 12, 34), (4, 6, 5))):
        image += 100 * np.exp(-(((places - middle_mm) / radii_mm) ** 2).sum(-1))
    return image


@pytest.fixture
def threshold(tmp_path):
    """A folder of weights that mark where the image, smoothed a little, is above 40."""
    layer = torch.nn.Conv3d(1, 2, 3, padding=1)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1] = 1 / 27
        layer.bias.copy_(torch.tensor([0.0, -4.0]))
    torch.save(layer.state_dict(), tmp_path / "model.pt")
    intensity = [{"scheme": "clip", "low": 0.0, "high": 200.0, "mean": 0.0, "std": 10.0}]
    plan = {**PLAN, "labels": {0: "background", 1: "blob"}, "spacing_mm": [1.0, 1.0, 1.0], "patch_size": [32, 32, 32]}
    (tmp_path / "plan.yaml").write_text(plan_text({**plan, "intensity": intensity, "mirror_axes": []}))
    return tmp_path


def thresholded(folder, path):
    layer = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 3, "padding": 1}
    overrides = {"input": str(path), "models_dir": str(folder), "output_dir": str(folder / path.name.split(".")[0])}
    run_task("segmentation", "infer", {**overrides, "architecture": layer, "mixed_precision": False})
    return nib.load(folder / path.name.split(".")[0] / "mask.nii.gz")


@pytest.mark.parametrize(
    ("spacing_mm", "least"),
    [((0.6, 0.8, 1.0), 0.97), ((1.5, 1.0, 2.5), 0.92)],
    ids=["finer than the plan", "coarser than the plan"],
)
def test_a_turned_flipped_stretched_image_gets_the_same_mask(spacing_mm, least, threshold):
    mask = thresholded(threshold, save(threshold / "original.nii", blobs(SHAPE, ORIGINAL), ORIGINAL))
    np.testing.assert_allclose(mask.affine, ORIGINAL, atol=1e-5)
    expected = np.asarray(mask.dataobj)
    assert expected.sum() > 2000
    shape, affine = oblique_grid(SHAPE, ORIGINAL, spacing_mm)
    copy = thresholded(threshold, save(threshold / "copy.nii", blobs(shape, affine), affine))
    assert copy.shape == shape
    np.testing.assert_allclose(copy.affine, affine, atol=1e-5)
    found = resample_mask(np.asarray(copy.dataobj), affine, SHAPE, ORIGINAL)
    assert dice(found, expected, 1) >= least


@pytest.mark.parametrize("axes", [(2, 3, 1), (-3, 1, -2)])
def test_an_image_stored_along_other_axes_gets_the_same_mask_to_the_voxel(axes, threshold):
    """The axes of the file, counted from 1, negative where they run the other way."""
    image = nib.Nifti1Image(blobs(SHAPE, ORIGINAL).astype(np.float32), ORIGINAL)
    orientation = np.array([[abs(axis) - 1, np.sign(axis)] for axis in axes])
    nib.save(image, threshold / "original.nii")
    nib.save(image.as_reoriented(orientation), threshold / "turned.nii")
    expected = thresholded(threshold, threshold / "original.nii").as_reoriented(orientation)
    found = thresholded(threshold, threshold / "turned.nii")
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))


def test_one_class_after_the_other_gives_what_all_at_once_give():
    shape, affine = oblique_grid((20, 18, 16), ORIGINAL, (1.2, 0.9, 2.1))
    image = MetaTensor(torch.rand(1, *shape), affine=affine)
    spatial = Compose([Orientationd("image", axcodes="RAS", labels=None), Spacingd("image", (1.5, 1.5, 1.5))])
    item = spatial({"image": image})
    item["pred"] = MetaTensor(torch.randn(4, *item["image"].shape[1:]))
    shares = Invertd("pred", spatial, orig_keys="image", nearest_interp=False)(
        {**item, "pred": item["pred"].softmax(dim=0)}
    )["pred"]
    mask = OwnGridMaskd("pred", spatial)(item)["pred"]
    assert (mask.shape, mask.dtype) == ((1, *shape), torch.uint8)
    np.testing.assert_allclose(mask.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(mask[0].numpy(), shares.argmax(dim=0).numpy())
    assert set(mask.unique().tolist()) == {0, 1, 2, 3}


def hippocampi(folder, count=5):
    """Images of cases that no fold's training list puts first."""
    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    listed = [case["image"] if isinstance(case, dict) else case for case in content["training"][-count:]]
    return [folder / name for name in listed]


def agreement(image, folder, **turn):
    """Mean Dice over the labels of an image's mask and that of its copy, on the image's grid."""
    voxels = nib.load(image)
    shape, affine = oblique_grid(voxels.shape, voxels.affine, **turn)
    save(folder / "copy.nii.gz", resample(voxels.get_fdata(), voxels.affine, shape, affine, 3), affine)
    shutil.copy(image, folder / "original.nii.gz")
    masks = []
    for name in ("original", "copy"):
        main(["segment", str(folder / f"{name}.nii.gz"), "--out", str(folder / name)])
        masks.append(nib.load(folder / name / "mask.nii.gz"))
    np.testing.assert_allclose(masks[1].affine, affine, atol=1e-4)
    expected = np.asarray(masks[0].dataobj)
    found = resample_mask(np.asarray(masks[1].dataobj), affine, voxels.shape, voxels.affine)
    return np.mean([dice(found, expected, number) for number in (1, 2)])


# Around the copy of an oblique grid lies what the image does not show: it is filled with 0, as resampling tools do.
@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("turn", [{"about_z": 0.0, "about_x": 0.0}, {}], ids=["flipped", "turned"])
def test_a_real_image_gets_one_mask_however_it_is_stored(turn, real_data, tmp_path):
    if not (SHIPPED / "model.pt").is_file() or not (real_data / "hippocampus").is_dir():
        pytest.skip("there are no shipped weights or no real hippocampi")
    figures = [agreement(image, tmp_path, **turn) for image in hippocampi(real_data / "hippocampus")]
    assert np.mean(figures) >= 0.98, figures
