"""The command line of infected lung: what it writes, and what it says to bad input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from conftest import new_network
from image_files import edit_slice

from beyond2d.__main__ import main
from beyond2d.datasets import write_dicom_series
from beyond2d.report.infection import INFECTION_FILES

COARSE = ["--spacing_mm", "[12.0,12.0,12.0]"]
AFFINE = np.diag([11.875, 11.875, 11.875, 1])


@pytest.fixture
def case(chests, lung_models, tmp_path):
    """A folder with one chest as NIfTI and as DICOM, its label, weights, and a result of earlier."""
    datalist = json.loads((chests / "dataset.json").read_text(encoding="utf-8"))["test"][0]
    shutil.copy(chests / datalist["image"], tmp_path / "scan.nii.gz")
    shutil.copy(chests / datalist["label"], tmp_path / "label.nii.gz")
    shutil.copytree(lung_models, tmp_path / "models")
    image = nib.load(tmp_path / "scan.nii.gz")
    write_dicom_series(tmp_path / "series", np.asarray(image.dataobj), image.affine, "secret")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("of earlier")
    return tmp_path


def quantify(folder, *more, scan="scan.nii.gz"):
    main(["quantify", str(folder / scan), "--models_dir", str(folder / "models"), "--out", str(folder / "out"),
          *COARSE, *map(str, more)])  # fmt: skip


def refusal(folder, capsys, *more, scan="scan.nii.gz"):
    """The one line on stderr that the command ends with."""
    with pytest.raises(SystemExit) as ended:
        quantify(folder, *more, scan=scan)
    assert ended.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("beyond2d: ")]
    return line.removeprefix("beyond2d: ")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def report_of(folder):
    return json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))


def save(path, voxels, affine=AFFINE):
    nib.save(nib.Nifti1Image(np.asarray(voxels), affine), path)


def voxels_of(folder):
    return np.asarray(nib.load(folder / "scan.nii.gz").dataobj).astype(np.float32)


def test_a_scan_is_quantified_on_its_own_grid(case, capsys):
    quantify(case, "--label", case / "label.nii.gz", "--title", "A title")
    assert sorted(path.name for path in (case / "out").iterdir()) == sorted(INFECTION_FILES)
    image = nib.load(case / "scan.nii.gz")
    for name in ("lung.nii.gz", "infection.nii.gz"):
        mask = nib.load(case / "out" / name)
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    report, printed = report_of(case), capsys.readouterr().out
    assert report["scores"]["true_proportion"] > 0
    assert f"{100 * report['proportion']:.1f} %" in printed
    assert str(case / "out" / "report.html") in printed
    assert all(flag["text"] in printed for flag in report["flags"])
    assert "A title" in (case / "out" / "report.html").read_text(encoding="utf-8")


def test_a_series_gives_what_the_file_gives_and_tells_nothing_of_the_patient(case, capsys):
    quantify(case)
    from_file = report_of(case)
    for number, path in enumerate(sorted((case / "series").iterdir(), key=lambda path: path.name[::-1])):
        path.rename(path.with_name(f"image{number:03d}"))  # in another order than in space, without an ending
    quantify(case, scan="series")
    from_series = report_of(case)
    for key in ("lung_ml", "infection_ml", "proportion"):
        assert from_series[key] == pytest.approx(from_file[key], rel=1e-3)
    # A DICOM SEG belongs to the patient's study, and says so.
    written = b"".join(path.read_bytes() for path in (case / "out").iterdir() if path.suffix != ".dcm")
    assert b"secret" not in written.lower()
    assert "secret" not in capsys.readouterr().out.lower()


def test_two_dates_are_compared(case, capsys):
    quantify(case)
    earlier = report_of(case)
    shutil.move(case / "out" / "report.json", case / "earlier.json")
    quantify(case, "--baseline", case / "earlier.json", "--hours", 30)
    growth = report_of(case)["growth"]
    assert growth["earlier_proportion"] == earlier["proportion"]
    assert (growth["relative"], growth["hours"], growth["rapid"]) == (0, 30, False)


def test_a_lost_intercept_can_be_given_back(case):
    quantify(case)
    as_it_was = report_of(case)
    save(case / "scan.nii.gz", voxels_of(case) + 1024, nib.load(case / "scan.nii.gz").affine)
    quantify(case, "--hu_offset", -1024)
    assert report_of(case)["lung_ml"] == as_it_was["lung_ml"]


def test_a_scan_without_lungs_is_a_result_and_no_failure(case, capsys):
    """Weights that call everything background."""
    network = new_network(system="infection")
    for parameter in network.final_conv.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        network.final_conv.bias[:3] = 10  # class 0 of three slices
    torch.save(network.state_dict(), case / "models" / "model.pt")
    quantify(case)
    report = report_of(case)
    assert (report["proportion"], report["lung_ml"]) == (None, 0)
    assert "no_lung" in [flag["code"] for flag in report["flags"]]
    assert not np.asarray(nib.load(case / "out" / "lung.nii.gz").dataobj).any()
    assert "too little" in capsys.readouterr().out


def spoil_voxels(change):
    def spoil(folder):
        save(folder / "scan.nii.gz", change(voxels_of(folder)))

    return spoil


def without_rescale(folder):
    """Stored numbers that are HU + 1024, and no tag that says so."""
    for path in (folder / "series").iterdir():
        slice_ = pydicom.dcmread(path)
        pixels = slice_.pixel_array * int(slice_.RescaleSlope) + int(slice_.RescaleIntercept) + 1024
        slice_.PixelData, slice_.PixelRepresentation = pixels.astype(np.uint16).tobytes(), 0
        del slice_.RescaleSlope, slice_.RescaleIntercept
        slice_.save_as(path)


def edit_series(**tags):
    def spoil(folder):
        for path in (folder / "series").iterdir():
            edit_slice(path, **tags)

    return spoil


def slices(folder):
    return sorted((folder / "series").iterdir())


def tilt(folder):
    for path in slices(folder):
        position = [float(number) for number in pydicom.dcmread(path).ImagePositionPatient]
        edit_slice(path, ImagePositionPatient=[position[0], position[1] + 0.3 * position[2], position[2]])


def two_series(folder):
    for path in slices(folder)[:5]:
        shutil.copy(path, path.with_name(f"other_{path.name}"))
        edit_slice(path.with_name(f"other_{path.name}"), SeriesInstanceUID="1.2.3")


def keep(count):
    def spoil(folder):
        for path in slices(folder)[count:]:
            path.unlink()

    return spoil


def write(name, text):
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def other_weights(name):
    return lambda folder: torch.save({"weight": torch.zeros(3)}, folder / "models" / name)


BAD = {
    "no such file": (lambda folder: (folder / "scan.nii.gz").unlink(), [], "scan.nii.gz: no such file or folder"),
    "text": (write("scan.nii.gz", "no image"), [], "scan.nii.gz: expected a NIfTI image, got something else"),
    "one slice": (spoil_voxels(lambda hu: hu[..., :1]), [], "expected a 3D volume, got one slice"),
    "a time series": (spoil_voxels(lambda hu: np.stack([hu, hu], -1)), [], "expected a 3D volume, got 4 dimensions"),
    "MR": (spoil_voxels(lambda hu: (hu + 1024) / 5), [], "an MR image, or a picture of a CT?"),
    "no intercept": (spoil_voxels(lambda hu: hu + 1024), [], "the intercept is missing; give --hu_offset -1024"),
    "unsigned": (spoil_voxels(lambda hu: hu.astype(np.int32) % 65536), [], "negative HU were stored as unsigned"),
    "not a number": (spoil_voxels(lambda hu: np.where(hu > 100, np.nan, hu)), [], "that are NaN or infinite"),
    "constant": (spoil_voxels(lambda hu: 0 * hu - 1000), [], "got the same value -1000 in every voxel"),
    "wrong offset": (lambda folder: None, ["--hu_offset", "1024"], "the intercept is missing"),
    "offset of words": (lambda folder: None, ["--hu_offset", "some"], "hu_offset must be a number, got 'some'"),
    "label elsewhere": (
        lambda folder: save(folder / "label.nii.gz", np.ones((4, 4, 4), np.uint8)),
        ["--label", "{}/label.nii.gz"],
        "label: expected the image's shape (32, 32, 25), got (4, 4, 4)",
    ),
    "label of other values": (
        lambda folder: save(folder / "label.nii.gz", np.full(voxels_of(folder).shape, 7, np.uint8),
                            nib.load(folder / "scan.nii.gz").affine),
        ["--label", "{}/label.nii.gz"],
        "label.nii.gz: expected the label values 0, 1, 2, 255, got 7",
    ),
    "no baseline": (lambda folder: None, ["--baseline", "{}/none.json"], "none.json"),
    "a baseline of text": (write("b.json", "{"), ["--baseline", "{}/b.json"], "b.json"),
    "a baseline without a proportion": (write("b.json", "{}"), ["--baseline", "{}/b.json"], "b.json"),
    "hours alone": (lambda folder: None, ["--hours", "24"], "hours needs the baseline"),
    "no weights": (lambda folder: (folder / "models" / "model.pt").unlink(), [], "model.pt: expected a file of"),
    "other weights": (other_weights("model.pt"), [], "model.pt: expected weights of the config's network"),
    "other weights of the 2D network": (other_weights("plane.pt"), [], "plane.pt: expected weights of the config's"),
    "other weights of the classifier": (other_weights("classifier.pt"), [], "classifier.pt: expected weights of the"),
    "no threshold": (
        lambda folder: (folder / "models" / "judgement.json").unlink(), [], "judgement.json: expected the threshold",
    ),
    "no calibration": (
        lambda folder: (folder / "models" / "interval.json").unlink(), [], "interval.json: expected the calibration",
    ),
    "a threshold of words": (write("models/judgement.json", '{"threshold": "high"}'), [], "threshold must be a number"),
    "a misspelt option": (lambda folder: None, ["--second_opinon", "False"], "did you mean second_opinion?"),
}  # fmt: skip
BAD_SERIES = {
    "MR series": (edit_series(Modality="MR"), "series: expected the modality CT, got a series of MR"),
    "one slice": (keep(1), "expected a 3D series of at least 2 DICOM slices, got one slice"),
    "a gap": (lambda folder: slices(folder)[9].unlink(), "mm, got none between"),
    "two series": (two_series, "expected a folder with one DICOM series, got 2"),
    "a tilted gantry": (tilt, "expected slices straight above one another"),
    "no rescale tags": (without_rescale, "the intercept is missing; give --hu_offset -1024"),
    "empty": (keep(0), "series: expected a folder with one DICOM series, got no files"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_changes_nothing(case, capsys, name):
    spoil, options, fragment = BAD[name]
    spoil(case)
    before = contents(case)
    assert fragment in refusal(case, capsys, *(option.format(case) for option in options))
    assert contents(case) == before


@pytest.mark.parametrize("name", BAD_SERIES)
def test_a_bad_series_is_one_line_and_changes_nothing(case, capsys, name):
    spoil, fragment = BAD_SERIES[name]
    spoil(case)
    before = contents(case)
    assert fragment in refusal(case, capsys, scan="series")
    assert contents(case) == before


def test_out_that_is_a_file_is_refused(case, capsys):
    (case / "taken").write_text("a file")
    assert "out: cannot write into" in refusal(case, capsys, "--output_dir", case / "taken")
