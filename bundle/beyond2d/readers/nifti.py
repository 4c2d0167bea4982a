"""NIfTI files as arrays, checked more strictly than nibabel does."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from monai.data.utils import correct_nifti_header_if_necessary
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..checks import InputError, check_affine, check_three_dimensions, join_sizes, one_line

NIFTI_ENDINGS = (".nii", ".nii.gz")
READ_AT_ONCE = 2**20


def is_nifti(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith(NIFTI_ENDINGS)


def read_nifti(path: Path, num_channels: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The voxels of a NIfTI file in the order of its axes, and its RAS affine.

    (I, J, K) where there is one channel, else (I, J, K, C). The file is read to its end, behind the voxels, where
    gzip compares its checksum.
    """
    image_type = _check_header(path, num_channels)
    try:
        with ImageOpener(str(path)) as stream:
            image = image_type.from_file_map({"image": FileHolder(fileobj=cast(Any, stream))}, mmap=False)
            image = correct_nifti_header_if_necessary(image)
            voxels = np.asarray(image.dataobj)
            while stream.read(READ_AT_ONCE):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: NIfTI file is damaged or cut short ({one_line(error)})") from error
    except MemoryError as error:
        raise InputError(f"{path}: NIfTI file of {join_sizes(image.shape)} voxels does not fit into memory") from error
    voxels = voxels.reshape(_without_trailing_ones(voxels.shape))
    return voxels.astype(np.float32, copy=False), np.asarray(image.affine, np.float64)


def _check_header(path: Path, num_channels: int) -> Any:
    """The kind of NIfTI image that a file with a sound header holds."""
    try:
        image: Any = nib.load(path)
        with ImageOpener(str(path)) as stream:
            raw = type(image.header).from_fileobj(stream, check=False)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: expected a NIfTI image, got something else ({one_line(error)})") from error
    _check_axes(path, _without_trailing_ones(image.shape), num_channels)
    # nibabel replaces bad voxel sizes by good-looking ones, so they are taken from the header as it was written
    sizes_mm = raw["pixdim"][1:4]
    if not (np.isfinite(sizes_mm).all() and (sizes_mm > 0).all()):
        raise InputError(f"{path}: expected positive voxel sizes in mm, got {join_sizes(sizes_mm)}")
    check_affine(image.affine, str(path))
    if image.get_data_dtype().kind not in "iuf":
        raise InputError(f"{path}: expected one number a voxel, got {image.get_data_dtype()}")
    return type(image)


def _check_axes(path: Path, shape: tuple[int, ...], num_channels: int) -> None:
    """Three axes, and a fourth of the channels where there are several."""
    if num_channels == 1:
        check_three_dimensions(shape, str(path))
    elif len(shape) != 4 or min(shape) < 1 or shape[3] != num_channels:
        raise InputError(f"{path}: expected a 3D volume with {num_channels} channels, got {join_sizes(shape)}")


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A fourth and further axes of length 1 hold nothing; a third one is the single slice of an image."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
