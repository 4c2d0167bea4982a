"""The reader of real projections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import ImageReader
from numpy.typing import NDArray
from PIL import Image
from pydicom.misc import is_dicom

from ..checks import InputError, check_volume, join_sizes, one_line
from .angles import AnglesFile, angles_file_of, read_angles_file
from .dicom import read_frames
from .nifti import is_nifti, read_nifti
from .volumes import grid_metadata, only_path

PICTURE_ENDINGS = (".png", ".tif", ".tiff")
SAME = 1e-3  # two spacings that differ by less than this part are equal


class ViewsReader(ImageReader):
    """Reads projections (V, X, Z) as float32, with their angles from an angles file.

    For `LoadImaged(keys="image", reader=ViewsReader(angles_file), ensure_channel_first=False)`; without an angles file
    the one beside the views is taken (see `angles.angles_file_of`). Reads a NIfTI
    stack with file axes (X, Z, V), a folder with one PNG, TIFF, NPY or DICOM image a view, or one multi-frame
    DICOM file. Pictures are taken as displayed: a column is X, the top row the highest Z.

    The metadata holds `angles_deg` and `spacing` (mm), and, as `affine` and `spatial_shape`, the grid
    (X, X, Z) that the views are to be reconstructed on.
    """

    def __init__(self, angles_file: PathLike | None = None) -> None:
        self.angles_file = None if angles_file is None else Path(angles_file)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Takes every name: what a file really holds is looked at when it is read."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Only takes the path, for the reason told at `VolumeReader.read`."""
        return only_path(data)

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The views (V, X, Z), and the metadata of the grid to reconstruct."""
        path = self.angles_file or angles_file_of(img)
        angles = read_angles_file(path)
        views, header_spacing_mm = _read_views(img, angles.files, path)
        if len(views) != len(angles.angles_deg):
            raise InputError(
                f"{path}: expected one angle for each of the {len(views)} views in {img}, "
                f"got {len(angles.angles_deg)} angles"
            )
        check_volume(torch.from_numpy(views)[None], str(img))
        if angles.invert:
            views = views.max() - views
        spacing_mm, affine = _grid(path, angles, header_spacing_mm, views.shape)
        size, height = views.shape[1:]
        meta = grid_metadata(affine, (size, size, height), channel_dim=0)
        return views, {**meta, "spacing": spacing_mm, "angles_deg": angles.angles_deg}


def _read_views(path: Path, names: list[str] | None, angles_file: Path) -> tuple[NDArray[np.float32], float | None]:
    """Views (V, X, Z) and the pixel spacing in mm that their headers give."""
    if names is not None and not path.is_dir():
        raise InputError(f"{angles_file}: files is for a folder of images, got the input {path}")
    if path.is_dir():
        return _read_image_files(_view_files(path, names, angles_file))
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; expected a stack of views or a folder of images")
    if is_nifti(path):
        return _read_stack(path)
    return _read_image_files([path])


def _read_stack(path: Path) -> tuple[NDArray[np.float32], float]:
    """A NIfTI stack (X, Z, V) as (V, X, Z)."""
    stack, affine = read_nifti(path)
    width_mm, height_mm = np.linalg.norm(affine[:3, :2], axis=0)
    if not np.isclose(width_mm, height_mm, rtol=SAME):
        raise InputError(f"{path}: expected square pixels, got {join_sizes((width_mm, height_mm))} mm")
    return np.ascontiguousarray(stack.transpose(2, 0, 1)), float(width_mm)


def _view_files(folder: Path, names: list[str] | None, angles_file: Path) -> list[Path]:
    """The files that the angles file lists, or else all of the folder in natural order of their names."""
    if names is not None:
        files = [folder / name for name in names]
    else:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        files = [path for path in files if path.resolve() != angles_file.resolve()]
        files.sort(key=lambda path: _natural(path.name))
    if not files:
        raise InputError(f"{folder}: expected a folder with one image a view, got no files")
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file, though {angles_file} lists it")
    return files


def _natural(name: str) -> list[tuple[int, str]]:
    """A sorting key that puts view_2 before view_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _read_image_files(paths: list[Path]) -> tuple[NDArray[np.float32], float | None]:
    """One image a file, or all frames of a single file."""
    images = [_read_image(path) for path in paths]
    first, spacing_mm = images[0]
    for path, (frames, other_mm) in zip(paths, images, strict=True):
        if len(frames) > 1 and len(paths) > 1:
            raise InputError(f"{path}: expected one view in each of {len(paths)} files, got {len(frames)} frames")
        if frames.shape[1:] != first.shape[1:]:
            raise InputError(
                f"{path}: expected {first.shape[2]} x {first.shape[1]} pixels as in {paths[0].name}, "
                f"got {frames.shape[2]} x {frames.shape[1]}"
            )
        if (other_mm or 0) != (spacing_mm or 0) and not np.isclose(other_mm or 0, spacing_mm or 0, rtol=SAME):
            raise InputError(
                f"{path}: expected the pixel spacing {spacing_mm} mm as in {paths[0].name}, got {other_mm}"
            )
    displayed = np.concatenate([frames for frames, _ in images])
    return np.ascontiguousarray(displayed[:, ::-1].transpose(0, 2, 1)), spacing_mm


def _read_image(path: Path) -> tuple[NDArray[np.float32], float | None]:
    """The frames (F, rows, columns) of one image file, and its pixel spacing in mm where it has one."""
    if is_dicom(path):
        return read_frames(path)
    if path.suffix.lower() == ".npy":
        pixels = _load_npy(path)
    elif path.suffix.lower() in PICTURE_ENDINGS:
        pixels = _load_picture(path)
    else:
        raise InputError(f"{path}: expected a PNG, TIFF, NPY or DICOM image, got a file that is none of them")
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: expected a 2D image of numbers, got {pixels.dtype} of size {join_sizes(pixels.shape)}"
        )
    return pixels.astype(np.float32)[None], None


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, OSError, TokenError) as error:
        raise InputError(f"{path}: expected an image in NPY format, got something else ({one_line(error)})") from error


def _load_picture(path: Path) -> NDArray[Any]:
    """A greyscale PNG or TIFF (rows, columns); colours pass only where they are all grey."""
    try:
        with Image.open(path) as image:
            num_pages = getattr(image, "n_frames", 1)
            has_colours = image.mode not in ("1", "L", "F", "I") and not image.mode.startswith("I;16")
            pixels = np.asarray(image.convert("RGB") if has_colours else image)
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected a PNG or TIFF image, got something else ({one_line(error)})") from error
    if num_pages > 1:
        raise InputError(f"{path}: expected one view a picture file, got {num_pages} pages")
    if not has_colours:
        return pixels
    if not (pixels == pixels[..., :1]).all():
        raise InputError(f"{path}: expected a greyscale image, got colours; convert it to one channel first")
    return pixels[..., 0]


def _grid(
    path: Path, angles: AnglesFile, header_spacing_mm: float | None, shape: tuple[int, ...]
) -> tuple[float, NDArray[np.float64]]:
    """Spacing and affine of the cubic grid (X, X, Z) that views (V, X, Z) are reconstructed on."""
    if angles.affine is None:
        spacing_mm = angles.spacing_mm or header_spacing_mm or 1.0
        size, height = shape[1:]
        affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        affine[:3, 3] = -spacing_mm * (np.array([size, size, height]) - 1) / 2
        return spacing_mm, affine
    sizes_mm = np.linalg.norm(angles.affine[:3, :3], axis=0)
    spacing_mm = angles.spacing_mm or float(sizes_mm[0])
    if not np.allclose(sizes_mm, spacing_mm, rtol=SAME):
        raise InputError(f"{path}: affine must have cubic voxels of {spacing_mm:g} mm, got {join_sizes(sizes_mm)} mm")
    return spacing_mm, angles.affine
