"""Makes what models/reconstruction ships and the tables of docs/reconstruction.md, in these steps.

    phantoms     49 synthetic vessel trees, split by patient into 40, 4 and 5
    unet         one network for any number of views, trained on maximum projections
    autoencoder  the paper's network on the same cases: on all numbers of views, then one for each of them
    sum          the U-Net once more, on line integrals
    evaluate     the test cases at each number of views, clean, with detector noise, and with pose error as well
    publish      the weights, their record and the per-case scores to models/, the tables to docs/

A step whose output is there already is left out, and an interrupted training goes on where it stopped; `--steps`
runs some of them only. The defaults are the run that is shipped. With --angiogram a real volume is scored beside the
phantoms; it takes no part in training nor in choosing thresholds. The paper's own size, for a GPU:

    python scripts/make_reconstruction.py --size 384 --spacing_mm 0.5 --folder runs/full_size
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import LoadImage
from publishing import fill_marks, machine, sha256

from beyond2d import __version__
from beyond2d.datasets import write_vessel_dataset
from beyond2d.metrics import FIGURES
from beyond2d.readers import VolumeReader
from beyond2d.report.tables import CASE_COLUMNS, Table, comparison_table, summary_table
from beyond2d.transforms import Isotropic
from beyond2d.workflow import home, run_task
from beyond2d.writers import save_volume, whole_file, write_csv, write_json

MODELS = home() / "models" / "reconstruction"
CARD = home() / "docs" / "reconstruction.md"
STEPS = ("phantoms", "unet", "autoencoder", "sum", "evaluate", "publish")
ANGIOGRAM = "angiogram"
PAPER_IOU = {90: 0.568, 46: 0.571, 24: 0.564, 10: 0.522, 5: 0.454, 3: 0.322, 2: 0.268}
PRINTED = {"the paper (other data)": PAPER_IOU}
# What a detector and a gantry add to the views.
CONDITIONS: dict[str, dict[str, Any]] = {
    "clean": {"detector_noise": False},
    "noise": {},
    "noise and pose error": {"pose_error_deg": 1.0},
}
# Every evaluation: its name, the physics of the views, the network, the conditions, whether baselines are scored.
EVALUATIONS = (
    ("unet", "max", "unet", tuple(CONDITIONS), True),
    ("autoencoder", "max", "autoencoder", tuple(CONDITIONS), False),
    ("sum", "sum", "unet", ("noise",), True),
)
# Refinement is scored up to this many views: it takes its time for each of them and gains least where there are many.
REFINED_UP_TO = 10
METHODS = ("thresholded sum", "thresholded minimum", "autoencoder", "unet", "unet, refined")
FIGURES_TOLD = ("iou", "dice", "cldice", "betti0_error", "mse", "mae")
# Seven angles within 180 degrees that no rule makes.
UNEVEN_DEG = (3.0, 17.0, 42.0, 71.0, 96.0, 139.0, 168.0)


def make_phantoms(options: argparse.Namespace) -> None:
    if not (options.folder / "data" / "dataset.json").is_file():
        write_vessel_dataset(options.folder / "data", options.cases, options.size, options.spacing_mm)


def train_unet(options: argparse.Namespace) -> None:
    run_training(options, "unet", max_epochs=options.epochs)


def train_sum(options: argparse.Namespace) -> None:
    """From the weights of maximum projections, which know trees already."""
    start = str(options.folder / "training" / "unet" / "model.pt")
    run_training(options, "sum", projection_mode="sum", max_epochs=options.sum_epochs, start_from=start)


def train_autoencoder(options: argparse.Namespace) -> None:
    """One network for all numbers of views, from which one for each number is then trained on."""
    views = options.autoencoder_views
    common = {"model": "autoencoder", "val_interval": 1}
    run_training(options, "autoencoder/all", num_views=views, max_epochs=options.autoencoder_epochs, **common)
    start = str(options.folder / "training" / "autoencoder" / "all" / "last.pt")
    for count in views:
        tuned = {"num_views": count, "val_views": [count], "max_epochs": options.tune_epochs, "start_from": start}
        run_training(options, f"autoencoder/views_{count:02d}", **tuned, **common)


def run_training(options: argparse.Namespace, name: str, **overrides: Any) -> None:
    folder = options.folder / "training" / name
    common = {"dataset_dir": str(options.folder / "data"), "ckpt_dir": str(folder), "seed": options.seed}
    run_task("reconstruction", "train", {**common, "resume": True, **overrides})


def evaluate(options: argparse.Namespace) -> None:
    """Every evaluation that is not there yet."""
    ship(options)
    cases = list_test_cases(options)
    for name, mode, model, conditions, baselines in EVALUATIONS:
        for condition in conditions:
            for num_views in options.views:
                folder = scores_folder(options, name, condition, num_views)
                common = common_overrides(options, cases, folder)
                chosen = {"model": model, "projection_mode": mode, "num_views": num_views, **CONDITIONS[condition]}
                steps = options.refine_steps if model == "unet" and num_views <= REFINED_UP_TO else 0
                extra = {"refine_steps": steps} | ({} if baselines else {"scored_baselines": {}})
                run_evaluation(folder, {**common, **chosen, **extra})
    folder = scores_folder(options, "uneven", "noise", len(UNEVEN_DEG))
    angles = {"num_views": len(UNEVEN_DEG), "angles_deg": list(UNEVEN_DEG)}
    run_evaluation(folder, {**common_overrides(options, cases, folder), **angles})


def common_overrides(options: argparse.Namespace, cases: Path, folder: Path) -> dict[str, Any]:
    return {
        "dataset_dir": str(cases),
        "models_dir": str(MODELS),
        "output_dir": str(folder),
        "mixed_precision": True,
        "seed": options.seed,
    }


def run_evaluation(folder: Path, overrides: dict[str, Any]) -> None:
    if not (folder / "scores.json").is_file():
        run_task("reconstruction", "evaluate", overrides)


def scores_folder(options: argparse.Namespace, name: str, condition: str, num_views: int) -> Path:
    return options.folder / "scores" / name / condition.replace(" ", "_") / f"views_{num_views:02d}"


def list_test_cases(options: argparse.Namespace) -> Path:
    """A folder with a datalist: the phantoms' validation and test cases, and the angiogram with its label."""
    data = options.folder / "data"
    content = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    sections = {name: [absolute(data, record) for record in content[name]] for name in ("validation", "test")}
    folder = options.folder / "test_cases"
    folder.mkdir(parents=True, exist_ok=True)
    if options.angiogram is not None:
        sections["test"].append(prepare_angiogram(options, folder.resolve()))
    write_json(folder / "dataset.json", sections)
    return folder


def absolute(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    return {key: str((folder / record[key]).resolve()) for key in ("image", "label")}


def prepare_angiogram(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    """The angiogram and the mask of its voxels above a level, on a grid about as fine as the phantoms'."""
    image = LoadImage(reader=VolumeReader(), ensure_channel_first=True, image_only=True)(str(options.angiogram))
    paths = {}
    for name, volume, mode in (
        ("image", image, "bilinear"),
        ("label", (image > options.angiogram_level).float(), "nearest"),
    ):
        resampled: Any = Isotropic(options.angiogram_spacing_mm, mode)(volume)
        path = folder / f"{ANGIOGRAM}_{name}.nii.gz"
        save_volume(path, resampled[0].numpy(), np.asarray(resampled.affine), np.float32)
        paths[name] = str(path)
    return paths


def ship(options: argparse.Namespace) -> None:
    """Copy the weights that have been trained here to models/."""
    training = options.folder / "training"
    weights = {"unet/model.pt": "model.pt", "sum/model.pt": "model_sum.pt"}
    weights |= {
        f"autoencoder/views_{n:02d}/model.pt": f"autoencoder/views_{n:02d}.pt" for n in options.autoencoder_views
    }
    for source, target in weights.items():
        if (training / source).is_file():
            (MODELS / target).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(MODELS / target) as hidden:
                shutil.copy(training / source, hidden)


def read_scores(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The per-case rows of every evaluation, each with the physics, the condition and the evaluation's name."""
    rows = []
    modes = {name: mode for name, mode, *_ in EVALUATIONS} | {"uneven": "max"}
    for path in sorted(options.folder.glob("scores/*/*/*/cases.csv")):
        name, condition = path.parts[-4], path.parts[-3].replace("_", " ")
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures = {figure: float(row[figure] or "nan") for figure in FIGURES}
                told = {"evaluation": name, "physics": modes[name], "condition": condition}
                rows.append({**told, **row, "num_views": int(row["num_views"]), **figures})
    return rows


def record(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that says where the weights come from; what was not trained here keeps what was recorded of it."""
    training = options.folder / "training"
    earlier = (
        json.loads((MODELS / "record.json").read_text(encoding="utf-8")) if (MODELS / "record.json").is_file() else {}
    )
    progress = earlier.get("training", {}) | {
        str(path.parent.relative_to(training)): torch.load(path, weights_only=True)["progress"]
        for path in sorted(training.rglob("last.pt"))
    }
    files = sorted(MODELS.rglob("*.pt"))
    datalist = json.loads((options.folder / "data" / "dataset.json").read_text(encoding="utf-8"))
    split = " / ".join(str(len(datalist[section])) for section in ("training", "validation", "test"))
    return {
        "beyond2d_version": __version__,
        "sha256": {str(path.relative_to(MODELS)): sha256(path) for path in files},
        "data": f"{options.cases} synthetic vessel trees, {options.size} cubed, {options.spacing_mm} mm, seeds 0 to "
        f"{options.cases - 1}; split by patient {split}",
        "command": f"python scripts/make_reconstruction.py --size {options.size} --spacing_mm {options.spacing_mm}",
        "seed": options.seed,
        "training": progress,
        "precision": "bfloat16 autocast in training and evaluation",
        "machine": machine(),
        "thresholds": thresholds(options),
        "reprojection_errors": reprojection_errors(options),
    }


def thresholds(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The networks' best thresholds on the validation cases with detector noise, by number of views."""
    found: dict[str, dict[str, float]] = {}
    for name, mode, model, *_ in EVALUATIONS:
        for path in sorted((options.folder / "scores" / name / "noise").glob("*/scores.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(f"{model} {mode}", {})[str(content["num_views"])] = content["thresholds"][model]
    return found


def reprojection_errors(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of every evaluation with refinement: the disagreement with the views before and after, case by case."""
    found = []
    for path in sorted(options.folder.glob("scores/*/*/*/scores.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["refine_steps"]:
            keys = ("projection_mode", "detector_noise", "pose_error_deg", "num_views", "refine_steps")
            found.append({**{key: content[key] for key in keys}, "cases": content["reprojection_errors"]})
    return found


def publish(options: argparse.Namespace) -> None:
    """Write the record and the per-case scores to models/ and the tables to docs/."""
    rows = read_scores(options)
    write_json(MODELS / "record.json", record(options))
    write_csv(MODELS / "cases.csv", rows, ("evaluation", "physics", "condition", *CASE_COLUMNS))
    fill_marks(CARD, tables(options, rows))


def tables(options: argparse.Namespace, rows: list[dict[str, Any]]) -> dict[str, Table]:
    """Every table of the card, by name; some are not shown there, everything stands in cases.csv."""
    both = ("unet", "autoencoder")
    phantoms = [row for row in rows if row["case"].startswith("vessels_")]
    real = [row for row in rows if not row["case"].startswith("vessels_")]
    found = {}
    for condition in CONDITIONS:
        chosen = of(phantoms, condition, both)
        found[f"iou, {condition}"] = comparison_table(chosen, METHODS, "iou", PRINTED)
        others = ordered(chosen, options.views)
        found[f"figures, {condition}"] = summary_table(others, FIGURES_TOLD[1:], ("num_views", "method"))
        if real:
            found[f"angiogram, {condition}"] = comparison_table(of(real, condition, both), METHODS, "iou", PRINTED)
    found["sum"] = comparison_table(of(phantoms, "noise", ("sum",)), METHODS, "iou", {})
    found["uneven"] = comparison_table(of(phantoms, "noise", ("uneven",)), METHODS, "iou", {})
    found["refine"] = refinement_table(options)
    return found


def refinement_table(options: argparse.Namespace) -> Table:
    """Root mean square difference from the views before and after refinement, by condition and number of views."""
    lines = []
    for condition in CONDITIONS:
        for num_views in options.views:
            path = scores_folder(options, "unet", condition, num_views) / "scores.json"
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"refine_steps": 0}
            if content["refine_steps"]:
                errors = content["reprojection_errors"]
                phantoms = [pair for case, pair in errors.items() if case.startswith("vessels_")]
                real = [pair for case, pair in errors.items() if not case.startswith("vessels_")]
                lines.append([condition, str(num_views), before_after(phantoms), before_after(real)])
    return Table(("Condition", "Views", "Phantoms (mean)", "Angiogram"), lines, "lrrr")


def before_after(pairs: list[dict[str, float]]) -> str:
    if not pairs:
        return "–"
    before, after = (float(np.mean([pair[when] for pair in pairs])) for when in ("before", "after"))
    return f"{before:.4f} → {after:.4f}"


def of(rows: Iterable[dict[str, Any]], condition: str, evaluations: Sequence[str]) -> list[dict[str, Any]]:
    return [row for row in rows if row["condition"] == condition and row["evaluation"] in evaluations]


def ordered(rows: list[dict[str, Any]], views: Sequence[int]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (list(views).index(row["num_views"]), METHODS.index(row["method"])))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/shipped"), help="for everything that is made")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS, help="which of the steps to take")
    parser.add_argument("--cases", type=int, default=49, help="number of trees")
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--spacing_mm", type=float, default=1.0, help="voxel size")
    parser.add_argument("--epochs", type=int, default=150, help="of the U-Net, 20 steps each")
    parser.add_argument("--sum_epochs", type=int, default=20, help="of the U-Net on line integrals")
    parser.add_argument("--autoencoder_epochs", type=int, default=50, help="on all numbers of views, 40 steps each")
    parser.add_argument("--tune_epochs", type=int, default=3, help="further epochs for each number of views")
    parser.add_argument("--autoencoder_views", type=int, nargs="+", default=[2, 3, 5, 10], help="what it is trained on")
    parser.add_argument("--views", type=int, nargs="+", default=[90, 46, 24, 10, 5, 3, 2], help="rows of the tables")
    parser.add_argument("--refine_steps", type=int, default=10, help="of the refined column")
    parser.add_argument("--angiogram", type=Path, help="NIfTI volume of real vessels to score as well")
    parser.add_argument("--angiogram_level", type=float, default=250.0, help="above it a voxel of it is vessel")
    parser.add_argument("--angiogram_spacing_mm", type=float, default=1.0, help="its grid: the phantoms' voxel size")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    actions = (make_phantoms, train_unet, train_autoencoder, train_sum, evaluate, publish)
    for step, action in zip(STEPS, actions, strict=True):
        if step in options.steps:
            action(options)
    print(json.dumps({"weights": str(MODELS), "tables": str(CARD)}))


if __name__ == "__main__":
    main()
