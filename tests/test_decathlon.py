"""The list of a data set, as different writers of the decathlon layout have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beyond2d.checks import InputError
from beyond2d.datasets import write_vessel_dataset
from beyond2d.readers import read_datalist
from beyond2d.readers.decathlon import case_name

LABELS = {"0": "background", "1": "liver"}
TRAINING = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]


def write_list(folder: Path, **content: Any) -> Path:
    """A folder with a small list; an entry of None is left out."""
    entries = {"labels": LABELS, "training": TRAINING, **content}
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({key: value for key, value in entries.items() if value}))
    return folder


def test_the_list_of_the_decathlon(tmp_path: Path) -> None:
    folder = write_list(
        tmp_path,
        name="Livers",
        modality={"1": "T2", "0": "T1"},
        validation=[{"image": "imagesTr/b.nii", "label": "labelsTr/b.nii", "patient_id": 7, "fold": 0}],
        test=["./imagesTs/c.nii.gz"],
    )
    datalist = read_datalist(str(folder))
    assert datalist.path == folder / "dataset.json"
    assert datalist.name == "Livers"
    assert datalist.channels == ("T1", "T2")
    assert datalist.labels == {0: "background", 1: "liver"}
    assert datalist.ignore_label is None
    assert datalist.sections == {
        "training": [
            {"image": f"{folder}/imagesTr/a.nii.gz", "label": f"{folder}/labelsTr/a.nii.gz", "patient_id": "a"}
        ],
        "validation": [{"image": f"{folder}/imagesTr/b.nii", "label": f"{folder}/labelsTr/b.nii", "patient_id": "7"}],
        "test": [{"image": f"{folder}/imagesTs/c.nii.gz", "patient_id": "c"}],
    }


def test_the_list_of_nnunet(tmp_path: Path) -> None:
    labels = {"background": 0, "tumour": 2, "liver": 1, "ignore": 3}
    datalist = read_datalist(write_list(tmp_path / "Task1", labels=labels, channel_names={"0": "CT"}))
    assert list(datalist.labels.items()) == [(0, "background"), (1, "liver"), (2, "tumour")]
    assert datalist.ignore_label == 3
    assert datalist.channels == ("CT",)
    assert datalist.name == "Task1"


def test_sections_without_cases_are_left_out_and_a_label_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()  # MONAI's loader would take the patient's id for this folder
    image = str(tmp_path / "elsewhere" / "a.nii")
    folder = write_list(tmp_path, training=[{"image": image, "label": None, "patient_id": "a"}], test=[])
    assert read_datalist(folder).sections == {"training": [{"image": image, "patient_id": "a"}]}
    assert read_datalist(folder).channels == ("image",)


def test_the_package_reads_what_it_writes(tmp_path: Path) -> None:
    path = write_vessel_dataset(tmp_path, cases=3, size=16)
    datalist = read_datalist(tmp_path)
    assert (datalist.path, datalist.channels, datalist.labels) == (path, ("CT",), {0: "background", 1: "vessel"})
    assert [len(cases) for cases in datalist.sections.values()] == [1, 1, 1]
    for cases in datalist.sections.values():
        assert Path(cases[0]["image"]).is_file()
        assert cases[0]["patient_id"] == case_name(cases[0]["image"])


@pytest.mark.parametrize(
    ("file", "name"), [("a/b.nii.gz", "b"), ("b.NII", "b"), ("/c/b.1", "b.1"), ("b", "b"), ("a.b.nii", "a.b")]
)
def test_a_case_is_named_after_its_file(file: str, name: str) -> None:
    assert case_name(file) == name


BAD_LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "no training": ({"training": None}, "expected a list of cases named 'training', got none"),
    "training of words": ({"training": "a"}, "expected a list of cases named 'training', got a"),
    "no labels": ({"labels": None}, "expected labels such as {'0': 'background', '1': 'liver'}, got None"),
    "a list of labels": ({"labels": ["liver"]}, "expected labels such as {'0': 'background', '1': 'liver'}, got"),
    "a broken label": ({"labels": {**LABELS, "1.5": "gas"}}, "expected a whole number for each label, got 1.5 for"),
    "a negative label": ({"labels": {"a": 0, "b": -1}}, "expected a whole number for each label, got -1 for 'b'"),
    "a region": (
        {"labels": {"background": 0, "whole": [1, 2]}},
        "expected a whole number for each label, got [1, 2] for 'whole'",
    ),
    "no background": (
        {"labels": {"1": "liver"}},
        "expected labels with the background 0 and at least one other, got {1: 'liver'}",
    ),
    "nothing but background": (
        {"labels": {"background": 0, "ignore": 1}},
        "expected labels with the background 0 and at least one other",
    ),
    "a value twice": (
        {"labels": {"background": 0, "liver": 1, "spleen": 1}},
        "expected labels that differ from one another, got the value 1 2 times",
    ),
    "a name twice": (
        {"labels": {**LABELS, "2": "liver"}},
        "expected labels that differ from one another, got the name 'liver' 2 times",
    ),
    "channels out of order": ({"modality": {"1": "T1"}}, "expected modality to name the channels, such as {'0': 'CT'}"),
    "a channel as a word": ({"modality": "CT"}, "expected modality to name the channels"),
    "a case without image": ({"training": [{"label": "a.nii"}]}, "expected an image in training[0], got {'label'"),
    "a case that is a number": ({"validation": [3]}, "expected an image in validation[0], got 3"),
    "two files an image": ({"test": [{"image": ["a", "b"]}]}, "expected the name of one file in test[0], got ['a'"),
    "a number for a label": (
        {"training": [*TRAINING, {"image": "a", "label": 1}]},
        "expected the name of one file in training[1], got 1",
    ),
    "a way out": (
        {"training": [{"image": "../a.nii"}]},
        "expected a file inside the folder, or an absolute path, in training[0], got ../a.nii",
    ),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_bad_lists(tmp_path: Path, case: str) -> None:
    content, words = BAD_LISTS[case]
    with pytest.raises(InputError) as caught:
        read_datalist(write_list(tmp_path, **content))
    assert str(caught.value).startswith(f"{tmp_path / 'dataset.json'}: {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected JSON, cannot read it"),
        ("[1, 2]", r"expected a JSON object with the list 'training', got \[1, 2\]"),
        ('{"labels": {"1": "liver", "1": "spleen"}}', "expected JSON, cannot read it .*a key '1' 2 times"),
    ],
)
def test_a_list_that_is_not_json(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=f"dataset.json: {words}"):
        read_datalist(tmp_path)


def test_no_list_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder with dataset\.json, it has none"):
        read_datalist(tmp_path)
    with pytest.raises(InputError, match=r"dataset_dir: expected a folder with dataset\.json, there is no folder at"):
        read_datalist(tmp_path / "none")
