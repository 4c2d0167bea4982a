"""Looks through a data set before anything is trained on it, and names every file that would spoil the training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation
from numpy.typing import NDArray
from tqdm import tqdm

from .checks import InputError, check_same_grid
from .readers import DataList, LabelReader, VolumeReader, read_datalist

NEEDS_LABELS = ("training", "validation")
NUM_NAMED = 5  # of the values in a label map that should not be there


class Finding(NamedTuple):
    """What is wrong with a file: its path from the data set's folder, what was expected and what arrived."""

    file: str
    problem: str


class Case(NamedTuple):
    """One case of the list; `label` is None where it has none."""

    section: str
    patient_id: str
    image: str
    label: str | None


class Grid(NamedTuple):
    """Where the voxels of a file lie once its axes are turned to RAS: shape (X, Y, Z) and the affine to mm."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def check_dataset(dataset_dir: str | Path, progress: bool = True) -> list[Finding]:
    """Everything that is wrong with a folder in the decathlon layout; one defect is one finding.

    Every listed file is read to its end, one at a time; files that the list does not name are not looked at. A list
    that cannot be read is an `InputError`.
    """
    return _check(read_datalist(dataset_dir), progress)


def require_sound(dataset_dir: str | Path, progress: bool = True) -> None:
    """Refuse a data set in which `check_dataset` finds anything, with the first finding as the example."""
    datalist = read_datalist(dataset_dir)
    findings = _check(datalist, progress)
    if not findings:
        return
    cases, files = _cases(datalist), {finding.file for finding in findings}
    num_bad = sum(any(_inside(datalist, file) in files for file in _files(case)) for case in cases)
    what = f"{num_bad} of {len(cases)} cases in {dataset_dir}" if num_bad else f"the list of {dataset_dir}"
    raise InputError(
        f"{what} cannot be used, first {findings[0].file}: {findings[0].problem}; "
        f"`beyond2d check-data {dataset_dir}` lists them all"
    )


def _check(datalist: DataList, progress: bool) -> list[Finding]:
    checker = _Checker(datalist)
    cases = checker.listed_once(_cases(datalist))
    for case in tqdm(cases, desc="checking", unit="case", disable=not progress):
        checker.check_case(case)
    checker.check_labels_are_used()
    return checker.findings


def _cases(datalist: DataList) -> list[Case]:
    return [
        Case(section, item["patient_id"], item["image"], item.get("label"))
        for section, items in datalist.sections.items()
        for item in items
    ]


def _files(case: Case) -> list[str]:
    return [case.image] if case.label is None else [case.image, case.label]


def _inside(datalist: DataList, file: str) -> str:
    """A file's path from the folder of the data set, where it lies in there."""
    path, folder = Path(file), datalist.path.parent
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else file


class _Checker:
    """Looks at one case after the other, and keeps the findings and what only shows between cases."""

    def __init__(self, datalist: DataList) -> None:
        self.datalist = datalist
        self.findings: list[Finding] = []
        self.values = [*datalist.labels, *([] if datalist.ignore_label is None else [datalist.ignore_label])]
        self.contents: dict[bytes, Case] = {}  # by the hash of an image's voxels
        self.used: set[float] = set()
        self.num_labels = 0

    def listed_once(self, cases: list[Case]) -> list[Case]:
        """The cases without those that share a file with an earlier one. No patient may be in two sections."""
        owners: dict[str, Case] = {}
        sections: dict[str, str] = {}
        once = []
        for case in cases:
            section = sections.setdefault(case.patient_id, case.section)
            shared = next((file for file in _files(case) if file in owners), None)
            if shared is not None:
                self._note(shared, f"expected the file once in the list, got it {_both(owners[shared], case)}")
                continue
            if section != case.section:
                got = f"{section} and {case.section}"
                self._note(case.image, f"expected patient {case.patient_id} in one section, got {got}")
            owners |= dict.fromkeys(_files(case), case)
            once.append(case)
        return once

    def check_case(self, case: Case) -> None:
        """The image, its label, and whether they fit together."""
        image = label = None
        with self._noting(case.image):
            image, content = _read_image(Path(case.image), len(self.datalist.channels))
            self._check_twins(case, content)
        if case.label is None:
            if case.section in NEEDS_LABELS:
                self._note(case.image, f"expected a label for each image of {case.section}, the list names none")
            return
        with self._noting(case.label):
            label, counts = _read_label(Path(case.label), self.values)
            self._check_counts(case.label, counts)
        if image is not None and label is not None:
            with self._noting(case.label):
                check_same_grid(*label, *image)

    def check_labels_are_used(self) -> None:
        """Every label of the list is in a case, as far as label files could be read."""
        for value, name in self.datalist.labels.items():
            if value != 0 and value not in self.used and self.num_labels:
                got = f"none in {self.num_labels} label files"
                self._note(str(self.datalist.path), f"expected label {value} ({name}) in at least one case, got {got}")

    def _check_twins(self, case: Case, content: bytes) -> None:
        """No image is in two sections under two names; of one patient's that is told already."""
        twin = self.contents.setdefault(content, case)
        if twin.section != case.section and twin.patient_id != case.patient_id:
            other = f"{_inside(self.datalist, twin.image)} of {twin.section}"
            self._note(case.image, f"expected an image of its own in {case.section}, got the voxels of {other}")

    def _check_counts(self, file: str, counts: dict[float, int]) -> None:
        """Voxels by value: only values of the list, and something else than background and unlabelled."""
        self.num_labels += 1
        self.used |= counts.keys() & self.datalist.labels.keys()
        strangers = [f"{value:g} ({count} voxels)" for value, count in counts.items() if value not in self.values]
        if strangers:
            more = ["..."] if len(strangers) > NUM_NAMED else []
            got = ", ".join(strangers[:NUM_NAMED] + more)
            self._note(file, f"expected the labels {', '.join(map(str, self.values))} of the list, got {got}")
        elif counts.keys() == {self.datalist.ignore_label}:
            self._note(file, f"expected labelled voxels, got {self.datalist.ignore_label} (ignore) in every voxel")
        elif counts.keys() <= {0, self.datalist.ignore_label}:
            self._note(file, "expected at least one voxel of a label, got an empty label map")

    def _note(self, file: str, problem: str) -> None:
        self.findings.append(Finding(_inside(self.datalist, file), problem))

    @contextmanager
    def _noting(self, file: str) -> Iterator[None]:
        """A block whose `InputError` is a finding on the file."""
        try:
            yield
        except InputError as error:
            self._note(file, str(error).removeprefix(f"{file}: ").removeprefix("label: "))


def _both(first: Case, second: Case) -> str:
    same = first.section == second.section
    return f"twice in {first.section}" if same else f"in {first.section} and in {second.section}"


def _read_image(path: Path, num_channels: int) -> tuple[Grid, bytes]:
    """Where an image lies, and the hash of its voxels."""
    voxels, meta = VolumeReader(num_channels).get_data(path)
    content = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(voxels.T).data)  # NIfTI has the first axis fastest: nothing is copied
    return _grid(voxels.shape[:3], meta["affine"]), content.digest()


def _grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Grid:
    """The grid of a file: an image and its label may be stored along other axes, as transforms turn both to RAS."""
    axes = io_orientation(affine)
    sizes = {int(axis): size for (axis, _), size in zip(axes, shape, strict=True)}
    return Grid((sizes[0], sizes[1], sizes[2]), affine @ inv_ornt_aff(axes, shape))


def _read_label(path: Path, values: list[int]) -> tuple[Grid, dict[float, int]]:
    """Where a label map lies, and how many voxels each value has: the given ones, then others."""
    label, meta = LabelReader().get_data(path)
    counts: dict[float, int] = {value: int(np.count_nonzero(label == value)) for value in values}
    if sum(counts.values()) < label.size:
        others, numbers = np.unique(label[~np.isin(label, values)], return_counts=True)
        counts |= dict(zip(others.tolist(), numbers.tolist(), strict=True))
    return _grid(label.shape, meta["affine"]), {value: count for value, count in counts.items() if count}
