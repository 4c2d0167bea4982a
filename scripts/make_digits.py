"""Makes what models/digits holds and the tables of docs/digits.md, in these steps.

    digits     volumes of MNIST's digits: 2,000 for testing, 1,000 for validation, the rest for training
    vgg13      trains the VGG-13 in three dimensions
    resnet     trains MONAI's 3D ResNet-18 on the same digits
    published  trains the VGG-13 once more, by the recipe of configs/digits/published.yaml
    evaluate   the test digits, beside two baselines that need no network
    publish    the record and the per-case answers to models/, the tables and the picture to docs/

A step whose output is there already is left out, and an interrupted training goes on where it stopped; `--steps`
runs some of them only. The weights stay in `--folder`: they are 56 and 133 MB.

    python scripts/make_digits.py --source ~/mnist                        # as many epochs as the configs say
    python scripts/make_digits.py --source ~/mnist --minutes 40           # as many as fit, for each training
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from publishing import fill_marks, machine, sha256

from beyond2d import __version__
from beyond2d.datasets import write_digit_dataset
from beyond2d.report.digits import CASE_COLUMNS, NAMES
from beyond2d.report.tables import Table, summary_table
from beyond2d.workflow import home, open_workflow, run_task
from beyond2d.writers import whole_file, write_csv, write_json

CONFIGS = home() / "configs" / "digits"
MODELS = home() / "models" / "digits"
CARD = home() / "docs" / "digits.md"
PICTURE = home() / "docs" / "digits_confusion.png"
# Every training: its network, the config laid behind the others, and its name in the tables.
TRAININGS = {
    "vgg13": ("vgg13", None, "vgg13"),
    "resnet": ("resnet", None, "resnet18"),
    "published": ("vgg13", "published.yaml", "vgg13, published recipe"),
}
STEPS = ("digits", *TRAININGS, "evaluate", "publish")
# Steps that are timed, and what an epoch takes beside its steps, as a share of them: validation and checkpoints.
TIMED_STEPS, OVERHEAD = 3, 0.1


def make_digits(options: argparse.Namespace) -> None:
    if not (options.folder / "data" / "dataset.json").is_file():
        write_digit_dataset(options.folder / "data", options.source, cases=options.cases, seed=options.seed)


def train(options: argparse.Namespace, name: str) -> None:
    """The number of epochs is written down first, so that a resumed training has the schedule it began with."""
    overrides = training_overrides(options, name)
    plan = options.folder / "training" / name / "plan.json"
    if not plan.is_file():
        plan.parent.mkdir(parents=True, exist_ok=True)
        epochs = epochs_within(options.minutes, overrides) if options.minutes else options.epochs
        write_json(plan, {} if epochs is None else {"max_epochs": epochs})
    begun = time.monotonic()
    run_task("digits", "train", {**overrides, **json.loads(plan.read_text(encoding="utf-8")), "resume": True})
    print(f"{name}: {(time.monotonic() - begun) / 60:.1f} minutes")


def training_overrides(options: argparse.Namespace, name: str) -> dict[str, Any]:
    model, overlay, _ = TRAININGS[name]
    recipe = {} if overlay is None else ConfigParser.load_config_file(str(CONFIGS / overlay))
    folders = {"dataset_dir": str(options.folder / "data"), "ckpt_dir": str(options.folder / "training" / name)}
    return {**recipe, **folders, "model": model, "seed": options.seed}


def epochs_within(minutes: float, overrides: dict[str, Any]) -> int:
    """How many epochs fit into a time, by what a few steps take here; at least one."""
    parser = open_workflow("digits", "train", overrides).parser
    keys = ("network", "loss", "device", "train#dataloader")
    network, loss, device, loader = (parser.get_parsed_content(key) for key in keys)
    batch = next(iter(loader))
    images, labels = batch["image"].to(device), batch["label"].to(device)
    durations = []
    for _ in range(TIMED_STEPS):
        begun = time.monotonic()
        loss(network(images), labels).backward()
        durations.append(time.monotonic() - begun)
    epoch_s = (1 + OVERHEAD) * min(durations) * len(loader)
    return max(1, int(60 * minutes / epoch_s))


def evaluate(options: argparse.Namespace) -> None:
    """Every training that there is, once."""
    for name, (model, *_) in TRAININGS.items():
        weights = options.folder / "training" / name / "model.pt"
        folder = options.folder / "scores" / name
        if weights.is_file() and not (folder / "scores.json").is_file():
            common = {"dataset_dir": str(options.folder / "data"), "seed": options.seed, "model": model}
            run_task("digits", "evaluate", {**common, "load_path": str(weights), "output_dir": str(folder)})


def publish(options: argparse.Namespace) -> None:
    """Write the record and the answers to models/, and the tables and the picture of the VGG's mistakes to docs/."""
    trained = [name for name in TRAININGS if (options.folder / "scores" / name / "scores.json").is_file()]
    if not trained:
        raise SystemExit(
            f"publish: expected scores in {options.folder / 'scores'}, got none; run the other steps first"
        )
    rows = read_answers(options, trained)
    MODELS.mkdir(parents=True, exist_ok=True)
    write_json(MODELS / "record.json", record(options, trained))
    write_csv(MODELS / "cases.csv", rows, CASE_COLUMNS)
    with whole_file(PICTURE) as hidden:
        shutil.copy(options.folder / "scores" / trained[0] / "confusion.png", hidden)
    fill_marks(CARD, tables(options, trained, rows))


def read_answers(options: argparse.Namespace, trained: Iterable[str]) -> list[dict[str, Any]]:
    """The per-case rows of every network, under its name in the tables, and those of the baselines once."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in trained:
        model, _, title = TRAININGS[name]
        with (options.folder / "scores" / name / "cases.csv").open(encoding="utf-8") as file:
            answers = [{**row, "accuracy": float(row["accuracy"])} for row in csv.DictReader(file)]
        for method in dict.fromkeys(row["method"] for row in answers):
            shown = title if method == model else method
            rows[shown] = [{**row, "method": shown} for row in answers if row["method"] == method]
    titles = [TRAININGS[name][2] for name in trained]
    order = [*titles, *(method for method in rows if method not in titles)]
    return [row for method in order for row in rows[method]]


def record(options: argparse.Namespace, trained: Iterable[str]) -> dict[str, Any]:
    """Everything that says where the figures come from."""
    data = json.loads((options.folder / "data" / "dataset.json").read_text(encoding="utf-8"))
    return {
        "beyond2d_version": __version__,
        "data": {key: data[key] for key in ("source", "seed", "poses", "numTraining", "numValidation", "numTest")},
        "command": "python scripts/make_digits.py --source FOLDER, with --epochs as told for each training",
        "seed": options.seed,
        "precision": "float32",
        "machine": machine(),
        "trainings": {TRAININGS[name][2]: training_record(options, name) for name in trained},
    }


def training_record(options: argparse.Namespace, name: str) -> dict[str, Any]:
    folder = options.folder / "training" / name
    scores = json.loads((options.folder / "scores" / name / "scores.json").read_text(encoding="utf-8"))
    last = torch.load(folder / "last.pt", map_location="cpu", weights_only=True)
    return {
        **scores["methods"][TRAININGS[name][0]],
        "progress": last["progress"],
        "sha256 of model.pt, not shipped": sha256(folder / "model.pt"),
    }


def tables(options: argparse.Namespace, trained: Iterable[str], rows: list[dict[str, Any]]) -> dict[str, Table]:
    """Every table of the card, by name."""
    records = {TRAININGS[name][2]: training_record(options, name)["progress"] for name in trained}
    lines = [
        [title, str(progress["epoch"]), str(progress["iteration"]), f"{progress['best']:.3f}"]
        for title, progress in records.items()
    ]
    return {
        "accuracy": summary_table(rows, ["accuracy"]),
        "training": Table(("Network", "Epochs", "Steps", "Best accuracy on validation"), lines, "lrrr"),
        "accuracy by digit": digit_table(rows),
    }


def digit_table(rows: list[dict[str, Any]]) -> Table:
    """A line for each digit, a column for each method: the share of right answers."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for name in NAMES:
        digit = [row for row in rows if str(row["label"]) == name]
        lines.append([name, str(len(digit) // len(methods))])
        for method in methods:
            right = [row["accuracy"] for row in digit if row["method"] == method]
            lines[-1].append(f"{sum(right) / len(right):.3f}" if right else "–")
    return Table(("Digit", "Cases", *methods), lines, "r" * (2 + len(methods)))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder with MNIST's idx files; without it digits are drawn")
    parser.add_argument("--folder", type=Path, default=Path("runs/digits_made"), help="for everything that is made")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="which of the steps to take")
    parser.add_argument("--cases", type=int, help="number of digits; default: all that the source has")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--epochs", type=int, help="of each training; default: the configs' 20, and 60 as published")
    budget.add_argument("--minutes", type=float, help="for each training, in place of a number of epochs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    for step in STEPS:
        if step in options.steps:
            if step in TRAININGS:
                train(options, step)
            else:
                {"digits": make_digits, "evaluate": evaluate, "publish": publish}[step](options)
    print(json.dumps({"record": str(MODELS), "tables": str(CARD)}))


if __name__ == "__main__":
    main()
