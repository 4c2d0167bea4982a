"""Every defect of a data set is found once, by the name of its file, and a sound one has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from beyond2d.checks import InputError
from beyond2d.datasets import write_vessel_dataset
from beyond2d.integrity import Finding, check_dataset, require_sound

LABELS = {"0": "background", "1": "liver", "2": "spleen"}
SHAPE = (10, 9, 8)
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
SECTIONS = {"training": ("a", "b", "c"), "validation": ("d",), "test": ("e",)}


def image_of(name: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng([ord(letter) for letter in name]).integers(-100, 200, shape, dtype=np.int16)


def label_of(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    label[2:5, 2:5, 2:5], label[6:8, 2:5, 2:5] = 1, 2
    return label


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(voxels, affine), path)


def add_case(folder: Path, name: str) -> dict[str, str]:
    save(folder / f"imagesTr/{name}.nii.gz", image_of(name))
    save(folder / f"labelsTr/{name}.nii.gz", label_of())
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Five small cases, the test case without a label, and the hidden files that the decathlon's archives contain."""
    folder = tmp_path / "data"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
        (folder / part / "._a.nii.gz").write_bytes(b"Mac OS X")
    sections: dict[str, Any] = {
        section: [add_case(folder, name) for name in names] for section, names in SECTIONS.items()
    }
    sections["test"] = [sections["test"][0]["image"]]
    write_list(folder, {"labels": LABELS, "modality": {"0": "CT"}, **sections})
    return folder


def read_list(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "dataset.json").read_text())


def write_list(folder: Path, content: dict[str, Any]) -> None:
    (folder / "dataset.json").write_text(json.dumps(content))


def found(folder: Path) -> list[tuple[str, str]]:
    return [(finding.file, finding.problem) for finding in check_dataset(folder, progress=False)]


def test_a_sound_folder_has_no_findings(sound: Path) -> None:
    assert check_dataset(sound) == []
    require_sound(sound)


# What can be done to the image or the label of case b


def rewrite(voxels: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> Callable[[Path], None]:
    """Changes the voxels of a file, and where they lie."""

    def apply(path: Path) -> None:
        old = nib.load(path)
        save(path, voxels(np.asarray(old.dataobj)), old.affine if affine is None else affine)

    return apply


def with_value(value: float, voxels: int = 3, dtype: Any = np.float32) -> Callable[[Path], None]:
    """Gives the first voxels another value."""

    def change(old: np.ndarray) -> np.ndarray:
        new = old.astype(dtype)
        new[:voxels, 0, 0] = value
        return new

    return rewrite(change)


def with_header(**fields: Any) -> Callable[[Path], None]:
    """Writes fields of the header as they are, past nibabel's own repairs."""

    def apply(path: Path) -> None:
        image = nib.load(path)
        plain = path.with_suffix("")
        nib.save(image, plain)
        content = plain.read_bytes()
        raw = nib.Nifti1Header(content[:348], check=False)
        for field, value in fields.items():
            raw[field] = value
        with nib.openers.Opener(str(path), "wb") as file:
            file.write(raw.binaryblock + content[348:])
        plain.unlink()

    return apply


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def with_bad_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def as_text(path: Path) -> None:
    path.write_text("hello\n" * 99)


def shifted(by_mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] = by_mm
    return affine


FLAT = {"sform_code": 1, "srow_x": [1, 0, 0, 0], "srow_y": [1, 0, 0, 0], "srow_z": [0, 0, 1, 0]}
BAD_IMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "no such file or folder; expected a NIfTI file"),
    "cut": (cut, "NIfTI file is damaged or cut short"),
    "checksum": (with_bad_checksum, "NIfTI file is damaged or cut short (CRC check failed"),
    "text": (as_text, "expected a NIfTI image, got something else"),
    "zero voxel size": (
        with_header(pixdim=[1, 1.5, 0, 2, 1, 1, 1, 1]),
        "expected positive voxel sizes in mm, got 1.5 x 0 x 2",
    ),
    "negative voxel size": (
        with_header(pixdim=[1, -1.5, 1.5, 2, 1, 1, 1, 1]),
        "expected positive voxel sizes in mm, got -1.5 x 1.5 x 2",
    ),
    "NaN voxel size": (
        with_header(pixdim=[1, 1.5, np.nan, 2, 1, 1, 1, 1]),
        "expected positive voxel sizes in mm, got 1.5 x nan x 2",
    ),
    "flat affine": (with_header(**FLAT), "affine must have three independent axes"),
    "NaN affine": (with_header(sform_code=1, srow_x=[np.nan, 0, 0, 0]), "affine must be 4 x 4 finite numbers"),
    "two channels": (
        rewrite(lambda old: np.stack([old, old], axis=-1)),
        "expected a 3D volume, got 4 dimensions (10 x 9 x 8 x 2)",
    ),
    "a slice": (rewrite(lambda old: old[:, :, :1]), "expected a 3D volume, got one slice (10 x 9 x 1)"),
    "NaN": (with_value(np.nan), "expected finite voxels, got 3 that are NaN or infinite"),
    "infinite": (with_value(-np.inf, 2), "expected finite voxels, got 2 that are NaN or infinite"),
    "constant": (rewrite(lambda old: old * 0 + 4), "expected an image, got the same value 4 in every voxel"),
    "complex": (rewrite(lambda old: old.astype(np.complex64)), "expected one number a voxel, got complex64"),
}
BAD_LABELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": BAD_IMAGES["missing"],
    "checksum": BAD_IMAGES["checksum"],
    "complex": BAD_IMAGES["complex"],
    "NaN": BAD_IMAGES["NaN"],
    "two channels": BAD_IMAGES["two channels"],
    "fractions": (
        with_value(0.5),
        "expected a label map of whole numbers, got 3 voxels with fractions such as 0.5",
    ),
    "an unknown value": (with_value(7), "expected the labels 0, 1, 2 of the list, got 7 (3 voxels)"),
    "a negative value": (with_value(-1), "expected the labels 0, 1, 2 of the list, got -1 (3 voxels)"),
    "many unknown values": (
        rewrite(lambda old: image_of("many").astype(np.float32) + 1000),
        "expected the labels 0, 1, 2 of the list, got 900 (",
    ),
    "empty": (rewrite(lambda old: old * 0), "expected at least one voxel of a label, got an empty label map"),
    "other shape": (
        rewrite(lambda old: old[:, :, :-1]),
        "expected the image's shape (10, 9, 8), got (10, 9, 7)",
    ),
    "other place": (
        rewrite(lambda old: old, shifted(0.2)),
        "expected the image's place in the world, got a grid up to 0.2 mm away",
    ),
}


@pytest.mark.parametrize("defect", BAD_IMAGES)
def test_bad_images(sound: Path, defect: str) -> None:
    spoil, words = BAD_IMAGES[defect]
    spoil(sound / "imagesTr/b.nii.gz")
    ((file, problem),) = found(sound)
    assert file == "imagesTr/b.nii.gz"
    assert problem.startswith(words)
    assert "\n" not in problem


@pytest.mark.parametrize("defect", BAD_LABELS)
def test_bad_labels(sound: Path, defect: str) -> None:
    spoil, words = BAD_LABELS[defect]
    spoil(sound / "labelsTr/b.nii.gz")
    ((file, problem),) = found(sound)
    assert file == "labelsTr/b.nii.gz"
    assert problem.startswith(words)


def test_a_long_list_of_values_is_cut(sound: Path) -> None:
    BAD_LABELS["many unknown values"][0](sound / "labelsTr/b.nii.gz")
    ((_, problem),) = found(sound)
    assert problem.count("voxels)") == 5
    assert problem.endswith(", ...")


def test_what_is_good_enough(sound: Path) -> None:
    """Floats that are whole, a scale that rounds, a grid less than a tenth of a voxel away."""
    with_value(2.0, dtype=np.float64)(sound / "labelsTr/a.nii.gz")
    rewrite(lambda old: old, shifted(0.1))(sound / "labelsTr/b.nii.gz")
    image = nib.Nifti1Image(label_of() * 100, AFFINE)
    image.header.set_slope_inter(0.010000002, 0)
    nib.save(image, sound / "labelsTr/c.nii.gz")
    assert found(sound) == []


@pytest.mark.parametrize("axes", [(-1, 2, 3), (2, 3, 1), (-3, -1, 2)])
def test_a_label_stored_along_other_axes_fits(sound: Path, axes: tuple[int, ...]) -> None:
    """The axes of the file, counted from 1, negative where they run the other way."""
    orientation = np.array([[abs(axis) - 1, np.sign(axis)] for axis in axes])
    label = nib.load(sound / "labelsTr/b.nii.gz").as_reoriented(orientation)
    nib.save(label, sound / "labelsTr/b.nii.gz")
    assert found(sound) == []


# What can be done to the list


def entry(name: str, **more: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz", **more}


BAD_LISTS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "a case twice in a section": (
        {"training": [entry("a"), entry("b"), entry("c"), entry("b")]},
        ("imagesTr/b.nii.gz", "expected the file once in the list, got it twice in training"),
    ),
    "a case in two sections": (
        {"test": [entry("a")]},
        ("imagesTr/a.nii.gz", "expected the file once in the list, got it in training and in test"),
    ),
    "a label for two images": (
        {"validation": [{**entry("d"), "label": "labelsTr/a.nii.gz"}]},
        ("labelsTr/a.nii.gz", "expected the file once in the list, got it in training and in validation"),
    ),
    "a patient in two sections": (
        {"training": [entry("a"), entry("b", patient_id="p"), entry("c")], "test": [entry("e", patient_id="p")]},
        ("imagesTr/e.nii.gz", "expected patient p in one section, got training and test"),
    ),
    "no label": (
        {"training": [entry("a"), {"image": "imagesTr/b.nii.gz"}, entry("c")]},
        ("imagesTr/b.nii.gz", "expected a label for each image of training, the list names none"),
    ),
    "a label that nobody has": (
        {"labels": {**LABELS, "3": "kidney"}},
        ("dataset.json", "expected label 3 (kidney) in at least one case, got none in 4 label files"),
    ),
    "an unused file that is missing": (
        {"test": ["./imagesTs/x.nii.gz"]},
        ("imagesTs/x.nii.gz", "no such file or folder; expected a NIfTI file (.nii or .nii.gz) or a folder"),
    ),
}


@pytest.mark.parametrize("defect", BAD_LISTS)
def test_bad_lists(sound: Path, defect: str) -> None:
    change, (file, words) = BAD_LISTS[defect]
    write_list(sound, {**read_list(sound), **change})
    ((bad_file, problem),) = found(sound)
    assert bad_file == file
    assert problem.startswith(words)


def test_a_patient_may_have_several_scans_in_one_section(sound: Path) -> None:
    training = [entry(name, patient_id="p") for name in "abc"]
    write_list(sound, {**read_list(sound), "training": training})
    assert found(sound) == []


def test_one_image_under_two_names(sound: Path) -> None:
    shutil.copy(sound / "imagesTr/b.nii.gz", sound / "imagesTr/e.nii.gz")
    expected = "expected an image of its own in test, got the voxels of imagesTr/b.nii.gz of training"
    assert found(sound) == [("imagesTr/e.nii.gz", expected)]
    shutil.copy(sound / "imagesTr/e.nii.gz", sound / "imagesTr/c.nii.gz")  # twice in training tells nothing of the test
    assert found(sound) == [("imagesTr/e.nii.gz", expected)]


def test_the_ignore_label(sound: Path) -> None:
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 255}
    write_list(sound, {**read_list(sound), "labels": labels})
    with_value(255, dtype=np.uint8)(sound / "labelsTr/a.nii.gz")
    assert found(sound) == []
    rewrite(lambda old: old * 0 + 255)(sound / "labelsTr/b.nii.gz")
    rewrite(lambda old: np.where(old > 1, 255, 0).astype(np.uint8))(sound / "labelsTr/c.nii.gz")
    assert found(sound) == [
        ("labelsTr/b.nii.gz", "expected labelled voxels, got 255 (ignore) in every voxel"),
        ("labelsTr/c.nii.gz", "expected at least one voxel of a label, got an empty label map"),
    ]


def test_images_of_several_channels(sound: Path) -> None:
    write_list(sound, {**read_list(sound), "modality": {"0": "T1", "1": "T2"}})
    for name in "abcde":
        save(sound / f"imagesTr/{name}.nii.gz", image_of(name, (*SHAPE, 2)))
    assert found(sound) == []
    save(sound / "imagesTr/a.nii.gz", image_of("a", (*SHAPE, 3)))
    save(sound / "imagesTr/b.nii.gz", image_of("b"))
    constant = image_of("c", (*SHAPE, 2))
    constant[..., 1] = 5
    save(sound / "imagesTr/c.nii.gz", constant)
    assert found(sound) == [
        ("imagesTr/a.nii.gz", "expected a 3D volume with 2 channels, got 10 x 9 x 8 x 3"),
        ("imagesTr/b.nii.gz", "expected a 3D volume with 2 channels, got 10 x 9 x 8"),
        ("imagesTr/c.nii.gz", "expected an image, got the same value 5 in every voxel of channel 1"),
    ]


def test_dicom_series_as_images(tmp_path: Path) -> None:
    write_vessel_dataset(tmp_path, cases=3, size=32, spacing_mm=4, dicom=True)
    assert check_dataset(tmp_path, progress=False) == []


# All at once


def test_every_planted_defect_is_found_once(organs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "organs"
    shutil.copytree(organs, folder)
    content = read_list(folder)
    names = [Path(item["image"]).name for section in SECTIONS for item in content[section]]
    images, labels = folder / "imagesTr", folder / "labelsTr"
    planted = set()

    def add(name: str, section: str, spoil: Callable[[Path], None] | None = None, part: str = "imagesTr") -> None:
        """Another case, with a defect in its image or its label."""
        for kind, source in ((images, names[0]), (labels, names[0])):
            image = nib.load(kind / source)
            voxels = np.asarray(image.dataobj).copy()
            voxels[0, 0, 0] += len(content["training"]) if kind == images else 0
            nib.save(nib.Nifti1Image(voxels, image.affine, image.header), kind / f"{name}.nii.gz")
        content[section].append(entry(name))
        if spoil is not None:
            spoil(folder / part / f"{name}.nii.gz")
            planted.add(f"{part}/{name}.nii.gz")

    for defect in (
        "missing",
        "cut",
        "checksum",
        "text",
        "zero voxel size",
        "two channels",
        "a slice",
        "NaN",
        "constant",
    ):
        add(f"image {defect}", "training", BAD_IMAGES[defect][0])
    for defect in ("missing", "fractions", "an unknown value", "empty", "other shape"):
        spoil = with_value(9) if defect == "an unknown value" else BAD_LABELS[defect][0]
        add(f"label {defect}", "training", spoil, "labelsTr")
    shutil.copy(images / names[1], images / "twin.nii.gz")
    content["test"].append("imagesTr/twin.nii.gz")
    content["validation"].append(entry(Path(names[2]).name.removesuffix(".nii.gz")))
    content["labels"]["4"] = "pancreas"
    planted |= {"imagesTr/twin.nii.gz", f"imagesTr/{names[2]}", "dataset.json"}
    write_list(folder, content)

    findings = found(folder)
    assert len(planted) == 17
    assert sorted(file for file, _ in findings) == sorted(planted)


def test_a_training_is_refused_with_one_line(sound: Path) -> None:
    (sound / "imagesTr/b.nii.gz").unlink()
    (sound / "labelsTr/b.nii.gz").unlink()
    BAD_LABELS["empty"][0](sound / "labelsTr/d.nii.gz")
    with pytest.raises(InputError) as caught:
        require_sound(sound)
    text = str(caught.value)
    assert text.startswith(f"2 of 5 cases in {sound} cannot be used, first imagesTr/b.nii.gz: no such file or folder")
    assert text.endswith(f"; `beyond2d check-data {sound}` lists them all")
    assert "\n" not in text


def test_a_list_that_promises_too_much_is_refused(sound: Path) -> None:
    write_list(sound, {**read_list(sound), "labels": {**LABELS, "3": "kidney"}})
    with pytest.raises(InputError, match=r"^the list of .* cannot be used, first dataset.json: expected label 3"):
        require_sound(sound, progress=False)


def test_a_finding_is_a_file_and_words() -> None:
    assert Finding("a.nii", "expected more")._fields == ("file", "problem")


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_data_set_is_sound(real_data: Path) -> None:
    if not (real_data / "hippocampus").is_dir():
        pytest.skip("there is no real data set in the decathlon layout")
    assert check_dataset(real_data / "hippocampus") == []
