"""Makes what models/infection holds and the tables and pictures of docs/infection.md, in these steps.

    data        180 synthetic chests on grids that differ from patient to patient
    slab        trains the 2.5D segmenter
    plane       trains the 2D segmenter
    candidates  gathers what the 2.5D segmenter marks in patients it has not learned from
    classifier  trains the classifier on these, and chooses its threshold on validation patients
    paint       paints opacities into a real chest CT, with exact masks (needs --real_chest)
    calibrate   finds, on validation patients, how far the interval has to reach, and tries it on the others
    evaluate    scores everything on test patients, and on the painted copies where there are any
    publish     weights, record and per-case scores to models/, tables and pictures to docs/

An interrupted training goes on where it stopped, and what is there already is not made again; `--steps` runs some of
the steps only.

    python scripts/make_infection.py --real_chest chest_ct.nii.gz --diseased right
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from infection_interval import LEVEL, coverage_table, fitted_reach
from publishing import fill_marks, machine, read_history, run_steps, sha256
from scipy.ndimage import distance_transform_edt

from beyond2d import __version__
from beyond2d.agreement import Estimate
from beyond2d.checks import IGNORED
from beyond2d.datasets import write_body_dataset
from beyond2d.datasets.decathlon import write_decathlon
from beyond2d.ensembles import halved
from beyond2d.geometry import spacing_of
from beyond2d.lungs import lung_mask, split_lungs
from beyond2d.metrics import summarise
from beyond2d.phantoms import paint_opacities
from beyond2d.proportions import SIDES
from beyond2d.readers import case_name, fold_cases
from beyond2d.report.infection_scores import CASE_COLUMNS, agreement, agreement_table, methods_of, rows_of, write_scores
from beyond2d.report.tables import Table, summary_table
from beyond2d.workflow import home, run_task
from beyond2d.writers import save_volume, whole_file, write_csv, write_json

MODELS = home() / "models" / "infection"
CARD = home() / "docs" / "infection.md"
NETWORKS = ("slab", "plane")
TRAINED = ("first/slab", "second/slab", "first/plane", "second/plane", "classifier")
# As in the phantoms: infected shares of the lungs, more often few than many.
PROPORTIONS = (0.005, 0.45)
METHODS = ("2.5D, classifier", "2.5D", "2D, classifier", "2D", "HU thresholds")
GAIN = "2.5D: what the classifier adds"


def make_data(options: argparse.Namespace) -> None:
    if not (options.folder / "data" / "dataset.json").is_file():
        varied: dict[str, Any] = {"size": 160, "varied": True, "seed": options.seed}
        write_body_dataset(options.folder / "data", "chests", options.cases, **varied)


def train_slab(options: argparse.Namespace) -> None:
    train(options, "slab", options.epochs)


def train_plane(options: argparse.Namespace) -> None:
    train(options, "plane", options.plane_epochs)


def train(options: argparse.Namespace, model: str, epochs: Sequence[int]) -> None:
    """Two rounds: the second begins with the best weights of the first, and a learning rate that is high again.

    What counts is the mean of both rounds' weights: the second fits synthetic chests better, and strays where scans
    of people show what these do not have.
    """
    folders = [options.folder / name / model for name in ("first", "second")]
    steered = ({}, {"start_from": str(folders[0] / "model.pt"), "learning_rate": 0.0015})
    for folder, given, max_epochs in zip(folders, steered, epochs, strict=True):
        print(f"training {model}, {folder.parent.name} round")
        both = {"ckpt_dir": str(folder), "resume": True, "max_epochs": max_epochs, "val_interval": 20}
        run_task(
            "infection", "train", {**common(options, model), "model": model, "seed": options.seed, **both, **given}
        )
    states = [torch.load(folder / "model.pt", map_location="cpu", weights_only=True) for folder in folders]
    (options.folder / model).mkdir(parents=True, exist_ok=True)
    with whole_file(options.folder / model / "model.pt") as hidden:
        torch.save(mean_weights(states), hidden)


def mean_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Of state dicts of one network the mean of every weight; whole numbers, which count steps, are the last one's."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }


def common(options: argparse.Namespace, model: str) -> dict[str, Any]:
    paths = {"dataset_dir": str(options.folder / "data"), "ckpt_dir": str(options.folder / model)}
    return {**paths, "check_data": False}


def gather(options: argparse.Namespace) -> None:
    """Of training patients that the segmenter did not learn from, and of validation and test patients."""
    for name, fold, part in (("training", 0, "validation"), ("validation", None, "validation"), ("test", None, "test")):
        file = candidates_file(options, name)
        if not file.is_file():
            chosen = {"part": part, "fold": fold, "candidates_file": str(file)}
            run_task("infection", "candidates", {**common(options, "slab"), **chosen})


def candidates_file(options: argparse.Namespace, name: str) -> Path:
    return Path(options.folder) / "candidates" / f"slab_{name}.npz"


def train_classifier(options: argparse.Namespace) -> None:
    folder = options.folder / "classifier"
    files = {"train_file": str(candidates_file(options, "training")), "ckpt_dir": str(folder), "seed": options.seed}
    files["val_file"] = str(candidates_file(options, "validation"))
    run_task("infection", "train_classifier", {**files, "max_epochs": options.classifier_epochs, "resume": True})
    run_task("infection", "judge", files)
    test = {"val_file": str(candidates_file(options, "test")), "output_dir": str(folder / "test")}
    run_task("infection", "judge", {**files, **test, "threshold_file": str(folder / "judgement.json")})


def paint(options: argparse.Namespace) -> None:
    """Copies of one real chest as a data set of its own; nobody trains on it. With `--diseased` a second one has no
    label around that lung, of which nobody outlined what it holds besides the paint."""
    if options.real_chest is None or (options.folder / "painted" / "dataset.json").is_file():
        return
    image: Any = nib.as_closest_canonical(nib.load(options.real_chest))
    hu, spacing_mm = np.asarray(image.dataobj, np.float32), tuple(spacing_of(image.affine))
    lung = lung_mask(hu, spacing_mm)
    unknown = {"painted": np.zeros(lung.shape, bool)}
    if options.diseased is not None:
        unknown["painted_normal"] = around_side(lung, spacing_mm, options.diseased)

    for name, nobody_labelled in unknown.items():

        def write_case(target: Path, index: int, left_out: np.ndarray = nobody_labelled) -> dict[str, Any]:
            rng = np.random.default_rng(options.seed + index)
            least, most = PROPORTIONS
            proportion = least * (most / least) ** ((index + 0.5) / options.copies)
            painted, infected = paint_opacities(rng, hu, lung, spacing_mm, proportion)
            label = np.where(left_out, IGNORED, lung.astype(np.uint8) + infected)
            case = f"painted_{index:02d}"
            files = {"image": f"imagesTr/{case}.nii.gz", "label": f"labelsTr/{case}.nii.gz"}
            save_volume(target / files["image"], np.rint(painted), image.affine, np.int16)
            save_volume(target / files["label"], label, image.affine, np.uint8)
            return {**files, "patient_id": "painted"}  # all copies are of one patient, who is in one list

        about = {"name": name, "modality": {"0": "CT"}, "labels": {"0": "background", "1": "lung", "2": "infection"}}
        write_decathlon(options.folder / name, options.copies, write_case, about)


def around_side(lung: np.ndarray, spacing_mm: Sequence[float], side: str) -> np.ndarray:
    """Where (X, Y, Z) that side's lung is nearer than the other."""
    sides = split_lungs(lung, spacing_mm)
    nearest = distance_transform_edt(sides == 0, sampling=spacing_mm, return_distances=False, return_indices=True)
    return np.asarray(sides[tuple(nearest)] == SIDES[side])


def calibrate(options: argparse.Namespace) -> None:
    """The reach of the interval from infected validation patients, and how often it then holds others' truth."""
    sets = {"validation patients": (options.folder / "data", "validation")}
    # A report is of both lungs, so that one lung's truth cannot be compared with it.
    sets |= {name: (dataset, part) for name, dataset, part in data_sets(options) if name != "painted_normal"}
    reports = {name: reports_of(options, name, *chosen) for name, chosen in sets.items()}
    reach = fitted_reach(reports["validation patients"])
    table = coverage_table(reports, reach)
    print(f"\n{table.text()}")
    content = {"level": LEVEL, "reach": reach, "seed": options.seed, "table": table._asdict()}
    write_json(options.folder / "interval" / "interval.json", content)


def reports_of(options: argparse.Namespace, name: str, dataset: Path, part: str) -> list[dict[str, Any]]:
    """The report, with an interval that spans the estimates, of every patient in one part of a data set."""
    files = {"load_path": "slab/model.pt", "plane_load_path": "plane/model.pt"}
    files |= {"classifier_load_path": "classifier/model.pt", "threshold_file": "classifier/judgement.json"}
    weights = {key: str(options.folder / file) for key, file in files.items()}
    reports = []
    for case in fold_cases(str(dataset), part):
        folder = options.folder / "interval" / name / case_name(case["image"])
        if not (folder / "report.json").is_file():
            given = {"input": case["image"], "label": case["label"], "output_dir": str(folder), "interval_file": None}
            run_task("infection", "infer", {**weights, **given})
        reports.append(read_json(folder / "report.json"))
    return reports


def evaluate(options: argparse.Namespace) -> None:
    for name, dataset, part in data_sets(options):
        folder = options.folder / "scores" / name
        for model in NETWORKS:
            if not (folder / model / "cases.csv").is_file():
                paths = {"dataset_dir": str(dataset), "output_dir": str(folder / model), "part": part}
                baseline = {"hu_baseline": model == "slab", "reference_dir": str(options.folder / "data")}
                both = {"model": model, "classifier_dir": str(options.folder / "classifier")}
                run_task("infection", "evaluate", {**common(options, model), **paths, **baseline, **both})
        write_scores(folder, rows_in(folder), {"data": name, "seed": options.seed})


def data_sets(options: argparse.Namespace) -> list[tuple[str, Path, str]]:
    """The name, folder and part of each set of test cases. A decathlon folder needs a training list; the painted ones'
    hold all there is."""
    painted = [(name, options.folder / name, "training") for name in ("painted", "painted_normal")]
    sets = [("phantoms", options.folder / "data", "test"), *painted]
    return [entry for entry in sets if (entry[1] / "dataset.json").is_file()]


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """The rows of both networks' evaluations, in the order of `METHODS`."""
    rows = [row for model in NETWORKS for row in read_rows(folder / model / "cases.csv")]
    return sorted(rows, key=lambda row: METHODS.index(row["method"]))


def read_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        words = ("case", "method")
        return [
            {key: value if key in words else float(value or "nan") for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def publish(options: argparse.Namespace) -> None:
    MODELS.mkdir(parents=True, exist_ok=True)
    parts = {"model.pt": "slab", "plane.pt": "plane", "classifier.pt": "classifier"}
    for name, folder in parts.items():
        state = torch.load(options.folder / folder / "model.pt", map_location="cpu", weights_only=True)
        torch.save(halved(state), MODELS / name)
    shutil.copyfile(options.folder / "classifier" / "judgement.json", MODELS / "judgement.json")
    shutil.copyfile(options.folder / "classifier" / "test" / "roc.png", CARD.parent / "infection_roc.png")
    calibration = read_json(options.folder / "interval" / "interval.json")
    tables = {"classifier": judgement_table(options), "interval": Table(**calibration.pop("table"))}
    write_json(MODELS / "interval.json", calibration)
    cases = []
    for name, _, _ in data_sets(options):
        rows = rows_in(options.folder / "scores" / name)
        cases += [{"data": name, **row} for row in rows]
        tables |= {f"{name}_dice": dice_table(rows), f"{name}_proportion": agreement_table(rows)}
        picture = options.folder / "scores" / name / "proportions.png"
        shutil.copyfile(picture, CARD.parent / f"infection_proportions_{name}.png")
    write_csv(MODELS / "cases.csv", cases, ("data", *CASE_COLUMNS))
    write_json(MODELS / "record.json", record(options, cases))
    fill_marks(CARD, tables)


def dice_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The paper's first table: Dice over all patients, over the infected, and over those with more than a little of
    it; and the classifier's gain."""
    shown = [
        {
            **row,
            "infection_dice_of_the_infected": only_from(row, 1e-9),
            "infection_dice_from_2_percent": only_from(row, 0.02),
        }
        for row in [*rows, *paired_gains(rows)]
    ]
    return summary_table(
        shown, ("lung_dice", "infection_dice", "infection_dice_of_the_infected", "infection_dice_from_2_percent")
    )


def only_from(row: Mapping[str, Any], proportion: float) -> float:
    """The Dice of the infection where so much is infected, else NaN, which no mean counts."""
    return float(row["infection_dice"]) if row["true_proportion"] >= proportion else float("nan")


def paired_gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Patient by patient, Dice with the classifier less Dice without it."""
    after, before = ({row["case"]: row for row in rows_of(rows, method)} for method in METHODS[:2])
    names = ("lung_dice", "infection_dice")
    return [
        {**row, "method": GAIN, **{name: row[name] - before[case][name] for name in names}}
        for case, row in after.items()
    ]


def judgement_table(options: argparse.Namespace) -> Table:
    lines = []
    for title, name in (("validation patients", ""), ("test patients", "test")):
        found = read_json(options.folder / "classifier" / name / "judgement.json")
        area, gain = (Estimate(**found[name]) for name in ("auc", "gain"))
        kept = [f"{found[f'{kind}_kept']} of {found[f'{kind}_candidates']}" for kind in ("true", "false")]
        figures = [f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" for figure in (area, gain)]
        dices = f"{found['mean_dice_before']:.3f}, {found['mean_dice_after']:.3f}"
        lines.append([title, figures[0], *kept, dices, figures[1]])
    header = ("Candidates of", "AUC", "True ones kept", "False ones kept", "Dice before, after", "Gain")
    return Table(header, lines, "lrrrrr")


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def record(options: argparse.Namespace, cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scores = {}
    for name in dict.fromkeys(row["data"] for row in cases):
        rows = [row for row in cases if row["data"] == name]
        scores[name] = {
            method: {
                **{key: value._asdict() for key, value in summarise(rows_of(rows, method), CASE_COLUMNS[2:4]).items()},
                **agreement(rows_of(rows, method)),
            }
            for method in methods_of(rows)
        }
    return {
        "command": "python scripts/make_infection.py --real_chest FILE --diseased right",
        "data": f"{options.cases} synthetic chests, seeds from {options.seed} on; FILE is only tested on",
        "seed": options.seed,
        "epochs": {"slab": options.epochs, "plane": options.plane_epochs, "classifier": options.classifier_epochs},
        "training": {name: last_line(options.folder / name) for name in TRAINED},
        "judgement": read_json(options.folder / "classifier" / "test" / "judgement.json"),
        "scores": scores,
        "sha256": {path.name: sha256(path) for path in sorted(MODELS.glob("*.pt"))},
        "machine": machine(),
        "beyond2d_version": __version__,
    }


def last_line(folder: Path) -> dict[str, float]:
    rows = read_history(folder)
    return {**rows[-1], "best": max(row["metric"] for row in rows)}


STEPS: dict[str, Callable[[argparse.Namespace], None]] = {
    "data": make_data,
    "slab": train_slab,
    "plane": train_plane,
    "candidates": gather,
    "classifier": train_classifier,
    "paint": paint,
    "calibrate": calibrate,
    "evaluate": evaluate,
    "publish": publish,
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/infection"), help="for everything that is made")
    parser.add_argument("--real_chest", type=Path, help="a chest CT with whole, mostly healthy lungs, to paint into")
    parser.add_argument("--diseased", choices=list(SIDES), help="the lung of that chest which is not healthy")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="which steps to take")
    parser.add_argument("--cases", type=int, default=180, help="synthetic patients, four of six for training")
    parser.add_argument("--copies", type=int, default=24, help="painted copies of the real chest")
    parser.add_argument("--epochs", type=int, nargs=2, default=(60, 40), help="of the 2.5D segmenter's two rounds")
    parser.add_argument("--plane_epochs", type=int, nargs=2, default=(40, 65), help="of the 2D segmenter's")
    parser.add_argument("--classifier_epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    run_steps(STEPS, parse_options())


if __name__ == "__main__":
    main()
