"""Dictionary transforms of the segmentation: intensities by plan, class numbers, sparse labels, places for patches."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.networks import one_hot
from monai.transforms import Crop, InvertibleTransform, MapTransform
from scipy.ndimage import distance_transform_edt

from ..checks import IGNORED, InputError, check_choice
from .items import Data, like

# Beyond these percentiles of an image's own intensities lie spikes, which z-scores should not be stretched by.
OWN_RANGE = (0.5, 99.5)
SCHEMES = ("clip", "zscore")


class PlannedIntensityd(MapTransform):
    """Scale each channel of an image (C, X, Y, Z) as the plan says.

    `clip` cuts to fixed intensities and scales by the mean and deviation of the data set's foreground (CT);
    `zscore` cuts to the image's own range and scales by its own mean and deviation. What was filled in around the
    image, so that all eight corners have one value, counts for neither; it gets the values at the image's edge. The
    mask (1, X, Y, Z) of what is image stands under `content_key`.
    """

    def __init__(
        self, keys: KeysCollection, intensity: Sequence[Mapping[str, Any]], content_key: str | None = None
    ) -> None:
        super().__init__(keys)
        self.content_key = content_key
        self.intensity = [{**entry, "scheme": check_choice(entry["scheme"], SCHEMES, "scheme")} for entry in intensity]

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            image = output[key]
            if image.shape[0] != len(self.intensity):
                name = image.meta.get("filename_or_obj", key)
                raise InputError(
                    f"{name}: expected {len(self.intensity)} channels, as the plan has it, got {image.shape[0]}"
                )
            channels = [channel.as_subclass(torch.Tensor).float() for channel in image]
            contents = [is_content(*pair) for pair in zip(channels, self.intensity, strict=True)]
            parts = zip(channels, contents, self.intensity, strict=True)
            output[key] = like(torch.stack([scaled(*part) for part in parts]), image)
            if self.content_key is not None:
                output[self.content_key] = like(torch.stack(contents).any(dim=0, keepdim=True).float(), image)
        return output


def scaled(values: torch.Tensor, content: torch.Tensor, scheme: Mapping[str, Any]) -> torch.Tensor:
    """One channel (X, Y, Z), scaled by a scheme of the plan; `content` is the mask of what is image."""
    if scheme["scheme"] == "clip":
        return (values.clip(scheme["low"], scheme["high"]) - scheme["mean"]) / scheme["std"]
    inside = values[content]
    low, high = np.percentile(inside.numpy(), OWN_RANGE)
    inside = inside.clip(float(low), float(high))
    scores = torch.zeros_like(values)
    scores[content] = (inside - inside.mean()) / inside.std().clip(min=1e-6)
    if bool(content.all()):
        return scores
    # An interpolation over the image's edge must not see a step there.
    nearest = distance_transform_edt(~content.numpy(), return_distances=False, return_indices=True)
    return scores[tuple(torch.as_tensor(nearest, dtype=torch.long))]


def is_content(values: torch.Tensor, scheme: Mapping[str, Any]) -> torch.Tensor:
    """Which voxels of a channel (X, Y, Z) are image, and not the one value that somebody filled all corners with.

    In a CT that value is air, which belongs to the image.
    """
    everything = torch.ones_like(values, dtype=torch.bool)
    if scheme["scheme"] == "clip":
        return everything
    corners = values[:: values.shape[0] - 1, :: values.shape[1] - 1, :: values.shape[2] - 1]
    content = values != corners[0, 0, 0]
    filled = bool((corners == corners[0, 0, 0]).all()) and bool(content.any())
    return content if filled else everything


class CropToContentd(MapTransform, InvertibleTransform):
    """Cut volumes (C, X, Y, Z) down to what is image, and put 0, the mean, wherever else there is room in the box.

    `content_key` is the mask of what is image; without it nothing is cut.
    """

    def __init__(self, keys: KeysCollection, content_key: str = "content") -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.content_key = content_key
        self.crop = Crop()

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        content = output.pop(self.content_key, None)
        for key in self.key_iterator(output):
            volume = output[key]
            box = [slice(None)] * 3
            if content is not None:
                inside = content.as_subclass(torch.Tensor) >= 0.5
                volume = like(volume.as_subclass(torch.Tensor) * inside, volume)
                box = [slice(int(places.min()), int(places.max()) + 1) for places in torch.nonzero(inside[0]).T]
            output[key] = self.crop(volume, slices=tuple(box))
        return output

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            output[key] = self.crop.inverse(output[key])
        return output


class ClassNumbersd(MapTransform):
    """Turn label values into class numbers 0, 1, 2, … in the order of `values`, and `ignore_label` into `IGNORED`.

    A label file with any other value is refused. Items without a label pass.
    """

    def __init__(self, keys: KeysCollection, values: Sequence[int], ignore_label: int | None = None) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.numbers = {int(value): number for number, value in enumerate(values)}
        if ignore_label is not None:
            self.numbers[int(ignore_label)] = IGNORED

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            label = output[key]
            found = set(torch.unique(label.as_subclass(torch.Tensor)).tolist())
            if unknown := sorted(found - set(self.numbers)):
                name = label.meta.get("filename_or_obj", key)
                known = ", ".join(map(str, self.numbers))
                raise InputError(f"{name}: expected the label values {known}, got {unknown[0]:g} as well")
            numbers = torch.zeros_like(label.as_subclass(torch.Tensor))
            for value, number in self.numbers.items():
                numbers[label == value] = number
            output[key] = like(numbers, label)
        return output


class SparseSlicesd(MapTransform):
    """Keep a label on a share of its slices and forget the rest, as where a person drew only some.

    The slices are spread evenly over the whole volume, where a person also sees that some show nothing; at least one
    that shows a class stays. Where the spread starts depends on the case's name and `seed` alone, so that a case has
    the same slices in every epoch.

    Args:
        keys: labels (1, X, Y, Z) of class numbers.
        fraction: share of all slices that stays labelled; 1 keeps everything.
        axis: 0, 1 or 2, across which the slices lie.
        seed: chooses other slices.
        names: where to keep a mask (1, X, Y, Z) of what is still labelled; None keeps none.
    """

    def __init__(
        self, keys: KeysCollection, fraction: float, axis: int = 1, seed: int = 0, names: str | None = None
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        if not 0 < fraction <= 1:
            raise InputError(f"labelled_fraction must be above 0 and at most 1, got {fraction}")
        self.fraction, self.axis, self.seed, self.names = fraction, axis, seed, names

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            label = output[key]
            keep = torch.zeros(label.shape[1:], dtype=torch.bool)
            keep.index_fill_(self.axis, torch.as_tensor(self.slices_of(label)), True)
            output[key] = like(torch.where(keep, label.as_subclass(torch.Tensor), float(IGNORED)), label)
            if self.names is not None:
                output[self.names] = like(keep[None].float(), label)
        return output

    def slices_of(self, label: torch.Tensor) -> list[int]:
        """The slices of a label (1, X, Y, Z) that stay."""
        size = label.shape[1 + self.axis]
        if self.fraction == 1:
            return list(range(size))
        other = [axis for axis in range(4) if axis != 1 + self.axis]
        drawn = label.as_subclass(torch.Tensor)
        shown = torch.nonzero(((drawn > 0) & (drawn != IGNORED)).sum(dim=other)).ravel().tolist() or [size // 2]
        count = max(1, round(self.fraction * size))
        name = Path(str(getattr(label, "meta", {}).get("filename_or_obj", ""))).name
        start = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).uniform()
        chosen = [int((position + start) * size / count) for position in range(count)]
        if not set(chosen) & set(shown):
            middle = shown[len(shown) // 2]
            chosen[int(np.argmin([abs(index - middle) for index in chosen]))] = middle
        return chosen


class PlacesToCropd(MapTransform):
    """Choose places of a label (1, X, Y, Z) that patches may be cut around, for MONAI's `RandCropByPosNegLabeld`.

    The item gets `<key>_fg_indices`, voxels of every class that is there in about equal numbers, and
    `<key>_bg_indices`, voxels of the rest: flat indices, `count` of either at most, so that a large scan does not
    keep a list of all its voxels.
    """

    def __init__(self, keys: KeysCollection, count: int = 10_000) -> None:
        super().__init__(keys)
        self.count = count

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            flat = output[key].as_subclass(torch.Tensor).ravel()
            classes = [number for number in torch.unique(flat).tolist() if number not in (0, IGNORED)]
            share = self.count // max(1, len(classes))
            places = [_some_of(torch.nonzero(flat == number).ravel(), share) for number in classes]
            output[f"{key}_fg_indices"] = torch.cat([*places, torch.zeros(0, dtype=torch.long)])
            output[f"{key}_bg_indices"] = _some_of(torch.nonzero(flat == 0).ravel(), self.count)
        return output


def _some_of(places: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` of some places, spread evenly."""
    return places[:: max(1, -(-len(places) // max(1, count)))]


class KnownOneHotd(MapTransform):
    """Turn logits (classes, X, Y, Z) and class numbers (1, X, Y, Z) into 0/1 maps of each class, for metrics.

    Voxels that nobody labelled are 0 in every map of both, and so count for nothing. Of the stacked outputs of a
    network with deep supervision the first, the finest, is taken.
    """

    def __init__(self, pred_key: str = "pred", label_key: str = "label") -> None:
        super().__init__([pred_key, label_key])
        self.pred_key, self.label_key = pred_key, label_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output, label = dict(data), data[self.label_key]
        logits = data[self.pred_key] if data[self.pred_key].ndim == label.ndim else data[self.pred_key][0]
        known, num_classes = label != IGNORED, logits.shape[0]
        output[self.pred_key] = one_hot(logits.argmax(dim=0, keepdim=True), num_classes, dim=0) * known
        output[self.label_key] = one_hot(label * known, num_classes, dim=0) * known
        return output
