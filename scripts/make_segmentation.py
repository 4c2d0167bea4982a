"""Makes what models/segmentation/hippocampus holds and the tables and curves of docs/segmentation.md, in these steps.

    planned    trains every fold of the hippocampus by the recipe that follows from the data
    report     trains the same folds by the IIT Bombay report's recipe, Network 2
    variants   trains the first fold with each of the report's losses, with and without activations in the decoder
    sparse     trains on 20 volumes of which 2.5 to 100 % of the slices are labelled
    evaluate   scores every training on the cases that it has not seen, beside a baseline without a network
    publish    weights, record and per-case scores to models/, tables and curves to docs/

An interrupted training goes on where it stopped, and what is there already is not made again; `--steps` runs some of
the steps only.

    python scripts/make_segmentation.py --dataset_dir data/Task04_Hippocampus
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from publishing import fill_marks, machine, read_history, run_steps, sha256

from beyond2d import __version__
from beyond2d.ensembles import write_ensemble
from beyond2d.report.curves import curves_picture
from beyond2d.report.segmentation import CASE_COLUMNS, MEAN
from beyond2d.report.tables import Table, summary_table
from beyond2d.workflow import home, run_task
from beyond2d.writers import write_csv, write_json

MODELS = home() / "models" / "segmentation" / "hippocampus"
CARD = home() / "docs" / "segmentation.md"
PERCENTS = (2.5, 5.0, 10.0, 20.0, 100.0)
SPARSE_CASES = 20
# The report's losses as α of α · Dice + (1 − α) · cross-entropy, and whether the decoder has activations.
VARIANTS = {
    "cross-entropy": (0.0, False),
    "Dice": (1.0, False),
    "half of each": (0.5, False),
    "half of each, decoder with ReLU": (0.5, True),
}
SHOWN = {"planned": "our recipe", "network2": "Network 2, the report's recipe", "mean label": "mean label"}
# A part is kept whole only where that raises Dice by more than this on the validation cases of all folds.
WORTH_CLEANING = 0.0005


def train_planned(options: argparse.Namespace) -> None:
    for fold in range(options.folds):
        overrides = {"fold": fold, "max_epochs": options.epochs}
        train(options, options.folder / "planned" / f"fold_{fold}", overrides)


def train_report(options: argparse.Namespace) -> None:
    for fold in range(options.folds):
        overrides = {"fold": fold, "max_epochs": options.report_epochs, "dice_weight": 0.5}
        train(options, options.folder / "network2" / f"fold_{fold}", overrides | report_recipe(options))


def train_variants(options: argparse.Namespace) -> None:
    for name, (dice_weight, activation) in VARIANTS.items():
        overrides = {"dice_weight": dice_weight, "decoder_activation": activation, "max_epochs": options.variant_epochs}
        folder = options.folder / "variants" / name.replace(" ", "_").replace(",", "")
        train(options, folder, {"fold": 0, **overrides} | report_recipe(options))


def train_sparse(options: argparse.Namespace) -> None:
    """Validation only at the end: which epoch is the best is not known to someone with a few labelled slices."""
    for percent in PERCENTS:
        sparse = {"labelled_fraction": percent / 100, "num_cases": SPARSE_CASES, "elastic_prob": 0.2}
        epochs = {"max_epochs": options.sparse_epochs, "val_interval": options.sparse_epochs}
        train(options, sparse_folder(options, percent), {"fold": 0, **sparse, **epochs})


def report_recipe(options: argparse.Namespace) -> dict[str, Any]:
    return {"model": "network2", "size": options.size}


def sparse_folder(options: argparse.Namespace, percent: float) -> Path:
    return Path(options.folder) / "sparse" / f"percent_{percent:g}"


def train(options: argparse.Namespace, folder: Path, overrides: dict[str, Any]) -> None:
    print(f"training {folder}")
    run_task("segmentation", "train", {**common(options), **overrides, "ckpt_dir": str(folder), "resume": True})


def common(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "dataset_dir": str(options.dataset_dir),
        "plan_file": str(options.folder / "planned" / "plan.yaml"),
        "num_folds": options.folds,
        "seed": options.seed,
        "check_data": False,  # once is enough: `beyond2d check-data`
    }


def evaluate(options: argparse.Namespace) -> None:
    """Every training that is finished, once."""
    for model, epochs in (("planned", options.epochs), ("network2", options.report_epochs)):
        for fold in range(options.folds):
            if finished(options.folder / model / f"fold_{fold}", epochs):
                score(options, options.folder / model / f"fold_{fold}", f"{model}/fold_{fold}", {"fold": fold})
    for percent in PERCENTS:
        sparse = {"fold": 0, "num_cases": SPARSE_CASES, "labelled_fraction": percent / 100}
        folder = sparse_folder(options, percent)
        if finished(folder, options.sparse_epochs):
            score(options, folder, f"sparse/unseen_{percent:g}", sparse)
            score(options, folder, f"sparse/own_{percent:g}", {**sparse, "part": "training", "only_undrawn": True})


def finished(training: Path, epochs: int) -> bool:
    history = read_history(training)
    return bool(history) and history[-1]["epoch"] >= epochs


def score(options: argparse.Namespace, training: Path, name: str, overrides: dict[str, Any]) -> None:
    output = options.folder / "scores" / name
    if (output / "scores.json").is_file():
        return
    model = report_recipe(options) if training.parent.name == "network2" else {}
    paths = {"ckpt_dir": str(training), "output_dir": str(output)}
    run_task("segmentation", "evaluate", {**common(options), **paths, **overrides, **model})


def publish(options: argparse.Namespace) -> None:
    folds = [options.folder / "planned" / f"fold_{fold}" for fold in range(options.folds)]
    write_ensemble(folds, MODELS, keep_largest(options))
    rows = fold_rows(options)
    write_csv(MODELS / "cases.csv", rows, ("fold", *CASE_COLUMNS))
    write_json(MODELS / "record.json", record(options, rows))
    fill_marks(CARD, tables(options, rows))
    draw_minutes(options)
    if scored_percents(options):
        draw_sparse(options)


def read_scores(options: argparse.Namespace, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((options.folder / "scores" / name / "scores.json").read_text(encoding="utf-8"))
    return content


def with_nan(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has no NaN; a figure that does not exist is null there."""
    return [{key: float("nan") if value is None else value for key, value in row.items()} for row in rows]


def fold_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every case of every fold, scored by the network that has not seen it; the baseline once."""
    rows = []
    for model in ("planned", "network2"):
        for fold in range(options.folds):
            if (options.folder / "scores" / model / f"fold_{fold}" / "scores.json").is_file():
                cases = with_nan(read_scores(options, f"{model}/fold_{fold}")["cases"])
                rows += [{"fold": fold, **row} for row in cases if model == "planned" or row["method"] == model]
    return [{**row, "method": SHOWN[row["method"]]} for row in rows]


def keep_largest(options: argparse.Namespace) -> list[int]:
    """The label values (their order is that of the plan) of which validation says that stray parts are wrong."""
    gains = [
        read_scores(options, f"planned/fold_{fold}")["gain_of_keeping_the_largest_part"]
        for fold in range(options.folds)
    ]
    return [value for value, name in enumerate(gains[0], 1) if np.mean([gain[name] for gain in gains]) > WORTH_CLEANING]


def tables(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Table]:
    means = [row for row in rows if row["label"] == MEAN]
    return {
        "folds": summary_table(means, ("dice",), ("method", "fold")),
        "labels": summary_table(rows, ("dice", "nsd", "hd95_mm"), ("method", "label")),
        "variants": variants_table(options),
        "sparse": sparse_table(options),
    }


def variants_table(options: argparse.Namespace) -> Table:
    lines = []
    for name in VARIANTS:
        history = read_history(options.folder / "variants" / name.replace(" ", "_").replace(",", ""))
        if history:
            best = max(history, key=lambda row: row["metric"])
            lines.append([name, f"{best['metric']:.3f}", f"{history[-1]['minutes']:.1f}"])
    return Table(("Loss", "Dice", "Minutes"), lines, "lrr")


def sparse_rows(options: argparse.Namespace, use: str, percent: float) -> list[dict[str, Any]]:
    cases = with_nan(read_scores(options, f"sparse/{use}_{percent:g}")["cases"])
    return [{**row, "percent": percent, "use": use} for row in cases if row["label"] == MEAN]


def scored_percents(options: argparse.Namespace) -> list[float]:
    scores = options.folder / "scores" / "sparse"
    return [percent for percent in PERCENTS if (scores / f"own_{percent:g}" / "scores.json").is_file()]


def sparse_table(options: argparse.Namespace) -> Table:
    """A line a share of labelled slices; of either use the network and what needs none."""
    lines = []
    for percent in scored_percents(options):
        cells = [f"{percent:g}"]
        for use in ("own", "unseen"):
            table = summary_table(sparse_rows(options, use, percent), ("dice",), ("method",))
            cells += [row[-1] for row in table.rows]
        lines.append(cells)
    header = ("Labelled slices (%)", "Own volumes", "interpolated slices", "Unseen volumes", "mean label")
    return Table(header, lines, "rrrrr")


def draw_sparse(options: argparse.Namespace) -> None:
    def curve(use: str, method: str) -> list[tuple[float, float]]:
        chosen = [(percent, sparse_rows(options, use, percent)) for percent in scored_percents(options)]
        return [
            (percent, float(np.nanmean([row["dice"] for row in rows if row["method"] == method])))
            for percent, rows in chosen
        ]

    curves = {
        "network, undrawn slices of its own volumes": curve("own", "planned"),
        "interpolation between the drawn slices": curve("own", "interpolated slices")[:-1],
        "network, unseen volumes": curve("unseen", "planned"),
        "mean label, unseen volumes": curve("unseen", "mean label"),
    }
    names = {"across": "labelled slices (%)", "up": "Dice, mean of both labels"}
    curves_picture(CARD.parent / "segmentation_sparse.png", curves, **names, logarithmic=True)


def draw_minutes(options: argparse.Namespace) -> None:
    curves, faint = {}, {}
    for model in ("planned", "network2"):
        histories = [read_history(options.folder / model / f"fold_{fold}") for fold in range(options.folds)]
        singles = [[(row["minutes"], row["metric"]) for row in history] for history in histories if history]
        if singles:
            mean = np.mean([single[: min(map(len, singles))] for single in singles], axis=0)
            curves[SHOWN[model]], faint[SHOWN[model]] = [tuple(point) for point in mean], singles
    names = {"across": "minutes of training on two cores", "up": "Dice on the held-out fold"}
    curves_picture(CARD.parent / "segmentation_minutes.png", curves, **names, faint=faint)


def record(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = [row for row in rows if row["label"] == MEAN]
    trainings = {
        f"{model}/fold_{fold}": history[-1] | {"best": max(row["metric"] for row in history)}
        for model in ("planned", "network2")
        for fold in range(options.folds)
        if (history := read_history(options.folder / model / f"fold_{fold}"))
    }
    return {
        "command": "python scripts/make_segmentation.py --dataset_dir FOLDER",
        "data": "200 of the 260 labelled cases of Task04_Hippocampus, Medical Segmentation Decathlon, CC BY-SA 4.0",
        "seed": options.seed,
        "epochs": options.epochs,
        "training": trainings,
        "dice": {
            method: float(np.nanmean([row["dice"] for row in means if row["method"] == method]))
            for method in dict.fromkeys(row["method"] for row in means)
        },
        "sha256": {name: sha256(MODELS / name) for name in ("model.pt", "plan.yaml")},
        "machine": machine(),
        "beyond2d_version": __version__,
    }


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "planned": train_planned,
    "report": train_report,
    "variants": train_variants,
    "sparse": train_sparse,
    "evaluate": evaluate,
    "publish": publish,
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", type=Path, required=True, help="the hippocampus task in the decathlon layout")
    parser.add_argument("--folder", type=Path, default=Path("runs/segmentation"), help="for everything that is made")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="which steps to take")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30, help="of our recipe")
    parser.add_argument("--report_epochs", type=int, default=10, help="of the report's recipe")
    parser.add_argument("--variant_epochs", type=int, default=2, help="of each of the report's losses")
    parser.add_argument("--sparse_epochs", type=int, default=60, help="on 20 volumes, 10 steps each")
    parser.add_argument("--size", type=int, nargs=3, default=[40, 56, 40], help="that the report's recipe resizes to")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    run_steps(STEPS, parse_options())


if __name__ == "__main__":
    main()
