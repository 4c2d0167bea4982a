"""The plan of a segmentation as a file that a person edits, and which cases a fold trains and validates on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..checks import InputError, check_choice, check_count, check_known_keys, one_line
from .decathlon import SECTIONS, read_datalist

# What each key of a plan means; the file tells it beside the value.
PLAN_KEYS = {
    "channels": "what each channel of an image is",
    "labels": "value in the label files: its name",
    "ignore_label": "value of voxels that nobody labelled; null: there are none",
    "spacing_mm": "every image is resampled to voxels of this size, X, Y, Z",
    "intensity": "one a channel; clip: fixed range and scale (CT), zscore: each image by its own mean and deviation",
    "patch_size": "voxels that the network sees at once",
    "batch_size": "patches a step",
    "patches_per_case": "patches that each case gives in an epoch",
    "mirror_axes": "axes (0, 1, 2) along which a mirror image is as real as the image",
    "kernel_size": "of each level of the network",
    "strides": "of each level of the network, the finest first",
    "features": "of each level of the network",
    "keep_largest": "label values of which only the largest connected part stays",
    "num_members": "networks whose probabilities are averaged; 1 in training, more where weights are an ensemble's",
    "fingerprint": "what the plan was derived from; for reading only",
}
KINDS = {dict: "names with values", int: "a whole number", list: "a list"}
MAPPINGS = ("labels", "fingerprint")
NUMBERS = ("batch_size", "patches_per_case", "num_members")
OPTIONAL: dict[str, Any] = {"num_members": 1, "fingerprint": {}}


def read_plan(path: str | Path) -> dict[str, Any]:
    """A plan from its file, with all its keys."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a plan, there is no such file; `beyond2d plan` and training make one")
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: expected a plan in YAML, cannot read it ({one_line(error)})") from error
    if not isinstance(plan, dict):
        raise InputError(f"{path}: expected a plan in YAML, got {one_line(plan, 40)}")
    check_known_keys(plan, tuple(PLAN_KEYS), str(path))
    plan = {**OPTIONAL, **plan}
    if missing := [key for key in PLAN_KEYS if key not in plan]:
        raise InputError(f"{path}: expected the key {missing[0]}, the plan has none")
    for key, value in plan.items():
        kind = dict if key in MAPPINGS else int if key in NUMBERS else list
        if key != "ignore_label" and not isinstance(value, kind):
            raise InputError(f"{path}: expected {KINDS[kind]} for {key}, got {one_line(value, 40)}")
    _check_values(path, plan)
    return plan


def _check_values(path: Path, plan: dict[str, Any]) -> None:
    """The lists that make the network must fit one another, and all others the labels, channels and strides."""
    if not set(plan["keep_largest"]) <= set(plan["labels"]):
        known = ", ".join(map(str, plan["labels"]))
        raise InputError(f"{path}: expected keep_largest of the label values {known}, got {plan['keep_largest']}")
    levels = {key: len(plan[key]) for key in ("kernel_size", "strides", "features")}
    if len(set(levels.values())) != 1 or min(levels.values()) < 3:
        raise InputError(f"{path}: expected kernel_size, strides and features of one length of 3 or more, got {levels}")
    multiple = np.prod(plan["strides"], axis=0)
    if len(plan["patch_size"]) != 3 or (np.array(plan["patch_size"]) % multiple).any():
        raise InputError(f"{path}: expected patch_size in multiples of {multiple.tolist()}, got {plan['patch_size']}")
    if len(plan["intensity"]) != len(plan["channels"]):
        raise InputError(
            f"{path}: expected one intensity scheme a channel, {len(plan['channels'])}, got {len(plan['intensity'])}"
        )


def plan_text(plan: dict[str, Any]) -> str:
    """A plan as YAML, each key with its meaning."""
    blocks = ["# How a segmentation is trained and applied. Every value may be edited before training."]
    for key, meaning in PLAN_KEYS.items():
        if key in plan:
            lines = f"{key}: {json.dumps(plan[key])}" if not plan[key] else _in_yaml({key: plan[key]})
            blocks.append(f"# {meaning}\n{lines.strip()}")
    return "\n".join(blocks) + "\n"


def _in_yaml(entry: dict[str, Any]) -> str:
    """One key, with its innermost lists on one line; a lone number would otherwise get braces around its key."""
    (value,) = entry.values()
    return yaml.safe_dump(entry, sort_keys=False, default_flow_style=None if isinstance(value, list | dict) else False)


def fold_cases(
    dataset_dir: str,
    part: str,
    fold: int | None = None,
    num_folds: int = 5,
    num_cases: int | None = None,
    seed: int = 0,
) -> list[dict[str, str]]:
    """The cases {image, label} of one part of a data set: training, validation or test.

    With a `fold`, every `num_folds`-th patient of the training list, in an order that `seed` draws, is for validation
    and the others for training; without one the lists of `dataset.json` are taken as they are. Of the training cases
    only the first `num_cases` are taken, where that is given.
    """
    check_choice(part, SECTIONS, "part")
    datalist = read_datalist(dataset_dir)
    if fold is None or part == "test":
        cases = list(datalist.sections.get(part, []))
    else:
        check_count(num_folds, 2, "num_folds")
        if not 0 <= check_count(fold, 0, "fold") < num_folds:
            raise InputError(f"fold must be 0 to {num_folds - 1}, got {fold}")
        held_out = _held_out(datalist.sections["training"], fold, num_folds, seed)
        wanted = part == "validation"
        cases = [case for case in datalist.sections["training"] if (case["patient_id"] in held_out) == wanted]
    if not cases:
        advice = "; give --fold 0 to hold some training cases out" if part == "validation" and fold is None else ""
        raise InputError(f"{datalist.path}: expected cases for {part}, got none{advice}")
    if num_cases is not None and part == "training":
        cases = cases[: check_count(num_cases, 1, "num_cases")]
    if part != "test" and (bare := [case["image"] for case in cases if "label" not in case]):
        raise InputError(f"{bare[0]}: expected a label for a case of {part}, {datalist.path.name} names none")
    return [{key: case[key] for key in ("image", "label") if key in case} for case in cases]


def _held_out(cases: Sequence[dict[str, str]], fold: int, num_folds: int, seed: int) -> set[str]:
    patients = sorted({case["patient_id"] for case in cases})
    if len(patients) < num_folds:
        raise InputError(f"num_folds must be at most the number of patients, {len(patients)}, got {num_folds}")
    order = np.random.default_rng(seed).permutation(len(patients))
    return {patients[index] for index in order[fold::num_folds]}
