"""Images that the test of the server gives to it: real ones where there are any, else phantoms of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

PROJECT = Path(__file__).resolve().parents[1]
NUM_VIEWS = 5
# A part of the head that holds vessels, so that a run on few cores takes a minute.
HEAD_PART = np.s_[80:176, 70:166, 40:104]
MRI_SHAPE = (36, 52, 36)
MRI_CASES = 4
PHANTOM = "crop_"


class Studies(NamedTuple):
    """What stands in the studies folder: the name of each image, and labels that are submitted later."""

    folder: Path
    vessels: str
    views: str
    chest: str
    digit: str
    crops: list[str]
    labels: dict[str, Path]

    def path(self, image: str) -> Path:
        return self.folder / f"{image}.nii.gz"

    def is_phantom(self, crop: str) -> bool:
        """Whether a crop is one in which no network finds a hippocampus."""
        return crop.startswith(PHANTOM)


def write_studies(work: Path, data: Path) -> Studies:
    """Fill `work`/studies; `data` is the folder of real images, which may be missing."""
    folder = work / "studies"
    folder.mkdir()
    labels = _write_crops(folder, work / "labels", data / "hippocampus")
    studies = Studies(folder, "vessels", "views", "chest", "digit", sorted(labels), labels)
    _write_vessels(studies.path("vessels"), data / "angiography/ct_avm.nii.gz", work)
    _write_chest(studies.path("chest"), data / "chest/chest_ct_2p5mm.nii.gz", work)
    _write_digit(studies.path("digit"), data / "digits", work)
    beyond2d("project", studies.path("vessels"), "--num_views", NUM_VIEWS, "--out", work / "views")
    shutil.copy(work / "views/views.nii.gz", studies.path("views"))
    shutil.copy(work / "views/angles.yaml", folder / "views.yaml")
    return studies


def beyond2d(*arguments: object, package: Path = PROJECT / "bundle") -> None:
    """Run a command of the project, by the code in `package`, in this environment."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "beyond2d", *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"beyond2d {' '.join(map(str, arguments))}: {done.stderr.strip()[-2000:]}")


def _write_crops(folder: Path, labels: Path, source: Path) -> dict[str, Path]:
    """MR crops around a hippocampus, and their labels by the name of the image."""
    labels.mkdir()
    images = sorted((source / "imagesTr").glob("*.nii.gz"))[:MRI_CASES]
    for image in images:
        shutil.copy(image, folder / image.name)
        shutil.copy(source / "labelsTr" / image.name, labels / image.name)
    for number in range(MRI_CASES - len(images)):
        intensities, label = _crop(number)
        _save(folder / f"{PHANTOM}{number}.nii.gz", intensities)
        _save(labels / f"{PHANTOM}{number}.nii.gz", label)
    return {path.name.removesuffix(".nii.gz"): path for path in labels.iterdir()}


def _crop(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Two bright ellipsoids, one behind the other as the parts of a hippocampus, and their class numbers."""
    x, y, z = np.indices(MRI_SHAPE)
    label = np.zeros(MRI_SHAPE, np.uint8)
    for number, centre in ((1, 35), (2, 20)):
        label[((x - 18) / 7) ** 2 + ((y - centre) / 9) ** 2 + ((z - 18) / 6) ** 2 < 1] = number
    noise = np.random.default_rng(seed).normal(0, 6, MRI_SHAPE)
    return (80 + 40 * (label > 0) + noise).astype(np.float32), label


def _write_vessels(path: Path, source: Path, work: Path) -> None:
    if source.is_file():
        nib.save(nib.load(source).slicer[HEAD_PART], path)
    else:
        beyond2d("phantom", "vessels", "--cases", 3, "--size", 48, "--spacing_mm", 2.0, "--out", work / "vessels")
        shutil.copy(_first(work / "vessels"), path)


def _write_chest(path: Path, source: Path, work: Path) -> None:
    if source.is_file():
        shutil.copy(source, path)
    else:
        beyond2d("phantom", "chests", "--cases", 3, "--size", 96, "--out", work / "chests")
        shutil.copy(_first(work / "chests"), path)


def _write_digit(path: Path, source: Path, work: Path) -> None:
    given = ("--source", source) if source.is_dir() else ()
    beyond2d("phantom", "digits", "--cases", 50, *given, "--out", work / "digits")
    with np.load(work / "digits/test.npz") as arrays:
        _save(path, arrays["image"][0])


def _first(dataset: Path) -> Path:
    return min((dataset / "imagesTr").iterdir())


def _save(path: Path, voxels: NDArray) -> None:
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
