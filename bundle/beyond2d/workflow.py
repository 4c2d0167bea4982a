"""Runs a system's configs through `monai.bundle`, with the mistakes caught that MONAI lets pass."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import EXPR_KEY, ID_REF_KEY, ID_SEP_KEY

from .checks import InputError, check_choice, check_state_dict

SYSTEMS = ("reconstruction", "segmentation", "digits", "infection")
# The networks of each system: the first is the configs' own, every other has a config file to lay over them.
MODELS = {
    "reconstruction": ("unet", "autoencoder"),
    "segmentation": ("planned", "network1", "network2"),
    "digits": ("vgg13", "resnet"),
    "infection": ("slab", "plane"),
}
# Which files make up each thing a system does, and which kind of workflow that is to MONAI.
TASKS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (("train.yaml",), "train"),
    "evaluate": (("train.yaml", "evaluate.yaml"), "train"),
    "infer": (("inference.yaml",), "inference"),
    "infer_views": (("inference.yaml", "views.yaml"), "inference"),
    "candidates": (("train.yaml", "candidates.yaml"), "train"),
    "train_classifier": (("classifier.yaml",), "train"),
    "judge": (("classifier.yaml", "judge.yaml"), "train"),
}


def home() -> Path:
    """The folder that holds `configs` and `models`: the repository, or the installed package's own copy."""
    package = Path(__file__).resolve().parent
    repository = package.parents[1]
    return repository if (repository / "configs").is_dir() else package / "systems"


def config_files(system: str, task: str, model: str | None = None) -> list[str]:
    """The config files of one task of a system, in the order in which they are laid over one another."""
    check_choice(system, SYSTEMS, "system")
    models = MODELS[system]
    chosen = check_choice(models[0] if model is None else model, models, "model")
    names = [*TASKS[task][0], *([] if chosen == models[0] else [f"{chosen}.yaml"])]
    return [str(home() / "configs" / system / name) for name in names]


def open_workflow(system: str, task: str, overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """A workflow that is ready to run, its overrides checked; `model` among them chooses the system's network."""
    overrides = dict(overrides)
    files = config_files(system, task, overrides.pop("model", None))
    _check_overrides(files, overrides)
    workflow = ConfigWorkflow(
        config_file=files,
        logging_file=False,
        workflow_type=TASKS[task][1],
        **{"bundle_root": str(home()), **overrides},
    )
    workflow.initialize()
    return workflow


def run_task(system: str, task: str, overrides: Mapping[str, Any]) -> ConfigWorkflow:
    """Open a workflow, run it to its end, and hand it back for what it holds."""
    workflow = open_workflow(system, task, overrides)
    if task != "train":
        _check_weights(workflow.parser)
    workflow.run()
    workflow.finalize()
    return workflow


def _check_overrides(files: Sequence[str], overrides: Mapping[str, Any]) -> None:
    """Refuse keys that no config has: MONAI would take a misspelt one in silence and change nothing.

    Nor may a switch be set to a word, which would be true whatever it says.
    """
    parser = ConfigParser()
    parser.read_config(list(files))
    for key, value in overrides.items():
        parent = key.rpartition(ID_SEP_KEY)[0]
        is_argument = bool(parent) and parent in parser and "_target_" in (parser[parent] or {})
        if key not in parser and not is_argument:
            near = difflib.get_close_matches(key, list(parser.get(default={})), n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; the keys stand in {files[0]}"
            raise InputError(f"--{key}: no such key in the config{hint}")
        is_switch = key in parser and isinstance(parser[key], bool)
        if is_switch and value not in (True, False) and not str(value).startswith((EXPR_KEY, ID_REF_KEY)):
            raise InputError(f"--{key}: expected True or False, got {value}")


def _check_weights(parser: ConfigParser) -> None:
    """Refuse weights of another network before any work is done; loading them is left to the config's handlers."""
    if "load_path" in parser:
        path = parser.get_parsed_content("load_path")
        network = parser.get_parsed_content("network_def")
        check_state_dict(Path(path), network.state_dict() if isinstance(network, torch.nn.Module) else {})
