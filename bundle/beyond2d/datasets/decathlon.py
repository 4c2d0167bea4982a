"""What the synthetic data sets of volumes share: the decathlon layout, with a list split by patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..checks import InputError
from ..writers import staged_folder, write_json
from .splits import SPLIT_OF_THE_PAPER, split_by_patient

FOLDERS = ("imagesTr", "labelsTr")
DATALIST = "dataset.json"


def write_decathlon(
    out_dir: str | Path,
    cases: int,
    write_case: Callable[[Path, int], Mapping[str, Any]],
    about: Mapping[str, Any],
    shares: Sequence[int] = SPLIT_OF_THE_PAPER,
    seed: int = 0,
) -> Path:
    """Writes cases and then the list of them; everything appears at the end, or nothing.

    Args:
        out_dir: gets `imagesTr`, `labelsTr` and `dataset.json`; it must not hold them yet.
        cases: how many.
        write_case: writes the case of an index into a folder with `imagesTr` and `labelsTr`, and returns its entry
            of the list.
        about: what else `dataset.json` says, such as the names of the labels.
        shares: of training, validation and test among the patients.
        seed: seed of the split.

    Returns:
        The path of `dataset.json`.
    """
    out_dir = Path(out_dir)
    for part in (*FOLDERS, DATALIST):
        if (out_dir / part).exists():
            raise InputError(f"{out_dir}: already holds {part}; choose another folder or move it away")
    with staged_folder(out_dir) as unfinished:
        for folder in FOLDERS:
            (unfinished / folder).mkdir()
        indices = tqdm(range(cases), desc="phantoms", unit="case")
        split = split_by_patient([write_case(unfinished, index) for index in indices], shares, seed)
        numbers = {f"num{name.capitalize()}": len(members) for name, members in split.items()}
        write_json(unfinished / DATALIST, {"tensorImageSize": "3D", **about, **numbers, **split})
    return out_dir / DATALIST
