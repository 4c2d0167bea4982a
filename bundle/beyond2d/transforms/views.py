"""Dictionary transforms from a volume to its simulated views and back to a volume.

A stack of views is (V, X, Z), carries the metadata of the volume's grid, and holds its own angles in
`meta["angles_deg"]`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from tqdm import tqdm

from ..checks import MAX_VIEWS, MIN_VIEWS, check_angles, check_count, check_num_views, check_number
from ..consistency import refine, reprojection_error, within_hull
from ..projection import (
    back_project,
    detect,
    nearest_count,
    project,
    scale_to_unit,
    subtract,
    view_angles,
    view_statistics,
)
from .items import Data, like

ANGLES = "angles_deg"
NUM_VIEWS = "num_views"
POSE_ERROR = "pose_error_deg"
REPROJECTION_ERROR = "reprojection_error"
TISSUE_VIEWS = "tissue_views"


class ViewAnglesd(Randomizable, MapTransform):
    """Put the nominal angles of the views into the item, under `keys`.

    `num_views` is a number, or several to draw one from for each item (training one network for all of them); an
    item that names its own number under "num_views" gets that. `angles_deg` lists the angles themselves instead.
    """

    def __init__(
        self,
        keys: KeysCollection = ANGLES,
        num_views: int | Sequence[int] = 10,
        total: int = MAX_VIEWS,
        span_deg: float = 90.0,
        angles_deg: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys)
        self.listed = None if angles_deg is None else check_angles(angles_deg)
        choices = list(num_views) if isinstance(num_views, Sequence) and not isinstance(num_views, str) else [num_views]
        self.choices = [check_num_views(choice, total) for choice in choices]
        self.total = total
        self.span_deg = span_deg

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.keys:
            choice = self.R.randint(len(self.choices)) if len(self.choices) > 1 else 0
            num_views = output.get(NUM_VIEWS, self.choices[choice])
            output[key] = np.array(self.listed or view_angles(num_views, self.total, self.span_deg))
        return output


class RandViewAnglesd(Randomizable, MapTransform):
    """Put angles that nobody listed into the item, to train one network for any of them.

    The number of views is drawn evenly on a logarithmic scale from `num_views` (low, high), the span from
    `spans_deg`; the first angle is a quarter turn or, with the probability `oblique`, any. With the probability
    `uneven` the views then lie anywhere within the span, at least `apart_deg` from one another, as when some of an
    acquisition are dropped; otherwise they are evenly spaced.
    """

    def __init__(
        self,
        keys: KeysCollection = ANGLES,
        num_views: Sequence[int] = (MIN_VIEWS, 24),
        spans_deg: Sequence[float] = (90.0, 180.0),
        oblique: float = 0.5,
        uneven: float = 0.25,
        apart_deg: float = 1.0,
    ) -> None:
        super().__init__(keys)
        self.low, self.high = (check_num_views(count) for count in num_views)
        self.spans_deg = list(spans_deg)
        self.oblique = oblique
        self.uneven = uneven
        self.apart_deg = apart_deg

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.keys:
            output[key] = self._draw()
        return output

    def _draw(self) -> np.ndarray:
        num_views = int(np.floor(np.exp(self.R.uniform(np.log(self.low), np.log(self.high + 1)))))
        span_deg = self.spans_deg[self.R.randint(len(self.spans_deg))]
        start_deg = self.R.uniform(0.0, 360.0) if self.R.uniform() < self.oblique else 90.0 * self.R.randint(4)
        if self.R.uniform() >= self.uneven:
            return np.asarray(start_deg + np.linspace(0.0, span_deg, num_views))
        places = np.sort(self.R.choice(int(span_deg / self.apart_deg) + 1, num_views, replace=False))
        return np.asarray(start_deg + self.apart_deg * places)


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
    """Take views (V, X, Z) of a volume (1, X, Y, Z) of 0..1 at the item's angles; they go to `views_key`.

    With `mode` max a pixel is the brightest voxel on its ray, as in the paper. With `mode` sum it is the line
    integral over the vessels, scaled so that the brightest pixel is 1: what lies below `tissue_level` is taken
    for tissue, whose own integral goes to "tissue_views" for the mask exposure of the detector.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        views_key: str = "views",
        mode: str = "max",
        tissue_level: float = 0.12,
    ) -> None:
        super().__init__(keys)
        self.views_key = views_key
        self.mode = mode
        self.tissue_level = tissue_level

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        nominal = output[ANGLES]
        actual = (nominal + output.get(POSE_ERROR, 0.0)).tolist()
        for key in self.key_iterator(output):
            volume = output[key][0].as_subclass(torch.Tensor)
            if self.mode == "sum":
                output[TISSUE_VIEWS] = _share_of_most(project(volume.clip(max=self.tissue_level), actual, "sum"))
                views = _share_of_most(project((volume - self.tissue_level).clip(min=0), actual, "sum"))
            else:
                views = project(volume, actual, self.mode)
            output[self.views_key] = like(views, output[key])
            output[self.views_key].meta[ANGLES] = nominal
        return output


def _share_of_most(views: torch.Tensor) -> torch.Tensor:
    """Views of 0 or more, scaled so that the brightest pixel of all is 1."""
    most = views.amax()
    return views / most if most > 0 else views


class RandDetectorNoised(RandomizableTransform, MapTransform):
    """Count photons: give views (V, X, Z) of values 0..1 the noise of a detector.

    `photons` reach a pixel behind nothing; `absorbance` is the logarithm by which a pixel of value 1 weakens them
    (see `projection.detect`). Line integrals come with the views of the tissue around the vessels and are
    subtracted from a mask exposure, the thickest tissue having `tissue_absorbance` (see `projection.subtract`).
    """

    def __init__(
        self,
        keys: KeysCollection = "views",
        prob: float = 1.0,
        photons: float = 10_000.0,
        absorbance: float = 2.0,
        tissue_absorbance: float = 1.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.photons = photons
        self.absorbance = absorbance
        self.tissue_absorbance = tissue_absorbance

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(output):
                output[key] = like(self._expose(output[key].as_subclass(torch.Tensor), output), output[key])
        return output

    def _expose(self, views: torch.Tensor, data: Data) -> torch.Tensor:
        # torch's own generator counts on the views' device; its seed comes from this transform's state.
        generator = torch.Generator(views.device).manual_seed(int(self.R.randint(2**31)))
        if TISSUE_VIEWS not in data:
            return detect(views, self.photons, self.absorbance, generator)
        tissue = data[TISSUE_VIEWS]
        return subtract(views, tissue, self.photons, self.absorbance, self.tissue_absorbance, generator)


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
            output[self.volume_key] = like(volume[None], views)
        return output


class ViewStatisticsd(MapTransform):
    """What all views (V, X, Z) together say about each voxel, (4, X, Y, Z), under `volume_key`.

    The channels are `projection.STATISTICS` of the views scaled to 0..1, so that neither the number of views nor
    their brightness matters to who reads them.
    """

    def __init__(self, keys: KeysCollection = "views", volume_key: str = "image") -> None:
        super().__init__(keys)
        self.volume_key = volume_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            views = output[key]
            statistics = view_statistics(scale_to_unit(views), np.asarray(views.meta[ANGLES]).tolist())
            output[self.volume_key] = like(statistics, views)
        return output


class WithinHulld(MapTransform):
    """Take the probability (1, X, Y, Z) away where one of the views (V, X, Z) is darker than `level`; 0: do nothing."""

    def __init__(self, keys: KeysCollection = "pred", views_key: str = "views", level: float = 0.0) -> None:
        super().__init__(keys)
        self.views_key = views_key
        self.level = check_number(level, "hull_level")

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output) if self.level > 0 else ():
            views, angles_deg, part = seen_part(output[self.views_key], output[key])
            within = within_hull(part, views, angles_deg, self.level)
            output[key] = _with_part(output[key], output[self.views_key], within)
        return output


class Refined(MapTransform):
    """Make a probability (1, X, Y, Z) agree better with the views (V, X, Z), by gradient steps (see `consistency`).

    The item gets "reprojection_error", the disagreement before and after; without steps both are the same.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        views_key: str = "views",
        steps: int = 0,
        mode: str = "max",
        progress: bool = False,
    ) -> None:
        super().__init__(keys)
        self.views_key = views_key
        self.steps = check_count(steps, 0, "refine_steps")
        self.mode = mode
        self.progress = progress

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            views, angles_deg, part = seen_part(output[self.views_key], output[key])
            errors = [reprojection_error(part, views, angles_deg, self.mode)] * 2
            if self.steps:
                with torch.enable_grad(), tqdm(total=self.steps, desc="refine", disable=not self.progress) as bar:
                    part = refine(part, views, angles_deg, self.steps, self.mode, after_step=bar.update)
                errors[1] = reprojection_error(part, views, angles_deg, self.mode)
                output[key] = _with_part(output[key], output[self.views_key], part)
            output[REPROJECTION_ERROR] = errors
        return output


class VesselMaskd(MapTransform):
    """Turn a probability (1, X, Y, Z) into a mask of 0 and 1; `threshold` is as in `threshold_at`."""

    def __init__(
        self, keys: KeysCollection = "pred", views_key: str = "views", *, threshold: float | Mapping[int, float]
    ) -> None:
        super().__init__(keys)
        self.views_key = views_key
        self.threshold = threshold

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            probability = output[key]
            threshold = threshold_at(self.threshold, len(output[self.views_key]))
            output[key] = like((probability >= threshold).to(torch.uint8), probability)
        return output


def threshold_at(threshold: float | Mapping[int, float], num_views: int) -> float:
    """The probability from which a voxel is vessel; of several, by number of views, the one that is nearest."""
    return threshold[nearest_count(threshold, num_views)] if isinstance(threshold, Mapping) else threshold


def seen_part(views: MetaTensor, volume: MetaTensor) -> tuple[torch.Tensor, list[float], torch.Tensor]:
    """Views (V, X, Z), their angles, and the part (X, X, Z) of a volume (1, ...) that lies on the views' own grid."""
    part = volume[0].as_subclass(torch.Tensor)[_box(views, volume)]
    return views.as_subclass(torch.Tensor), np.asarray(views.meta[ANGLES]).tolist(), part


def _with_part(volume: MetaTensor, views: MetaTensor, part: torch.Tensor) -> MetaTensor:
    """The volume (1, ...) with another part on the grid of the views."""
    changed = volume[0].as_subclass(torch.Tensor).clone()
    changed[_box(views, volume)] = part
    return like(changed[None], volume)


def _box(views: MetaTensor, volume: MetaTensor) -> tuple[slice, ...]:
    """Where the grid that the views see lies in a volume that was padded for the network."""
    first = np.linalg.solve(np.asarray(volume.affine), np.asarray(views.affine)[:, 3])[:3]
    x, y, z = first.round().astype(int)
    size, depth = views.shape[1:]
    return slice(x, x + size), slice(y, y + size), slice(z, z + depth)
