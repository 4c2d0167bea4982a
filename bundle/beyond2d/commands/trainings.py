"""Commands about trained networks: planning, training, scoring and joining them, and what they run on."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..checks import InputError
from ..datasets import decathlon_folder
from ..ensembles import write_ensemble
from ..plans import write_plan
from ..workflow import SYSTEMS, home, run_task


def plan(dataset_dir: str, *, out: str = "plan.yaml", memory_gb: float | None = None) -> None:
    """Write the plan of a segmentation: what follows from a data set, in a file to read and edit.

    Args:
        dataset_dir: holds dataset.json and what it lists.
        out: the file.
        memory_gb: for training; by default the GPU's, or 4 without one.
    """
    if Path(out).exists():
        raise InputError(f"out: {out} is there already; choose another name or move it away")
    write_plan(dataset_dir, out, memory_gb)
    print(f"Next        beyond2d train segmentation --dataset_dir {dataset_dir} --plan_file {out}")


def train(system: str = "reconstruction", *, task: str | None = None, **config: Any) -> None:
    """Train a system's network on a folder of cases.

    Writes model.pt (the best epoch), last.pt (to go on from with --resume True) and TensorBoard's files into the
    folder --ckpt_dir.

    Args:
        system: reconstruction, segmentation, digits or infection.
        task: of the decathlon, such as Task04_Hippocampus: a folder in --dataset_dir, downloaded if it is not there.
        config: any key of configs/SYSTEM/train.yaml, e.g. --dataset_dir data/vessels --max_epochs 20, and --model to
            train another of the system's networks, e.g. --model autoencoder --num_views 5 --val_views [5].
    """
    logging.getLogger().setLevel(logging.INFO)
    if task is not None:
        config["dataset_dir"] = str(decathlon_folder(config.get("dataset_dir", "data"), task))
    workflow = run_task(system, "train", config)
    folder = workflow.parser.get_parsed_content("ckpt_dir")
    weights = f"--ckpt_dir {folder}" if system == "segmentation" else f"--load_path {folder}/model.pt"
    print(f"Next        beyond2d evaluate {system} {weights}, with the same --dataset_dir")


def evaluate(system: str = "reconstruction", **config: Any) -> None:
    """Score a system's network on the test cases of a folder, beside the baselines that need no network.

    Writes cases.csv (every case, every figure) and scores.json into the folder --output_dir and prints the means
    with their bootstrap 95 % intervals.

    Args:
        system: reconstruction, segmentation, digits or infection.
        config: any key of configs/SYSTEM/evaluate.yaml and train.yaml, e.g. --dataset_dir data/vessels --num_views 5,
            and --model for another of the system's networks.
    """
    run_task(system, "evaluate", config)


def ensemble(*folders: str, out: str, keep_largest: Sequence[int] | int = ()) -> None:
    """Put the networks of several trainings by one plan, such as the folds, into one folder.

    Args:
        folders: of the trainings, each with model.pt.
        out: for model.pt and plan.yaml of them all.
        keep_largest: label values of which only the largest connected part shall stay.
    """
    write_ensemble(folders, out, keep_largest)
    print(f"Next        beyond2d segment YOUR_IMAGE --model_dir {out} --out result")


def info() -> None:
    """Say which versions and which device are used, and where the configs and weights are."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"beyond2d {__version__}, Python {platform.python_version()}, torch {torch.__version__}, on {device}")
    for system in SYSTEMS:
        print(f"{system}: configs in {home() / 'configs' / system}, weights in {home() / 'models' / system}")
