"""Dictionary transforms over the pure functions of the layer below.

Volumes are channel-first (1, X, Y, Z) MetaTensors in RAS; a stack of views is (V, X, Z), carries the metadata of
the volume's grid, and holds its own angles in `meta["angles_deg"]`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    Randomizable,
    RandomizableTransform,
    SpatialResample,
)
from nibabel.orientations import aff2axcodes
from skimage.filters import threshold_otsu

from .checks import InputError, check_num_views, check_same_grid, check_window
from .geometry import is_isotropic, isotropic_grid, spacing_of, square_padding
from .projection import back_project, detect, project, scale_to_unit, view_angles

Data = Mapping[Hashable, Any]
ANGLES = "angles_deg"
POSE_ERROR = "pose_error_deg"


def _like(array: torch.Tensor, source: torch.Tensor) -> MetaTensor:
    """The array with the metadata and the invertible history of `source`."""
    return MetaTensor(array.as_subclass(torch.Tensor)).copy_meta_from(source)


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
                label = _like(image > threshold_otsu(image.numpy()), image)
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


class ViewAnglesd(Randomizable, MapTransform):
    """Put the nominal angles of the views into the item, under `keys`.

    `num_views` is a number, or several to draw one from for each item (training one network for all of them).
    """

    def __init__(
        self,
        keys: KeysCollection = ANGLES,
        num_views: int | Sequence[int] = 10,
        total: int = 90,
        span_deg: float = 90.0,
    ) -> None:
        super().__init__(keys)
        choices = list(num_views) if isinstance(num_views, Sequence) and not isinstance(num_views, str) else [num_views]
        self.angles = [view_angles(check_num_views(choice, total), total, span_deg) for choice in choices]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.keys:
            choice = self.R.randint(len(self.angles)) if len(self.angles) > 1 else 0
            output[key] = np.array(self.angles[choice])
        return output


class RandPoseJitterd(RandomizableTransform, MapTransform):
    """Err in the angles at which `Projectd` takes the views, by up to `max_error_deg` each, uniformly.

    Back-projection goes on believing the nominal angles, as with a gantry that is not quite where it says.
    """

    def __init__(self, keys: KeysCollection = ANGLES, prob: float = 1.0, max_error_deg: float = 1.0) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.max_error_deg = max_error_deg

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(output):
                errors = self.R.uniform(-self.max_error_deg, self.max_error_deg, size=len(output[key]))
                output[POSE_ERROR] = errors
        return output


class Projectd(MapTransform):
    """Take views (V, X, Z) of a volume (1, X, Y, Z) at the item's angles; they go to `views_key`."""

    def __init__(self, keys: KeysCollection = "image", views_key: str = "views", mode: str = "max") -> None:
        super().__init__(keys)
        self.views_key = views_key
        self.mode = mode

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        nominal = output[ANGLES]
        actual = nominal + output.get(POSE_ERROR, 0.0)
        for key in self.key_iterator(output):
            views = _like(project(output[key][0], actual.tolist(), self.mode), output[key])
            views.meta[ANGLES] = nominal
            output[self.views_key] = views
        return output


class RandDetectorNoised(RandomizableTransform, MapTransform):
    """Count photons: give views (V, X, Z) of values 0..1 the noise of a detector (see `projection.detect`).

    `photons` reach a pixel behind nothing; `absorbance` is the logarithm by which a pixel of value 1 weakens them.
    """

    def __init__(
        self,
        keys: KeysCollection = "views",
        prob: float = 1.0,
        photons: float = 10_000.0,
        absorbance: float = 2.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.photons = photons
        self.absorbance = absorbance

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(output):
                # torch's own generator counts on the views' device; its seed comes from this transform's state.
                generator = torch.Generator(output[key].device).manual_seed(int(self.R.randint(2**31)))
                views = detect(output[key].as_subclass(torch.Tensor), self.photons, self.absorbance, generator)
                output[key] = _like(views, output[key])
        return output


class BackProjectd(MapTransform):
    """Back-project views (V, X, Z) at the angles they carry; the volume (1, X, Y, Z), 0..1, goes to `volume_key`."""

    def __init__(self, keys: KeysCollection = "views", volume_key: str = "image", fuse: str = "sum") -> None:
        super().__init__(keys)
        self.volume_key = volume_key
        self.fuse = fuse

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            views = output[key]
            volume = scale_to_unit(back_project(views, np.asarray(views.meta[ANGLES]).tolist(), self.fuse))
            output[self.volume_key] = _like(volume[None], views)
        return output
