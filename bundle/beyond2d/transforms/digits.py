"""Dictionary transforms of digits in space."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import ImageReader
from monai.transforms import LoadImage, MapTransform

from ..checks import InputError, join_sizes
from ..phantoms.digits import VOLUME_SIZE
from .items import Data


class LoadDigitd(MapTransform):
    """Read a digit (16, 16, 16), 0 to 255, that is given as the path of a file; one that is an array already passes."""

    def __init__(self, keys: KeysCollection, reader: ImageReader) -> None:
        super().__init__(keys)
        self.load = LoadImage(reader=reader, image_only=True)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            if isinstance(output[key], str | Path):
                path, output[key] = output[key], self.load(output[key])
                if (shape := tuple(output[key].shape)) != (VOLUME_SIZE,) * 3:
                    expected = join_sizes([VOLUME_SIZE] * 3)
                    raise InputError(f"{path}: expected a digit of {expected} voxels, got {join_sizes(shape)}")
        return output
