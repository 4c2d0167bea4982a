"""Result files are written whole or not at all."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from beyond2d.checks import InputError
from beyond2d.writers import save_volume, staged_folder, whole_file, write_bytes, write_csv, write_json

AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0.7, 0, -30], [0, 0, 1.2, 5], [0, 0, 0, 1.0]])


def disk_full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def write_new(out: Path, *names: str, failure: BaseException | None = None) -> None:
    """Stage text files of the given names in `out`, and fail before the end if there is a failure."""
    with staged_folder(out) as folder:
        for name in names:
            (folder / name).write_text("new")
        if failure is not None:
            raise failure


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_staged_files_appear_together(tmp_path):
    out = tmp_path / "new" / "results"
    with staged_folder(out) as folder:
        write_bytes(folder / "mesh.stl", b"mesh")
        (folder / "sub").mkdir()
        write_json(folder / "sub" / "result.json", {})
        assert not (out / "mesh.stl").exists()
    assert names_in(out) == ["mesh.stl", "sub", "sub/result.json"]


def test_staged_files_replace_their_own_names_only(tmp_path):
    (tmp_path / "mask.nii.gz").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with staged_folder(tmp_path) as folder:
        (folder / "mask.nii.gz").write_text("new")
    assert names_in(tmp_path) == ["mask.nii.gz", "notes.txt"]
    assert (tmp_path / "mask.nii.gz").read_text() == "new"


@pytest.mark.parametrize("failure", [ValueError("broken"), KeyboardInterrupt(), PermissionError(13, "elsewhere")])
def test_a_failure_leaves_earlier_results_and_nothing_else(tmp_path, failure):
    (tmp_path / "mask.nii.gz").write_text("old")
    with pytest.raises(type(failure)):
        write_new(tmp_path, "mask.nii.gz", "mesh.stl", failure=failure)
    assert names_in(tmp_path) == ["mask.nii.gz"]
    assert (tmp_path / "mask.nii.gz").read_text() == "old"


def test_a_failure_leaves_no_new_folder(tmp_path):
    with pytest.raises(ValueError, match="broken"):
        write_new(tmp_path / "a" / "b", "mask.nii.gz", failure=ValueError("broken"))
    assert names_in(tmp_path) == []


def test_a_full_disk_is_told_and_leaves_earlier_results(tmp_path, monkeypatch):
    (tmp_path / "mask.nii.gz").write_text("old")
    monkeypatch.setattr(nib, "save", disk_full)

    def write_volume():
        with staged_folder(tmp_path) as folder:
            write_bytes(folder / "mesh.stl", b"mesh")
            save_volume(folder / "mask.nii.gz", np.zeros((2, 2, 2)), AFFINE, np.uint8)

    with pytest.raises(InputError) as caught:
        write_volume()
    expected = f"out: cannot write into {tmp_path}: the disk is full; earlier results are as they were"
    assert str(caught.value) == expected
    assert names_in(tmp_path) == ["mask.nii.gz"]
    assert (tmp_path / "mask.nii.gz").read_text() == "old"


def test_a_disk_that_is_full_before_the_first_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", disk_full)
    with pytest.raises(InputError, match="the disk is full"):
        write_new(tmp_path)


def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "out"
    file.write_text("mine")
    with pytest.raises(InputError) as caught:
        write_new(file, "mask.nii.gz")
    assert str(caught.value) == f"out: cannot write into {file}: it is a file"
    with pytest.raises(InputError) as caught:
        write_new(file / "sub", "mask.nii.gz")
    assert str(caught.value) == f"out: cannot write into {file / 'sub'}: Not a directory"
    assert file.read_text() == "mine"


def test_an_output_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError) as caught:
        write_new(tmp_path / "out", "mask.nii.gz")
    assert str(caught.value) == f"out: cannot write into {tmp_path / 'out'}: Permission denied"


def test_a_folder_in_the_way_is_found_before_anything_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(InputError, match=r"b\.txt: it is a folder"):
        write_new(tmp_path, "a.txt", "b.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["a.txt", "b.txt"]


def test_a_whole_file_is_the_old_one_until_it_is_done(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def write_half():
        with whole_file(path) as hidden:
            hidden.write_text("ne")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_half()
    assert path.read_text() == "old"
    with whole_file(path) as hidden:
        hidden.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["result.json"]


def test_json_is_sorted_and_has_no_nan(tmp_path):
    content = {
        "z": math.nan,
        "a": {"angles": (0.0, np.float32(0.5), math.inf), "n": np.int64(3), "ok": np.True_},
        "file": Path("x") / "y",
        "tensor": torch.tensor([1.0, math.nan]),
    }
    write_json(tmp_path / "result.json", content)
    text = (tmp_path / "result.json").read_text()
    assert json.loads(text) == {
        "a": {"angles": [0.0, 0.5, None], "n": 3, "ok": True},
        "file": "x/y",
        "tensor": [1.0, None],
        "z": None,
    }
    assert text.index('"a"') < text.index('"file"') < text.index('"z"')
    write_json(tmp_path / "again.json", dict(reversed(content.items())))
    assert (tmp_path / "again.json").read_text() == text


def test_csv_has_the_columns_and_empty_cells_for_nan(tmp_path):
    rows = [{"case": "a, b", "iou": 0.25}, {"case": "c", "iou": math.nan}]
    write_csv(tmp_path / "cases.csv", rows, ("case", "iou"))
    assert (tmp_path / "cases.csv").read_text() == 'case,iou\n"a, b",0.25\nc,\n'
    with pytest.raises(ValueError, match="dice"):
        write_csv(tmp_path / "cases.csv", [{"dice": 1.0}], ("case", "iou"))
    assert len((tmp_path / "cases.csv").read_text().splitlines()) == 3
    assert names_in(tmp_path) == ["cases.csv"]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_volume_keeps_its_place_and_voxels(tmp_path, dtype):
    volume = np.random.default_rng(0).random((4, 5, 6)).round().astype(bool)
    path = tmp_path / "mask.nii.gz"
    save_volume(path, torch.from_numpy(volume), AFFINE, dtype)
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    assert (np.asanyarray(image.dataobj) == volume).all()
    assert np.allclose(image.get_sform(), AFFINE)
    assert np.allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert names_in(tmp_path) == ["mask.nii.gz"]
