"""Commands about vessels from a few views: a demonstration, projections and reconstructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..checks import InputError, check_count, check_num_views, check_window
from ..metrics import FIGURES
from ..phantoms import VesselSpec, centred_affine, vessel_phantom
from ..readers import read_angles_file
from ..report.tables import Table, case_table
from ..report.views import save_views
from ..workflow import open_workflow, run_task
from ..writers import save_volume, staged_folder
from .results import result_of

# A seed far from the ones of any data set: nobody trained on this tree.
DEMO_SEED = 1_000_000
DEMO_VIEWS = (2, 5, 10)


def demo(out: str = "demo", size: int = 128, spacing_mm: float = 1.0) -> None:
    """Make a vessel tree, project it at 2, 5 and 10 views, and reconstruct each with the shipped weights.

    Writes OUT/phantom (the image and its exact label) and OUT/views_02, OUT/views_05, OUT/views_10, each with
    probability, mask, mesh, pictures, a page and scores.

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
    print(f"\nLook at     {folder}/views_10/report.html (to turn and scroll: reconstruction, truth, where they differ)")
    print(f"In Slicer   {folder}/phantom/vessels.nii.gz with {folder}/views_10/mask.nii.gz and mesh.stl")
    print("Next        beyond2d reconstruct YOUR_VOLUME --num_views 10 --out result")


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
    title: str | None = None,
    **config: Any,
) -> None:
    """Reconstruct vessels from a few views.

    INPUT is a volume (NIfTI file or DICOM folder), which is projected first, or, with --angles, real projections:
    a NIfTI stack or a folder of PNG, TIFF, NPY or single-frame DICOM images.

    Writes report.html (one page, opens offline: the mesh turns, the slices scroll), probability.nii.gz, mask.nii.gz,
    mesh.stl, mesh.ply, views.png and result.json into OUT; of a DICOM series also mask.dcm, the mask as a DICOM SEG.

    Args:
        input: the volume or the projections.
        out: folder for the results.
        num_views: views to take of a volume, 2 to 90 (10 if not given).
        angles: YAML or JSON file with `angles_deg`, one a projection.
        label: the true mask as NIfTI, to score against; without it a volume's Otsu label stands in.
        window: intensities LOW,HIGH to keep; for a CT in HU something like 150,600.
        model: `unet` (one network for any views, the default) or `autoencoder` (the paper's).
        refine: gradient steps that make the result agree better with the views; 10 are a good number.
        title: shown on the page; otherwise nothing on it names the file or the patient.
        config: any key of configs/reconstruction/inference.yaml, e.g. --load_path my.pt --detector_noise False.
    """
    overrides: dict[str, Any] = {"model": model, "refine_steps": check_count(refine, 0, "refine"), **config}
    if window is not None:
        overrides["window"] = list(check_window(window))
    if label is not None:
        overrides["label"] = str(label)
    if title is not None:
        overrides["title"] = str(title)
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
    print(f"\n{result['vessel_ml']:.1f} ml of vessel")
    print(f"Look at     {out}/report.html; open mask.nii.gz and mesh.stl in Slicer")


def _write_phantom(folder: Path, spec: VesselSpec) -> None:
    tree = vessel_phantom(DEMO_SEED, spec)
    affine = centred_affine(spec.size, spec.spacing_mm)
    with staged_folder(folder) as staging:
        save_volume(staging / "vessels.nii.gz", tree.volume, affine, np.int16)
        save_volume(staging / "label.nii.gz", tree.label, affine, np.uint8)


def _reconstruct(task: str, source: str | Path, out: str | Path, overrides: dict[str, Any]) -> dict[str, Any]:
    workflow = run_task("reconstruction", task, {"input": str(source), "output_dir": str(out), **overrides})
    return result_of(workflow)


def _score_table(results: Iterable[dict[str, Any]]) -> Table:
    figures = [figure for figure in FIGURES if figure not in ("mse", "mae", "pixel_accuracy")]
    rows = [{"num_views": result["num_views"], **result["scores"]} for result in results]
    return case_table(rows, ("num_views", *figures))
