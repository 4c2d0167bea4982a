"""What a valid input is, and the words of the error when it is not.

Every function returns the value in the form the caller works with, or raises `InputError` with one line that
names the argument or file, what was expected and what arrived. The command line prints that line and exits
with code 2; nothing else in the package needs to know about exit codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

MIN_VIEWS = 2
MAX_VIEWS = 90


class InputError(ValueError):
    """Something a person gave that cannot be used; the text is one line that a person can act on."""


def check_num_views(num_views: Any, total: int = MAX_VIEWS) -> int:
    """A whole number of views between 2 and `total`."""
    if isinstance(num_views, bool) or not isinstance(num_views, int):
        raise InputError(f"num_views must be a whole number, got {num_views!r}")
    if not MIN_VIEWS <= num_views <= total:
        raise InputError(f"num_views must be between {MIN_VIEWS} and {total}, got {num_views}")
    return num_views


def check_angles(angles_deg: Sequence[float], num_views: int | None = None) -> list[float]:
    """At least one finite angle in degrees, and as many as there are views where that number is known."""
    angles = [float(angle) for angle in angles_deg]
    if not angles:
        raise InputError("angles_deg must hold at least one angle in degrees, got none")
    if not all(math.isfinite(angle) for angle in angles):
        raise InputError(f"angles_deg must be finite numbers in degrees, got {angles}")
    if num_views is not None and len(angles) != num_views:
        raise InputError(f"angles_deg must hold one angle a view: {num_views} views, got {len(angles)} angles")
    return angles


def check_choice(value: str, choices: Sequence[str], name: str) -> str:
    """One of a few words."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def check_volume(volume: torch.Tensor, name: str) -> torch.Tensor:
    """A single-channel volume of shape (1, X, Y, Z) with finite, not constant values. `name` is its file."""
    if volume.ndim != 4 or volume.shape[0] != 1:
        shape = " x ".join(str(size) for size in volume.shape[1:] if size > 0)
        raise InputError(f"{name}: expected a 3D volume, got {volume.ndim - 1} dimensions ({shape})")
    if not torch.isfinite(volume).all():
        bad = int((~torch.isfinite(volume)).sum())
        raise InputError(f"{name}: expected finite voxels, got {bad} that are NaN or infinite")
    if volume.min() == volume.max():
        raise InputError(f"{name}: expected an image, got the same value {float(volume.min()):g} in every voxel")
    return volume
