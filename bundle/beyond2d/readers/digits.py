"""The digits that a workflow runs on."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import InputError, one_line
from ..phantoms.digits import NUM_DIGITS, VOLUME_SIZE

SECTIONS = ("training", "validation", "test")
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, EOFError, TokenError, zipfile.BadZipFile, zlib.error)


def load_digits(dataset_dir: str, section: str, input: str | None = None) -> list[dict[str, Any]]:
    """The items {image, label} of one section of a folder, or {image} of the NPY file `input`.

    An image is a volume (16, 16, 16) of uint8, 255 for ink, and a label a number from 0 to 9. The file `input`
    holds one volume or several, (N, 16, 16, 16).
    """
    if input is not None:
        return [{"image": image} for image in _read_input(Path(input))]
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise InputError(
            f"dataset_dir: expected a folder, there is none at {folder}; `beyond2d phantom digits --out {folder}` "
            "makes one"
        )
    path = folder / f"{section}.npz"
    if not path.is_file():
        raise InputError(f"{folder}: expected {path.name} with the digits of the section {section!r}, got no such file")
    images, labels = _read_section(path)
    return [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]


def _read_section(path: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Checked volumes (N, 16, 16, 16) and labels (N,)."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["image"], arrays["label"]
    except _UNREADABLE as error:
        reason = one_line(error)
        raise InputError(f"{path}: expected an NPZ file with the arrays image and label ({reason})") from error
    _check_images(path, images)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"{path}: label must be {len(images)} whole numbers, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= NUM_DIGITS:
        raise InputError(f"{path}: label must be from 0 to 9, got {labels.min()} to {labels.max()}")
    return images, labels


def _read_input(path: Path) -> NDArray[np.uint8]:
    """Checked volumes (N, 16, 16, 16)."""
    if not path.is_file():
        raise InputError(f"{path}: expected an NPY file of digits, there is no such file")
    try:
        images = np.asarray(np.load(path, allow_pickle=False))
    except _UNREADABLE as error:
        raise InputError(f"{path}: expected an NPY file of digits, got something else ({one_line(error)})") from error
    images = images[None] if images.ndim == 3 else images
    _check_images(path, images)
    return images


def _check_images(path: Path, images: NDArray[Any]) -> None:
    if images.shape[1:] != (VOLUME_SIZE,) * 3 or images.dtype != np.uint8:
        raise InputError(f"{path}: image must be uint8 (N, 16, 16, 16), got {images.dtype} {images.shape}")
    if len(images) == 0:
        raise InputError(f"{path}: expected at least one digit, got none")
