"""The command line: what it writes, and what it says to bad input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from beyond2d import commands
from beyond2d.__main__ import main
from beyond2d.report.reconstruction import RESULT_FILES


@pytest.fixture
def case(vessels, tmp_path, weights):
    """A folder with one volume, its label, and good weights."""
    datalist = json.loads((vessels / "dataset.json").read_text(encoding="utf-8"))["test"][0]
    shutil.copy(vessels / datalist["image"], tmp_path / "image.nii.gz")
    shutil.copy(vessels / datalist["label"], tmp_path / "label.nii.gz")
    shutil.copy(weights, tmp_path / "model.pt")
    return tmp_path


def reconstruct(folder, *more, source="image.nii.gz"):
    options = ["--out", str(folder / "out"), "--load_path", str(folder / "model.pt"), "--tile_size", "32"]
    main(["reconstruct", str(folder / source), *options, *more])


def result_of(folder):
    return json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))


def save(path, voxels, affine=None):
    nib.save(nib.Nifti1Image(np.asarray(voxels, dtype=np.float32), np.eye(4) if affine is None else affine), path)


def test_a_volume_is_reconstructed_on_its_own_grid(case, capsys):
    reconstruct(case, "--num_views", "4", "--label", str(case / "label.nii.gz"))
    assert sorted(path.name for path in (case / "out").iterdir()) == sorted(RESULT_FILES)
    image, mask = nib.load(case / "image.nii.gz"), nib.load(case / "out" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}
    result = result_of(case)
    assert (result["num_views"], result["truth"]) == (4, "file")
    assert f"{result['scores']['iou']:.3f}" in capsys.readouterr().out


def test_a_volume_without_label_is_scored_against_otsu(case):
    reconstruct(case, "--num_views", "3")
    assert result_of(case)["truth"] == "otsu"


def test_any_grid_comes_back(case):
    """Anisotropic, flipped, oblong: the result lies where the input lies."""
    turn = np.deg2rad(10)
    axes = np.array([[-np.cos(turn), np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3] = np.c_[axes @ np.diag([3.0, 4.0, 5.0]), [7, -20, 3]]
    save(case / "oblong.nii.gz", np.random.default_rng(0).random((20, 14, 11)), affine)
    reconstruct(case, "--num_views", "2", source="oblong.nii.gz")
    probability = nib.load(case / "out" / "probability.nii.gz")
    assert probability.shape == (20, 14, 11)
    np.testing.assert_allclose(probability.affine, affine, atol=1e-5)


def test_projected_views_give_the_volumes_own_reconstruction(case):
    views = case / "views"
    main(["project", str(case / "image.nii.gz"), "--num_views", "4", "--out", str(views), "--detector_noise", "False"])
    assert {"views.nii.gz", "angles.yaml", "view_000.png", "view_003.png"} <= {path.name for path in views.iterdir()}
    reconstruct(case, "--num_views", "4", "--detector_noise", "False")
    direct = nib.load(case / "out" / "probability.nii.gz")
    reconstruct(
        case, "--angles", str(views / "angles.yaml"), "--label", str(case / "label.nii.gz"), source="views/views.nii.gz"
    )
    found = nib.load(case / "out" / "probability.nii.gz")
    np.testing.assert_allclose(found.affine, direct.affine, atol=1e-5)
    np.testing.assert_allclose(found.get_fdata(), direct.get_fdata(), atol=1e-3)
    assert result_of(case)["scores"] is not None


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_angiogram_goes_through(real_data, weights, tmp_path):
    source = real_data / "angiography" / "ct_avm.nii.gz"
    options = ["--out", str(tmp_path / "out"), "--load_path", str(weights), "--num_views", "5", "--spacing_mm", "3"]
    main(["reconstruct", str(source), *options])
    image, mask = nib.load(source), nib.load(tmp_path / "out" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(RESULT_FILES)


def test_train_and_evaluate(vessels, tmp_path, capsys):
    common = ["--dataset_dir", str(vessels), "--num_views", "3"]
    quick = ["--patch_size", "16", "--val_views", "[3]"]
    main(["train", "reconstruction", *common, "--ckpt_dir", str(tmp_path), "--max_epochs", "1", *quick])
    assert "beyond2d evaluate reconstruction" in capsys.readouterr().out
    main(["evaluate", "reconstruction", *common, "--load_path", str(tmp_path / "model.pt"), "--tile_size", "32",
          "--output_dir", str(tmp_path / "scores")])  # fmt: skip
    assert "thresholded minimum" in capsys.readouterr().out
    assert (tmp_path / "scores" / "cases.csv").is_file()


def test_refined_views_fit_them_better(case):
    """Thirteen by thirteen by eleven voxels are padded for the network; refinement meets the views all the same."""
    views = case / "views"
    save(case / "odd.nii.gz", nib.load(case / "image.nii.gz").get_fdata()[5:18, 5:18, 5:16])
    main(["project", str(case / "odd.nii.gz"), "--num_views", "4", "--out", str(views)])
    reconstruct(case, "--angles", str(views / "angles.yaml"), "--refine", "4", source="views/views.nii.gz")
    result = result_of(case)
    assert result["refine_steps"] == 4
    before, after = result["reprojection_error"]
    assert after < before


@pytest.mark.parametrize("num_views", [2, 10])
def test_the_papers_network_stays_available(case, num_views):
    main(["reconstruct", str(case / "image.nii.gz"), "--model", "autoencoder", "--num_views", str(num_views),
          "--out", str(case / "out")])  # fmt: skip
    result = result_of(case)
    assert result["model"] == "autoencoder"
    assert result["weights"].endswith(f"autoencoder/views_{num_views:02d}.pt")


def test_line_integrals_are_recorded(case):
    reconstruct(case, "--num_views", "4", "--projection_mode", "sum")
    assert result_of(case)["projection_mode"] == "sum"


def test_info_names_versions_and_weights(capsys):
    main(["info"])
    printed = capsys.readouterr().out
    assert torch.__version__ in printed
    assert "models/reconstruction" in printed


@pytest.mark.parametrize("command", ["demo", "phantom", "project", "reconstruct", "train", "evaluate", "info"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert getattr(commands, command).__doc__.split("\n")[0].rstrip(".") in printed.out + printed.err


# What is wrong, how to make it so, the arguments behind `reconstruct image.nii.gz`, and what the line says.
def good(folder):
    del folder


def spoil(name):
    """Replace the volume."""

    def make(folder):
        path = folder / "image.nii.gz"
        voxels = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
        if name == "nan":
            voxels[3, 4, 5] = np.nan
        if name == "infinite":
            voxels[3, 4, 5] = np.inf
        if name == "constant":
            voxels[:] = 7
        if name == "2D":
            voxels = voxels[0]
        if name == "4D":
            voxels = np.stack([voxels, voxels], -1)
        save(path, voxels)
        if name == "truncated":
            path.write_bytes(path.read_bytes()[:2000])
        if name == "text":
            path.write_text("no image")

    return make


def weights_of_another_network(folder):
    torch.save(torch.nn.Conv3d(1, 2, 3).state_dict(), folder / "model.pt")


def no_weights(folder):
    (folder / "model.pt").unlink()


def torn_weights(folder):
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:5000])


def state_of_a_training(folder):
    torch.save({"network": torch.load(folder / "model.pt", weights_only=True), "progress": {}}, folder / "model.pt")


def label_elsewhere(folder):
    label = nib.load(folder / "label.nii.gz")
    affine = label.affine + np.array([[0, 0, 0, 50], [0] * 4, [0] * 4, [0] * 4])
    save(folder / "label.nii.gz", label.get_fdata(), affine)


def label_of_another_shape(folder):
    save(folder / "label.nii.gz", np.eye(5)[None].repeat(5, 0))


def out_is_a_file(folder):
    (folder / "out").write_text("mine")


def angles(content):
    def make(folder):
        (folder / "angles.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        save(folder / "image.nii.gz", np.random.default_rng(0).random((16, 12, 2)))

    return make


LABEL = ("--label", "label.nii.gz")
ANGLES = ("--angles", "angles.yaml")
BAD = [
    ("num_views 0", good, ("--num_views", "0"), "num_views must be between 2 and 90, got 0"),
    ("num_views 1", good, ("--num_views", "1"), "num_views must be between 2 and 90, got 1"),
    ("num_views 91", good, ("--num_views", "91"), "num_views must be between 2 and 90, got 91"),
    ("num_views two", good, ("--num_views", "two"), "num_views must be a whole number, got 'two'"),
    ("num_views 2.5", good, ("--num_views", "2.5"), "num_views must be a whole number, got 2.5"),
    ("no volume", lambda f: (f / "image.nii.gz").unlink(), (), "image.nii.gz"),
    ("empty folder", lambda f: ((f / "image.nii.gz").unlink(), (f / "image.nii.gz").mkdir()), (), "image.nii.gz"),
    ("text", spoil("text"), (), "image.nii.gz"),
    ("truncated", spoil("truncated"), (), "image.nii.gz"),
    ("nan", spoil("nan"), (), "1 that are NaN or infinite"),
    ("infinite", spoil("infinite"), (), "1 that are NaN or infinite"),
    ("constant", spoil("constant"), (), "the same value 7 in every voxel"),
    ("2D", spoil("2D"), (), "expected a 3D volume"),
    ("4D", spoil("4D"), (), "expected a 3D volume"),
    ("other network", weights_of_another_network, (), "model.pt: expected weights of the config's network"),
    ("no weights", no_weights, (), "model.pt: expected a file of weights, there is no such file"),
    ("torn weights", torn_weights, (), "model.pt: expected weights as torch.save writes them"),
    ("state of a training", state_of_a_training, (), "model.pt: expected weights, got the whole state of a training"),
    ("label elsewhere", label_elsewhere, LABEL, "label: expected the image's place in the world"),
    ("label of another shape", label_of_another_shape, LABEL, "label: expected the image's shape"),
    ("no label", good, ("--label", "none.nii.gz"), "none.nii.gz"),
    ("refine half a step", good, ("--refine", "0.5"), "refine must be a whole number"),
    ("refine backwards", good, ("--refine", "-1"), "refine must be a whole number of at least 0, got -1"),
    ("no such model", good, ("--model", "vnet"), "model must be one of unet, autoencoder, got 'vnet'"),
    (
        "the other model's weights",
        good,
        ("--model", "autoencoder"),
        "model.pt: expected weights of the config's network",
    ),
    ("hull level of words", good, ("--hull_level", "high"), "hull_level must be a number"),
    ("window upside down", good, ("--window", "600,150"), "window must be two numbers, the lower first"),
    ("window of words", good, ("--window", "low"), "window must be two numbers"),
    ("window above the image", good, ("--window", "90000,90001"), "got a maximum of"),
    ("misspelt option", good, ("--num_view", "3"), "--num_view: no such key in the config; did you mean num_views?"),
    ("unknown option", good, ("--zzz", "3"), "--zzz: no such key in the config"),
    ("a word for a switch", good, ("--detector_noise", "no"), "--detector_noise: expected True or False, got no"),
    ("odd tile", good, ("--tile_size", "12"), "tile_size must be a multiple of the network's grid"),
    ("wrong projection", good, ("--projection_mode", "min"), "projection_mode must be one of max, sum, got 'min'"),
    ("out is a file", out_is_a_file, (), "out: cannot write into"),
    ("no angles file", good, ANGLES, "angles.yaml: no such angles file"),
    ("too few angles", angles({"angles_deg": [0.0]}), ANGLES, "angle"),
    ("too many angles", angles({"angles_deg": [0.0, 45.0, 90.0]}), ANGLES, "3"),
    ("angles of words", angles({"angles_deg": ["a", "b"]}), ANGLES, "angles_deg must be a list of numbers"),
    ("no angles in it", angles({"angle": [0.0]}), ANGLES, "angles_deg"),
    ("views and angles differ", angles({"angles_deg": [0.0, 90.0]}), (*ANGLES, "--num_views", "5"), "got 5"),
]


@pytest.mark.parametrize(("make", "arguments", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input_gets_one_line_and_leaves_nothing(make, arguments, words, case, capsys, monkeypatch):
    make(case)
    before = sorted(case.rglob("*"))
    monkeypatch.chdir(case)
    with pytest.raises(SystemExit) as ended:
        reconstruct(case, *arguments)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("beyond2d: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert sorted(case.rglob("*")) == before


@pytest.mark.parametrize("step", ["save_volume", "write_bytes", "projections_picture", "write_json"])
def test_a_full_disk_loses_no_earlier_result(step, case, capsys, monkeypatch):
    reconstruct(case, "--num_views", "3")
    before = {path: path.read_bytes() for path in (case / "out").iterdir()}

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"beyond2d.report.reconstruction.{step}", full)
    with pytest.raises(SystemExit) as ended:
        reconstruct(case, "--num_views", "4")
    assert ended.value.code == 2
    assert "the disk is full; earlier results are as they were" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (case / "out").iterdir()} == before


def test_a_failure_of_our_own_is_not_hidden(case, monkeypatch):
    def broken(*_args, **_options):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("beyond2d.commands.vessels.run_task", broken)
    with pytest.raises(ZeroDivisionError):
        reconstruct(case, "--num_views", "3")


def test_bad_arguments_of_the_other_commands(tmp_path, capsys):
    for arguments, words in (
        (
            ["phantom", "bones", "--out", str(tmp_path / "a")],
            "kind must be one of vessels, organs, chests, digits, got 'bones'",
        ),
        (["phantom", "vessels", "--cases", "0", "--out", str(tmp_path / "a")], "cases must be a whole number"),
        (["train", "teleportation"], "system must be one of reconstruction, segmentation, digits, infection, got"),
        (["train", "reconstruction", "--dataset_dir", str(tmp_path / "none")], "dataset_dir: expected a folder"),
        (["train", "reconstruction", "--dataset_dir", str(tmp_path)], "expected dataset.json, NIfTI files or DICOM"),
        (["evaluate", "reconstruction", "--load_path", str(tmp_path / "none.pt")], "there is no such file"),
        (["project", str(tmp_path / "none.nii"), "--out", str(tmp_path / "a")], "none.nii"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2, arguments
        assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
