"""What MONAI Label wants of the systems, and how bundles are put into its app. `make test-label` asks a real server."""

import importlib.util
import json
import socket

import bundles
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import LoadImaged

from beyond2d.commands.vessels import project
from beyond2d.workflow import SYSTEMS, config_files, home

SPEC = importlib.util.spec_from_file_location("serve", home() / "label" / "serve.py")
serve = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(serve)
COARSE = {"spacing_mm": [12.0, 12.0, 12.0]}


def answer(system, task, image, weights, params=None, **overrides):
    """The item at the end of an inference as MONAI Label does it: step after step, without workflow and handlers."""
    parser = ConfigParser()
    parser.read_config(config_files(system, task))
    parser.update({"bundle_root": str(home()), **serve.KEYS["inference"], **overrides})
    item = {"image": str(image), **(params or {})}
    for step in parser.get_parsed_content("preprocessing").transforms:
        assert not isinstance(step, LoadImaged)  # MONAI Label asks it for a label, which there is none of
        item = step(item)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.no_grad():
        item["pred"] = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    for step in parser.get_parsed_content("postprocessing").transforms:
        item = step(item)
    return item


def check_label_map(item, shape, affine, values):
    """A label map where MONAI Label believes it to lie: on the grid that the image's metadata name."""
    label = item["pred"][0].numpy()
    assert label.shape == tuple(item["image"].meta["spatial_shape"]) == tuple(shape)
    np.testing.assert_allclose(item["image"].meta["original_affine"], affine, atol=1e-4)
    np.testing.assert_allclose(item["pred"].affine, affine, atol=1e-4)
    assert (label.dtype, set(np.unique(label)) <= values) == (np.uint8, True)
    json.dumps(item["result"], allow_nan=False)  # what comes back beside the label map


def first_image(dataset):
    return min((dataset / "imagesTr").iterdir())


def test_a_volume_of_vessels_comes_back_as_a_mask_on_its_own_grid(vessels, weights, tmp_path):
    image, given = nib.load(first_image(vessels)), {"num_views": 4}
    item = answer("reconstruction", "infer", first_image(vessels), weights, given, tile_size=32)
    check_label_map(item, image.shape, image.affine, {0, 1})
    assert item["result"]["num_views"] == 4
    assert list(tmp_path.iterdir()) == []


def test_views_come_back_as_a_volume_on_the_grid_of_their_angles(vessels, weights, tmp_path):
    image = nib.load(first_image(vessels))
    project(str(first_image(vessels)), num_views=3, out=str(tmp_path))
    item = answer("reconstruction", "infer_views", tmp_path / "views.nii.gz", weights, tile_size=32)
    check_label_map(item, image.shape, image.affine, {0, 1})
    assert nib.load(tmp_path / "views.nii.gz").shape == (32, 32, 3)
    assert item["result"]["num_views"] == 3


def test_organs_come_back_as_class_numbers(organs, segmenter):
    image = nib.load(first_image(organs))
    item = answer("segmentation", "infer", first_image(organs), segmenter / "model.pt", models_dir=str(segmenter))
    check_label_map(item, image.shape, image.affine, {0, 1, 2, 3})


def test_the_proportion_of_infected_lung_comes_back(chests, lung_models):
    image = nib.load(first_image(chests))
    given = {"models_dir": str(lung_models), **COARSE}
    item = answer("infection", "infer", first_image(chests), lung_models / "model.pt", **given)
    check_label_map(item, image.shape, image.affine, {0, 1, 2})
    assert {"proportion", "estimates", "infection_ml"} <= set(item["result"])


def test_networks_beside_the_first_have_their_weights_without_handlers(lung_models):
    parser = ConfigParser()
    parser.read_config(config_files("infection", "infer"))
    parser.update({"models_dir": str(lung_models)})
    for part in ("plane", "classifier"):
        expected = torch.load(lung_models / f"{part}.pt", weights_only=True)
        for name, value in parser.get_parsed_content(part).state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_a_server_changes_keys_that_are_there():
    inference = [bundles.raw(system, "inference.yaml") for system in SYSTEMS if system != "digits"]
    assert all(set(serve.KEYS["inference"]) <= set(config) for config in inference)
    assert set(serve.KEYS["train"]) <= set(bundles.raw("segmentation", "train.yaml"))
    common = set(serve.KEYS["train"]) - {"plan_file", "check_data"}
    assert all(common <= set(bundles.raw(system, "train.yaml")) for system in SYSTEMS)


def write_bundle(folder, views=False):
    configs = {"inference": {"output_dir": "out", "bundle_root": ".", "dataset": {"data": 1, "transform": 2}}}
    configs |= {"train": {"ckpt_dir": "runs", "check_data": True}, "metadata": {}}
    configs |= {"views": {"dataset#data": 3}} if views else {}
    for name, content in configs.items():
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "models").mkdir()
    (folder / "models" / "model.pt").write_bytes(b"packed")
    return folder


def read(folder, name):
    return json.loads((folder / "configs" / f"{name}.json").read_text(encoding="utf-8"))


def test_a_placed_bundle_answers_and_trains_in_its_own_folder(tmp_path):
    bundle = write_bundle(tmp_path / "one")
    (tmp_path / "model").mkdir()
    assert serve.place(serve.check_bundle(bundle), tmp_path / "model") == ["one"]
    placed = tmp_path / "model" / "one"
    assert read(placed, "inference") == {**read(bundle, "inference"), "output_dir": None}
    assert read(placed, "train") == {"ckpt_dir": "$@bundle_root + '/training'", "check_data": False}
    assert read(bundle, "train") == {"ckpt_dir": "runs", "check_data": True}


def test_a_bundle_for_views_too_is_placed_twice(tmp_path):
    bundle = write_bundle(tmp_path / "one", views=True)
    (tmp_path / "model").mkdir()
    assert serve.place(bundle, tmp_path / "model") == ["one", "one_views"]
    assert read(tmp_path / "model" / "one_views", "inference")["dataset"] == {"data": 3, "transform": 2}
    assert read(tmp_path / "model" / "one", "inference")["dataset"] == {"data": 1, "transform": 2}
    assert not (tmp_path / "model" / "one_views" / "configs" / "train.json").exists()


def test_what_was_trained_is_never_lost(tmp_path, capsys):
    bundle = write_bundle(tmp_path / "one")
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "one" / "models" / "model.pt"
    for renew, expected in ((False, b"trained"), (True, b"packed"), (True, b"packed")):
        serve.place(bundle, tmp_path / "model")
        weights.write_bytes(b"trained")
        serve.place(bundle, tmp_path / "model", renew)
        assert weights.read_bytes() == expected
    shelf = tmp_path / "replaced"
    assert [(shelf / name / "models/model.pt").read_bytes() for name in ("one_1", "one_2")] == [b"trained"] * 2
    assert "Kept" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["one"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--studies", "none"], "studies: expected a folder with NIfTI images, there is none at none"),
        (["--port", "70000"], "port: expected a number from 1 to 65535, got 70000"),
        (["--studies", ".", "none"], "bundle: expected configs/inference.json in none, there is none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, tmp_path, monkeypatch, capsys):
    refused(["--app", str(tmp_path / "app"), *arguments], line, monkeypatch, capsys)
    assert not (tmp_path / "app").exists()


def test_a_port_in_use_is_refused(tmp_path, monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind((serve.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = f"port: expected a free port on {serve.HOST}, got {port}"
        refused(["--studies", str(tmp_path), "--port", str(port)], line, monkeypatch, capsys)


def refused(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["serve.py", *arguments])
    if "--port" not in arguments:
        monkeypatch.setattr(serve, "check_port", lambda port: None)
    with pytest.raises(SystemExit) as exit_:
        serve.main()
    assert exit_.value.code == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"label: {line}")
