"""Data sets of abdomens and chests: sound, split by patient, and exactly the phantoms of their seeds."""

import json

import nibabel as nib
import numpy as np
import pytest

from beyond2d.checks import InputError
from beyond2d.datasets import write_body_dataset
from beyond2d.integrity import check_dataset
from beyond2d.phantoms import ChestSpec, OrganSpec, chest_phantom, organ_phantom
from beyond2d.readers import read_datalist

LABELS = {
    "organs": {0: "background", 1: "liver", 2: "spleen", 3: "kidneys"},
    "chests": {0: "background", 1: "lung", 2: "infection"},
}
# What 40 voxels along X and Y, and slices of twice their width, make of the fields of view.
SLICES = {"organs": 20, "chests": 16}
ZOOMS = {"organs": (9.0, 9.0, 18.0), "chests": (9.5, 9.5, 300 / 16)}


@pytest.fixture(scope="module", params=list(LABELS))
def bodies(request, tmp_path_factory):
    """The kind of a small data set, and its folder."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, write_body_dataset(folder, request.param, cases=6, size=40, anisotropy=2).parent


def test_a_data_set_is_sound_and_split_by_patient(bodies):
    kind, folder = bodies
    datalist = read_datalist(folder)
    assert datalist.labels == LABELS[kind]
    assert datalist.channels == ("CT",)
    counts = {name: len(cases) for name, cases in datalist.sections.items()}
    assert counts == {"training": 4, "validation": 1, "test": 1}
    assert check_dataset(folder, progress=False) == []


def test_files_hold_the_phantom_of_their_seed(bodies):
    kind, folder = bodies
    record = json.loads((folder / "dataset.json").read_text())["test"][0]
    image, label = nib.load(folder / record["image"]), nib.load(folder / record["label"])
    make, spec = {"organs": (organ_phantom, OrganSpec), "chests": (chest_phantom, ChestSpec)}[kind]
    phantom = make(record["seed"], spec((40, 40, SLICES[kind]), ZOOMS[kind]))
    assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.rint(phantom.volume))
    np.testing.assert_array_equal(np.asarray(label.dataobj), phantom.label)
    np.testing.assert_allclose(image.header.get_zooms(), ZOOMS[kind])
    np.testing.assert_array_equal(image.affine, label.affine)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"anisotropy": 0}, "anisotropy must be a whole number of at least 1, got 0"),
        ({"size": 32, "anisotropy": 4}, "size must be a whole number of at least 16, got [68]"),
        ({"spacing_mm": -1.0}, "spacing_mm must be three lengths above 0"),
    ],
)
@pytest.mark.parametrize("kind", list(LABELS))
def test_bad_arguments_write_nothing(kind, arguments, words, tmp_path):
    with pytest.raises(InputError, match=words):
        write_body_dataset(tmp_path / "out", kind, **arguments)
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays(bodies):
    kind, folder = bodies
    before = (folder / "dataset.json").read_bytes()
    with pytest.raises(InputError, match="already holds imagesTr; choose another folder"):
        write_body_dataset(folder, kind)
    assert (folder / "dataset.json").read_bytes() == before


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="kind must be one of organs, chests, got 'heads'"):
        write_body_dataset(tmp_path / "out", "heads")
