"""Whether packed bundles work on their own: packed twice they are the same bytes, and unpacked where the project is
not installed they give what the source tree gives, bit for bit on the CPU.

    python -m venv alone
    alone/bin/pip install ...          # what docs/README.md of a bundle lists, and nothing else
    python scripts/check_packed.py --python alone/bin/python --out checked

Inputs are phantoms, unless given; digits, of which no weights are shipped, get those of an untrained network. The
folder --out keeps inputs, bundles and results; scripts/check_exports.py goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser

from beyond2d.packing import RECIPES, Bundle, pack_system, put_together, zipped
from beyond2d.phantoms import (
    ChestSpec,
    DigitSpec,
    OrganSpec,
    VesselSpec,
    centred_affine,
    chest_phantom,
    draw_digit,
    draw_pose,
    extrude,
    organ_phantom,
    vessel_phantom,
)
from beyond2d.report.tables import Table
from beyond2d.workflow import config_files, home
from beyond2d.writers import save_volume

# Far from the seeds of any training.
SEED = 2_000_000
# What a result says of the place that weights lie in, and how long something took.
NOT_COMPARED = ("weights", "seconds")


def main() -> None:
    options = _options()
    _check_alone(options.python)
    rows = [check(system, options) for system in options.systems]
    header = ("System", "Files", "MB", "Twice the same bytes", "Results compared", "Different")
    print(Table(header, [row[:6] for row in rows], "lrrlrl").text())
    sys.exit(any(row[6] for row in rows))


def check(system: str, options: argparse.Namespace) -> tuple[Any, ...]:
    """A row of the table, and whether anything is not as it should be."""
    folder = options.out / system
    folder.mkdir(parents=True)
    weights = options.weights.get(system) or (untrained(folder, system) if RECIPES[system].shipped is None else None)
    source = options.inputs.get(system) or phantom(folder, system)
    bundle = pack_system(home(), system, folder / "dist", weights)
    again = zipped(put_together(home(), system, weights))
    archive = folder / "dist" / f"{bundle.name}.zip"
    same_bytes = archive.read_bytes() == again and _same_files(folder / "dist" / bundle.name, bundle)
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "unpacked")
    unpacked = folder / "unpacked" / bundle.name
    run([options.python, "configs/inference.json"], unpacked, source, folder / "alone")
    own = ["--models_dir", str((unpacked / "models").resolve())]
    own = ["--load_path", str(weights)] if system == "digits" else own if weights else []
    run([sys.executable, *config_files(system, "infer")], home(), source, folder / "source", own)
    compared, different = compare(folder / "source", folder / "alone")
    size = f"{archive.stat().st_size / 1e6:.1f}"
    row = (system, str(len(bundle.files)), size, "yes" if same_bytes else "NO", str(compared), ", ".join(different))
    return (*row, not same_bytes or bool(different) or not compared)


def run(program: list[str], folder: Path, source: Path, out: Path, more: list[str] | None = None) -> None:
    """`monai.bundle run` in a folder; Python finds nothing but what is installed, and what is in the folder."""
    interpreter, config = program
    places = {"PYTHONPATH": str(home() / "bundle")} if interpreter == sys.executable else {}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | places
    options = ["--input", str(source.resolve()), "--output_dir", str(out.resolve()), "--device", "cpu", *(more or [])]
    command = [interpreter, "-m", "monai.bundle", "run", "--config_file", config, *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nin {folder} failed:\n{done.stderr[-4000:]}")


def compare(source: Path, alone: Path) -> tuple[int, list[str]]:
    """How many results there are, and the names of those that differ or that only one of the two folders has."""
    names = {path.relative_to(folder) for folder in (source, alone) for path in folder.rglob("*") if path.is_file()}
    return len(names), [str(name) for name in sorted(names) if not _same(source / name, alone / name)]


def _same(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    if one.name.endswith(".nii.gz"):
        images: list[Any] = [nib.load(path) for path in (one, other)]
        voxels = [np.asarray(image.dataobj) for image in images]
        return (
            voxels[0].dtype == voxels[1].dtype
            and np.array_equal(*voxels)
            and np.array_equal(*[i.affine for i in images])
        )
    if one.suffix == ".json":
        first, second = (json.loads(path.read_text(encoding="utf-8")) for path in (one, other))
        return all(first.get(key) == second.get(key) for key in {*first, *second} - {*NOT_COMPARED})
    return one.read_bytes() == other.read_bytes()


def _same_files(folder: Path, bundle: Bundle) -> bool:
    return all((folder / place).read_bytes() == content for place, content in bundle.files.items())


def phantom(folder: Path, system: str) -> Path:
    """A file for a system's inference, of a phantom that nobody trained on."""
    path = folder / ("input.npy" if system == "digits" else "input.nii.gz")
    if system == "digits":
        rng = np.random.default_rng(SEED)
        volumes = [extrude(draw_digit(digit, rng), draw_pose(rng, DigitSpec())) for digit in range(10)]
        np.save(path, np.rint(255 * np.stack(volumes)).astype(np.uint8))
        return path
    if system == "infection":
        spacing_mm = (4.0, 4.0, 5.0)
        volume = chest_phantom(SEED, ChestSpec((96, 96, 60), spacing_mm, lesions=True)).volume
    elif system == "segmentation":
        spacing_mm = (1.0, 1.0, 1.0)
        volume = organ_phantom(SEED, OrganSpec((56, 72, 48), (6.0, 6.0, 6.0))).volume
    else:
        spacing_mm = (2.0, 2.0, 2.0)
        volume = vessel_phantom(SEED, VesselSpec((64,) * 3, spacing_mm)).volume
    save_volume(path, volume, centred_affine(volume.shape, spacing_mm), np.int16)
    return path


def untrained(folder: Path, system: str) -> Path:
    """A file with the weights that a system's network begins with."""
    parser = ConfigParser()
    parser.read_config(config_files(system, "infer"))
    torch.manual_seed(SEED)
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "model.pt")
    return folder / "model.pt"


def _check_alone(python: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run([python, "-c", "import beyond2d"], env=environment, cwd="/", capture_output=True)
    if found.returncode == 0:
        sys.exit(f"--python: expected an environment without beyond2d, {python} has it")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of an environment without the project")
    parser.add_argument("--systems", nargs="+", default=list(RECIPES), choices=list(RECIPES), help="all, if not given")
    for name, what in (("inputs", "file to run on"), ("weights", "weights to pack, as for beyond2d pack --weights")):
        parser.add_argument(f"--{name}", nargs="+", default=[], metavar="SYSTEM=PATH", help=what)
    parser.add_argument("--out", type=Path, required=True, help="new folder for inputs, bundles and results")
    options = parser.parse_args()
    for name in ("inputs", "weights"):
        pairs = dict(pair.split("=", 1) for pair in getattr(options, name))
        setattr(options, name, {system: Path(path) for system, path in pairs.items()})
    return options


if __name__ == "__main__":
    main()
