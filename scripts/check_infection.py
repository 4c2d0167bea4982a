"""Checks what `beyond2d quantify` makes of scans that should give the same answer, and of scans that should not.

    slices   a chest at 1, 2.5 and 5 mm slices: how far its infected proportions are apart
    copies   a chest flipped, with its axes in another order, and turned obliquely: how far its volumes are apart
    times    seconds and memory of a chest of 512 x 512 x 300 voxels, in a process of its own
    scans    any scans of your own, given as --scans FILE_OR_FOLDER ...: what the report says of each

The chests are synthetic ones that nobody trained on, and with --chest a real one, painted as in make_infection.py.

    python scripts/check_infection.py --chest painted_12.nii.gz --scans chest_ct.nii.gz abdomen_ct.nii.gz dicom_folder
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import affine_transform

from beyond2d.phantoms import ChestSpec, centred_affine, chest_phantom
from beyond2d.report.tables import Table
from beyond2d.workflow import run_task
from beyond2d.writers import save_volume

# Far from the seeds of any data set.
SEEDS = (700_000, 700_001, 700_002)
SLICES_MM = (1.0, 2.5, 5.0)
TURN_DEG = 12.0
FIGURES = ("lung_ml", "infection_ml", "proportion")

Chest = tuple[str, np.ndarray, np.ndarray]


def chests(options: argparse.Namespace, slice_mm: float) -> Iterator[Chest]:
    """Name, HU (X, Y, Z) and affine of each chest."""
    spec = ChestSpec((192, 192, round(300 / slice_mm)), (380 / 192, 380 / 192, slice_mm), lesions=True)
    for seed in SEEDS:
        yield f"phantom {seed}", chest_phantom(seed, spec).volume, centred_affine(spec.size, spec.spacing_mm)
    if options.chest is not None:
        image: Any = nib.as_closest_canonical(nib.load(options.chest))
        yield "painted chest", np.asarray(image.dataobj, np.float32), image.affine


def check_slices(options: argparse.Namespace) -> Table:
    """Slices are averages over their thickness; thinner ones than there are, are interpolated."""
    lines = []
    for name, hu, affine in chests(options, min(SLICES_MM)):
        found = []
        for slice_mm in SLICES_MM:
            volume, placed = with_slices(hu, affine, slice_mm)
            found.append(quantified(options, f"{name} at {slice_mm} mm", volume, placed)["proportion"])
        cells = [f"{100 * proportion:.2f}" for proportion in found]
        lines.append([name, *cells, f"{100 * (max(found) / min(found) - 1):.1f}"])
    header = ("Chest", *(f"{slice_mm:g} mm (%)" for slice_mm in SLICES_MM), "Largest over smallest (%)")
    return Table(header, lines, "lrrrr")


def with_slices(hu: np.ndarray, affine: np.ndarray, slice_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """A volume (X, Y, Z) with slices of another thickness along Z, over the same height."""
    own_mm = float(np.linalg.norm(affine[:3, 2]))
    height = hu.shape[2] * own_mm
    edges = np.arange(round(height / slice_mm) + 1) * slice_mm / own_mm
    if slice_mm < own_mm:
        middles = np.clip((edges[1:] + edges[:-1]) / 2 - 0.5, 0, hu.shape[2] - 1)
        below = np.minimum(middles.astype(int), hu.shape[2] - 2)
        share = (middles - below).astype(np.float32)
        volume = hu[..., below] * (1 - share) + hu[..., below + 1] * share
    else:
        total = np.concatenate([np.zeros((*hu.shape[:2], 1)), np.cumsum(hu, axis=2, dtype=np.float64)], axis=2)
        below = np.minimum(edges.astype(int), hu.shape[2] - 1)
        at_edges = total[..., below] + (edges - below) * hu[..., below]
        volume = np.diff(at_edges, axis=2) * own_mm / slice_mm
    placed = affine.copy()
    placed[:3, 2] *= slice_mm / own_mm
    placed[:3, 3] += affine[:3, 2] * ((slice_mm / own_mm - 1) / 2)
    return volume.astype(np.float32), placed


def check_copies(options: argparse.Namespace) -> Table:
    lines = []
    for name, hu, affine in chests(options, 2.5):
        image = nib.Nifti1Image(hu, affine)
        flipped: Any = image.slicer[::-1, :, ::-1]
        order = nib.orientations.ornt_transform(nib.io_orientation(affine), np.array([[2, -1], [0, 1], [1, -1]]))
        swapped: Any = image.as_reoriented(order)
        copies = {"as it is": (hu, affine), "oblique": turned(hu, affine)}
        copies |= {
            "flipped": (flipped.get_fdata(), flipped.affine),
            "axes swapped": (swapped.get_fdata(), swapped.affine),
        }
        reports = {way: quantified(options, f"{name} {way}", *copy) for way, copy in copies.items()}
        for way, report in reports.items():
            off = [f"{100 * (report[key] / reports['as it is'][key] - 1):+.2f}" for key in FIGURES]
            cells = [f"{report['lung_ml']:.0f}", f"{report['infection_ml']:.1f}", f"{100 * report['proportion']:.2f}"]
            lines.append([name, way, *cells, *off])
    header = ("Chest", "Copy", "Lung (ml)", "Infected (ml)", "Proportion (%)", "Lung off (%)", "Infected off (%)")
    return Table((*header, "Proportion off (%)"), lines, "llrrrrrr")


def turned(hu: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same chest on a grid that is turned about the patient's long axis and tilted half as much, with room."""
    angles = np.deg2rad([TURN_DEG, TURN_DEG / 2])
    cos, sin = np.cos(angles), np.sin(angles)
    about_z = np.array([[cos[0], -sin[0], 0], [sin[0], cos[0], 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos[1], -sin[1]], [0, sin[1], cos[1]]])
    rotation = about_z @ about_x
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in hu.shape])).reshape(3, -1).T * spacing_mm
    reach = np.ptp(corners @ rotation, axis=0)
    size = np.ceil(reach / spacing_mm).astype(int) + 1
    placed = np.eye(4)
    placed[:3, :3] = (affine[:3, :3] / spacing_mm) @ rotation * spacing_mm
    middle = affine @ [*((np.array(hu.shape) - 1) / 2), 1]
    placed[:3, 3] = middle[:3] - placed[:3, :3] @ ((size - 1) / 2)
    to_old = np.linalg.inv(affine) @ placed
    volume = affine_transform(hu, to_old[:3, :3], to_old[:3, 3], tuple(size), order=3, mode="constant", cval=-1000)
    return volume, placed


def check_times(options: argparse.Namespace) -> Table:
    """One chest of 512 x 512 x 300 voxels; the memory is the largest that the process ever held."""
    path = options.folder / "large.nii.gz"
    if not path.is_file():
        spec = ChestSpec((512, 512, 300), (380 / 512, 380 / 512, 1.0), lesions=True)
        options.folder.mkdir(parents=True, exist_ok=True)
        save_volume(
            path, np.rint(chest_phantom(SEEDS[0], spec).volume), centred_affine(spec.size, spec.spacing_mm), np.int16
        )
    start = time.perf_counter()
    command = [sys.executable, "-m", "beyond2d", "quantify", str(path), "--out", str(options.folder / "large")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return Table(("Scan", "Seconds", "Peak memory (GiB)"), [["512 x 512 x 300", f"{seconds:.0f}", f"{gib:.2f}"]], "lrr")


def check_scans(options: argparse.Namespace) -> Table:
    lines = []
    for path in options.scans:
        report = run(options, Path(path), path.name.partition(".")[0])
        regions = report["regions"]
        cells = [percent(regions[side]["proportion"]) for side in ("overall", "right", "left")]
        flags = ", ".join(flag["code"] for flag in report["flags"]) or "–"
        lines.append([path.name, f"{report['lung_ml']:.0f}", *cells, flags])
    return Table(("Scan", "Lung (ml)", "Both (%)", "Right (%)", "Left (%)", "Flags"), lines, "lrrrrl")


def percent(proportion: float | None) -> str:
    return "–" if proportion is None or np.isnan(proportion) else f"{100 * proportion:.2f}"


def quantified(options: argparse.Namespace, name: str, hu: np.ndarray, affine: np.ndarray) -> dict[str, Any]:
    folder = options.folder / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '_')}.nii.gz"
    save_volume(path, np.rint(hu), affine, np.int16)
    return run(options, path, name.replace(" ", "_"))


def run(options: argparse.Namespace, path: Path, name: str, **given: str) -> dict[str, Any]:
    given |= {"input": str(path), "output_dir": str(options.folder / "reports" / name)}
    if options.models_dir is not None:
        given["models_dir"] = str(options.models_dir)
    workflow = run_task("infection", "infer", given)
    report: dict[str, Any] = workflow.parser.get_parsed_content("evaluator").state.output[0]["result"]
    return report


CHECKS: dict[str, Callable[[argparse.Namespace], Table]] = {
    "slices": check_slices,
    "copies": check_copies,
    "times": check_times,
    "scans": check_scans,
}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/infection/checks"), help="for scans and reports")
    parser.add_argument("--models_dir", type=Path, help="weights to check instead of the shipped ones")
    parser.add_argument("--chest", type=Path, help="one more chest for the first two checks")
    parser.add_argument("--scans", type=Path, nargs="*", default=[], help="scans for the last check")
    parser.add_argument("--checks", nargs="+", choices=list(CHECKS), default=list(CHECKS), help="which checks to make")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    for name in CHECKS:
        if name in options.checks:
            table = CHECKS[name](options)
            print(f"\n{name}\n\n{table.text()}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
