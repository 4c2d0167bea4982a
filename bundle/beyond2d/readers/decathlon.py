"""The list of a data set in the decathlon layout: which cases there are, what their channels and labels mean."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import InputError, one_line
from .cases import DATALIST
from .nifti import NIFTI_ENDINGS

SECTIONS = ("training", "validation", "test")
IGNORE = "ignore"  # nnU-Net's name for voxels that nobody labelled
ONE_CHANNEL = {"0": "image"}  # where the list does not name any


@dataclass(frozen=True)
class DataList:
    """What `dataset.json` says.

    path: the file itself.
    name: of the data set.
    channels: what each channel of an image is, in their order.
    labels: name of each value in a label file, the background 0 included, `ignore_label` not.
    ignore_label: the value of voxels that nobody labelled, where there is one.
    sections: the cases of `training`, `validation` and `test`, of those that have any; each with the absolute
        paths `image` and, where it has one, `label`, and with `patient_id`.
    """

    path: Path
    name: str
    channels: tuple[str, ...]
    labels: dict[int, str]
    ignore_label: int | None
    sections: dict[str, list[dict[str, str]]]


def read_datalist(dataset_dir: str | Path) -> DataList:
    """The list of a folder with `dataset.json`, as the decathlon or nnU-Net writes it.

    Only the list is looked at; whether its files exist and are sound is for `integrity`. It is read here and not by
    MONAI's `load_decathlon_datalist`, which fails at an empty list of test cases and takes a `patient_id` for a path
    where a file of that name exists.
    """
    folder = Path(os.path.abspath(dataset_dir))
    if not folder.is_dir():
        raise InputError(f"dataset_dir: expected a folder with {DATALIST}, there is no folder at {folder}")
    path = folder / DATALIST
    content = _load(path)
    if not content.get("training"):
        raise InputError(f"{path}: expected a list of cases named 'training', got none")
    labels = _labels(path, content.get("labels"))
    ignored = [value for value, name in labels.items() if name == IGNORE]
    sections = {name: _cases(path, name, content[name]) for name in SECTIONS if content.get(name)}
    return DataList(
        path=path,
        name=str(content.get("name", folder.name)),
        channels=_channels(path, content.get("modality", content.get("channel_names", ONE_CHANNEL))),
        labels={value: name for value, name in labels.items() if value not in ignored},
        ignore_label=ignored[0] if ignored else None,
        sections=sections,
    )


def case_name(file: str | Path) -> str:
    """The name of a case's file or folder without its ending."""
    name = Path(file).name
    ending = max((end for end in NIFTI_ENDINGS if name.lower().endswith(end)), key=len, default="")
    return name[: len(name) - len(ending)]


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: expected a folder with {DATALIST}, it has none")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON, cannot read it ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object with the list 'training', got {one_line(content, 40)}")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that is there twice, Python alone would keep the last in silence."""
    _refuse_repeats([key for key, _ in pairs], "a key")
    return dict(pairs)


def _labels(path: Path, content: Any) -> dict[int, str]:
    """The names by value, of {"1": "liver"} as the decathlon has it or of nnU-Net's {"liver": 1}."""
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: expected labels such as {{'0': 'background', '1': 'liver'}}, got {content!r}")
    pairs = [(key, entry) if isinstance(entry, str) else (entry, key) for key, entry in content.items()]
    for value, name in pairs:
        if isinstance(value, bool) or not (isinstance(value, int) or str(value).isdecimal()) or int(value) < 0:
            raise InputError(f"{path}: expected a whole number for each label, got {one_line(value, 40)} for {name!r}")
    try:
        _refuse_repeats([int(value) for value, _ in pairs], "the value")
        _refuse_repeats([name for _, name in pairs], "the name")
    except ValueError as error:
        raise InputError(f"{path}: expected labels that differ from one another, got {error}") from error
    labels = {int(value): name for value, name in sorted(pairs, key=lambda pair: int(pair[0]))}
    if labels.get(0, IGNORE) == IGNORE or not set(labels.values()) - {IGNORE, labels[0]}:
        raise InputError(f"{path}: expected labels with the background 0 and at least one other, got {labels}")
    return labels


def _refuse_repeats(entries: Sequence[Any], what: str) -> None:
    for entry, count in Counter(entries).items():
        if count > 1:
            raise ValueError(f"{what} {entry!r} {count} times")


def _channels(path: Path, content: Any) -> tuple[str, ...]:
    """The channels of {"0": "T1", "1": "T2"}, by number."""
    if not isinstance(content, Mapping) or sorted(content) != sorted(map(str, range(len(content)))) or not content:
        raise InputError(f"{path}: expected modality to name the channels, such as {{'0': 'CT'}}, got {content!r}")
    return tuple(str(content[str(number)]) for number in range(len(content)))


def _cases(path: Path, section: str, content: Any) -> list[dict[str, str]]:
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of cases named {section!r}, got {one_line(content, 40)}")
    return [_case(path, f"{section}[{index}]", entry) for index, entry in enumerate(content)]


def _case(path: Path, place: str, entry: Any) -> dict[str, str]:
    """One case; the decathlon writes its test cases as bare names of images. `place` is where it stands."""
    entry = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or not entry.get("image"):
        raise InputError(f"{path}: expected an image in {place}, got {one_line(entry, 60)}")
    files = {key: _absolute(path, place, entry[key]) for key in ("image", "label") if entry.get(key) is not None}
    return {**files, "patient_id": str(entry.get("patient_id", case_name(files["image"])))}


def _absolute(path: Path, place: str, file: Any) -> str:
    """A listed file as an absolute path; a relative one counts from the list's folder and stays inside it."""
    if not isinstance(file, str) or not file:
        raise InputError(f"{path}: expected the name of one file in {place}, got {one_line(file, 60)}")
    joined = Path(os.path.normpath(path.parent / file))
    if not Path(file).is_absolute() and path.parent not in joined.parents:
        raise InputError(f"{path}: expected a file inside the folder, or an absolute path, in {place}, got {file}")
    return str(joined)
