"""The file of a plan, there and back, what it refuses; and which cases a fold trains and validates on."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from beyond2d.checks import InputError
from beyond2d.readers import fold_cases, plan_text, read_plan
from beyond2d.readers.plans import PLAN_KEYS

PLAN = {
    "channels": ["CT", "NO", "fat: water"],
    "labels": {0: "background", 2: "left kidney", 7: "yes"},
    "ignore_label": None,
    "spacing_mm": [0.7, 0.7, 0.00001],
    "intensity": [
        {"scheme": "clip", "low": -57.0, "high": 175.0, "mean": 61.5, "std": 1e-05},
        {"scheme": "zscore"},
        {"scheme": "zscore"},
    ],
    "patch_size": [48, 48, 12],
    "batch_size": 2,
    "patches_per_case": 1,
    "mirror_axes": [],
    "kernel_size": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
    "features": [16, 32, 64],
    "keep_largest": [2, 7],
    "num_members": 5,
    "fingerprint": {"num_cases": 3, "shapes": {"smallest": [40, 38, 9], "largest": [50, 42, 12]}},
}


def plan_file(folder, **changes):
    """A plan in its file; a change to None leaves the key out."""
    plan = {**PLAN, **changes}
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({key: plan[key] for key in plan if key not in changes or plan[key] is not None}))
    return path


def test_a_plan_goes_there_and_back(tmp_path):
    (tmp_path / "plan.yaml").write_text(plan_text(PLAN), encoding="utf-8")
    assert read_plan(tmp_path / "plan.yaml") == PLAN
    other = {**PLAN, "ignore_label": 9, "mirror_axes": [0, 2], "keep_largest": [], "fingerprint": {}}
    (tmp_path / "plan.yaml").write_text(plan_text(other), encoding="utf-8")
    assert read_plan(str(tmp_path / "plan.yaml")) == other


def test_every_key_of_the_file_has_its_meaning_above_it():
    lines = plan_text(PLAN).splitlines()
    assert lines[0].startswith("# ")
    commented = {line.split(":")[0]: lines[number - 1] for number, line in enumerate(lines) if re.match(r"\w+:", line)}
    assert commented == {key: f"# {meaning}" for key, meaning in PLAN_KEYS.items()}
    assert list(commented) == list(PLAN_KEYS)


def test_a_file_without_the_optional_keys_is_one_network(tmp_path):
    plan = read_plan(plan_file(tmp_path, num_members=None, fingerprint=None))
    assert (plan["num_members"], plan["fingerprint"]) == (1, {})


@pytest.mark.parametrize("missing", sorted(set(PLAN_KEYS) - {"ignore_label", "num_members", "fingerprint"}))
def test_a_missing_key_is_named(tmp_path, missing):
    path = plan_file(tmp_path, **{missing: None})
    with pytest.raises(InputError, match=rf"^{path}: expected the key {missing}, the plan has none$"):
        read_plan(path)


LENGTHS = "expected kernel_size, strides and features of one length of 3 or more, got "


@pytest.mark.parametrize(
    ("changes", "line"),
    [({"features": [16, 32]}, LENGTHS + "{'kernel_size': 3, 'strides': 3, 'features': 2}"),
     ({"features": [16, 32], "strides": [[1, 1, 1], [2, 2, 2]], "kernel_size": [[3, 3, 3]] * 2},
      LENGTHS + "{'kernel_size': 2, 'strides': 2, 'features': 2}"),
     ({"patch_size": [48, 46, 12]}, "expected patch_size in multiples of [4, 4, 2], got [48, 46, 12]"),
     ({"patch_size": [48, 48]}, "expected patch_size in multiples of [4, 4, 2], got [48, 48]"),
     ({"channels": ["CT"]}, "expected one intensity scheme a channel, 1, got 3"),
     ({"keep_largest": [2, 3]}, "expected keep_largest of the label values 0, 2, 7, got [2, 3]"),
     ({"strides": 5}, "expected a list for strides, got 5"),
     ({"batch_size": [2]}, "expected a whole number for batch_size, got [2]"),
     ({"labels": [0, 1]}, "expected names with values for labels, got [0, 1]"),
     ({"mirror_axis": [0]}, "unknown key 'mirror_axis'; did you mean mirror_axes?")],
    ids=["lengths", "two levels", "patch", "flat patch", "intensity", "keep_largest", "no list", "no number",
         "no names", "misspelt"],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(tmp_path, changes, line):
    path = plan_file(tmp_path, **changes)
    with pytest.raises(InputError, match=re.escape(f"{path}: {line}")):
        read_plan(path)


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    path = tmp_path / "plan.yaml"
    with pytest.raises(InputError, match=rf"^{path}: expected a plan, there is no such file; `beyond2d plan`"):
        read_plan(path)
    path.write_text("channels: [CT")
    with pytest.raises(InputError, match=rf"^{path}: expected a plan in YAML, cannot read it \("):
        read_plan(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=rf"^{path}: expected a plan in YAML, cannot read it \("):
        read_plan(path)
    path.write_text("- CT\n")
    with pytest.raises(InputError, match=rf"^{path}: expected a plan in YAML, got \['CT'\]$"):
        read_plan(path)


def entries(count, per_patient=1, prefix="case"):
    return [
        {"image": f"imagesTr/{prefix}{index}.nii.gz", "label": f"labelsTr/{prefix}{index}.nii.gz",
         "patient_id": f"{prefix} {index // per_patient}"}
        for index in range(count)
    ]  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    """A function that writes a list of cases and gives its folder."""

    def write(**sections):
        content = {"labels": {"0": "background", "1": "organ"}, **sections}
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        return str(tmp_path)

    return write


def images(cases):
    return [case["image"].rsplit("/", 1)[-1].removesuffix(".nii.gz") for case in cases]


def test_the_folds_share_the_cases_out_and_no_patient_is_on_both_sides(dataset):
    folder = dataset(training=entries(22, per_patient=2))
    held_out = []
    for fold in range(4):
        training, validation = (images(fold_cases(folder, part, fold, 4)) for part in ("training", "validation"))
        assert sorted(training + validation) == sorted(images(entries(22)))
        patients = [{int(name.removeprefix("case")) // 2 for name in names} for names in (training, validation)]
        assert not patients[0] & patients[1]
        assert len(patients[1]) in (2, 3)  # of eleven patients in four folds
        held_out += validation
    assert sorted(held_out) == sorted(images(entries(22)))


def test_cases_keep_the_order_of_the_list_and_only_their_files(dataset):
    folder = dataset(training=entries(12))
    cases = fold_cases(folder, "training", 0)
    numbers = [int(name.removeprefix("case")) for name in images(cases)]
    assert numbers == sorted(numbers)
    assert cases[0] == {kind: f"{folder}/{kind}sTr/case{numbers[0]}.nii.gz" for kind in ("image", "label")}


def test_a_seed_draws_the_folds_and_the_same_every_time(dataset):
    folder = dataset(training=entries(20))
    drawn = [tuple(images(fold_cases(folder, "validation", 0, 5, seed=seed))) for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_the_folds_do_not_depend_on_the_order_of_the_list(dataset):
    one = fold_cases(dataset(training=entries(20)), "validation", 1)
    other = fold_cases(dataset(training=entries(20)[::-1]), "validation", 1)
    assert one == other[::-1]


def test_only_training_is_cut_to_a_number_of_cases(dataset):
    folder = dataset(training=entries(20))
    assert fold_cases(folder, "training", 2, num_cases=3) == fold_cases(folder, "training", 2)[:3]
    assert fold_cases(folder, "validation", 2, num_cases=3) == fold_cases(folder, "validation", 2)
    assert len(fold_cases(folder, "training", 2, num_cases=99)) == 16


def test_without_a_fold_the_lists_are_taken_as_they_are(dataset):
    bare = [{"image": "imagesTs/t.nii.gz"}]
    folder = dataset(training=entries(4), validation=entries(2, prefix="held"), test=bare)
    assert images(fold_cases(folder, "training")) == images(entries(4))
    assert images(fold_cases(folder, "validation")) == ["held0", "held1"]
    for fold in (None, 0):
        assert fold_cases(folder, "test", fold, 2) == [{"image": f"{folder}/imagesTs/t.nii.gz"}]
    assert images(fold_cases(folder, "validation", 0, 2))[0].startswith("case")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [({"part": "training", "fold": 5}, "fold must be 0 to 4, got 5"),
     ({"part": "training", "fold": -1}, "fold must be a whole number of at least 0, got -1"),
     ({"part": "training", "fold": 0.5}, "fold must be a whole number of at least 0, got 0.5"),
     ({"part": "validation", "fold": 0, "num_folds": 1}, "num_folds must be a whole number of at least 2, got 1"),
     ({"part": "validation", "fold": 0, "num_folds": 7}, "num_folds must be at most the number of patients, 6, got 7"),
     ({"part": "training", "num_cases": 0}, "num_cases must be a whole number of at least 1, got 0"),
     ({"part": "trainig", "fold": 0}, "part must be one of training, validation, test, got 'trainig'"),
     ({"part": "test"}, "dataset.json: expected cases for test, got none"),
     ({"part": "validation"},
      "dataset.json: expected cases for validation, got none; give --fold 0 to hold some training cases out")],
)  # fmt: skip
def test_a_fold_that_cannot_be_is_refused(dataset, arguments, line):
    folder = dataset(training=entries(12, per_patient=2))
    with pytest.raises(InputError, match=rf"{re.escape(line)}$"):
        fold_cases(folder, **arguments)


@pytest.mark.parametrize(("part", "fold"), [("training", None), ("training", 0), ("validation", 1)])
def test_training_and_validation_need_labels(dataset, part, fold):
    folder = dataset(training=[{"image": entry["image"]} for entry in entries(4)])
    line = rf"^{folder}/imagesTr/case\d\.nii\.gz: expected a label for a case of {part}, dataset\.json names none$"
    with pytest.raises(InputError, match=line):
        fold_cases(folder, part, fold, 2)
