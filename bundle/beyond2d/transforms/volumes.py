"""Dictionary transforms of volumes, channel-first (1, X, Y, Z): intensities, labels, and the grid to work on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    InvertibleTransform,
    MapTransform,
    Orientation,
    Pad,
    RandomizableTransform,
    SpatialResample,
)
from nibabel.orientations import aff2axcodes
from skimage.filters import threshold_otsu

from ..checks import InputError, check_choice, check_same_grid, check_window
from ..geometry import is_isotropic, is_upright, isotropic_grid, spacing_of, square_padding, upright_grid
from ..projection import scale_to_unit
from .items import Data, like


class Windowd(MapTransform):
    """Clip to the window (low, high) where one is given, then scale to 0..1.

    Without a window the volume's own minimum and maximum stand in: right for subtracted angiograms. A CT in HU
    needs a window that starts above soft tissue, e.g. (150, 600), or bone and tissue fill every view.
    """

    def __init__(self, keys: KeysCollection, window: Sequence[float] | None = None) -> None:
        super().__init__(keys)
        self.window = None if window is None else check_window(window)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self._scale(output[key])
        return output

    def _scale(self, volume: torch.Tensor) -> torch.Tensor:
        if self.window is None:
            return scale_to_unit(volume)
        low, high = self.window
        if volume.max() <= low:
            raise InputError(
                f"window: expected an image with values above {low:g}, got a maximum of {float(volume.max()):g}"
            )
        return (volume.clip(low, high) - low) / (high - low)


class OtsuLabeld(MapTransform):
    """Label the voxels of an image (1, X, Y, Z) above its Otsu threshold, where no label was loaded.

    A label that is there already, drawn by a person or exact by construction, is better and stays; it becomes 0
    and 1.
    """

    def __init__(self, keys: KeysCollection = "image", label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            label = output.get(self.label_key)
            source = "file"
            if label is None:
                image, source = output[key], "otsu"
                label = like(image > threshold_otsu(image.numpy()), image)
            output[self.label_key] = (label > 0).to(torch.float32)
            output[self.label_key].meta["label_source"] = source
        return output


class SameGridd(MapTransform):
    """Bring a label to its image's order of axes and refuse it if it is still on another grid.

    A DICOM series and the NIfTI label drawn on it hold the same voxels in different orders. Items without a label
    pass.
    """

    def __init__(self, keys: KeysCollection = "label", image_key: str = "image") -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.image_key = image_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        image = output[self.image_key]
        affine = np.asarray(image.affine)
        axcodes = "".join(aff2axcodes(affine))
        for key in self.key_iterator(output):
            label: Any = Orientation(axcodes=axcodes, labels=None)(output[key])
            grids = tuple(label.shape[1:]), np.asarray(label.affine), tuple(image.shape[-3:]), affine
            check_same_grid(*grids, name=str(key))
            output[key] = label
        return output


# Voxels of a volume beyond which cubic interpolation would take gigabytes.
LARGEST_CUBIC = 2**25
MODES = ("bilinear", "nearest", "cubic", "cubic_if_thick")


class _Regrid(InvertibleTransform):
    """Resample a volume (C, X, Y, Z) to the grid that a subclass chooses; one that is on it already is not touched."""

    def __init__(self, mode: str, padding_mode: str) -> None:
        self.resample = SpatialResample(mode=mode, padding_mode=padding_mode, dtype=np.float32)

    def grid(self, shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
        """The shape and affine to work on, of those of a volume."""
        raise NotImplementedError

    def __call__(self, volume: MetaTensor) -> torch.Tensor:
        shape, affine = self.grid(tuple(volume.shape[1:]), volume.affine.numpy())
        return self.resample(volume, dst_affine=torch.as_tensor(affine), spatial_size=shape)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        return self.resample.inverse(data)


class Isotropic(_Regrid):
    """Resample a volume (1, X, Y, Z) to cubes of `spacing_mm`, or of its own smallest voxel size.

    Turning mixes X and Y, so a millimetre has to be the same number of voxels along both. A volume that is
    isotropic already is not touched.
    """

    def __init__(self, spacing_mm: float | None = None, mode: str = "bilinear") -> None:
        super().__init__(mode, padding_mode="border")
        self.spacing_mm = spacing_mm

    def grid(self, shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
        spacing_mm = self.spacing_mm or min(spacing_of(affine))
        if is_isotropic(affine) and np.isclose(spacing_of(affine)[0], spacing_mm, rtol=1e-3):
            return shape, affine
        return isotropic_grid(shape, affine, spacing_mm)


class Upright(_Regrid):
    """Resample a volume (C, X, Y, Z) onto the patient's axes in voxels of `spacing_mm`.

    An oblique or stretched scan is then sampled at the same places of the world as an upright one whose voxels lie at
    whole multiples of the spacing. One that is upright already, in that spacing, is not touched.

    `cubic` interpolation blurs less than `bilinear`, but takes much memory: a large volume is interpolated linearly.
    `cubic_if_thick` is cubic where the scan's slices are thicker than the voxels of `spacing_mm`, since a line drawn
    between two of them makes borders wider than they are, and linear elsewhere, since a spline keeps the noise.
    """

    def __init__(self, spacing_mm: Sequence[float], mode: str = "bilinear", padding_mode: str = "border") -> None:
        self.mode = check_choice(mode, MODES, "mode")
        super().__init__("bilinear" if mode.startswith("cubic") else mode, padding_mode)
        self.spacing_mm = [float(mm) for mm in spacing_mm]

    def __call__(self, volume: MetaTensor) -> torch.Tensor:
        shape, affine = self.grid(tuple(volume.shape[1:]), volume.affine.numpy())
        # By MONAI's convention a number is the order of a spline.
        how: dict[str, Any] = {"mode": 3, "padding_mode": "nearest"} if self._by_spline(volume, shape) else {}
        return self.resample(volume, dst_affine=torch.as_tensor(affine), spatial_size=shape, **how)

    def _by_spline(self, volume: MetaTensor, shape: tuple[int, ...]) -> bool:
        thick = max(spacing_of(volume.affine.numpy())) > max(self.spacing_mm) * 1.01
        wanted = self.mode == "cubic" or (self.mode == "cubic_if_thick" and thick)
        return wanted and max(volume.numel(), math.prod(shape)) <= LARGEST_CUBIC

    def grid(self, shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
        if is_upright(affine, self.spacing_mm):
            return shape, affine
        return upright_grid(shape, affine, self.spacing_mm)


class _Regridd(MapTransform, InvertibleTransform):
    """A `_Regrid` for each key."""

    transforms: dict[Hashable, _Regrid]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.transforms[key](output[key])
        return output

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.transforms[key].inverse(output[key])
        return output


class Isotropicd(_Regridd):
    """`Isotropic` over keys; `mode` is one interpolation a key (`nearest` for labels)."""

    def __init__(
        self,
        keys: KeysCollection,
        mode: Sequence[str],
        spacing_mm: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transforms = {key: Isotropic(spacing_mm, one_mode) for key, one_mode in zip(self.keys, mode, strict=True)}


class Uprightd(_Regridd):
    """`Upright` over keys, with one interpolation a key (`nearest` for labels) and one way to fill what lies beyond
    the scan: `border` draws its edge out, `zeros` does not.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mode: Sequence[str],
        padding_mode: Sequence[str],
        spacing_mm: Sequence[float],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        ways = zip(self.keys, mode, padding_mode, strict=True)
        self.transforms = {key: Upright(spacing_mm, *way) for key, *way in ways}


class RandWindowd(RandomizableTransform, MapTransform):
    """Cut a volume of 0..1 to a random window and scale it back to 0..1: other tissue, other contrast agent.

    The window's ends are drawn from the ranges `low` and `high`.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        prob: float = 0.5,
        low: tuple[float, float] = (0.0, 0.1),
        high: tuple[float, float] = (0.7, 1.0),
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.low = low
        self.high = high

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        self.randomize(None)
        if self._do_transform:
            low, high = self.R.uniform(*self.low), self.R.uniform(*self.high)
            for key in self.key_iterator(output):
                output[key] = (output[key].clip(low, high) - low) / (high - low)
        return output


class SquarePad(Pad):
    """Pad a volume (1, X, Y, Z) with zeros so that X = Y and all sizes are multiples of the network's grid."""

    def __init__(self, multiple: int = 8) -> None:
        super().__init__(mode="constant")
        self.multiple = multiple

    def compute_pad_width(self, spatial_shape: Sequence[int]) -> tuple[tuple[int, int]]:
        return ((0, 0), *square_padding(spatial_shape, self.multiple))  # type: ignore[return-value]


class SquarePadd(MapTransform, InvertibleTransform):
    """`SquarePad` over keys."""

    def __init__(self, keys: KeysCollection, multiple: int = 8, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.padder = SquarePad(multiple)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.padder(output[key])
        return output

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.padder.inverse(output[key])
        return output
