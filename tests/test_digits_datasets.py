"""Data sets of digits: their parts, what they hold, and what is refused."""

import json

import numpy as np
import pytest
from test_idx import IMAGES, LABELS, idx, write_pair

from beyond2d.checks import InputError
from beyond2d.datasets import write_digit_dataset
from beyond2d.datasets.digits import split_digits
from beyond2d.phantoms import DigitSpec
from beyond2d.readers import load_digits

SECTIONS = ("training", "validation", "test")
STILL = DigitSpec(max_angle_deg=0.0, max_shift=0.0, noise=0.0)


def by_source(folder):
    """Volume and label of every digit of a data set, by its number in the source."""
    found = {}
    for section in SECTIONS:
        with np.load(folder / f"{section}.npz") as arrays:
            for image, label, source in zip(arrays["image"], arrays["label"], arrays["source"], strict=True):
                assert int(source) not in found, "a digit in two places"
                found[int(source)] = (image, int(label))
    return found


def test_the_parts_of_mnist():
    parts = split_digits(10_000, 10_000, seed=0)
    assert {name: len(members) for name, members in parts.items()} == {
        "training": 7000,
        "validation": 1000,
        "test": 2000,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(10_000))
    both = split_digits(70_000, 70_000, seed=0)
    assert [len(both[name]) for name in SECTIONS] == [67_000, 1000, 2000]


def test_drawn_digits(tmp_path):
    path = write_digit_dataset(tmp_path, cases=40)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["numTraining"], content["numValidation"], content["numTest"]) == (28, 4, 8)
    assert (content["source"], content["training"]) == ("drawn by beyond2d", "training.npz")
    digits = by_source(tmp_path)
    assert sorted(digits) == list(range(40))
    assert all(label == source % 10 for source, (_, label) in digits.items())
    assert all(image.dtype == np.uint8 and image.max() > 127 for image, _ in digits.values())


def test_a_digit_is_the_same_whatever_else_is_written(tmp_path):
    for name, options in {"few": {"cases": 20}, "again": {"cases": 20}, "many": {"cases": 30}}.items():
        write_digit_dataset(tmp_path / name, **options)
    few, again, many = (by_source(tmp_path / name) for name in ("few", "again", "many"))
    for source, (image, _) in few.items():
        np.testing.assert_array_equal(image, again[source][0])
        np.testing.assert_array_equal(image, many[source][0])
    write_digit_dataset(tmp_path / "other", cases=20, seed=1)
    assert not np.array_equal(few[0][0], by_source(tmp_path / "other")[0][0])


def test_digits_of_a_source_keep_their_labels(tmp_path):
    images, labels = np.tile(IMAGES, (4, 1, 1)), np.tile(LABELS, 4)
    write_pair(tmp_path, images=idx(images), labels=idx(labels))
    write_digit_dataset(tmp_path / "out", tmp_path, spec=STILL)
    digits = by_source(tmp_path / "out")
    assert {source: label for source, (_, label) in digits.items()} == dict(enumerate(labels.tolist()))
    np.testing.assert_array_equal(digits[1][0].shape, (16, 16, 16))
    assert json.loads((tmp_path / "out" / "dataset.json").read_text(encoding="utf-8"))["source"] == "MNIST"


def test_a_section_is_loaded_as_items(tmp_path):
    write_digit_dataset(tmp_path, cases=20)
    items = load_digits(str(tmp_path), "test")
    assert len(items) == 4
    assert items[0]["image"].shape == (16, 16, 16)
    assert isinstance(items[0]["label"], int)
    np.save(tmp_path / "mine.npy", items[0]["image"])
    (alone,) = load_digits("nowhere", "test", input=str(tmp_path / "mine.npy"))
    np.testing.assert_array_equal(alone["image"], items[0]["image"])
    assert "label" not in alone


def test_what_cannot_be_written_is_refused(tmp_path):
    write_pair(tmp_path)
    with pytest.raises(InputError) as few:
        write_digit_dataset(tmp_path / "out", tmp_path)
    assert str(few.value) == f"cases: expected at least 10 digits in {tmp_path}, got 3"
    with pytest.raises(InputError, match=r"^cases must be a whole number of at least 10, got 9$"):
        write_digit_dataset(tmp_path / "out", cases=9)
    assert not (tmp_path / "out").exists()
    write_digit_dataset(tmp_path / "out", cases=10)
    with pytest.raises(InputError, match=r"out: already holds dataset\.json; choose another folder or move it away$"):
        write_digit_dataset(tmp_path / "out", cases=10)


VOLUMES = np.zeros((2, 16, 16, 16), dtype=np.uint8)
BAD_SECTIONS = {
    "no labels": ({"image": VOLUMES}, "expected an NPZ file with the arrays image and label ('label is not a file in"),
    "pickled": (
        {"image": np.array([None]), "label": [1]},
        "expected an NPZ file with the arrays image and label (Obje",
    ),
    "another size": (
        {"image": VOLUMES[:, 1:], "label": [1, 2]},
        "image must be uint8 (N, 16, 16, 16), got uint8 (2, 15",
    ),
    "floats": ({"image": VOLUMES / 2, "label": [1, 2]}, "image must be uint8 (N, 16, 16, 16), got float64 (2, 16, 16"),
    "empty": ({"image": VOLUMES[:0], "label": np.zeros(0, int)}, "expected at least one digit, got none"),
    "one label": ({"image": VOLUMES, "label": [1]}, "label must be 2 whole numbers, got int64 (1,)"),
    "letters": ({"image": VOLUMES, "label": [1, 10]}, "label must be from 0 to 9, got 1 to 10"),
}


@pytest.mark.parametrize("reason", BAD_SECTIONS)
def test_bad_sections_are_refused(tmp_path, reason):
    arrays, complaint = BAD_SECTIONS[reason]
    np.savez(tmp_path / "test.npz", **arrays)
    with pytest.raises(InputError) as refused:
        load_digits(str(tmp_path), "test")
    assert str(refused.value).startswith(f"{tmp_path}/test.npz: {complaint}")
    assert "\n" not in str(refused.value)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError) as nowhere:
        load_digits(str(tmp_path / "x"), "test")
    assert str(nowhere.value) == (
        f"dataset_dir: expected a folder, there is none at {tmp_path}/x; `beyond2d phantom digits --out {tmp_path}/x` "
        "makes one"
    )
    with pytest.raises(InputError) as missing:
        load_digits(str(tmp_path), "test")
    assert (
        str(missing.value) == f"{tmp_path}: expected test.npz with the digits of the section 'test', got no such file"
    )
    np.savez_compressed(tmp_path / "test.npz", image=VOLUMES, label=[1, 2])
    whole = (tmp_path / "test.npz").read_bytes()
    for damaged in (b"", b"not a file of numpy", whole[:-30], whole[:100]):
        (tmp_path / "test.npz").write_bytes(damaged)
        with pytest.raises(InputError, match="expected an NPZ file with the arrays image and label"):
            load_digits(str(tmp_path), "test")


def test_bad_input_files_are_refused(tmp_path):
    path = tmp_path / "mine.npy"
    with pytest.raises(InputError, match=r"mine\.npy: expected an NPY file of digits, there is no such file$"):
        load_digits("", "test", input=str(path))
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"mine\.npy: expected an NPY file of digits, got something else"):
        load_digits("", "test", input=str(path))
    np.save(path, VOLUMES[0, 0])
    with pytest.raises(InputError, match=r"image must be uint8 \(N, 16, 16, 16\), got uint8 \(16, 16\)$"):
        load_digits("", "test", input=str(path))
