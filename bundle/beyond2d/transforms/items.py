"""What the dictionary transforms share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor

Data = Mapping[Hashable, Any]


def like(array: torch.Tensor, source: torch.Tensor) -> MetaTensor:
    """The array with the metadata and the invertible history of `source`."""
    return MetaTensor(array.as_subclass(torch.Tensor)).copy_meta_from(source)
