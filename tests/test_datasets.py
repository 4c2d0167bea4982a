from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.data import load_decathlon_datalist
from monai.transforms import Compose, LoadImage, Orientation

from beyond2d import datasets
from beyond2d.checks import InputError
from beyond2d.datasets import split_by_patient, write_dicom_series, write_vessel_dataset
from beyond2d.phantoms import VesselSpec, vessel_phantom

TILT = np.deg2rad(20)
OBLIQUE = np.array([[np.cos(TILT), -np.sin(TILT), 0], [np.sin(TILT), np.cos(TILT), 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]]
)
SMALL: dict[str, Any] = {"cases": 4, "size": 24}


def random_volume(shape: tuple[int, int, int] = (12, 10, 7)) -> np.ndarray:
    return np.random.default_rng(0).integers(-800, 1500, shape).astype(np.int16)


def affine_of(axes: np.ndarray, origin: tuple[float, float, float] = (-3.1, 4.2, 5.7)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag([0.7, 0.9, 1.3])
    affine[:3, 3] = origin
    return affine


@pytest.fixture(scope="module")
def nifti_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vessel_dataset(tmp_path_factory.mktemp("data") / "nifti", **SMALL, seed=3)


@pytest.fixture(scope="module")
def dicom_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vessel_dataset(tmp_path_factory.mktemp("data") / "dicom", **SMALL, seed=3, dicom=True)


def read_datalist(path: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        key: load_decathlon_datalist(str(path), data_list_key=key, base_dir=str(path.parent))
        for key in ("training", "validation", "test")
    }


# Splits


def test_paper_split_is_44_and_5() -> None:
    split = split_by_patient([{"patient_id": f"p{i}"} for i in range(49)])
    assert {name: len(part) for name, part in split.items()} == {"training": 40, "validation": 4, "test": 5}


@pytest.mark.parametrize(
    ("num_patients", "sizes"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (10, (8, 1, 1)), (98, (80, 8, 10))]
)
def test_other_totals_are_split_in_proportion(num_patients: int, sizes: tuple[int, int, int]) -> None:
    split = split_by_patient([{"patient_id": i} for i in range(num_patients)])
    assert tuple(len(split[name]) for name in ("training", "validation", "test")) == sizes


@pytest.mark.parametrize("seed", range(30))
def test_no_patient_crosses_a_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patients = rng.integers(0, rng.integers(3, 60), rng.integers(20, 200))
    records = [{"patient_id": f"p{patient}", "scan": scan} for scan, patient in enumerate(patients)]
    split = split_by_patient(records, shares=tuple(int(n) for n in rng.integers(1, 50, 3)), seed=seed)
    members = [{record["patient_id"] for record in part} for part in split.values()]
    assert not members[0] & members[1]
    assert not members[0] & members[2]
    assert not members[1] & members[2]
    assert all(members)
    assert sorted(record["scan"] for part in split.values() for record in part) == list(range(len(records)))


def test_split_depends_on_the_seed_only() -> None:
    records = [{"patient_id": f"p{i}"} for i in range(49)]
    assert split_by_patient(records, seed=1) == split_by_patient(records, seed=1)
    assert split_by_patient(records, seed=1) != split_by_patient(records, seed=2)
    chosen = {record["patient_id"] for record in split_by_patient(records, seed=1)["test"]}
    backwards = {record["patient_id"] for record in split_by_patient(records[::-1], seed=1)["test"]}
    assert chosen == backwards


# DICOM


@pytest.mark.parametrize(
    "axes", [np.eye(3), OBLIQUE, np.diag([-1.0, 1.0, 1.0])], ids=["upright", "oblique", "left-handed"]
)
def test_dicom_has_the_voxels_at_the_same_world_points(tmp_path: Path, axes: np.ndarray) -> None:
    volume, affine = random_volume(), affine_of(axes)
    write_dicom_series(tmp_path / "series", volume, affine, "p0")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    image = reader.Execute()
    for index in np.ndindex(*volume.shape):
        ras = affine @ [*index, 1]
        place = image.TransformPhysicalPointToContinuousIndex([-ras[0], -ras[1], ras[2]])
        np.testing.assert_allclose(place, np.round(place), atol=1e-3)
        assert image[tuple(int(i) for i in np.round(place))] == volume[index]


def test_monai_reads_the_dicom_series_as_its_nifti_twin(nifti_set: Path, dicom_set: Path) -> None:
    load = Compose([LoadImage(ensure_channel_first=True), Orientation("RAS", labels=None)])
    load_series = Compose(
        [LoadImage(reader="PydicomReader", ensure_channel_first=True), Orientation("RAS", labels=None)]
    )
    nifti = load(nifti_set.parent / "imagesTr" / "vessels_001.nii.gz")
    series = load_series(dicom_set.parent / "imagesTr" / "vessels_001")
    np.testing.assert_array_equal(series.numpy(), nifti.numpy())
    np.testing.assert_allclose(series.affine, nifti.affine, atol=1e-4)


def test_dicom_tags(tmp_path: Path) -> None:
    volume, affine = random_volume(), affine_of(np.eye(3))
    write_dicom_series(tmp_path / "series", volume, affine, "p0", seed=4)
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    first = slices[0]
    assert len(slices) == 7
    assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert first.SOPClassUID == pydicom.uid.CTImageStorage
    assert (first.Rows, first.Columns) == (10, 12)
    assert first.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert first.PixelSpacing == [0.9, 0.7]
    assert first.SliceThickness == first.SpacingBetweenSlices == 1.3
    assert [s.InstanceNumber for s in slices] == list(range(1, 8))
    assert first.PatientID == "p0"
    assert str(first.PatientName) == "PHANTOM^p0"
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({s[name].value for s in slices}) == 1
    assert len({s.SOPInstanceUID for s in slices}) == 7


def test_dicom_files_depend_on_patient_and_seed_only(tmp_path: Path) -> None:
    def written(name: str, patient_id: str, seed: int) -> list[bytes]:
        write_dicom_series(tmp_path / name, random_volume(), affine_of(np.eye(3)), patient_id, seed)
        return [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]

    first = written("a", "p0", 0)
    assert first == written("b", "p0", 0)
    uids = {
        pydicom.dcmread(tmp_path / name / "slice_0000.dcm").SeriesInstanceUID
        for name, patient_id, seed in (("a", "p0", 0), ("c", "p1", 0), ("d", "p0", 1))
        if name == "a" or written(name, patient_id, seed)
    }
    assert len(uids) == 3


def test_dicom_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    volume, affine = random_volume(), affine_of(np.eye(3))
    with pytest.raises(InputError, match=r"volume must be int16 \(X, Y, Z\), got float32 with 3 dimensions"):
        write_dicom_series(tmp_path / "a", volume.astype(np.float32), affine, "p0")
    sheared = affine.copy()
    sheared[0, 1] = 0.3
    with pytest.raises(InputError, match="affine must have perpendicular axes"):
        write_dicom_series(tmp_path / "a", volume, sheared, "p0")
    write_dicom_series(tmp_path / "a", volume, affine, "p0")
    with pytest.raises(InputError, match="expected a new or an empty folder"):
        write_dicom_series(tmp_path / "a", volume, affine, "p1")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# Data sets


def test_nifti_geometry_and_voxels(nifti_set: Path) -> None:
    image = nib.load(nifti_set.parent / "imagesTr" / "vessels_002.nii.gz")
    label = nib.load(nifti_set.parent / "labelsTr" / "vessels_002.nii.gz")
    spacing_mm = 192 / 24
    expected = np.diag([spacing_mm, spacing_mm, spacing_mm, 1])
    expected[:3, 3] = -spacing_mm * 23 / 2
    for part in (image, label):
        np.testing.assert_array_equal(part.affine, expected)
        np.testing.assert_array_equal(part.get_sform(), part.get_qform())
        assert int(part.header["sform_code"]) == int(part.header["qform_code"]) == 1
        assert part.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.int16
    assert label.get_data_dtype() == np.uint8
    phantom = vessel_phantom(3 + 2, VesselSpec((24,) * 3, (spacing_mm,) * 3))
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.rint(phantom.volume))
    np.testing.assert_array_equal(np.asarray(label.dataobj), phantom.label)


@pytest.mark.parametrize("which", ["nifti_set", "dicom_set"])
def test_datalist_names_every_case_once(which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    split = read_datalist(path)
    records = [record for part in split.values() for record in part]
    assert [len(part) for part in split.values()] == [2, 1, 1]
    assert sorted(record["seed"] for record in records) == [3, 4, 5, 6]
    assert len({record["patient_id"] for record in records}) == 4
    for record in records:
        assert Path(record["image"]).is_dir() == (which == "dicom_set")
        assert Path(record["image"]).exists()
        assert Path(record["label"]).is_file()
    content = json.loads(path.read_text())
    assert (content["numTraining"], content["numValidation"], content["numTest"]) == (2, 1, 1)
    assert not Path(content["training"][0]["image"]).is_absolute()
    assert sorted(p.name for p in path.parent.iterdir()) == ["dataset.json", "imagesTr", "labelsTr"]


def test_patient_ids_of_the_series_are_those_of_the_datalist(dicom_set: Path) -> None:
    for record in read_datalist(dicom_set)["test"]:
        first = pydicom.dcmread(sorted(Path(record["image"]).iterdir())[0])
        assert first.PatientID == record["patient_id"]


def test_earlier_results_are_kept(nifti_set: Path) -> None:
    before = nifti_set.read_bytes()
    with pytest.raises(InputError, match="already holds imagesTr; choose another folder"):
        write_vessel_dataset(nifti_set.parent, **SMALL)
    assert nifti_set.read_bytes() == before


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volume, written = datasets.vessels.save_volume, []

    def full_after_three(path: Path, *rest: Any) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        write_volume(path, *rest)

    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(datasets.vessels, "save_volume", full_after_three)
    with pytest.raises(InputError, match="the disk is full"):
        write_vessel_dataset(tmp_path, **SMALL)
    assert len(written) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"cases": 0}, "cases must be a whole number of at least 1, got 0"),
        ({"cases": "two"}, "cases must be a whole number of at least 1, got 'two'"),
        ({"size": 4}, "size must be a whole number of at least 16, got 4"),
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        ({"size": 24.5}, "size must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"spacing_mm": -1.0}, "spacing_mm must be three lengths above 0"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_vessel_dataset(tmp_path / "out", **{**SMALL, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file/out: Not a directory"):
        write_vessel_dataset(tmp_path / "file" / "out", **SMALL)


@pytest.mark.parametrize(
    ("records", "shares", "words"),
    [
        ([], (40, 4, 5), "records must hold at least one patient, got none"),
        ([{"patient_id": 1}], (1, 1), "shares must be three numbers above 0"),
        ([{"patient_id": 1}], (40, 0, 5), "shares must be three numbers above 0"),
    ],
)
def test_bad_splits(records: list[dict[str, Any]], shares: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        split_by_patient(records, shares)
