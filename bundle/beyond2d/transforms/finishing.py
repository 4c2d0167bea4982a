"""From what a network says of the plan's voxels to a mask on the image's own."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import reduce
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Invertd, InvertibleTransform, MapTransform

from .items import Data, like


class OwnGridMaskd(MapTransform):
    """Turn logits (classes, X, Y, Z) into a mask (1, X, Y, Z) of class numbers on the grid that the image came on.

    Each voxel gets the class whose probability is the highest there. One class is brought back after the other, so
    that the memory does not grow with their number.

    Args:
        keys: what the network predicted.
        transform: what prepared the image, to be undone.
        orig_keys: the image, which remembers how.
    """

    def __init__(self, keys: KeysCollection, transform: InvertibleTransform, orig_keys: str = "image") -> None:
        super().__init__(keys)
        self.orig_keys = orig_keys
        self.invert: Callable[..., Any] = Invertd("share", transform, orig_keys=orig_keys, nearest_interp=False)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            logits = output[key].as_subclass(torch.Tensor)
            total = reduce(torch.logaddexp, logits)
            best: Any = None
            for number, channel in enumerate(logits):
                share = like((channel - total).exp()[None], output[key])
                share = self.invert({"share": share, self.orig_keys: output[self.orig_keys]})["share"]
                if best is None:
                    mask = like(torch.zeros_like(share, dtype=torch.uint8), share)
                    # Where nothing was predicted no class has a share, and rounding must not choose one.
                    best = share.clip(min=0.5 / len(logits))
                else:
                    mask[share > best] = number
                    best = torch.maximum(best, share)
            output[key] = mask
        return output
