"""Volumes and projections come in with the right values in the right place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from image_files import (
    AXIAL,
    LPS_TO_RAS,
    OBLIQUE,
    STEP_MM,
    compress,
    load_label,
    load_views,
    load_volume,
    random_pictures,
    random_volume,
    write_angles,
    write_dicom,
    write_nifti,
    write_pictures,
    write_series,
)
from monai.transforms import Orientationd
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless, XRayAngiographicImageStorage

from beyond2d.checks import InputError
from beyond2d.datasets import write_dicom_series
from beyond2d.readers import read_angles_file, threshold_for, weights_for, weights_sha256, write_angles_file

REAL_DICOM = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom"
needs_real_dicom = pytest.mark.skipif(not REAL_DICOM.is_dir(), reason=f"no real DICOM folders in {REAL_DICOM}")


def read_with_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The second reader: voxels (X, Y, Z) and RAS affine."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32), LPS_TO_RAS @ affine


# Volumes


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz", "VOLUME.NII.GZ"])
def test_nifti_keeps_voxels_and_affine(tmp_path: Path, name: str) -> None:
    voxels, affine = random_volume(), np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    image = load_volume(write_nifti(tmp_path / name, voxels, affine))
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image.numpy(), voxels[None])
    np.testing.assert_allclose(image.affine, affine)


def test_nifti_scaling_is_applied_and_a_fourth_axis_of_one_dropped(tmp_path: Path) -> None:
    voxels = random_volume()[..., None]
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(0.5, -100)
    nib.save(image, tmp_path / "scaled.nii.gz")
    expected = nib.load(tmp_path / "scaled.nii.gz").get_fdata()[..., 0]
    np.testing.assert_allclose(load_volume(tmp_path / "scaled.nii.gz")[0], expected)


def test_channels_come_first_and_the_grid_has_none(tmp_path: Path) -> None:
    voxels, affine = random_volume((9, 7, 5, 4)), np.diag([1.0, 2.0, 3.0, 1.0])
    image = load_volume(write_nifti(tmp_path / "mri.nii.gz", voxels, affine), num_channels=4)
    assert image.shape == (4, 9, 7, 5)
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(voxels, 3, 0))
    np.testing.assert_allclose(image.affine, affine)
    turned = Orientationd(keys="image", axcodes="LAS", labels=None)({"image": image})["image"]
    np.testing.assert_array_equal(turned.numpy(), np.moveaxis(voxels, 3, 0)[:, ::-1])
    assert tuple(image.meta["spatial_shape"]) == (9, 7, 5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_labels_are_whole_numbers(tmp_path: Path, dtype: Any) -> None:
    voxels = (random_volume() % 4).astype(dtype)
    label = load_label(write_nifti(tmp_path / "label.nii.gz", voxels))
    assert label.dtype == torch.float32
    np.testing.assert_array_equal(label.numpy(), voxels[None])


def test_a_label_may_be_empty_and_its_scale_may_round(tmp_path: Path) -> None:
    assert not load_label(write_nifti(tmp_path / "empty.nii", np.zeros((4, 4, 4), np.uint8))).any()
    image = nib.Nifti1Image((random_volume() % 2 * 255).astype(np.uint8), np.eye(4))
    image.header.set_slope_inter(0.00392157, 0)
    nib.save(image, tmp_path / "scaled.nii")
    assert set(np.unique(load_label(tmp_path / "scaled.nii"))) == {0.0, 1.0}


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("direction", [1, -1], ids=["increasing", "decreasing"])
def test_series_agrees_with_its_tags_and_with_simpleitk(tmp_path: Path, axes: np.ndarray, direction: int) -> None:
    volume = random_volume()
    positions = direction * STEP_MM * np.arange(volume.shape[2])
    affine = write_series(tmp_path, volume, axes, positions, RescaleSlope=2, RescaleIntercept=-1000)
    image = load_volume(tmp_path)
    np.testing.assert_array_equal(image[0].numpy(), volume[:, :, ::direction] * 2.0 - 1000)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    other_voxels, other_affine = read_with_simpleitk(tmp_path)
    np.testing.assert_array_equal(image[0].numpy(), other_voxels)
    np.testing.assert_allclose(image.affine, other_affine, atol=1e-4)


def test_series_written_by_the_package_comes_back_in_ras(tmp_path: Path) -> None:
    volume, affine = random_volume(), np.diag([0.5, 0.7, 1.25, 1.0])
    affine[:3, 3] = [-10, 20, -30]
    write_dicom_series(tmp_path / "series", volume, affine, patient_id="phantom_000")
    image = Orientationd(keys="image", axcodes="RAS", labels=None)({"image": load_volume(tmp_path / "series")})["image"]
    np.testing.assert_array_equal(image[0].numpy(), volume)
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, RLELossless], ids=lambda uid: uid.name)
def test_compressed_series_equals_uncompressed(tmp_path: Path, syntax: str) -> None:
    volume = random_volume()
    write_series(tmp_path, volume)
    for path in tmp_path.iterdir():
        compress(path, syntax)
    np.testing.assert_array_equal(load_volume(tmp_path)[0].numpy(), volume)


def test_other_files_beside_a_series_are_passed_over(tmp_path: Path) -> None:
    volume = random_volume()
    write_series(tmp_path, volume)
    (tmp_path / "notes.txt").write_text("contrast at 12 s")
    (tmp_path / ".hidden.dcm").write_bytes(b"")
    report = "1.2.840.10008.5.1.4.1.1.88.11"  # a structured report has no image
    write_dicom(tmp_path / "report", volume[:, :, 0], sop_class=report, SeriesInstanceUID="9.9")
    assert load_volume(tmp_path).shape == (1, *volume.shape)


def test_nothing_about_the_patient_travels_on(tmp_path: Path) -> None:
    write_series(tmp_path)
    meta = load_volume(tmp_path).meta
    known = {"affine", "original_affine", "spatial_shape", "space", "original_channel_dim", "filename_or_obj"}
    assert {str(getattr(key, "value", key)) for key in meta} == known
    assert "Secret" not in str(meta)


@needs_real_dicom
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["chest_ct", "abdomen_ct_jpeg2000"])
def test_real_series_agree_with_simpleitk(name: str) -> None:
    image = load_volume(REAL_DICOM / name)
    other_voxels, other_affine = read_with_simpleitk(REAL_DICOM / name)
    np.testing.assert_array_equal(image[0].numpy(), other_voxels)
    np.testing.assert_allclose(image.affine, other_affine, atol=1e-4)


# Views


def slow_views(pictures: np.ndarray) -> np.ndarray:
    """(V, X, Z) written out: a column is X, and the bottom row is Z = 0."""
    num_views, num_rows, num_columns = pictures.shape
    views = np.zeros((num_views, num_columns, num_rows), np.float32)
    for view in range(num_views):
        for x in range(num_columns):
            for z in range(num_rows):
                views[view, x, z] = pictures[view, num_rows - 1 - z, x]
    return views


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        ("png", np.uint8),
        ("png", np.uint16),
        ("tiff", np.uint16),
        ("tif", np.float32),
        ("npy", np.float64),
        ("npy", np.int32),
        ("dcm", np.uint16),
    ],
)
def test_folder_of_pictures(tmp_path: Path, ending: str, dtype: Any) -> None:
    pictures = random_pictures(dtype) if dtype != np.float32 else random_pictures(dtype) + np.float32(0.25)
    views = load_views(write_pictures(tmp_path / "views", pictures, ending), write_angles(tmp_path))
    assert views.dtype == torch.float32
    np.testing.assert_array_equal(views.numpy(), slow_views(pictures))
    assert views[0].argmax() == 1 * 6 + 5  # second column, highest Z
    assert views.meta["angles_deg"] == [0.0, 22.5, 45.0, 67.5]
    assert views.meta["spacing"] == (0.25 if ending == "dcm" else 1.0)


def test_grid_is_centred_on_the_origin(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "views", random_pictures())
    views = load_views(folder, write_angles(tmp_path, spacing_mm=0.5))
    np.testing.assert_allclose(views.affine[:3, :3], 0.5 * np.eye(3))
    centre = views.affine.numpy() @ [(9 - 1) / 2, (9 - 1) / 2, (6 - 1) / 2, 1]
    np.testing.assert_allclose(centre, [0, 0, 0, 1], atol=1e-12)
    assert tuple(views.meta["spatial_shape"]) == (9, 9, 6)


def test_angles_file_in_the_folder_orders_and_inverts(tmp_path: Path) -> None:
    pictures = random_pictures()
    folder = write_pictures(tmp_path / "views", pictures)
    names = [f"view_{index}.png" for index in (10, 8, 11, 9)]
    views = load_views(folder, write_angles(folder, name="angles.json", files=names, invert=True))
    np.testing.assert_array_equal(views.numpy(), 255 - slow_views(pictures[[2, 0, 3, 1]]))


def test_angles_file_in_the_folder_is_not_a_view(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "views", random_pictures())
    assert load_views(folder, write_angles(folder)).shape == (4, 9, 6)


def test_nifti_stack(tmp_path: Path) -> None:
    stack = random_volume((9, 6, 4))
    path = write_nifti(tmp_path / "views.nii.gz", stack, np.diag([0.5, 0.5, 1.0, 1.0]))
    views = load_views(path, write_angles(tmp_path))
    np.testing.assert_array_equal(views.numpy(), np.moveaxis(stack, 2, 0))
    assert views.meta["spacing"] == 0.5


@pytest.mark.parametrize("syntax", [None, JPEGLosslessSV1, RLELossless], ids=["plain", "jpeg", "rle"])
def test_multi_frame_dicom(tmp_path: Path, syntax: str | None) -> None:
    frames = random_pictures()
    path = tmp_path / "run.dcm"
    spacing = {"PixelSpacing": [0.3, 0.3], "ImagerPixelSpacing": [0.4, 0.4]}
    write_dicom(path, frames, XRayAngiographicImageStorage, **spacing)
    if syntax:
        compress(path, syntax)
    views = load_views(path, write_angles(tmp_path))
    np.testing.assert_array_equal(views.numpy(), slow_views(frames))
    assert views.meta["spacing"] == pytest.approx(0.3)


def test_dicom_stored_dark_for_bright_is_turned(tmp_path: Path) -> None:
    frames = random_pictures()
    write_dicom(tmp_path / "run", frames, XRayAngiographicImageStorage, PhotometricInterpretation="MONOCHROME1")
    views = load_views(tmp_path / "run", write_angles(tmp_path))
    np.testing.assert_array_equal(views.numpy(), slow_views(frames.max() - frames))


def test_grey_colours_are_taken_as_grey(tmp_path: Path) -> None:
    pictures = random_pictures(np.uint8)
    (tmp_path / "views").mkdir()
    for index, mode in enumerate(["RGB", "RGBA", "LA", "P"]):
        Image.fromarray(pictures[index]).convert(mode).save(tmp_path / "views" / f"{index}.png")
    views = load_views(tmp_path / "views", write_angles(tmp_path))
    np.testing.assert_array_equal(views.numpy(), slow_views(pictures))


@needs_real_dicom
@pytest.mark.real_data
def test_real_angiogram_is_the_same_in_two_transfer_syntaxes(tmp_path: Path) -> None:
    angles_file = write_angles(tmp_path, count=1)
    one = load_views(REAL_DICOM / "xa" / "WG04_XA1_JPLL.dcm", angles_file)
    other = load_views(REAL_DICOM / "xa" / "WG04_XA1_RLE.dcm", angles_file)
    assert one.shape == (1, 1024, 1024)
    np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert "CompressedSamples" not in str(one.meta)


# The angles file


def test_angles_file_round_trip(tmp_path: Path) -> None:
    path, affine = (
        tmp_path / "angles.yaml",
        np.array([[0, -0.7, 0, 5], [0.7, 0, 0, -1 / 3], [0, 0, 0.7, 7], [0, 0, 0, 1]]),
    )
    write_angles_file(path, [0, 22.5, np.float32(45)], spacing_mm=0.7, affine=affine)
    content = read_angles_file(path)
    assert content.angles_deg == [0.0, 22.5, 45.0]
    assert (content.spacing_mm, content.files, content.invert) == (0.7, None, False)
    np.testing.assert_allclose(content.affine, affine, atol=1e-6)
    assert path.read_text().splitlines()[:3] == ["angles_deg: [0.0, 22.5, 45.0]", "spacing_mm: 0.7", "affine:"]
    assert list(tmp_path.iterdir()) == [path]


def test_affine_of_the_angles_file_places_the_grid(tmp_path: Path) -> None:
    affine = np.array([[0, -0.7, 0, 5], [0.7, 0, 0, 6], [0, 0, 0.7, 7], [0, 0, 0, 1]])
    write_angles_file(tmp_path / "angles.yaml", [0, 10, 20, 30], affine=affine)
    views = load_views(write_pictures(tmp_path / "views", random_pictures()), tmp_path / "angles.yaml")
    np.testing.assert_allclose(views.affine, affine)
    assert views.meta["spacing"] == pytest.approx(0.7)


def test_the_angles_file_beside_the_views_is_taken_where_nobody_names_one(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(random_volume((8, 6, 3)), np.eye(4)), tmp_path / "head.nii.gz")
    with pytest.raises(InputError, match=r"head.nii.gz: expected the angles of its views in head.yaml or angles.yaml"):
        load_views(tmp_path / "head.nii.gz", None)
    write_angles_file(tmp_path / "angles.yaml", [0, 10, 20])
    assert load_views(tmp_path / "head.nii.gz", None).meta["angles_deg"] == [0, 10, 20]
    write_angles_file(tmp_path / "head.yaml", [0, 30, 60])
    assert load_views(tmp_path / "head.nii.gz", None).meta["angles_deg"] == [0, 30, 60]


def test_the_nearest_weights_are_chosen(tmp_path):
    for num_views in (2, 3, 5, 10):
        (tmp_path / f"views_{num_views:02d}.pt").touch()
    chosen = {num_views: Path(weights_for(str(tmp_path), num_views)).name for num_views in (2, 3, 4, 7, 8, 90)}
    assert chosen == {
        2: "views_02.pt",
        3: "views_03.pt",
        4: "views_05.pt",
        7: "views_05.pt",
        8: "views_10.pt",
        90: "views_10.pt",
    }
    with pytest.raises(InputError, match="models_dir: expected weights"):
        weights_for(str(tmp_path / "none"), 5)


def test_the_threshold_of_the_nearest_number_of_views_is_chosen(tmp_path):
    content = {"thresholds": {"unet max": {"2": 0.1, "10": 0.3}}}
    (tmp_path / "record.json").write_text(json.dumps(content), encoding="utf-8")
    chosen = [threshold_for(str(tmp_path), "unet", "max", num_views) for num_views in (2, 4, 5, 90)]
    assert chosen == [0.1, 0.1, 0.3, 0.3]
    with pytest.raises(InputError, match=r"threshold: expected thresholds of unet sum in .*; give --threshold"):
        threshold_for(str(tmp_path), "unet", "sum", 2)
    with pytest.raises(InputError, match="threshold: expected thresholds of unet max"):
        threshold_for(str(tmp_path / "none"), "unet", "max", 2)


def test_weights_have_their_sha256(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_sha256(str(tmp_path / "model.pt")) == known
    with pytest.raises(InputError, match=r"none\.pt: expected a file of weights, cannot read it"):
        weights_sha256(tmp_path / "none.pt")
