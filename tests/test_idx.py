"""The reader of MNIST's files."""

import gzip
import struct

import numpy as np
import pytest

from beyond2d.checks import InputError
from beyond2d.readers import read_idx_digits
from beyond2d.readers.idx import read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
LABELS = np.array([7, 0, 9], dtype=np.uint8)


def idx(array, magic=None):
    return struct.pack(f">I{array.ndim}I", magic or 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write_pair(folder, part="t10k", images=None, labels=None, zipped=True):
    contents = {"images-idx3": idx(IMAGES) if images is None else images}
    contents["labels-idx1"] = idx(LABELS) if labels is None else labels
    for name, content in contents.items():
        path = folder / f"{part}-{name}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pair_is_read(tmp_path, zipped):
    digits = read_idx_digits(write_pair(tmp_path, zipped=zipped))
    np.testing.assert_array_equal(digits.images, IMAGES)
    np.testing.assert_array_equal(digits.labels, LABELS)


def test_both_of_mnists_pairs_are_read(tmp_path):
    write_pair(tmp_path, "train", images=idx(IMAGES[:1]), labels=idx(LABELS[:1]))
    digits = read_idx_digits(write_pair(tmp_path))
    assert digits.images.shape == (4, 28, 28)
    assert digits.labels.tolist() == [7, 0, 9, 7]


def test_an_unpacked_copy_does_not_count_twice(tmp_path):
    write_pair(tmp_path, zipped=False)
    assert len(read_idx_digits(write_pair(tmp_path)).labels) == 3


def test_the_other_spelling_of_names_is_known(tmp_path):
    for path in write_pair(tmp_path).iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(read_idx_digits(tmp_path).labels) == 3


IMAGES_NAME, LABELS_NAME = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
PAIR = f"expected pairs such as {IMAGES_NAME} and {LABELS_NAME}"
REFUSALS = {
    "labels in place of images": (
        {"images": idx(LABELS)},
        f"/{IMAGES_NAME}: expected an idx file of images, which begins with 00000803, got 00000801",
    ),
    "not an idx file": (
        {"labels": b"GIF89a"},
        f"/{LABELS_NAME}: expected an idx file of labels, which begins with 00000801, got 47494638",
    ),
    "empty": (
        {"labels": b""},
        f"/{LABELS_NAME}: expected an idx file of labels, which begins with 00000801, got nothing",
    ),
    "half a header": ({"images": idx(IMAGES)[:10]}, f"/{IMAGES_NAME}: expected a header of 16 bytes, got 10"),
    "truncated": (
        {"images": idx(IMAGES)[:-5]},
        f"/{IMAGES_NAME}: expected 2352 bytes of images, as its header says, got 2347",
    ),
    "too long": (
        {"labels": idx(LABELS) + b"x"},
        f"/{LABELS_NAME}: expected 3 bytes of labels, as its header says, got more",
    ),
    "no digits": ({"images": idx(IMAGES[:0])}, f"/{IMAGES_NAME}: expected at least one of the images, got none"),
    "another size": (
        {"images": idx(IMAGES[:, :27])},
        f"/{IMAGES_NAME}: expected images of 28 x 28 pixels, got 27 x 28",
    ),
    "fewer labels": (
        {"labels": idx(LABELS[:2])},
        f"/{LABELS_NAME}: expected 3 labels, one for each image in {IMAGES_NAME}, got 2",
    ),
    "letters": ({"labels": idx(LABELS + 1)}, f"/{LABELS_NAME}: expected labels from 0 to 9, got 10"),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_bad_files_are_refused(tmp_path, reason):
    contents, complaint = REFUSALS[reason]
    with pytest.raises(InputError) as refused:
        read_idx_digits(write_pair(tmp_path, **contents))
    assert str(refused.value) == f"{tmp_path}{complaint}"


def test_folders_without_a_pair_are_refused(tmp_path):
    complaints = {}
    for name, there in (("none", None), ("empty", []), ("half", [IMAGES_NAME])):
        folder = tmp_path / name
        if there is not None:
            folder.mkdir()
            for path in there:
                (folder / path).write_bytes(b"")
        with pytest.raises(InputError) as refused:
            read_idx_digits(folder)
        complaints[name] = str(refused.value).removeprefix(str(folder))
    assert complaints == {
        "none": f": no such folder; {PAIR}",
        "empty": f": {PAIR}, got no such file",
        "half": f": expected {LABELS_NAME} beside {IMAGES_NAME}, got no such file",
    }


@pytest.mark.parametrize("cut", [5, -4])
def test_broken_gzip_files_are_refused(tmp_path, cut):
    path = write_pair(tmp_path) / IMAGES_NAME
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="expected an idx file, plain or gzipped, cannot read it"):
        read_idx(path, "images")


@pytest.mark.real_data
def test_mnist_is_read(real_data):
    digits = read_idx_digits(real_data / "digits")
    assert digits.images.shape == (10_000, 28, 28)
    # How often each digit is among MNIST's 10,000.
    assert np.bincount(digits.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
