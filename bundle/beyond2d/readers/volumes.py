"""The readers of one 3D volume, and of its label map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import ensure_tuple
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray
from pydicom.misc import is_dicom

from ..checks import InputError, check_count, check_label_map, check_volume, join_sizes
from .dicom import read_series
from .nifti import is_nifti, read_nifti


class _PathReader(ImageReader):
    """What the readers of volumes share: all they do, they do in `get_data`."""

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """Takes every name: what a file really holds is looked at when it is read."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Path:
        """Only takes the path. `LoadImage` would answer an error here by trying its other readers on the file
        and hide the line that says what is wrong, so the reading is left to `get_data`."""
        return only_path(data)


class VolumeReader(_PathReader):
    """Reads one volume as float32 from a NIfTI file or from a folder with one DICOM series.

    For `LoadImaged(keys="image", reader=VolumeReader(), ensure_channel_first=True)`, which gives a MetaTensor
    (C, X, Y, Z). The axes are those of the file, with the affine to RAS mm in the metadata. A volume of several
    channels is a NIfTI file that has them as its last axis, as in the decathlon. With a `modality`, such as CT, a
    DICOM series that says it is another is refused.
    """

    def __init__(self, num_channels: int = 1, modality: str | None = None) -> None:
        self.num_channels = check_count(num_channels, 1, "num_channels")
        self.modality = modality

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The voxels, (X, Y, Z) or (X, Y, Z, C), and what places them in space."""
        voxels, affine = _read_volume(img, self.num_channels, self.modality)
        has_channels = self.num_channels > 1
        channels = np.moveaxis(voxels, 3, 0) if has_channels else voxels[None]
        check_volume(torch.from_numpy(channels), str(img), self.num_channels)
        return voxels, grid_metadata(affine, voxels.shape[:3], channel_dim=3 if has_channels else float("nan"))


class LabelReader(_PathReader):
    """Reads the label map (X, Y, Z) of a volume: whole numbers, as float32; it may be empty.

    For `LoadImaged(keys="label", reader=LabelReader(), ensure_channel_first=True)`.
    """

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The labels (X, Y, Z) and what places them in space."""
        label, affine = _read_volume(img, num_channels=1)
        return check_label_map(label, str(img)), grid_metadata(affine, label.shape, channel_dim=float("nan"))


def only_path(data: Sequence[PathLike] | PathLike) -> Path:
    """The one path that a reader was given."""
    paths = ensure_tuple(data)
    if len(paths) != 1:
        raise InputError(f"{paths[0]}: expected one file or folder an image, got {len(paths)}")
    return Path(paths[0])


def grid_metadata(affine: NDArray[np.float64], shape: tuple[int, ...], channel_dim: float) -> dict[str, Any]:
    """MONAI's metadata of a grid; a channel_dim that is not a number means that the array has no channels."""
    return {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: channel_dim,
    }


def _read_volume(
    path: Path, num_channels: int, modality: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    if path.is_dir() and num_channels == 1:
        return read_series(path, modality)
    expected = "expected a NIfTI file (.nii or .nii.gz) or a folder with one DICOM series"
    if num_channels > 1:
        expected = f"expected a NIfTI file (.nii or .nii.gz) with {num_channels} channels"
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {expected}")
    if path.is_dir() or not is_nifti(path):
        got = "a folder" if path.is_dir() else _kind_of(path)
        raise InputError(f"{path}: {expected}, got {got}")
    voxels, affine = read_nifti(path, num_channels)
    if 1 in voxels.shape[:3]:
        raise InputError(f"{path}: expected a 3D volume, got one slice ({join_sizes(voxels.shape[:3])})")
    return voxels, affine


def _kind_of(path: Path) -> str:
    """What a file is that is not NIfTI."""
    return "one DICOM file; give its folder" if is_dicom(path) else f"a file that ends in {path.suffix!r}"
