"""First labels of a chest CT from thresholds: what they are worth, where they lie, and what is refused."""

import csv

import nibabel as nib
import numpy as np
import pytest
from test_main_segmentation import refusal

from beyond2d.__main__ import main
from beyond2d.phantoms import ChestSpec, centred_affine, chest_phantom
from beyond2d.report.drafts import DRAFT_FILES, write_draft_labels

SIZE, SPACING_MM = (96, 96, 40), (3.95, 3.95, 7.5)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """A folder with an infected chest, its label, and the same two turned as DICOM has them."""
    folder = tmp_path_factory.mktemp("chest")
    phantom = chest_phantom(12, ChestSpec(SIZE, SPACING_MM, lesions=True))
    affine = centred_affine(SIZE, SPACING_MM)
    for name, volume, dtype in (("image", phantom.volume, np.int16), ("label", phantom.label, np.uint8)):
        upright = nib.Nifti1Image(np.rint(volume).astype(dtype), affine)
        nib.save(upright, folder / f"{name}.nii.gz")
        turned = [[0, -1], [2, 1], [1, -1]]
        nib.save(upright.as_reoriented(np.array(turned)), folder / f"{name}_turned.nii.gz")
    return folder


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_the_lung_is_found_without_a_reference(chest, tmp_path):
    sweeps = write_draft_labels(chest / "image.nii.gz", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(DRAFT_FILES)
    label, truth = (nib.load(path) for path in (tmp_path / "out" / "label.nii.gz", chest / "label.nii.gz"))
    assert np.allclose(label.affine, truth.affine)
    assert dice(np.asarray(label.dataobj) > 0, np.asarray(truth.dataobj) > 0) > 0.95
    assert -700 < sweeps["lung"].best.threshold < -200
    assert all(step.dice is None for step in sweeps["infection"].steps)


def test_a_reference_chooses_the_thresholds(chest, tmp_path):
    sweeps = write_draft_labels(chest / "image.nii.gz", tmp_path / "out", chest / "label.nii.gz")
    for sweep in sweeps.values():
        assert sweep.best.dice == max(step.dice for step in sweep.steps) > 0
    label, truth = (
        np.asarray(nib.load(path).dataobj) for path in (tmp_path / "out" / "label.nii.gz", chest / "label.nii.gz")
    )
    assert dice(label == 2, truth == 2) == pytest.approx(sweeps["infection"].best.dice)
    with (tmp_path / "out" / "thresholds.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["threshold"] for row in rows if row["best"] == "True"] == [
        str(sweep.best.threshold) for sweep in sweeps.values()
    ]
    assert len(rows) == sum(len(sweep.steps) for sweep in sweeps.values()) == 34


def test_a_turned_scan_has_the_same_draft_on_its_own_grid(chest, tmp_path):
    for name in ("image", "image_turned"):
        write_draft_labels(chest / f"{name}.nii.gz", tmp_path / name)
    upright, turned = (nib.load(tmp_path / name / "label.nii.gz") for name in ("image", "image_turned"))
    assert np.allclose(turned.affine, nib.load(chest / "image_turned.nii.gz").affine)
    assert np.array_equal(nib.as_closest_canonical(turned).dataobj, np.asarray(upright.dataobj))


def test_a_healthy_reference_chooses_by_the_plateau(chest, tmp_path):
    healthy = nib.load(chest / "label.nii.gz")
    path = tmp_path / "healthy.nii.gz"
    nib.save(nib.Nifti1Image((np.asarray(healthy.dataobj) > 0).astype(np.uint8), healthy.affine), path)
    sweeps = write_draft_labels(chest / "image.nii.gz", tmp_path / "out", path)
    assert sweeps["infection"].best.dice is None
    assert sweeps["lung"].best.dice > 0.95


def test_the_command_says_what_to_do_next(chest, tmp_path, capsys):
    main(["draft-labels", str(chest / "image.nii.gz"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "ml at" in printed
    assert f"correct {tmp_path / 'out' / 'label.nii.gz'}" in printed


def spoilt(folder, name, change, affine=None):
    image = nib.load(folder / "image.nii.gz")
    path = folder / name
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine if affine is None else affine), path)
    return path


def test_what_is_no_chest_is_refused(chest, tmp_path, capsys):
    head = spoilt(chest, "head.nii.gz", lambda hu: np.where(hu > -950, 40, hu).astype(np.int16))
    line = refusal(["draft-labels", str(head), "--out", str(tmp_path / "out")], capsys)
    assert line == f"{head}: expected a chest CT in HU, found no lung in it"
    assert not (tmp_path / "out").exists()


def bones(hu):
    return (hu > 300).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "affine", "expected"),
    [
        (lambda hu: bones(hu) * 7, None, "{file}: expected the label values 0, 1 (lung), 2 (infection), got 7"),
        (bones, np.eye(4), "reference: expected the image's place in the world, got a grid up to"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(change, affine, expected, chest, tmp_path, capsys):
    file = spoilt(chest, "reference.nii.gz", change, affine)
    options = ["--out", str(tmp_path / "out"), "--reference", str(file)]
    line = refusal(["draft-labels", str(chest / "image.nii.gz"), *options], capsys)
    assert expected.format(file=file) in line
    assert not (tmp_path / "out").exists()
