"""Dictionary transforms of volumes, channel-first (1, X, Y, Z): intensities, labels, and the grid to work on."""

from __future__ import annotations

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

from ..checks import InputError, check_same_grid, check_window
from ..geometry import is_isotropic, isotropic_grid, spacing_of, square_padding
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
            check_same_grid(tuple(label.shape[1:]), np.asarray(label.affine), tuple(image.shape[-3:]), affine)
            output[key] = label
        return output


class Isotropic(InvertibleTransform):
    """Resample a volume (1, X, Y, Z) to cubes of `spacing_mm`, or of its own smallest voxel size.

    Turning mixes X and Y, so a millimetre has to be the same number of voxels along both. A volume that is
    isotropic already is not touched.
    """

    def __init__(self, spacing_mm: float | None = None, mode: str = "bilinear") -> None:
        self.spacing_mm = spacing_mm
        self.resample = SpatialResample(mode=mode, padding_mode="border", dtype=np.float32)

    def __call__(self, volume: MetaTensor) -> torch.Tensor:
        affine = volume.affine.numpy()
        spacing_mm = self.spacing_mm or min(spacing_of(affine))
        shape, new_affine = tuple(volume.shape[1:]), affine
        if not (is_isotropic(affine) and np.isclose(spacing_of(affine)[0], spacing_mm, rtol=1e-3)):
            shape, new_affine = isotropic_grid(shape, affine, spacing_mm)
        return self.resample(volume, dst_affine=torch.as_tensor(new_affine), spatial_size=shape)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        return self.resample.inverse(data)


class Isotropicd(MapTransform, InvertibleTransform):
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
