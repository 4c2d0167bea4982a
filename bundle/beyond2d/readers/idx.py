"""Pictures of digits in the idx files of MNIST, plain or gzipped."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..checks import InputError, join_sizes, one_line
from ..phantoms.digits import NUM_DIGITS, PICTURE_SIZE

UNSIGNED_BYTE = 0x08
NUM_DIMENSIONS = {"images": 3, "labels": 1}
# Both spellings go around: train-images-idx3-ubyte.gz and, unpacked by some tools, train-images.idx3-ubyte.
_NAME = re.compile(r"(?P<part>.+)-(?P<kind>images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
_EXPECTED = "expected pairs such as t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz"


class Digits(NamedTuple):
    """Pictures (N, 28, 28) uint8 with their top row first, and labels (N,) uint8 from 0 to 9."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def read_idx_digits(folder: str | Path) -> Digits:
    """The digits of every pair of files in a folder, in the order of the files' names.

    MNIST itself is two pairs, `train` (60,000) and `t10k` (10,000); one of them is enough.
    """
    pairs = [_read_pair(images, labels) for images, labels in _find_pairs(Path(folder))]
    return Digits(np.concatenate([pair.images for pair in pairs]), np.concatenate([pair.labels for pair in pairs]))


def read_idx(path: str | Path, kind: str) -> NDArray[np.uint8]:
    """The array of one file: pictures (N, rows, columns) where `kind` is "images", (N,) where it is "labels"."""
    path = Path(path)
    try:
        with _open(path) as file:
            shape = _read_shape(path, file.read(4 + 4 * NUM_DIMENSIONS[kind]), kind)
            size = int(np.prod(shape, dtype=np.int64))
            content = file.read(size + 1)  # one more byte than there should be, to notice that there is more
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: expected an idx file, plain or gzipped, cannot read it ({one_line(error)})"
        ) from error
    if len(content) != size:
        got = "more" if len(content) > size else f"{len(content)}"
        raise InputError(f"{path}: expected {size} bytes of {kind}, as its header says, got {got}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_shape(path: Path, header: bytes, kind: str) -> tuple[int, ...]:
    """The sizes in a header: two zero bytes, the type of the values, the number of sizes, and the sizes."""
    num_dimensions = NUM_DIMENSIONS[kind]
    magic = bytes([0, 0, UNSIGNED_BYTE, num_dimensions])
    if header[:4] != magic:
        got = header[:4].hex() or "nothing"
        raise InputError(f"{path}: expected an idx file of {kind}, which begins with {magic.hex()}, got {got}")
    if len(header) != 4 + 4 * num_dimensions:
        raise InputError(f"{path}: expected a header of {4 + 4 * num_dimensions} bytes, got {len(header)}")
    shape = struct.unpack(f">{num_dimensions}I", header[4:])
    if shape[0] < 1:
        raise InputError(f"{path}: expected at least one of the {kind}, got none")
    if num_dimensions > 1 and shape[1:] != (PICTURE_SIZE, PICTURE_SIZE):
        raise InputError(f"{path}: expected images of 28 x 28 pixels, got {join_sizes(shape[1:])}")
    return shape


def _find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The files of images and of labels that belong together; of a file and its gzipped copy only the first counts."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {_EXPECTED}")
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            found.setdefault(match["part"], {}).setdefault(match["kind"], path)
    if not found:
        raise InputError(f"{folder}: {_EXPECTED}, got no such file")
    for part, files in found.items():
        for kind, digit in (("images", 3), ("labels", 1)):
            if kind not in files:
                there = next(iter(files.values())).name
                raise InputError(
                    f"{folder}: expected {part}-{kind}-idx{digit}-ubyte.gz beside {there}, got no such file"
                )
    return [(files["images"], files["labels"]) for files in found.values()]


def _read_pair(images_path: Path, labels_path: Path) -> Digits:
    digits = Digits(read_idx(images_path, "images"), read_idx(labels_path, "labels"))
    if len(digits.images) != len(digits.labels):
        raise InputError(
            f"{labels_path}: expected {len(digits.images)} labels, one for each image in {images_path.name}, "
            f"got {len(digits.labels)}"
        )
    if digits.labels.max() >= NUM_DIGITS:
        raise InputError(f"{labels_path}: expected labels from 0 to 9, got {digits.labels.max()}")
    return digits
