"""Bad images are refused with one clear line: what a person may give, and a part of the line that answers it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from image_files import (
    compress,
    edit_slice,
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
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless, XRayAngiographicImageStorage

from beyond2d.checks import InputError

NOISE = np.random.default_rng(2).bytes(4000)
SYNTAXES = [JPEG2000Lossless, JPEGLosslessSV1, RLELossless]


# Bad volumes: what a person may give, and a part of the line that answers it


def cut(path: Path, part: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    return path


def series_with(folder: Path, **tags: Any) -> Path:
    """A series of which the slice at 4 mm has other tags."""
    write_series(folder)
    edit_slice(folder / "image003", **tags)
    return folder


def series_at(folder: Path, *positions: float) -> Path:
    write_series(folder, random_volume((9, 7, len(positions))), positions=np.array(positions))
    return folder


def two_series(folder: Path) -> Path:
    write_series(folder, prefix="a")
    write_series(folder, random_volume((9, 7, 3)), series="1.2.3.5", prefix="b")
    return folder


def tilted_series(folder: Path) -> Path:
    tilted = np.array([[1, 0, 0], [0, 1, 0], [0, 0.2, 1]])
    write_series(folder, axes=tilted)
    return folder


def mixed_sizes(folder: Path) -> Path:
    write_series(folder)
    write_series(folder, random_volume((6, 7, 1)), positions=np.array([10.0]), prefix="z")
    return folder


def cut_slice(folder: Path, part: float) -> Path:
    write_series(folder)
    cut(folder / "image002", part)
    return folder


def multi_frame_slice(folder: Path) -> Path:
    write_series(folder)
    pixels = np.zeros((2, 7, 9), np.int16)
    edit_slice(folder / "image002", NumberOfFrames=2, PixelData=pixels.tobytes())
    return folder


def bad_nifti(path: Path, **header: Any) -> Path:
    """Writes fields of the header as they are, past nibabel's own repairs."""
    write_nifti(path, random_volume())
    content = bytearray(path.read_bytes())
    raw = nib.Nifti1Header(bytes(content[:348]), check=False)
    for field, value in header.items():
        raw[field] = value
    path.write_bytes(raw.binaryblock + bytes(content[348:]))
    return path


def with_voxel(path: Path, value: float) -> Path:
    voxels = random_volume().astype(np.float32)
    voxels[:2, 0, 0] = value
    return write_nifti(path, voxels)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def folder_with_text(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes.txt").write_text("no images here")
    return folder


def empty_folder(folder: Path) -> Path:
    (folder / "subfolder").mkdir(parents=True)
    return folder


def text_named_dcm(folder: Path) -> Path:
    write_series(folder)
    (folder / "image009.dcm").write_text("not DICOM")
    return folder


def one_dicom_file(folder: Path) -> Path:
    write_series(folder)
    return folder / "image001"


RGB = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
FLAT = {"sform_code": 1, "srow_x": [1, 0, 0, 0], "srow_y": [1, 0, 0, 0], "srow_z": [0, 0, 1, 0]}

BAD_VOLUMES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no such file": (lambda at: at / "missing.nii.gz", "missing.nii.gz: no such file or folder"),
    "empty folder": (
        lambda at: empty_folder(at / "empty"),
        "empty: expected a folder with one DICOM series, got no files",
    ),
    "folder without images": (
        lambda at: folder_with_text(at / "f"),
        "f: expected a folder with one DICOM series, got no DICOM image among its 1 files",
    ),
    "noise as nii.gz": (
        lambda at: written(at / "noise.nii.gz", NOISE),
        "noise.nii.gz: expected a NIfTI image, got something else",
    ),
    "noise in gzip": (
        lambda at: written(at / "noise.nii.gz", gzip.compress(NOISE)),
        "noise.nii.gz: expected a NIfTI image, got something else",
    ),
    "text as nii": (
        lambda at: written(at / "text.nii", b"hello\n" * 200),
        "text.nii: expected a NIfTI image, got something else",
    ),
    "empty file": (
        lambda at: written(at / "none.nii.gz", b""),
        "none.nii.gz: expected a NIfTI image, got something else",
    ),
    "unknown ending": (
        lambda at: written(at / "a.docx", NOISE),
        "a.docx: expected a NIfTI file (.nii or .nii.gz) or a folder with one DICOM series, got a file that",
    ),
    "one DICOM file": (
        lambda at: one_dicom_file(at / "s"),
        "image001: expected a NIfTI file (.nii or .nii.gz) or a folder with one DICOM series, got one DICOM file",
    ),
    "cut nii": (
        lambda at: cut(write_nifti(at / "a.nii", random_volume()), 0.6),
        "a.nii: NIfTI file is damaged or cut short",
    ),
    "cut nii.gz": (
        lambda at: cut(write_nifti(at / "a.nii.gz", random_volume((20, 20, 20))), 0.6),
        "a.nii.gz: NIfTI file is damaged or cut short",
    ),
    "cut nii header": (
        lambda at: cut(write_nifti(at / "a.nii", random_volume()), 0.2),
        "a.nii: expected a NIfTI image, got something else",
    ),
    "2D": (
        lambda at: write_nifti(at / "a.nii", random_volume((8, 8))),
        "a.nii: expected a 3D volume, got 2 dimensions (8 x 8)",
    ),
    "one slice": (
        lambda at: write_nifti(at / "a.nii", random_volume((8, 8, 1))),
        "a.nii: expected a 3D volume, got one slice (8 x 8 x 1)",
    ),
    "4D": (
        lambda at: write_nifti(at / "a.nii", random_volume((8, 8, 8, 3))),
        "a.nii: expected a 3D volume, got 4 dimensions (8 x 8 x 8 x 3)",
    ),
    "NaN": (
        lambda at: with_voxel(at / "a.nii", np.nan),
        "a.nii: expected finite voxels, got 2 that are NaN or infinite",
    ),
    "infinite": (
        lambda at: with_voxel(at / "a.nii", -np.inf),
        "a.nii: expected finite voxels, got 2 that are NaN or infinite",
    ),
    "constant": (
        lambda at: write_nifti(at / "a.nii", np.full((4, 4, 4), 7, np.int16)),
        "a.nii: expected an image, got the same value 7 in every voxel",
    ),
    "colours": (lambda at: write_nifti(at / "a.nii", RGB), "a.nii: expected one number a voxel"),
    "negative size": (
        lambda at: bad_nifti(at / "a.nii", dim=[3, 9, -7, 5, 1, 1, 1, 1]),
        "a.nii: expected a 3D volume, got 3 dimensions (9 x -7 x 5)",
    ),
    "more than fits": (
        lambda at: bad_nifti(at / "a.nii", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]),
        "a.nii: NIfTI file of 32767 x 32767 x 32767 voxels does not fit into memory",
    ),
    "zero voxel size": (
        lambda at: bad_nifti(at / "a.nii", pixdim=[1, 1, 0, 1, 1, 1, 1, 1]),
        "a.nii: expected positive voxel sizes in mm, got 1 x 0 x 1",
    ),
    "negative voxel size": (
        lambda at: bad_nifti(at / "a.nii", pixdim=[1, 1, 1, -2, 1, 1, 1, 1]),
        "a.nii: expected positive voxel sizes in mm, got 1 x 1 x -2",
    ),
    "NaN voxel size": (
        lambda at: bad_nifti(at / "a.nii", pixdim=[1, np.nan, 1, 1, 1, 1, 1, 1]),
        "a.nii: expected positive voxel sizes in mm, got nan x 1 x 1",
    ),
    "flat affine": (lambda at: bad_nifti(at / "a.nii", **FLAT), "a.nii: affine must have three independent axes"),
    "NaN affine": (
        lambda at: bad_nifti(at / "a.nii", sform_code=1, srow_x=[np.nan, 0, 0, 0]),
        "a.nii: affine must be 4 x 4 finite numbers",
    ),
    "two series": (
        lambda at: two_series(at / "s"),
        "s: expected a folder with one DICOM series, got 2 (slices: 5 such as a001, 3 such as b001); keep one",
    ),
    "missing slice": (
        lambda at: series_at(at / "s", 0, 2, 4, 8, 10),
        "s: expected a slice every 2.00 mm, got none between 44.00 and 48.00 mm",
    ),
    "uneven distances": (
        lambda at: series_at(at / "s", 0, 2, 4.5, 6.2, 8),
        "s: expected slices at even distances, got from 1.70 to 2.50 mm",
    ),
    "two at one position": (
        lambda at: series_at(at / "s", 0, 2, 2, 4, 6),
        "s: expected one slice at each position, got two at 42.00 mm (image003 and image004)",
    ),
    "every position twice": (
        lambda at: series_at(at / "s", 0, 2, 2, 4, 4),
        "s: expected one slice at each position, got two at 42.00 mm",
    ),
    "tilted gantry": (
        lambda at: tilted_series(at / "s"),
        "s: expected slices straight above one another, got a shift of 1.60 mm over 8.00 mm",
    ),
    "one DICOM slice": (
        lambda at: series_at(at / "s", 0),
        "s: expected a 3D series of at least 2 DICOM slices, got one slice",
    ),
    "sizes differ": (
        lambda at: mixed_sizes(at / "s"),
        "z001: expected slices like image001 with 7 x 9 pixels, got 7 x 6",
    ),
    "orientation differs": (
        lambda at: series_with(at / "s", ImageOrientationPatient=[0, 1, 0, 0, 0, 1]),
        "image003: expected slices like image001 in orientation, got another one",
    ),
    "pixel spacing differs": (
        lambda at: series_with(at / "s", PixelSpacing=[0.7, 0.6]),
        "image003: expected slices like image001 with pixels of 0.7 x 0.5 mm, got 0.7 x 0.6 mm",
    ),
    "no position": (
        lambda at: series_with(at / "s", ImagePositionPatient=None),
        "image003: expected 3 finite numbers in the DICOM tag ImagePositionPatient, got []",
    ),
    "half a position": (
        lambda at: series_with(at / "s", ImagePositionPatient=[1, 2]),
        "image003: expected 3 finite numbers in the DICOM tag ImagePositionPatient, got [1.0, 2.0]",
    ),
    "colour slices": (
        lambda at: series_with(at / "s", PhotometricInterpretation="RGB"),
        "image003: expected a greyscale image, got the DICOM colours RGB",
    ),
    "frames in a slice": (
        lambda at: multi_frame_slice(at / "s"),
        "image002: expected one slice in each file of a series, got 2 frames",
    ),
    "cut slice": (lambda at: cut_slice(at / "s", 0.95), "image002: DICOM pixels are damaged or cut short"),
    "slice of no bytes": (lambda at: cut_slice(at / "s", 0), "image002: expected a DICOM file as its name says"),
    "cut slice header": (
        lambda at: cut_slice(at / "s", 0.5),
        "image002: expected a DICOM image, got a header that is cut short",
    ),
    "text named dcm": (
        lambda at: text_named_dcm(at / "s"),
        "image009.dcm: expected a DICOM file as its name says, got something else",
    ),
}


def assert_one_line(error: InputError, fragment: str) -> None:
    line = str(error)
    assert fragment in line
    assert "\n" not in line
    assert "Secret" not in line


@pytest.mark.parametrize("case", BAD_VOLUMES)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_bad_volume(tmp_path: Path, case: str) -> None:
    make, fragment = BAD_VOLUMES[case]
    path = make(tmp_path)
    with pytest.raises(InputError) as caught:
        load_volume(path)
    assert_one_line(caught.value, fragment)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, RLELossless], ids=lambda uid: uid.name)
def test_every_cut_of_a_slice_is_refused_or_harmless(tmp_path: Path, syntax: str) -> None:
    """A compressed file may lose the marks at its end, but never pixels without a word."""
    volume = random_volume()
    write_series(tmp_path, volume)
    path = tmp_path / "image001"  # the last in space, so that no gap would tell
    compress(path, syntax)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        try:
            voxels = load_volume(tmp_path)[0].numpy()
        except InputError as error:
            assert_one_line(error, str(tmp_path))
        else:
            np.testing.assert_array_equal(voxels, volume)


def hide_decoders(monkeypatch: pytest.MonkeyPatch, syntax: str) -> None:
    """As if no package that decodes the syntax were installed."""
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2
        handlers = [each for each in pydicom.config.pixel_data_handlers if not each.supports_transfer_syntax(syntax)]
        monkeypatch.setattr(pydicom.config, "pixel_data_handlers", handlers)
    else:
        monkeypatch.setattr(get_decoder(syntax), "_available", {})


def test_missing_decoder_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path)
    compress(tmp_path / "image001", JPEG2000Lossless)
    hide_decoders(monkeypatch, JPEG2000Lossless)
    with pytest.raises(InputError) as caught:
        load_volume(tmp_path)
    syntax = "JPEG 2000 Image Compression (Lossless Only)"
    expected = f"image001: no decoder is installed for the DICOM transfer syntax {syntax} (pip install python-gdcm)"
    assert_one_line(caught.value, expected)


def test_syntax_that_nothing_decodes(tmp_path: Path) -> None:
    write_series(tmp_path)
    image = pydicom.dcmread(tmp_path / "image001")
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # video
    image.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
    image["PixelData"].is_undefined_length = True
    image.save_as(tmp_path / "image001")
    with pytest.raises(InputError) as caught:
        load_volume(tmp_path)
    assert_one_line(caught.value, "no package decodes it; export the images uncompressed")


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", random_volume((20, 20, 20)))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_volume(path)
    assert_one_line(caught.value, "a.nii.gz: NIfTI file is damaged or cut short (CRC check failed")


BAD_CHANNELS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "3D": (
        lambda at: write_nifti(at / "a.nii", random_volume()),
        "a.nii: expected a 3D volume with 2 channels, got 9 x 7 x 5",
    ),
    "too many": (
        lambda at: write_nifti(at / "a.nii", random_volume((9, 7, 5, 3))),
        "a.nii: expected a 3D volume with 2 channels, got 9 x 7 x 5 x 3",
    ),
    "one slice": (
        lambda at: write_nifti(at / "a.nii", random_volume((9, 7, 1, 2))),
        "a.nii: expected a 3D volume, got one slice (9 x 7 x 1)",
    ),
    "a constant channel": (
        lambda at: write_nifti(at / "a.nii", random_volume((9, 7, 5, 2)) * np.array([1, 0], np.int16)),
        "a.nii: expected an image, got the same value 0 in every voxel of channel 1",
    ),
    "a series": (
        lambda at: folder_with_text(at / "s"),
        "s: expected a NIfTI file (.nii or .nii.gz) with 2 channels, got a folder",
    ),
}


@pytest.mark.parametrize("case", BAD_CHANNELS)
def test_bad_volumes_of_two_channels(tmp_path: Path, case: str) -> None:
    make, fragment = BAD_CHANNELS[case]
    with pytest.raises(InputError) as caught:
        load_volume(make(tmp_path), num_channels=2)
    assert_one_line(caught.value, fragment)


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (np.nan, "a.nii: expected finite voxels, got 2 that are NaN or infinite"),
        (0.25, "a.nii: expected a label map of whole numbers, got 2 voxels with fractions such as 0.25"),
    ],
)
def test_bad_labels(tmp_path: Path, value: float, fragment: str) -> None:
    with pytest.raises(InputError) as caught:
        load_label(with_voxel(tmp_path / "a.nii", value))
    assert_one_line(caught.value, fragment)


# Bad views


def views_and(at: Path, pictures: np.ndarray | None = None, ending: str = "png", **angles: Any) -> tuple[Path, Path]:
    folder = write_pictures(at / "views", random_pictures() if pictures is None else pictures, ending)
    return folder, write_angles(at, **angles)


def views_with(at: Path, name: str, content: bytes) -> tuple[Path, Path]:
    """Four views of which the last has this content under another name."""
    folder, angles_file = views_and(at)
    (folder / "view_11.png").unlink()
    (folder / name).write_bytes(content)
    return folder, angles_file


def views_of_angles(at: Path, name: str, text: str) -> tuple[Path, Path]:
    folder, _ = views_and(at)
    (at / name).write_text(text)
    return folder, at / name


def stack_and(at: Path, stack: np.ndarray, voxel_mm: tuple[float, ...] = (1, 1, 1), **angles: Any) -> tuple[Path, Path]:
    return write_nifti(at / "views.nii.gz", stack, np.diag([*voxel_mm, 1.0])), write_angles(at, **angles)


def sizes_differ(at: Path) -> tuple[Path, Path]:
    folder, angles_file = views_and(at)
    Image.fromarray(random_pictures()[0, :5]).save(folder / "view_11.png")
    return folder, angles_file


def colour_view(at: Path) -> tuple[Path, Path]:
    folder, angles_file = views_and(at)
    Image.new("RGB", (9, 6), (10, 20, 30)).save(folder / "view_9.png")
    return folder, angles_file


def paged_view(at: Path) -> tuple[Path, Path]:
    folder, angles_file = views_and(at, ending="tif")
    pages = [Image.fromarray(page) for page in random_pictures()]
    pages[0].save(folder / "view_9.tif", save_all=True, append_images=pages[1:])
    return folder, angles_file


def multi_frame_among_views(at: Path) -> tuple[Path, Path]:
    folder, angles_file = views_and(at, ending="dcm")
    write_dicom(folder / "view_9.dcm", random_pictures(), XRayAngiographicImageStorage)
    return folder, angles_file


def spacing_of_view(at: Path, *spacing: float) -> tuple[Path, Path]:
    folder, angles_file = views_and(at, ending="dcm")
    edit_slice(folder / "view_9.dcm", ImagerPixelSpacing=list(spacing))
    return folder, angles_file


def empty_views(at: Path) -> tuple[Path, Path]:
    (at / "views").mkdir()
    return at / "views", write_angles(at)


def with_nan(pictures: np.ndarray) -> np.ndarray:
    pictures = pictures.astype(np.float32)
    pictures[2, :, 3] = np.nan
    return pictures


OFF_AXIS = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]

BAD_VIEWS: dict[str, tuple[Callable[[Path], tuple[Path, Path]], str]] = {
    "no angles file": (lambda at: (views_and(at)[0], at / "none.yaml"), "none.yaml: no such angles file"),
    "angles not YAML": (
        lambda at: views_of_angles(at, "a.yaml", "angles_deg: [0, 1"),
        "a.yaml: expected an angles file in YAML or JSON",
    ),
    "angles not JSON": (
        lambda at: views_of_angles(at, "a.json", '{"angles_deg": [0, 1'),
        "a.json: expected an angles file in YAML or JSON",
    ),
    "no angles_deg": (
        lambda at: views_of_angles(at, "a.yaml", "spacing_mm: 1"),
        "a.yaml: expected the key angles_deg",
    ),
    "angles as words": (
        lambda at: views_of_angles(at, "a.yaml", "angles_deg: [0, ten, 20, 30]"),
        "a.yaml: angles_deg must be a list of numbers in degrees, got [0, 'ten', 20, 30]",
    ),
    "angles infinite": (
        lambda at: views_of_angles(at, "a.yaml", "angles_deg: [0, .inf, 20, 30]"),
        "a.yaml: angles_deg must be a list of numbers",
    ),
    "no angles": (
        lambda at: views_of_angles(at, "a.yaml", "angles_deg: []"),
        "a.yaml: angles_deg must be a list of numbers in degrees, got []",
    ),
    "an angle twice": (
        lambda at: views_and(at, angles_deg=[0, 10, 10.0, 20]),
        "angles.yaml: angles_deg must differ from one another, got 10 2 times",
    ),
    "unknown key": (
        lambda at: views_and(at, spacing=0.5),
        "angles.yaml: unknown key 'spacing'; did you mean spacing_mm?",
    ),
    "spacing as a word": (
        lambda at: views_and(at, spacing_mm="0.5 mm"),
        "angles.yaml: spacing_mm must be a positive number, got 0.5 mm",
    ),
    "spacing of zero": (
        lambda at: views_and(at, spacing_mm=0),
        "angles.yaml: spacing_mm must be a positive number, got 0",
    ),
    "invert as a word": (
        lambda at: views_and(at, invert="maybe"),
        "angles.yaml: invert must be true or false, got maybe",
    ),
    "affine of 3 rows": (
        lambda at: views_and(at, affine=OFF_AXIS[:3]),
        "angles.yaml: affine must be 4 rows of 4 numbers",
    ),
    "affine not cubic": (
        lambda at: views_and(at, affine=OFF_AXIS),
        "angles.yaml: affine must have cubic voxels of 1 mm, got 1 x 1 x 2 mm",
    ),
    "affine flat": (
        lambda at: views_and(at, affine=[OFF_AXIS[0]] * 3 + [OFF_AXIS[3]]),
        "angles.yaml: affine must have three independent axes",
    ),
    "affine against spacing": (
        lambda at: views_and(at, affine=np.eye(4).tolist(), spacing_mm=0.5),
        "angles.yaml: affine must have cubic voxels of 0.5 mm, got 1 x 1 x 1 mm",
    ),
    "fewer angles than views": (
        lambda at: views_and(at, count=3),
        "angles.yaml: expected one angle for each of the 4 views in",
    ),
    "fewer files than angles": (
        lambda at: views_and(at, files=["view_8.png"]),
        "angles.yaml: files must name one file an angle: 4 angles, got 1 files",
    ),
    "a listed file twice": (
        lambda at: views_and(at, files=["view_8.png"] * 4),
        "angles.yaml: files must differ from one another, got view_8.png 4 times",
    ),
    "a listed file is missing": (
        lambda at: views_and(at, files=["a.png", "view_8.png", "view_9.png", "view_10.png"]),
        "a.png: no such file, though",
    ),
    "files for a stack": (
        lambda at: stack_and(at, random_volume((9, 6, 4)), files=list("abcd")),
        "angles.yaml: files is for a folder of images, got the input",
    ),
    "no such views": (lambda at: (at / "none", write_angles(at)), "none: no such file or folder"),
    "no views in folder": (empty_views, "views: expected a folder with one image a view, got no files"),
    "text as PNG": (
        lambda at: views_with(at, "view_11.png", b"hello" * 99),
        "view_11.png: expected a PNG or TIFF image, got something else",
    ),
    "noise as NPY": (
        lambda at: views_with(at, "view_11.npy", NOISE),
        "view_11.npy: expected an image in NPY format, got something else",
    ),
    "a file of another kind": (
        lambda at: views_with(at, "notes.txt", b"hello"),
        "notes.txt: expected a PNG, TIFF, NPY or DICOM image",
    ),
    "sizes differ": (sizes_differ, "view_11.png: expected 9 x 6 pixels as in view_8.png, got 9 x 5"),
    "colours": (colour_view, "view_9.png: expected a greyscale image, got colours"),
    "NPY of three axes": (
        lambda at: views_and(at, random_pictures(shape=(4, 6, 9, 3)), "npy"),
        "view_8.npy: expected a 2D image of numbers, got uint16 of size 6 x 9 x 3",
    ),
    "pages in a TIFF": (paged_view, "view_9.tif: expected one view a picture file, got 4 pages"),
    "frames in one of many": (
        multi_frame_among_views,
        "view_9.dcm: expected one view in each of 4 files, got 4 frames",
    ),
    "oblong pixels": (
        lambda at: spacing_of_view(at, 0.25, 0.3),
        "view_9.dcm: expected square pixels, got ImagerPixelSpacing 0.25 x 0.3 mm",
    ),
    "spacings differ": (
        lambda at: spacing_of_view(at, 0.3, 0.3),
        "view_9.dcm: expected the pixel spacing 0.25 mm as in view_8.dcm, got 0.3",
    ),
    "oblong stack": (
        lambda at: stack_and(at, random_volume((9, 6, 4)), (1, 2, 1)),
        "views.nii.gz: expected square pixels, got 1 x 2 mm",
    ),
    "stack of 4 axes": (
        lambda at: stack_and(at, random_volume((9, 6, 4, 2))),
        "views.nii.gz: expected a 3D volume, got 4 dimensions",
    ),
    "NaN": (
        lambda at: views_and(at, with_nan(random_pictures()), "npy"),
        "views: expected finite voxels, got 6 that are NaN or infinite",
    ),
    "constant": (
        lambda at: views_and(at, np.full((4, 6, 9), 9, np.uint8)),
        "views: expected an image, got the same value 9 in every voxel",
    ),
}


@pytest.mark.parametrize("case", BAD_VIEWS)
def test_bad_views(tmp_path: Path, case: str) -> None:
    make, fragment = BAD_VIEWS[case]
    path, angles_file = make(tmp_path)
    with pytest.raises(InputError) as caught:
        load_views(path, angles_file)
    assert_one_line(caught.value, fragment)
