"""Makes what models/reconstruction ships and the table of docs/reconstruction.md, in four steps.

    phantoms   49 synthetic vessel trees, split by patient into 40, 4 and 5
    train      the paper's autoencoder on several numbers of views, then one of its own for each of them
    evaluate   the five test cases at each number of views, beside the baselines without a network
    publish    the weights, their record and the per-case scores to models/, the table to docs/

A step whose output is there already is left out, and an interrupted training goes on where it stopped. The defaults
are the run that is shipped. The paper's own size, for a GPU of about 48 GB:

    python scripts/make_reconstruction.py --size 384 --spacing_mm 0.5 --folder runs/full_size
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from beyond2d import __version__
from beyond2d.datasets import write_vessel_dataset
from beyond2d.metrics import FIGURES
from beyond2d.report.tables import CASE_COLUMNS, summary_table
from beyond2d.workflow import home, run_task
from beyond2d.writers import whole_file, write_bytes, write_csv, write_json

MODELS = home() / "models" / "reconstruction"
CARD = home() / "docs" / "reconstruction.md"
TABLE_MARKS = ("<!-- table: begin -->", "<!-- table: end -->")


def train(options: argparse.Namespace) -> None:
    """One network for all numbers of views, from which one for each number is then trained on."""
    run_training(options, "all", num_views=options.train_views, max_epochs=options.epochs, val_interval=5)
    start = str(options.folder / "training" / "all" / "last.pt")
    for num_views in options.train_views:
        name = f"views_{num_views:02d}"
        run_training(options, name, num_views=num_views, max_epochs=options.tune_epochs, start_from=start)


def run_training(options: argparse.Namespace, name: str, **overrides: Any) -> None:
    folder = options.folder / "training" / name
    common = {"dataset_dir": str(options.folder / "data"), "ckpt_dir": str(folder), "seed": options.seed}
    run_task("reconstruction", "train", {**common, "resume": True, **overrides})


def evaluate(options: argparse.Namespace, num_views: int) -> None:
    overrides = {
        "dataset_dir": str(options.folder / "data"),
        "models_dir": str(MODELS),
        "output_dir": str(scores_folder(options, num_views)),
        "num_views": num_views,
        "seed": options.seed,
    }
    run_task("reconstruction", "evaluate", overrides)


def scores_folder(options: argparse.Namespace, num_views: int) -> Path:
    return options.folder / "scores" / f"views_{num_views:02d}"


def read_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The per-case rows of every number of views."""
    rows = []
    for num_views in options.views:
        with (scores_folder(options, num_views) / "cases.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures = {figure: float(row[figure] or "nan") for figure in FIGURES}
                rows.append({**row, "num_views": int(row["num_views"]), **figures})
    return rows


def ship(options: argparse.Namespace) -> None:
    """Copy the weights of each number of views to models/."""
    MODELS.mkdir(parents=True, exist_ok=True)
    for num_views in options.train_views:
        name = f"views_{num_views:02d}"
        with whole_file(MODELS / f"{name}.pt") as hidden:
            shutil.copy(options.folder / "training" / name / "model.pt", hidden)


def record(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that says where the weights come from."""
    progress = torch.load(options.folder / "training" / "all" / "last.pt", weights_only=True)["progress"]
    arguments = [f"--{name} {value}" for name, value in (("size", options.size), ("spacing_mm", options.spacing_mm))]
    scores = [
        {"num_views": row["num_views"], "case": row["case"], "method": row["method"], "iou": row["iou"]} for row in rows
    ]
    return {
        "beyond2d_version": __version__,
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(MODELS.glob("*.pt"))},
        "data": f"{options.cases} synthetic vessel trees, {options.size} cubed, {options.spacing_mm} mm, seeds 0 to "
        f"{options.cases - 1}; split by patient 40 / 4 / 5",
        "command": " ".join(["python scripts/make_reconstruction.py", *arguments]),
        "seed": options.seed,
        "train_views": options.train_views,
        "epochs": {"all numbers of views": progress["epoch"], "each number of views": options.tune_epochs},
        "steps": progress["iteration"],
        "simulation": "maximum projection, detector noise on (2000 photons, absorbance 2), pose error off",
        "precision": "bfloat16 autocast in training, float32 in evaluation",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "scores": scores,
    }


def publish(options: argparse.Namespace) -> None:
    """Write the record and the per-case scores to models/ and the table to docs/."""
    rows = read_rows(options)
    write_json(MODELS / "record.json", record(options, rows))
    write_csv(MODELS / "cases.csv", rows, CASE_COLUMNS)
    head, rest = CARD.read_text(encoding="utf-8").split(TABLE_MARKS[0])
    tail = rest.split(TABLE_MARKS[1])[1]
    groups = ("num_views", "method")
    tables = [summary_table(rows, figures, groups).markdown() for figures in (FIGURES[:5], FIGURES[5:])]
    page = f"{head}{TABLE_MARKS[0]}\n\n" + "\n\n".join(tables) + f"\n\n{TABLE_MARKS[1]}{tail}"
    write_bytes(CARD, page.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/shipped"), help="for everything that is made")
    parser.add_argument("--cases", type=int, default=49, help="number of trees")
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--spacing_mm", type=float, default=1.0, help="voxel size")
    parser.add_argument("--epochs", type=int, default=50, help="passes over the training cases, all numbers of views")
    parser.add_argument("--tune_epochs", type=int, default=3, help="further passes for each number of views")
    parser.add_argument(
        "--train_views", type=int, nargs="+", default=[2, 3, 5, 10], help="numbers of views to train on"
    )
    parser.add_argument("--views", type=int, nargs="+", default=[90, 46, 24, 10, 5, 3, 2], help="rows of the table")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    data = options.folder / "data"
    if not (data / "dataset.json").is_file():
        write_vessel_dataset(data, options.cases, options.size, options.spacing_mm)
    train(options)
    ship(options)
    for num_views in options.views:
        if not (scores_folder(options, num_views) / "scores.json").is_file():
            evaluate(options, num_views)
    publish(options)
    print(json.dumps({"weights": str(MODELS), "table": str(CARD)}))


if __name__ == "__main__":
    main()
