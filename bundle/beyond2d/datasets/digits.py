"""Data sets of digits in space, made from MNIST's files or from drawings of our own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..checks import InputError, check_count
from ..phantoms.digits import NUM_DIGITS, VOLUME_SIZE, DigitSpec, draw_digit, draw_pose, extrude
from ..readers.idx import Digits, read_idx_digits
from ..writers import staged_folder, write_json

NUM_DRAWN = 1000
MIN_CASES = 10
MOST_TEST, MOST_VALIDATION = 2000, 1000
DATALIST = "dataset.json"


def write_digit_dataset(
    out_dir: str | Path,
    source_dir: str | Path | None = None,
    cases: int | None = None,
    seed: int = 0,
    spec: DigitSpec | None = None,
) -> Path:
    """Writes volumes of digits in three parts, each made of digits of its own.

    A fifth of the digits is for testing, but at most 2,000; a tenth for validation, but at most 1,000; the rest is
    for training. `training.npz`, `validation.npz` and `test.npz` hold `image` (N, 16, 16, 16) uint8 with 255 for
    ink, `label` (N,) uint8 and `source` (N,), the number of each digit in its source.

    Args:
        out_dir: gets the three files and `dataset.json`, all at the end; it must not hold that yet.
        source_dir: folder with MNIST's idx files; None draws digits instead.
        cases: number of digits, at least 10; None takes all of the source, or draws 1,000.
        seed: of the split, the poses and the drawings. The same digit has the same pose whatever `cases` is.
        spec: how far the poses vary.

    Returns:
        The path of `dataset.json`.
    """
    out_dir, seed = Path(out_dir), check_count(seed, 0, "seed")
    if (out_dir / DATALIST).exists():
        raise InputError(f"{out_dir}: already holds {DATALIST}; choose another folder or move it away")
    cases = None if cases is None else check_count(cases, MIN_CASES, "cases")
    digits = _draw(cases or NUM_DRAWN, seed) if source_dir is None else read_idx_digits(source_dir)
    total = len(digits.labels)
    if total < (cases or MIN_CASES):
        raise InputError(f"cases: expected at least {cases or MIN_CASES} digits in {source_dir}, got {total}")
    parts = split_digits(total, cases or total, seed)
    source = "drawn by beyond2d" if source_dir is None else "MNIST"
    with staged_folder(out_dir) as unfinished:
        _write_parts(unfinished, digits, parts, seed, spec or DigitSpec(), source)
    return out_dir / DATALIST


def split_digits(total: int, cases: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Which of `total` digits make up `training`, `validation` and `test`, `cases` in all."""
    chosen = np.random.default_rng(seed).permutation(total)[:cases]
    num_test, num_validation = min(cases // 5, MOST_TEST), min(cases // 10, MOST_VALIDATION)
    test, validation, training = np.split(chosen, [num_test, num_test + num_validation])
    return {"training": training, "validation": validation, "test": test}


def _draw(count: int, seed: int) -> Digits:
    """Drawings of every digit in turn."""
    labels = np.arange(count) % NUM_DIGITS
    drawn = [draw_digit(int(label), _random(seed, index, 1)) for index, label in enumerate(labels)]
    return Digits(np.stack(drawn), labels.astype(np.uint8))


def _random(seed: int, index: int, stream: int) -> np.random.Generator:
    """One source of randomness for each digit and purpose, so that no digit depends on the others."""
    return np.random.default_rng((seed, index, stream))


def _write_parts(
    folder: Path, digits: Digits, parts: dict[str, NDArray[np.int64]], seed: int, spec: DigitSpec, source: str
) -> None:
    """Writes the three parts and their list into an empty folder."""
    with tqdm(total=sum(map(len, parts.values())), desc="digits", unit="digit") as progress:
        for name, members in parts.items():
            volumes = np.empty((len(members), *[VOLUME_SIZE] * 3), dtype=np.uint8)
            for place, index in enumerate(members):
                volume = extrude(digits.images[index], draw_pose(_random(seed, int(index), 0), spec))
                volumes[place] = np.rint(255 * volume)
                progress.update()
            labels = digits.labels[members]
            np.savez_compressed(folder / f"{name}.npz", image=volumes, label=labels, source=members)
    content = {
        "name": "digits in space",
        "description": "Digits extruded to slabs, turned about three axes, shifted and overlaid with noise",
        "source": source,
        "seed": seed,
        "poses": asdict(spec),
        "labels": {str(digit): str(digit) for digit in range(NUM_DIGITS)},
        "tensorImageSize": "3D",
        **{f"num{name.capitalize()}": len(members) for name, members in parts.items()},
        **{name: f"{name}.npz" for name in parts},
    }
    write_json(folder / DATALIST, content)
