"""Result files, written whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.utils import convert_to_numpy

from .checks import InputError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def staged_folder(out: str | Path) -> Iterator[Path]:
    """Yield an empty hidden folder inside `out`; what is written there moves into `out` when the block ends well.

    When the block fails, what it wrote is removed and earlier files in `out` are as they were. An `out` that
    cannot be written, or a disk that fills up, is an `InputError`.
    """
    out = Path(out)
    staging, made = _make_staging(out)
    try:
        yield staging
        _move_into_place(staging, out)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _cannot_write(out, error) from error
        raise
    finally:
        shutil.rmtree(staging)
        for folder in made:  # innermost first: folders made for results that never came
            if not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a hidden name beside `path`, with its ending, that becomes `path` when the block ends well.

    When the block fails the hidden file is removed and an earlier `path` is as it was.
    """
    path = Path(path)
    hidden = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield hidden
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file."""
    with whole_file(path) as hidden:
        hidden.write_bytes(content)


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file with sorted keys; numbers that JSON does not have (NaN, infinity) become null."""
    text = json.dumps(plain(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_bytes(path, f"{text}\n".encode())


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write one line a row; NaN becomes an empty cell. A row may not hold more than the columns."""
    with whole_file(path) as hidden, hidden.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(plain(row) for row in rows)


def save_volume(path: str | Path, volume: np.ndarray | torch.Tensor, affine: np.ndarray, dtype: Any) -> None:
    """Write a volume (X, Y, Z) as NIfTI in mm, with the voxel-to-RAS `affine` as both its sform and its qform.

    `dtype` is how voxels are stored: `np.uint8` for masks, `np.float32` for probabilities.
    """
    image = nib.Nifti1Image(convert_to_numpy(volume).astype(dtype), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)  # 1: the coordinates of the scanner
    image.set_qform(affine, code=1)
    with whole_file(path) as hidden:
        nib.save(image, hidden)


def _make_staging(out: Path) -> tuple[Path, list[Path]]:
    """A new hidden folder inside `out`, and the folders that had to be made to have `out`."""
    try:
        missing = [folder for folder in (out, *out.parents) if not folder.exists()]
        out.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".writing-", dir=out)), missing
    except OSError as error:
        raise _cannot_write(out, error) from error


def _move_into_place(staging: Path, out: Path) -> None:
    moves = {file: out / file.relative_to(staging) for file in sorted(staging.rglob("*")) if file.is_file()}
    for target in moves.values():  # found before the first move, so that nothing is replaced by half
        if target.is_dir():
            raise InputError(f"out: cannot write {target}: it is a folder")
    for file, target in moves.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def _cannot_write(out: Path, error: OSError) -> InputError:
    if error.errno in _DISK_FULL:
        return InputError(f"out: cannot write into {out}: the disk is full; earlier results are as they were")
    reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
    return InputError(f"out: cannot write into {out}: {reason}")


def plain(value: Any) -> Any:
    """The value in the words of JSON and CSV: dictionaries, lists, text, numbers and None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
