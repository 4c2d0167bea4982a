"""What a valid input is, and the words of the error when it is not.

Every function returns the value in the form the caller works with, or raises `InputError` with one line that
names the argument or file, what was expected and what arrived. The command line prints that line and exits
with code 2; nothing else in the package needs to know about exit codes.
"""

from __future__ import annotations

import difflib
import math
import pickle
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MIN_VIEWS = 2
MAX_VIEWS = 90
# In HU: darker than the first lies only air, brighter than the second are all tissues but fat.
AIR_BELOW, TISSUE_ABOVE = -300.0, -200.0
# What many scanners add so that no number is negative, and how far from it water, and from 0 air and lung, may lie.
USUAL_OFFSET, NEAR_WATER, NEAR_AIR = 1024.0, 150.0, 300.0
# The class number of voxels that nobody labelled, whatever value stands for them in the files.
IGNORED = 255
LABEL_TOLERANCE = 1e-3


class InputError(ValueError):
    """Something a person gave that cannot be used; the text is one line that a person can act on."""


def one_line(what: Any, limit: int = 120) -> str:
    """An error of a library, or a value that arrived, as one short line for the end of a message."""
    text = " ".join(str(what).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def join_sizes(sizes: Iterable[float]) -> str:
    """Sizes or spacings as a person writes them: 512 x 512 x 0.7."""
    return " x ".join(f"{size:g}" for size in sizes)


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


def check_count(count: Any, minimum: int, name: str) -> int:
    """A whole number of at least `minimum`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
        raise InputError(f"{name} must be a whole number of at least {minimum}, got {count!r}")
    return count


def check_number(number: Any, name: str) -> float:
    """A finite number."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise InputError(f"{name} must be a number, got {number!r}")
    return number


def check_overlap(overlap: Any) -> float:
    """The share of a patch that the next one covers as well."""
    if not 0 <= check_number(overlap, "overlap") < 1:
        raise InputError(f"overlap must be at least 0 and below 1, got {overlap}")
    return float(overlap)


def check_choice(value: str, choices: Sequence[str], name: str) -> str:
    """One of a few words."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def check_three_dimensions(shape: Sequence[int], name: str) -> None:
    """The shape of a volume, or of a stack of views, without channels."""
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"{name}: expected a 3D volume, got {len(shape)} dimensions ({join_sizes(shape)})")


def check_same_shape(volume: np.ndarray, other: np.ndarray, name: str, other_name: str) -> None:
    """Two volumes of the same size."""
    if volume.shape != other.shape:
        sizes = join_sizes(other.shape), join_sizes(volume.shape)
        raise InputError(f"{name} must have the shape of {other_name}, {sizes[0]}, got {sizes[1]}")


def check_finite(volume: np.ndarray, name: str) -> None:
    """No voxel that is NaN or infinite."""
    if not np.isfinite(volume).all():
        raise InputError(
            f"{name} must be finite, got {int((~np.isfinite(volume)).sum())} voxels that are NaN or infinite"
        )


def check_spacing(spacing_mm: Sequence[Any]) -> None:
    """The size of a voxel along three axes."""
    if len(spacing_mm) != 3 or not all(isinstance(side, Real) and 0 < float(side) < math.inf for side in spacing_mm):
        raise InputError(f"spacing_mm must be three lengths above 0, got {spacing_mm}")


def check_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """A finite 4x4 matrix from voxels to mm that squeezes no direction flat. `name` is its file."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"{name}: affine must be 4 x 4 finite numbers, got {one_line(affine.tolist())}")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * lengths.prod():
        raise InputError(f"{name}: affine must have three independent axes, got {one_line(affine.tolist())}")
    return affine


def check_known_keys(keys: Iterable[str], known: Sequence[str], name: str) -> None:
    """No key but the known ones; a misspelt one is answered with the nearest. `name` is the keys' file."""
    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            advice = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            raise InputError(f"{name}: unknown key {key!r}; {advice}")


def check_volume(volume: torch.Tensor, name: str, num_channels: int = 1) -> torch.Tensor:
    """A volume of shape (C, X, Y, Z) with finite, in no channel constant values. `name` is its file."""
    if volume.ndim != 4 or volume.shape[0] != num_channels:
        shape = " x ".join(str(size) for size in volume.shape[1:] if size > 0)
        raise InputError(f"{name}: expected a 3D volume, got {volume.ndim - 1} dimensions ({shape})")
    if not torch.isfinite(volume).all():
        bad = int((~torch.isfinite(volume)).sum())
        raise InputError(f"{name}: expected finite voxels, got {bad} that are NaN or infinite")
    for index, channel in enumerate(volume):
        if channel.min() == channel.max():
            where = f" of channel {index}" if num_channels > 1 else ""
            value = float(channel.min())
            raise InputError(f"{name}: expected an image, got the same value {value:g} in every voxel{where}")
    return volume


def check_hounsfield(volume: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """A CT (X, Y, Z) in Hounsfield units, which have air near -1000 and water at 0. `name` is its file."""
    values = volume[tuple(slice(None, None, max(1, size // 128)) for size in volume.shape)]
    dark, bright = np.percentile(values, [0.2, 99.8])
    if dark <= AIR_BELOW and bright >= TISSUE_ABOVE:
        return volume
    expected = f"{name}: expected a CT in HU, with air near -1000 and water near 0"
    near_air, near_water = np.abs(values) < NEAR_AIR, np.abs(values - USUAL_OFFSET) < NEAR_WATER
    if dark > AIR_BELOW and near_air.mean() > 0.05 and near_water.mean() > 0.05:
        got = f"air near {np.median(values[near_air]):g} and water near {np.median(values[near_water]):g}"
        raise InputError(f"{expected}, got {got}: the intercept is missing; give --hu_offset -1024 if this is a CT")
    if bright > 2**15:
        raise InputError(f"{expected}, got values up to {bright:g}: negative HU were stored as unsigned numbers")
    raise InputError(f"{expected}, got values from {dark:g} to {bright:g}; an MR image, or a picture of a CT?")


def check_label_map(label: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """A label map (X, Y, Z) of whole numbers, but for the rounding of a scaled file. `name` is its file."""
    if not np.isfinite(label).all():
        bad = int((~np.isfinite(label)).sum())
        raise InputError(f"{name}: expected finite voxels, got {bad} that are NaN or infinite")
    whole = np.rint(label)
    apart = label - whole
    broken = np.abs(apart, out=apart) > LABEL_TOLERANCE
    if broken.any():
        example = f"{int(broken.sum())} voxels with fractions such as {float(label[broken][0]):g}"
        raise InputError(f"{name}: expected a label map of whole numbers, got {example}")
    return whole


def check_window(window: Any) -> tuple[float, float]:
    """Two finite intensities, the lower first."""
    values = window if isinstance(window, Sequence) and not isinstance(window, str) else [window]
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(values) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise InputError(f"window must be two numbers, the lower first, such as 150,600; got {window!r}")
    return float(numbers[0]), float(numbers[1])


def check_same_grid(
    label_shape: tuple[int, ...],
    label_affine: np.ndarray,
    image_shape: tuple[int, ...],
    image_affine: np.ndarray,
    name: str = "label",
) -> None:
    """A label on its image's grid: the same shape, and the same place in the world within a tenth of a voxel."""
    if label_shape != image_shape:
        raise InputError(f"{name}: expected the image's shape {image_shape}, got {label_shape}")
    voxel_mm = np.linalg.norm(image_affine[:3, :3], axis=0).min()
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*image_shape, 1]
    apart_mm = np.linalg.norm((corners @ (label_affine - image_affine).T)[:, :3], axis=1).max()
    if apart_mm > 0.1 * voxel_mm:
        raise InputError(f"{name}: expected the image's place in the world, got a grid up to {apart_mm:.3g} mm away")


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file, by name; a training's `last.pt` holds more than those and is refused."""
    if not path.is_file():
        raise InputError(f"{path}: expected a file of weights, there is no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, KeyError) as error:
        raise InputError(f"{path}: expected weights as torch.save writes them, cannot read the file") from error
    state = state if isinstance(state, dict) else {}
    if "network" in state and "progress" in state:
        raise InputError(f"{path}: expected weights, got the whole state of a training; take the model.pt beside it")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def check_state_dict(path: Path, expected: Mapping[str, torch.Tensor]) -> None:
    """A weights file that holds a state dict with the names and shapes of `expected`."""
    check_tensors(path, load_state_dict(path), expected)


def check_tensors(path: Path | str, found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Tensors with the names and shapes of `expected`. `path` is their file."""
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    different = sorted(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
    if different:
        first = different[0]
        raise InputError(
            f"{path}: expected weights of the config's network ({len(wanted)} tensors), got those of another: "
            f"{len(different)} of {len(shapes | wanted)} tensors differ, first {first}"
            f"{_both_shapes(wanted.get(first), shapes.get(first))}"
        )


def _both_shapes(wanted: tuple[int, ...] | None, found: tuple[int, ...] | None) -> str:
    """How a tensor differs, where both have it: a last layer's first number is its number of classes."""
    if wanted is None or found is None:
        return ""
    return f" (expected {join_sizes(wanted)}, got {join_sizes(found)})"
