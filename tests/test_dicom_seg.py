"""DICOM SEG: read back by hand from its tags, by another program where there is one, and by its own library."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from image_files import (
    AXIAL,
    LPS_TO_RAS,
    OBLIQUE,
    STEP_MM,
    compress,
    edit_slice,
    load_volume,
    random_volume,
    write_nifti,
    write_series,
)
from matplotlib.colors import to_rgb
from monai.data import MetaTensor
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import JPEG2000Lossless
from scipy.spatial import cKDTree

from beyond2d import __version__
from beyond2d.__main__ import main
from beyond2d.checks import InputError
from beyond2d.datasets import write_dicom_series
from beyond2d.report import terminology
from beyond2d.report.dicom_seg import SaveDicomSegd
from beyond2d.report.overlays import class_colours
from beyond2d.report.terminology import PROPERTIES, UNKNOWN, property_of
from beyond2d.writers import save_volume

highdicom = pytest.importorskip("highdicom")
DCMQI = shutil.which("segimage2itkimage", path=str(Path(sys.executable).parent)) or shutil.which("segimage2itkimage")
# Rows: along a row of pixels, down a column, and the normal of the slices, in LPS.
AXES = {
    "axial": AXIAL,
    "head first": np.diag([1.0, -1.0, -1.0]),  # the normal points to the feet
    "sagittal": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "oblique": OBLIQUE,
}
IDENTITY = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.3.5"}
MASKS = {"mask": ["background", "liver", "spleen"]}


def blob(shape: tuple[int, ...]) -> np.ndarray:
    """Class numbers without any symmetry; neither class is in every slice, and no slice is like another."""
    classes = np.zeros(shape, np.uint8)
    for z in range(1, shape[2] - 1):
        classes[1 : 3 + z, 2 : 2 + z, z] = 1
    classes[-1, -2:, 2] = classes[0, 0, -2] = 2
    return classes


def series_with(folder: Path, axes: np.ndarray = AXIAL, positions: np.ndarray | None = None, **tags: Any) -> Path:
    write_series(folder / "series", random_volume(), axes, positions, **{**IDENTITY, **tags})
    return folder / "series"


def save(
    source: Path, out: Path, classes: np.ndarray | None = None, masks: Any = None, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Write the DICOM SEG of class numbers, or probabilities, on the grid of an image; gives both and the affine."""
    image = load_volume(source)
    classes = blob(tuple(image.shape[1:])) if classes is None else classes
    item = {"image": image, "pred": MetaTensor(classes[None], affine=image.affine)}
    SaveDicomSegd(output_dir=str(out), single=True, masks=masks or MASKS, system="test", **options)(item)
    return classes, np.asarray(image.affine)


def points_of(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the voxels of a mask are, RAS in mm."""
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def read_by_hand(path: Path) -> dict[str, np.ndarray]:
    """Where the voxels of every segment are, RAS in mm, from nothing but the tags and bits of each frame."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    rows, columns = seg.Rows, seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * rows * columns].reshape(-1, rows, columns)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    found: dict[int, list[np.ndarray]] = {int(item.SegmentNumber): [np.zeros((0, 3))] for item in seg.SegmentSequence}
    for pixels, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(pixels)
        places = origin + np.outer(column * column_mm, orientation[0]) + np.outer(row * row_mm, orientation[1])
        owner = group if "SegmentIdentificationSequence" in group else shared
        number = owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number].append(places @ LPS_TO_RAS[:3, :3])
    return {str(item.SegmentLabel): np.concatenate(found[item.SegmentNumber]) for item in seg.SegmentSequence}


def farthest_mm(points: np.ndarray, others: np.ndarray) -> float:
    """How far a point of either set may be from the other set."""
    assert len(points) == len(others)
    if not len(points):
        return 0.0
    return float(max(cKDTree(points).query(others)[0].max(), cKDTree(others).query(points)[0].max()))


def check_overlay(path: Path, classes: np.ndarray, affine: np.ndarray, names: list[str]) -> None:
    """Every segment has its name and lies on its class, within a hundredth of the shortest side of a voxel."""
    found = read_by_hand(path)
    assert list(found) == names
    for number, name in enumerate(names, 1):
        assert farthest_mm(found[name], points_of(classes == number, affine)) < 0.01 * STEP_MM / 4


def check_references(path: Path, series: Path, classes: np.ndarray) -> None:
    """Each frame names the slice that lies where it lies, and only slices with something in them have one."""
    seg = pydicom.dcmread(path)
    slices = {slice_.file_meta.MediaStorageSOPInstanceUID: slice_ for slice_ in map(pydicom.dcmread, series.iterdir())}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        source = slices[reference.ReferencedSOPInstanceUID]
        assert reference.ReferencedSOPClassUID == source.file_meta.MediaStorageSOPClassUID
        np.testing.assert_allclose(group.PlanePositionSequence[0].ImagePositionPatient, source.ImagePositionPatient)
    assert seg.NumberOfFrames == sum((classes == number).any(axis=(0, 1)).sum() for number in np.unique(classes)[1:])
    (referenced,) = seg.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} <= set(slices)
    assert referenced.SeriesInstanceUID == (source.SeriesInstanceUID or referenced.SeriesInstanceUID) != ""
    assert seg.StudyInstanceUID == (source.StudyInstanceUID or seg.StudyInstanceUID) != ""
    assert seg.FrameOfReferenceUID in {slice_.FrameOfReferenceUID for slice_ in slices.values()}


# In the right place


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("direction", [1, -1], ids=["increasing", "decreasing"])
def test_masks_lie_on_their_series_whatever_its_orientation(tmp_path: Path, name: str, direction: int) -> None:
    series = series_with(tmp_path, AXES[name], direction * STEP_MM * np.arange(5), PatientPosition="FFS")
    classes, affine = save(series, tmp_path / "out")
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["liver", "spleen"])
    check_references(tmp_path / "out" / "mask.dcm", series, classes)


def test_a_wrong_place_would_be_found(tmp_path: Path) -> None:
    """The two checks above see one slice too far, a mirror image, and a wrong reference."""
    classes, affine = save(series_with(tmp_path), tmp_path / "out")
    path = tmp_path / "out" / "mask.dcm"
    for spoilt in (np.roll(classes, 1, axis=2), classes[::-1], classes[:, ::-1], classes[..., ::-1]):
        with pytest.raises(AssertionError):
            check_overlay(path, spoilt, affine, ["liver", "spleen"])
    seg = pydicom.dcmread(path)
    first, second = (group.DerivationImageSequence for group in seg.PerFrameFunctionalGroupsSequence[:2])
    first[0], second[0] = second[0], first[0]
    seg.save_as(path)
    with pytest.raises(AssertionError):
        check_references(path, tmp_path / "series", classes)


def test_a_compressed_series_is_not_decompressed(tmp_path: Path) -> None:
    series = series_with(tmp_path)
    for path in series.iterdir():
        compress(path, JPEG2000Lossless)
    classes, affine = save(series, tmp_path / "out")
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["liver", "spleen"])


def test_the_distance_of_slices_is_the_grids_whatever_the_headers_say(tmp_path: Path) -> None:
    """Slices may overlap or leave something out, and their orientations differ by rounding."""
    series = series_with(tmp_path, SliceThickness=5.0, SpacingBetweenSlices=-7.0)
    edit_slice(sorted(series.iterdir())[2], ImageOrientationPatient=[1, 0.0004, 0, -0.0004, 1, 0])
    classes, affine = save(series, tmp_path / "out")
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["liver", "spleen"])
    measures = pydicom.dcmread(tmp_path / "out" / "mask.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (STEP_MM, STEP_MM)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["chest_ct", "abdomen_ct_jpeg2000"])
def test_masks_lie_on_real_series(name: str, real_data: Path, tmp_path: Path) -> None:
    series = real_data / "dicom" / name
    voxels = load_volume(series)[0].numpy()
    classes = np.where(voxels > 150, 2, np.where(voxels > -50, 1, 0)).astype(np.uint8)
    classes[::2], classes[:, ::3] = 0, 0  # fewer points, and unlike on both sides
    classes[: len(classes) // 3] = 0
    _, affine = save(series, tmp_path / "out", classes)
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["liver", "spleen"])
    check_references(tmp_path / "out" / "mask.dcm", series, classes)


@pytest.mark.skipif(DCMQI is None, reason="dcmqi is not installed (pip install dcmqi)")
@pytest.mark.parametrize("name", AXES)
def test_dcmqi_reads_what_was_written(tmp_path: Path, name: str) -> None:
    """The converter behind 3D Slicer's import: places, names and colours."""
    classes, affine = save(series_with(tmp_path, AXES[name]), tmp_path / "out")
    options = ["--inputDICOM", tmp_path / "out" / "mask.dcm", "--outputDirectory", tmp_path, "--prefix", "read"]
    subprocess.run([DCMQI, *map(str, options), "--outputType", "nii"], check=True, capture_output=True)
    groups = json.loads((tmp_path / "read-meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    entries = [(f"read-{number}.nii.gz", entry) for number, group in enumerate(groups, 1) for entry in group]
    assert [entry["SegmentLabel"] for _, entry in entries] == ["liver", "spleen"]
    for (file, entry), colour in zip(entries, class_colours(2), strict=True):
        image = nib.load(tmp_path / file)
        points = points_of(np.asarray(image.dataobj) == entry["labelID"], image.affine)
        wanted = points_of(classes == 1 + ["liver", "spleen"].index(entry["SegmentLabel"]), affine)
        assert farthest_mm(points, wanted) < 0.01
        np.testing.assert_allclose(entry["recommendedDisplayRGBValue"], np.array(to_rgb(colour)) * 255, atol=2)


def test_its_own_library_reads_what_was_written(tmp_path: Path) -> None:
    series = series_with(tmp_path)
    classes, _ = save(series, tmp_path / "out")
    seg = highdicom.seg.segread(tmp_path / "out" / "mask.dcm")
    slices = sorted(map(pydicom.dcmread, series.iterdir()), key=lambda slice_: slice_.ImagePositionPatient[2])
    uids = [slice_.SOPInstanceUID for slice_ in slices]
    read = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(read.transpose(2, 1, 0), classes)
    assert [seg.get_segment_description(number).segment_label for number in (1, 2)] == ["liver", "spleen"]


# What is in it


def test_one_volume_gives_several_masks(tmp_path: Path) -> None:
    masks = {"lung": ["none", "lung", "lung"], "infection": ["none", "none", "infection"]}
    classes, affine = save(series_with(tmp_path), tmp_path / "out", masks=masks, anatomy="lung")
    check_overlay(tmp_path / "out" / "lung.dcm", (classes > 0).astype(np.uint8), affine, ["lung"])
    check_overlay(tmp_path / "out" / "infection.dcm", (classes == 2).astype(np.uint8), affine, ["infection"])
    lung, infection = (pydicom.dcmread(tmp_path / "out" / f"{name}.dcm") for name in masks)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert lung[keyword].value != infection[keyword].value
    assert lung.StudyInstanceUID == infection.StudyInstanceUID == IDENTITY["StudyInstanceUID"]
    colours = [seg.SegmentSequence[0].RecommendedDisplayCIELabValue for seg in (lung, infection)]
    assert colours[0] != colours[1]


def test_it_says_who_made_it_and_is_new_each_time(tmp_path: Path) -> None:
    series, seen = series_with(tmp_path), []
    for _ in range(2):
        save(series, tmp_path / "out")
        seen.append(pydicom.dcmread(tmp_path / "out" / "mask.dcm"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({seg[keyword].value for seg in seen}) == 2
    seg = seen[0]
    assert (seg.Manufacturer, seg.ManufacturerModelName, seg.SoftwareVersions) == (
        "beyond2d", "beyond2d test", __version__,
    )  # fmt: skip
    assert (seg.Modality, seg.SeriesDescription) == ("SEG", "beyond2d test: mask")
    for item in seg.SegmentSequence:
        (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("beyond2d test", __version__)
        assert item.SegmentAlgorithmType == "AUTOMATIC"


def test_an_empty_mask_is_a_file_with_empty_slices(tmp_path: Path) -> None:
    """That nothing was found is a result, and a viewer shows the segment's name."""
    series = series_with(tmp_path)
    save(series, tmp_path / "out", np.zeros((9, 7, 5), np.uint8))
    assert {name: len(points) for name, points in read_by_hand(tmp_path / "out" / "mask.dcm").items()} == {
        "liver": 0, "spleen": 0,
    }  # fmt: skip
    only_spleen = 2 * (blob((9, 7, 5)) == 2).astype(np.uint8)
    _, affine = save(series, tmp_path / "out", only_spleen)
    check_overlay(tmp_path / "out" / "mask.dcm", only_spleen, affine, ["liver", "spleen"])
    check_references(tmp_path / "out" / "mask.dcm", series, only_spleen)


def test_long_and_foreign_names_are_written(tmp_path: Path) -> None:
    names = ["background", "Läsion 病変", "a\\b" + 100 * "c"]
    classes, affine = save(series_with(tmp_path), tmp_path / "out", masks={"mask": names})
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["Läsion 病変", "a/b" + 61 * "c"])


def test_every_code_is_in_the_dictionary_of_pydicom() -> None:
    used = {concept for shown in (*PROPERTIES.values(), UNKNOWN) for concept in shown if concept}
    constants = {value for value in vars(terminology).values() if isinstance(value, terminology.Concept)}
    for concept in used | constants:
        meanings = {
            codes[concept.code][0].lower() for codes in concepts[concept.scheme].values() if concept.code in codes
        }
        assert concept.meaning.lower() in meanings, concept


@pytest.mark.parametrize(
    ("name", "anatomy", "meanings"),
    [
        ("Liver", None, ("Anatomical Structure", "Liver")),
        ("left_atrium", "heart", ("Anatomical Structure", "Left atrium")),
        ("anterior", "hippocampus", ("Anatomical Structure", "Hippocampus")),
        ("anterior", "prostate", ("Tissue", "Tissue")),
        ("infection", "lung", ("Morphologically Abnormal Structure", "Infiltrate", "Lung")),
        ("infection", "bone", ("Tissue", "Tissue")),
        ("lung tumour", None, ("Tissue", "Tissue")),
        ("", None, ("Tissue", "Tissue")),
    ],
)
def test_a_name_gets_the_code_it_deserves_and_no_guess(name: str, anatomy: str | None, meanings: tuple) -> None:
    assert tuple(concept.meaning for concept in property_of(name, anatomy) if concept) == meanings


def test_the_codes_are_in_the_file(tmp_path: Path) -> None:
    save(series_with(tmp_path), tmp_path / "out", masks={"mask": ["none", "lung", "infection"]}, anatomy="lung")
    lung, infection = pydicom.dcmread(tmp_path / "out" / "mask.dcm").SegmentSequence
    for item, code in ((lung, "39607008"), (infection, "112121")):
        assert item.SegmentedPropertyTypeCodeSequence[0].CodeValue == code
    assert infection.AnatomicRegionSequence[0].CodeValue == "39607008"


# The patient


def test_the_patient_is_in_the_file_and_nowhere_else(tmp_path: Path, caplog: Any, capsys: Any) -> None:
    patient = {"PatientName": "Verborgen", "PatientID": "geheim", "PatientSex": "F", "PatientBirthDate": "19700102"}
    series = series_with(tmp_path, **patient)
    image = load_volume(series)
    item = {"image": image, "pred": MetaTensor(blob(image.shape[1:])[None], affine=image.affine)}
    save_seg = SaveDicomSegd(output_dir=str(tmp_path / "out"), single=True, masks=MASKS, system="test")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        output = save_seg(item)
    seg = pydicom.dcmread(tmp_path / "out" / "mask.dcm")
    assert {keyword: str(seg[keyword].value) for keyword in patient} == patient
    told = " ".join([caplog.text, *(str(entry.message) for entry in warned), *capsys.readouterr(), str(output.keys())])
    assert "verborgen" not in told.lower()
    assert "geheim" not in told


def test_what_the_standard_wants_or_forbids_of_a_patient_is_empty(tmp_path: Path) -> None:
    tags = {"PatientSex": "unknown", "PatientBirthDate": "1970", "StudyTime": "noon", "PatientName": "A\\B"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom writes these under protest
        series = series_with(tmp_path, **tags)
    save(series, tmp_path / "out")
    seg = pydicom.dcmread(tmp_path / "out" / "mask.dcm")
    for keyword in (*tags, "PatientID", "StudyID", "AccessionNumber", "StudyDate", "ReferringPhysicianName"):
        assert not seg[keyword].value, keyword


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "GB18030"])
def test_a_name_in_another_alphabet_comes_through(tmp_path: Path, charset: str) -> None:
    name = "Ünal^Zoë" if charset == "ISO_IR 100" else "王^小明"
    save(series_with(tmp_path, SpecificCharacterSet=charset, PatientName=name), tmp_path / "out")
    assert str(pydicom.dcmread(tmp_path / "out" / "mask.dcm").PatientName) == name


@pytest.mark.parametrize("emptied", ["", None], ids=["empty", "missing"])
def test_a_series_without_identifiers_is_known_by_its_slices(tmp_path: Path, emptied: str | None) -> None:
    series, seen = series_with(tmp_path), []
    for path in series.iterdir():
        slice_ = pydicom.dcmread(path)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            if emptied is None:
                del slice_[keyword]
            else:
                slice_[keyword].value = emptied
        slice_.FrameOfReferenceUID = pydicom.uid.generate_uid()
        slice_.save_as(path)
    for _ in range(2):
        classes, affine = save(series, tmp_path / "out")
        seen.append(pydicom.dcmread(tmp_path / "out" / "mask.dcm"))
    check_overlay(tmp_path / "out" / "mask.dcm", classes, affine, ["liver", "spleen"])
    uids = {slice_.file_meta.MediaStorageSOPInstanceUID for slice_ in map(pydicom.dcmread, series.iterdir())}
    assert {
        item.ReferencedSOPInstanceUID for item in seen[0].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    } == uids
    assert len({seg.StudyInstanceUID for seg in seen} | {seg.SOPInstanceUID for seg in seen}) == 3
    assert len({seg.ReferencedSeriesSequence[0].SeriesInstanceUID for seg in seen}) == 1


# What is refused, and what is not written


def test_other_images_get_none_and_lose_one_of_an_earlier_run(tmp_path: Path) -> None:
    series = series_with(tmp_path)
    nifti = write_nifti(tmp_path / "image.nii.gz", random_volume())
    for source, options in ((nifti, {}), (series, {"enabled": False})):
        save(series, tmp_path / "out")
        assert (tmp_path / "out" / "mask.dcm").is_file()
        save(source, tmp_path / "out", **options)
        assert not any((tmp_path / "out").iterdir())


def moved(series: Path) -> None:
    for path in series.iterdir():
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        edit_slice(path, ImagePositionPatient=[x + 3, y, z])


BAD_SERIES = {
    "a slice less": (lambda series: max(series.iterdir()).unlink(), "expected the image's shape (9, 7, 5), got"),
    "moved": (moved, "expected the image's place in the world, got a grid up to 3 mm away"),
    "gone": (lambda series: [path.unlink() for path in series.iterdir()], "got no files"),
    "damaged": (
        lambda series: min(series.iterdir()).write_bytes(b"\0" * 128 + b"DICM\1"),
        "image001: expected a DICOM image, got a header",
    ),
}


@pytest.mark.parametrize("name", BAD_SERIES)
def test_a_series_that_changed_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    series = series_with(tmp_path)
    image = load_volume(series)
    item = {"image": image, "pred": MetaTensor(blob(image.shape[1:])[None], affine=image.affine)}
    spoil, fragment = BAD_SERIES[name]
    spoil(series)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as refused:
        SaveDicomSegd(output_dir=str(tmp_path / "out"), single=True, masks=MASKS, system="test")(item)
    assert fragment in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not any((tmp_path / "out").iterdir())


def test_a_missing_package_is_said_to_be_missing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="dicom_seg: expected the package highdicom, got none"):
        save(series_with(tmp_path), tmp_path / "out")
    save(write_nifti(tmp_path / "image.nii.gz", random_volume()), tmp_path / "out")  # NIfTI needs none


def test_a_switch_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dicom_seg: expected True or False, got 'maybe'"):
        save(series_with(tmp_path), tmp_path / "out", enabled="maybe")


# Out of the command line


@pytest.fixture
def scans(request: Any, tmp_path: Path) -> Any:
    """Makes a series, not in RAS, of the test image of a data set of phantoms."""

    def make(dataset: str) -> Path:
        folder = request.getfixturevalue(dataset)
        datalist = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["test"][0]
        image = nib.load(folder / datalist["image"])
        write_dicom_series(tmp_path / "scan", np.asarray(image.dataobj).astype(np.int16), image.affine, "patient")
        return tmp_path / "scan"

    return make


def check_results(out: Path, series: Path, names: dict[str, list[str]]) -> None:
    """Beside each NIfTI mask lies a DICOM SEG of the same voxels."""
    assert {path.stem for path in out.glob("*.dcm")} == set(names)
    for file, segments in names.items():
        mask = nib.load(out / f"{file}.nii.gz")
        classes = np.asarray(mask.dataobj)
        assert classes.any()
        check_overlay(out / f"{file}.dcm", classes, mask.affine, segments)
    assert pydicom.dcmread(out / f"{file}.dcm").StudyInstanceUID == load_header(series).StudyInstanceUID


def load_header(series: Path) -> pydicom.Dataset:
    return pydicom.dcmread(next(series.iterdir()), stop_before_pixels=True)


def test_segment_writes_a_dicom_seg_beside_the_mask(scans: Any, segmenter: Path, tmp_path: Path) -> None:
    series, out = scans("organs"), tmp_path / "out"
    arguments = ["segment", str(series), "--model_dir", str(segmenter), "--out", str(out)]
    main(arguments)
    check_results(out, series, {"mask": ["liver", "spleen", "kidneys"]})
    main([*arguments, "--dicom_seg", "False"])
    assert not list(out.glob("*.dcm"))


def test_quantify_writes_lung_and_infection(scans: Any, lung_models: Path, tmp_path: Path) -> None:
    series, out = scans("chests"), tmp_path / "out"
    main(["quantify", str(series), "--models_dir", str(lung_models), "--out", str(out),
          "--spacing_mm", "[12.0,12.0,12.0]"])  # fmt: skip
    check_results(out, series, {"lung": ["lung"], "infection": ["infection"]})


def test_reconstruct_writes_one_of_a_series_and_none_of_views(scans: Any, weights: Path, tmp_path: Path) -> None:
    series, out = scans("vessels"), tmp_path / "out"
    options = ["--out", str(out), "--load_path", str(weights), "--tile_size", "32", "--threshold", "0.3"]
    main(["reconstruct", str(series), "--num_views", "3", *options])
    check_results(out, series, {"mask": ["vessel"]})
    main(["project", str(series), "--num_views", "3", "--out", str(tmp_path / "views")])
    pictures = tmp_path / "pictures"  # a folder, too
    pictures.mkdir()
    for path in (tmp_path / "views").glob("*.png"):
        shutil.copy(path, pictures)
    main(["reconstruct", str(pictures), "--angles", str(tmp_path / "views" / "angles.yaml"), *options])
    assert not list(out.glob("*.dcm"))


def test_the_mask_in_both_formats_is_one(tmp_path: Path) -> None:
    """Over the same grid, voxel by voxel, in the file's own order of axes."""
    classes, affine = save(series_with(tmp_path, OBLIQUE), tmp_path / "out")
    save_volume(tmp_path / "mask.nii.gz", classes, affine, np.uint8)
    mask = nib.load(tmp_path / "mask.nii.gz")
    check_overlay(tmp_path / "out" / "mask.dcm", np.asarray(mask.dataobj), mask.affine, ["liver", "spleen"])
