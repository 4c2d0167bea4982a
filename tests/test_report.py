from __future__ import annotations

import errno
import json
import math
from pathlib import Path

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch

from beyond2d.checks import InputError
from beyond2d.report.files import save_volume, staged_folder, whole_file, write_bytes, write_csv, write_json
from beyond2d.report.pictures import ANGLES_DEG, projections_picture
from beyond2d.report.tables import CASE_COLUMNS, Table, summary_table

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


def test_a_table_in_columns_and_in_markdown():
    table = Table(("method", "IoU"), [("sum", "0.1"), ("autoencoder", "0.25")], "lr")
    assert table.text().splitlines() == [
        "method        IoU",
        "───────────  ────",
        "sum           0.1",
        "autoencoder  0.25",
    ]
    assert table.markdown().splitlines() == [
        "| method      |  IoU |",
        "| ----------- | ---: |",
        "| sum         |  0.1 |",
        "| autoencoder | 0.25 |",
    ]


def test_summary_groups_in_the_order_of_the_rows_and_counts_what_was_left_out():
    rows = [
        {"method": "sum", "num_views": 2, "iou": 0.2, "hd95_mm": math.nan},
        {"method": "net", "num_views": 2, "iou": 0.6, "hd95_mm": 2.0},
        {"method": "sum", "num_views": 2, "iou": 0.2, "hd95_mm": 4.0},
        {"method": "sum", "num_views": 5, "iou": 0.5, "hd95_mm": math.nan},
    ]
    table = summary_table(rows, ("iou", "hd95_mm"), group_by=("num_views", "method"))
    assert table.header == ["Views", "Method", "IoU", "HD95 (mm)"]
    assert table.align == "llrr"
    assert table.rows == [
        ["2", "sum", "0.200 [0.200, 0.200]", "4.0 [4.0, 4.0] (1 of 2)"],
        ["2", "net", "0.600 [0.600, 0.600]", "2.0 [2.0, 2.0]"],
        ["5", "sum", "0.500 [0.500, 0.500]", "–"],
    ]
    assert CASE_COLUMNS[:4] == ("case", "method", "num_views", "iou")


def panels_of(path: Path, num_rows: int) -> np.ndarray:
    """The pixels of the panels (row, view, height, width, 3), found as the only pure black boxes."""
    pixels = matplotlib.image.imread(path)[..., :3]
    background = pixels[0, 0]
    # In the gaps between panels a whole line of the picture is background.
    panel_columns = runs((pixels[120:-64] != background).any(axis=(0, 2)), at_least=100)
    panel_rows = runs((pixels[:, panel_columns[0]] != background).any(axis=(1, 2)), at_least=100)
    assert (len(panel_rows), len(panel_columns)) == (num_rows, len(ANGLES_DEG))
    return np.array([[pixels[rows, columns] for columns in panel_columns] for rows in panel_rows])


def runs(marked: np.ndarray, at_least: int) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [slice(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= at_least]


def test_the_picture_has_z_up_x_to_the_right_and_colours_for_what_agrees(tmp_path):
    prediction = np.zeros((32, 32, 32), dtype=np.float32)
    truth = prediction.copy()
    prediction[20:28, 12:20, 2:6] = truth[20:28, 12:20, 2:6] = 1  # low and right: in both
    prediction[12:20, 12:20, 14:18] = 0.9  # in the middle: predicted only
    truth[4:12, 12:20, 26:30] = 1  # high and left: missed
    projections_picture(tmp_path / "views.png", prediction, truth, spacing_mm=(1, 1, 1), title="three blocks")
    front = panels_of(tmp_path / "views.png", 3)[:, 0]
    high_left, middle, low_right = (
        front[:, int(row * front.shape[1]), int(column * front.shape[2])]
        for row, column in ((1 / 8, 1 / 4), (1 / 2, 1 / 2), (7 / 8, 3 / 4))
    )
    assert (low_right[0] > 0.99).all()
    assert np.allclose(middle[0], 0.9, atol=0.01)
    assert (high_left[0] == 0).all()
    assert (high_left[1] > 0.99).all()
    assert (middle[1] == 0).all()
    assert [int(colour[2].argmax()) for colour in (middle, low_right, high_left)] == [0, 1, 2]  # red, green, blue


def test_the_picture_is_to_scale_in_mm_where_the_grid_is_not(tmp_path):
    prediction = torch.zeros(30, 20, 25)
    prediction[8:22, 5:15, 9:16] = 1  # a block of 14 x 15 x 14 mm
    projections_picture(tmp_path / "views.png", prediction, spacing_mm=(1.0, 1.5, 2.0))
    first, *_, last = panels_of(tmp_path / "views.png", 1)[0]
    assert first.shape[0] / first.shape[1] == pytest.approx(25 * 2 / 30, abs=0.01)
    millimetre = first.shape[1] / 30
    for panel, width_mm in ((first, 14), (last, 15)):
        bright = panel[..., 0] > 0.5
        assert bright.any(axis=0).sum() / millimetre == pytest.approx(width_mm, abs=1)
        assert bright.any(axis=1).sum() / millimetre == pytest.approx(14, abs=1)
