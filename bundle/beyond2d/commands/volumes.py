"""Commands that label an image: by a trained network, or by thresholds as a start for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checks import InputError, check_choice, check_overlap
from ..report.drafts import write_draft_labels
from ..report.infection import headline
from ..report.tables import case_table
from ..workflow import home, run_task
from .results import result_of


def segment(
    image: str,
    *,
    out: str,
    task: str = "hippocampus",
    model_dir: str | None = None,
    label: str | None = None,
    title: str | None = None,
    **config: Any,
) -> None:
    """Segment an image: a NIfTI file or a folder with one DICOM series.

    Writes report.html (one page, opens offline: the labels turn, the slices scroll), mask.nii.gz (on the image's own
    grid), overlay.png and result.json (volumes in ml, scores where there is a label) into OUT; of a DICOM series also
    mask.dcm, the mask as a DICOM SEG.

    Args:
        image: NIfTI file or DICOM folder.
        out: folder for the results.
        task: which of the shipped weights: hippocampus.
        model_dir: the folder of a training of your own, with model.pt and plan.yaml, instead of a task.
        label: the true mask as NIfTI, to score against.
        title: shown on the page; otherwise nothing on it names the file or the patient.
        config: any key of configs/segmentation/inference.yaml, e.g. --overlap 0.25 --flips False.
    """
    folder = _shipped("segmentation", task) if model_dir is None else Path(model_dir)
    overrides = {"input": str(image), "output_dir": str(out), "models_dir": str(folder), "task": folder.name, **config}
    for name, value in {"label": label, "title": title}.items():
        if value is not None:
            overrides[name] = str(value)
    if "overlap" in config:
        overrides["overlap"] = check_overlap(config["overlap"])
    result = result_of(run_task("segmentation", "infer", overrides))
    rows = [
        {"label": name, "volume_ml": ml, **(result["scores"] or {}).get(name, {})}
        for name, ml in result["volumes_ml"].items()
    ]
    print(f"\n{case_table(rows, tuple(rows[0])).text()}")
    print(f"\nLook at     {out}/report.html; open {out}/mask.nii.gz over the image in Slicer")


def quantify(
    image: str,
    *,
    out: str,
    baseline: str | None = None,
    hours: float | None = None,
    label: str | None = None,
    title: str | None = None,
    **config: Any,
) -> None:
    """Say how much of the lungs is infected in a chest CT: a NIfTI file in HU or a folder with one DICOM series.

    Writes report.html (one page, opens offline), report.json, lung.nii.gz and infection.nii.gz (on the scan's own
    grid) into OUT; of a DICOM series also lung.dcm and infection.dcm, the masks as DICOM SEG. For research: it tells
    dense lung from aerated lung, and cannot tell why it is dense.

    Args:
        image: NIfTI file or DICOM folder.
        out: folder for the results.
        baseline: report.json of an earlier scan of the patient, to state the growth since.
        hours: from that scan to this one.
        label: the truth as NIfTI (1 lung, 2 infection), to score against.
        title: shown on the page; otherwise nothing on it names the file or the patient.
        config: any key of configs/infection/inference.yaml, e.g. --hu_offset -1024 --second_opinion False.
    """
    given: dict[str, Any] = {"baseline": baseline, "hours": hours, "label": label, "title": title}
    words = {name: value if name == "hours" else str(value) for name, value in given.items() if value is not None}
    overrides = {"input": str(image), "output_dir": str(out), **words, **config}
    result = result_of(run_task("infection", "infer", overrides))
    print(f"\n{headline(result)}")
    for flag in result["flags"]:
        print(f"Flag        {flag['text']}")
    print(f"Look at     {out}/report.html; open {out}/infection.nii.gz over the scan in Slicer")


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


def _shipped(system: str, task: str) -> Path:
    """The folder of shipped weights of a task, also by the decathlon's name of it: Task04_Hippocampus."""
    folder = home() / "models" / system
    known = sorted(path.parent.name for path in folder.glob("*/model.pt"))
    if not known:
        raise InputError(f"task: expected shipped weights in {folder}, there are none; give --model_dir")
    name = str(task).rpartition("_")[2].lower()
    return folder / (name if name in known else check_choice(task, known, "task"))
