"""Dictionary transforms of CT in Hounsfield units, and of what networks answer about one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..checks import InputError, check_hounsfield, check_number
from ..lungs import HEALTHY, INFECTED, body_mask
from ..proportions import proportion_of
from .items import Data, like


class HounsfieldUnitsd(MapTransform):
    """Refuse a volume (1, X, Y, Z) that is not in HU, once `offset` has been added to it.

    An offset mends scans whose intercept was lost on their way, most often by -1024.
    """

    def __init__(self, keys: KeysCollection, offset: float = 0.0) -> None:
        super().__init__(keys)
        self.offset = check_number(offset, "hu_offset")

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            volume = output[key]
            if self.offset:
                volume = like(volume.as_subclass(torch.Tensor) + self.offset, volume)
            name = str(volume.meta.get("filename_or_obj", key))
            check_hounsfield(volume[0].as_subclass(torch.Tensor).numpy(), name)
            output[key] = volume
        return output


class BodyMaskd(MapTransform):
    """Find the patient's body, its lungs and other gas included, in a prepared CT (1, X, Y, Z) with upright axes.

    Folds of clothes and blankets hold air as lungs do; they are not in it.

    Args:
        keys: a CT whose intensities 0 to 255 stand for `window_hu`.
        window_hu: the lowest and the highest HU.
        body_key: gets the mask, (1, X, Y, Z), bool.
    """

    def __init__(self, keys: KeysCollection, window_hu: Sequence[float], body_key: str = "body") -> None:
        super().__init__(keys)
        self.window_hu = window_hu
        self.body_key = body_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        low, high = self.window_hu
        for key in self.key_iterator(output):
            image = output[key]
            hu = (low + (high - low) / 255 * image[0].as_subclass(torch.Tensor).float()).cpu().numpy()
            body = body_mask(hu, image.pixdim.tolist())
            output[self.body_key] = torch.as_tensor(body, device=image.device)[None]
        return output


class SplitPredictionsd(MapTransform):
    """Part the probabilities of several predictions, one behind the other (n * 3, X, Y, Z), into logits a name.

    Outside of the mask (1, X, Y, Z) under `body_key` everything is background.
    """

    def __init__(self, keys: KeysCollection, names: Sequence[str], body_key: str = "body") -> None:
        super().__init__(keys)
        self.names = list(names)
        self.body_key = body_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            shares = output.pop(key)
            parts = shares.as_subclass(torch.Tensor).chunk(len(self.names))
            logits = [_logits(part, output[self.body_key]) for part in parts]
            output |= {name: like(part, shares) for name, part in zip(self.names, logits, strict=True)}
        return output


class SplitEstimatesd(MapTransform):
    """Part what `inferers.EstimatesInferer` gives, (3 + answers, X, Y, Z): logits of the three classes stay under the
    key, and `names_key` gets the infected proportion of every answer, by name. Outside of the mask (1, X, Y, Z) under
    `body_key` everything is background.
    """

    def __init__(
        self, keys: KeysCollection, names: Sequence[str], names_key: str = "estimates", body_key: str = "body"
    ) -> None:
        super().__init__(keys)
        self.names = list(names)
        self.names_key = names_key
        self.body_key = body_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            answers, body = output[key].as_subclass(torch.Tensor), output[self.body_key]
            shares, classes = answers[: INFECTED + 1], (answers[INFECTED + 1 :] * body).cpu().numpy()
            if len(classes) != len(self.names):
                raise InputError(f"names: expected one for each of {len(classes)} answers, got {len(self.names)}")
            output[key] = like(_logits(shares, body), output[key])
            output[self.names_key] = [
                {"name": name, "proportion": proportion_of(answer == INFECTED, answer >= HEALTHY)}
                for name, answer in zip(self.names, classes, strict=True)
            ]
        return output


def _logits(shares: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """Numbers whose softmax are these probabilities (3, X, Y, Z) in the body (1, X, Y, Z), background around it."""
    background = torch.zeros_like(shares)
    background[0] = 1
    return (torch.where(body, shares, background) + 1e-7).log()
