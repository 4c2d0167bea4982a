"""NIfTI files as arrays, checked more strictly than nibabel does."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.data import NibabelReader
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..checks import InputError, check_affine, check_three_dimensions, join_sizes, one_line

NIFTI_ENDINGS = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith(NIFTI_ENDINGS)


def read_nifti(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The voxels (I, J, K) of a NIfTI file in the order of its axes, and its RAS affine."""
    _check_header(path)
    reader = NibabelReader(squeeze_non_spatial_dims=True, mmap=False)
    try:
        voxels, meta = reader.get_data(reader.read(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: NIfTI file is damaged or cut short ({one_line(error)})") from error
    return voxels.astype(np.float32), np.asarray(meta["affine"], np.float64)


def _check_header(path: Path) -> None:
    try:
        image: Any = nib.load(path)
        with ImageOpener(str(path)) as stream:
            raw = type(image.header).from_fileobj(stream, check=False)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: expected a NIfTI image, got something else ({one_line(error)})") from error
    check_three_dimensions(_without_trailing_ones(image.shape), str(path))
    # nibabel replaces bad voxel sizes by good-looking ones, so they are taken from the header as it was written
    sizes_mm = raw["pixdim"][1:4]
    if not (np.isfinite(sizes_mm).all() and (sizes_mm > 0).all()):
        raise InputError(f"{path}: expected positive voxel sizes in mm, got {join_sizes(sizes_mm)}")
    check_affine(image.affine, str(path))
    if image.get_data_dtype().kind not in "iuf":
        raise InputError(f"{path}: expected one number a voxel, got {image.get_data_dtype()}")


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A fourth and further axes of length 1 hold nothing; a third one is the single slice of an image."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
