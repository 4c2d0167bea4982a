"""The command line: `beyond2d` or `python -m beyond2d`."""

from __future__ import annotations

import logging
import platform
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from tqdm import tqdm

from . import __version__
from .checks import InputError, check_choice, check_count, check_num_views, check_overlap, check_window
from .datasets import BODIES, decathlon_folder, write_body_dataset, write_digit_dataset, write_vessel_dataset
from .ensembles import write_ensemble
from .integrity import check_dataset
from .metrics import FIGURES
from .phantoms import VesselSpec, centred_affine, vessel_phantom
from .plans import write_plan
from .readers import read_angles_file
from .report.drafts import write_draft_labels
from .report.tables import Table, case_table
from .report.views import save_views
from .workflow import SYSTEMS, home, open_workflow, run_task
from .writers import save_volume, staged_folder

# A seed far from the ones of any data set: nobody trained on this tree.
DEMO_SEED = 1_000_000
DEMO_VIEWS = (2, 5, 10)


def demo(out: str = "demo", size: int = 128, spacing_mm: float = 1.0) -> None:
    """Make a vessel tree, project it at 2, 5 and 10 views, and reconstruct each with the shipped weights.

    Writes OUT/phantom (the image and its exact label) and OUT/views_02, OUT/views_05, OUT/views_10, each with
    probability, mask, mesh, picture and scores.

    Args:
        out: folder for the results.
        size: voxels along each axis of the tree's volume.
        spacing_mm: voxel size in mm.
    """
    folder = Path(out)
    _write_phantom(folder / "phantom", VesselSpec((size,) * 3, (spacing_mm,) * 3))
    label = str(folder / "phantom" / "label.nii.gz")
    results = {}
    for num_views in tqdm(DEMO_VIEWS, desc="reconstructions"):
        overrides = {"num_views": num_views, "label": label}
        source, target = folder / "phantom" / "vessels.nii.gz", folder / f"views_{num_views:02d}"
        results[num_views] = _reconstruct("infer", source, target, overrides)
    print(f"\nA synthetic vessel tree that was not trained on, {size} x {size} x {size} voxels of {spacing_mm:g} mm,")
    print("reconstructed from simulated views with detector noise:\n")
    print(_score_table(results.values()).text())
    print(f"\nLook at     {folder}/views_10/views.png (reconstruction, truth, and where they differ)")
    print(f"In Slicer   {folder}/phantom/vessels.nii.gz with {folder}/views_10/mask.nii.gz and mesh.stl")
    print("Next        beyond2d reconstruct YOUR_VOLUME --num_views 10 --out result")


def phantom(
    kind: str = "vessels",
    *,
    out: str,
    cases: int | None = None,
    size: int | None = None,
    spacing_mm: float | None = None,
    seed: int = 0,
    dicom: bool = False,
    source: str | None = None,
) -> None:
    """Write a data set of synthetic patients: images, exact labels, and a list split by patient.

    Args:
        kind: `vessels` (cerebral trees, for reconstruction), `organs` (abdomens, for segmentation), `chests` (lungs
            with and without pneumonia) or `digits` (16 x 16 x 16 voxels, for classification).
        out: folder for the data set; refused if it holds one already.
        cases: number of patients: 49 for vessels, 12 for organs and chests if not given; of digits all of the source.
        size: voxels along each axis: 384 for vessels, 96 for organs, 128 for chests if not given.
        spacing_mm: voxel size; by default vessels are 192 mm wide, organs 360 mm, chests 380 mm.
        seed: the first patient's seed; the others count on from it.
        dicom: write each image of vessels as a DICOM series instead of NIfTI.
        source: folder of MNIST's idx files, to make the digits from.
    """
    check_choice(kind, ("vessels", *BODIES, "digits"), "kind")
    given: dict[str, Any] = {"cases": cases, "size": size, "spacing_mm": spacing_mm}
    chosen = {name: value for name, value in given.items() if value is not None}
    if kind == "vessels":
        write_vessel_dataset(out, **chosen, seed=seed, dicom=dicom)
    elif kind in BODIES:
        write_body_dataset(out, kind, **chosen, seed=seed)
    else:
        write_digit_dataset(out, source, cases=cases, seed=seed)
    system = {"vessels": "reconstruction", "digits": "digits"}.get(kind, "segmentation")
    print(f"Wrote {out}/dataset.json and what it lists")
    print(f"Next        beyond2d train {system} --dataset_dir {out} --ckpt_dir runs/{system}")


def project(
    volume: str, *, num_views: int = 10, out: str, window: Sequence[float] | None = None, **config: Any
) -> None:
    """Simulate angiographic views of a volume: a NIfTI file or a folder with one DICOM series.

    Writes OUT/views.nii.gz, OUT/angles.yaml (what `beyond2d reconstruct --angles` reads) and a PNG of each view.

    Args:
        volume: NIfTI file or DICOM folder.
        num_views: views over 0 to 90 degrees, 2 to 90.
        out: folder for the results.
        window: intensities LOW,HIGH to keep; for a CT in HU something like 150,600.
        config: any key of configs/reconstruction/inference.yaml, e.g. --span_deg 180 --detector_noise False.
    """
    overrides = {"input": str(volume), "num_views": check_num_views(num_views), **config}
    if window is not None:
        overrides["window"] = list(check_window(window))
    workflow = open_workflow("reconstruction", "infer", overrides)
    views = workflow.parser.get_parsed_content("dataset")[0]["views"]
    save_views(out, views)
    print(f"Wrote {num_views} views of {views.shape[1]} x {views.shape[2]} pixels to {out}/views.nii.gz")
    print(f"Next        beyond2d reconstruct {out}/views.nii.gz --angles {out}/angles.yaml --out result")


def reconstruct(
    input: str,
    *,
    out: str,
    num_views: int | None = None,
    angles: str | None = None,
    label: str | None = None,
    window: Sequence[float] | None = None,
    model: str | None = None,
    refine: int = 0,
    **config: Any,
) -> None:
    """Reconstruct vessels from a few views.

    INPUT is a volume (NIfTI file or DICOM folder), which is projected first, or, with --angles, real projections:
    a NIfTI stack or a folder of PNG, TIFF, NPY or single-frame DICOM images.

    Writes probability.nii.gz, mask.nii.gz, mesh.stl, mesh.ply, views.png and result.json into OUT.

    Args:
        input: the volume or the projections.
        out: folder for the results.
        num_views: views to take of a volume, 2 to 90 (10 if not given).
        angles: YAML or JSON file with `angles_deg`, one a projection.
        label: the true mask as NIfTI, to score against; without it a volume's Otsu label stands in.
        window: intensities LOW,HIGH to keep; for a CT in HU something like 150,600.
        model: `unet` (one network for any views, the default) or `autoencoder` (the paper's).
        refine: gradient steps that make the result agree better with the views; 10 are a good number.
        config: any key of configs/reconstruction/inference.yaml, e.g. --load_path my.pt --detector_noise False.
    """
    overrides: dict[str, Any] = {"model": model, "refine_steps": check_count(refine, 0, "refine"), **config}
    if window is not None:
        overrides["window"] = list(check_window(window))
    if label is not None:
        overrides["label"] = str(label)
    task = "infer" if angles is None else "infer_views"
    if num_views is not None:
        overrides["num_views"] = check_num_views(num_views)
    if angles is not None:
        overrides["angles"] = str(angles)
        num_angles = len(read_angles_file(angles).angles_deg)
        overrides["num_views"] = num_angles
        if num_views not in (None, num_angles):
            raise InputError(f"num_views: expected {num_angles}, the number of angles in {angles}, got {num_views}")
    result = _reconstruct(task, input, out, overrides)
    if result["scores"] is not None:
        print(f"Against the {result['truth']} label:\n")
        print(_score_table([result]).text())
    print(f"\n{result['vessel_ml']:.1f} ml of vessel. Look at {out}/views.png; open mask.nii.gz and mesh.stl in Slicer")


def segment(
    image: str,
    *,
    out: str,
    task: str = "hippocampus",
    model_dir: str | None = None,
    label: str | None = None,
    **config: Any,
) -> None:
    """Segment an image: a NIfTI file or a folder with one DICOM series.

    Writes mask.nii.gz (on the image's own grid), overlay.png and result.json (volumes in ml, scores where there is a
    label) into OUT.

    Args:
        image: NIfTI file or DICOM folder.
        out: folder for the results.
        task: which of the shipped weights: hippocampus.
        model_dir: the folder of a training of your own, with model.pt and plan.yaml, instead of a task.
        label: the true mask as NIfTI, to score against.
        config: any key of configs/segmentation/inference.yaml, e.g. --overlap 0.25 --flips False.
    """
    folder = _shipped("segmentation", task) if model_dir is None else Path(model_dir)
    overrides = {"input": str(image), "output_dir": str(out), "models_dir": str(folder), "task": folder.name, **config}
    if label is not None:
        overrides["label"] = str(label)
    if "overlap" in config:
        overrides["overlap"] = check_overlap(config["overlap"])
    result = _result_of(run_task("segmentation", "infer", overrides))
    rows = [
        {"label": name, "volume_ml": ml, **(result["scores"] or {}).get(name, {})}
        for name, ml in result["volumes_ml"].items()
    ]
    print(f"\n{case_table(rows, tuple(rows[0])).text()}")
    print(f"\nLook at {out}/overlay.png; open {out}/mask.nii.gz over the image in Slicer")


def draft_labels(image: str, *, out: str, reference: str | None = None) -> None:
    """Draft the labels of a chest CT, lung and infection, from thresholds in HU: a start for a person to correct.

    Writes label.nii.gz (1 lung, 2 infection, on the image's own grid), overlay.png, and thresholds.csv and .png (what
    every other threshold would have given) into OUT. What is dense in a lung may be a vessel as well as an infection.

    Args:
        image: a CT in HU, NIfTI file or DICOM folder.
        out: folder for the results.
        reference: a label map with the same two values, to choose the thresholds by.
    """
    sweeps = write_draft_labels(image, out, reference)
    for name, sweep in sweeps.items():
        dice = "" if sweep.best.dice is None else f", Dice {sweep.best.dice:.3f}"
        print(f"{name:<10}  {sweep.best.volume_ml:8.1f} ml at {sweep.best.threshold:g} HU{dice}")
    print(f"\nLook at     {out}/overlay.png and thresholds.png")
    print(f"Next        correct {out}/label.nii.gz over the image in 3D Slicer's Segment Editor")


def check_data(dataset_dir: str) -> None:
    """Look through a folder in the decathlon layout, and list every file that would spoil a training.

    Args:
        dataset_dir: holds dataset.json and what it lists.
    """
    findings = check_dataset(dataset_dir)
    if findings:
        print(Table(("File", "Problem"), findings, "ll").text())
        raise InputError(f"{dataset_dir}: {len(findings)} problem{'s' if len(findings) > 1 else ''} found")
    print(f"{dataset_dir}: every listed file is sound")
    print(f"Next        beyond2d train segmentation --dataset_dir {dataset_dir} --ckpt_dir runs/segmentation")


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


def ensemble(*folders: str, out: str, keep_largest: Sequence[int] | int = ()) -> None:
    """Put the networks of several trainings by one plan, such as the folds, into one folder.

    Args:
        folders: of the trainings, each with model.pt.
        out: for model.pt and plan.yaml of them all.
        keep_largest: label values of which only the largest connected part shall stay.
    """
    write_ensemble(folders, out, keep_largest)
    print(f"Next        beyond2d segment YOUR_IMAGE --model_dir {out} --out result")


def train(system: str = "reconstruction", *, task: str | None = None, **config: Any) -> None:
    """Train a system's network on a folder of cases.

    Writes model.pt (the best epoch), last.pt (to go on from with --resume True) and TensorBoard's files into the
    folder --ckpt_dir.

    Args:
        system: reconstruction, segmentation or digits.
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
        system: reconstruction, segmentation or digits.
        config: any key of configs/SYSTEM/evaluate.yaml and train.yaml, e.g. --dataset_dir data/vessels --num_views 5,
            and --model for another of the system's networks.
    """
    run_task(system, "evaluate", config)


def info() -> None:
    """Say which versions and which device are used, and where the configs and weights are."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"beyond2d {__version__}, Python {platform.python_version()}, torch {torch.__version__}, on {device}")
    for system in SYSTEMS:
        print(f"{system}: configs in {home() / 'configs' / system}, weights in {home() / 'models' / system}")


def _write_phantom(folder: Path, spec: VesselSpec) -> None:
    tree = vessel_phantom(DEMO_SEED, spec)
    affine = centred_affine(spec.size, spec.spacing_mm)
    with staged_folder(folder) as staging:
        save_volume(staging / "vessels.nii.gz", tree.volume, affine, np.int16)
        save_volume(staging / "label.nii.gz", tree.label, affine, np.uint8)


def _reconstruct(task: str, source: str | Path, out: str | Path, overrides: dict[str, Any]) -> dict[str, Any]:
    workflow = run_task("reconstruction", task, {"input": str(source), "output_dir": str(out), **overrides})
    return _result_of(workflow)


def _result_of(workflow: ConfigWorkflow) -> dict[str, Any]:
    """What an inference says of its one case."""
    result: dict[str, Any] = workflow.parser.get_parsed_content("evaluator").state.output[0]["result"]
    return result


def _shipped(system: str, task: str) -> Path:
    """The folder of shipped weights of a task, also by the decathlon's name of it: Task04_Hippocampus."""
    folder = home() / "models" / system
    known = sorted(path.parent.name for path in folder.glob("*/model.pt"))
    if not known:
        raise InputError(f"task: expected shipped weights in {folder}, there are none; give --model_dir")
    name = str(task).rpartition("_")[2].lower()
    return folder / (name if name in known else check_choice(task, known, "task"))


def _score_table(results: Iterable[dict[str, Any]]) -> Table:
    figures = [figure for figure in FIGURES if figure not in ("mse", "mae", "pixel_accuracy")]
    rows = [{"num_views": result["num_views"], **result["scores"]} for result in results]
    return case_table(rows, ("num_views", *figures))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _help_last(arguments: list[str]) -> list[str]:
    """Ask fire itself for help: a command that takes any option would take --help for one of them."""
    return [arguments[0], "--", "--help"] if {"--help", "-h"} & set(arguments[1:]) else arguments


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. What a person gave wrongly ends in one line and exit code 2."""
    warnings.filterwarnings("ignore")  # of libraries; what a person needs to know is an error or a printed line
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    for noisy in ("monai.bundle.workflows", "monai.data.nvimgcodec_pydicom_plugin"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    on_images = (demo, phantom, project, reconstruct, segment, draft_labels)
    on_data = (check_data, plan, train, evaluate, ensemble, info)
    commands = {function.__name__.replace("_", "-"): function for function in on_images + on_data}
    try:
        fire.Fire(commands, command=_help_last(sys.argv[1:] if arguments is None else list(arguments)), name="beyond2d")
    except (InputError, RuntimeError) as error:
        # MONAI wraps what is raised inside of it in a RuntimeError; one that hides no complaint goes on its way.
        complaint = next((cause for cause in _causes(error) if isinstance(cause, InputError)), None)
        if complaint is None:
            raise
        print(f"beyond2d: {complaint}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
