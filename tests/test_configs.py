"""The bundle's configs: complete, consistent with one another, and running as MONAI runs them."""

import json
from functools import partial

import bundles
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import new_network

from beyond2d.report.reconstruction import RESULT_FILES
from beyond2d.workflow import MODELS, home

CONFIGS = home() / "configs" / "reconstruction"
# Small and quick, for every task.
QUICK = {"num_views": 3, "tile_size": 32}
# In float32: bfloat16 weight gradients of feature maps this small are not reproducible on a CPU.
QUICK_TRAINING = {"patch_size": 16, "patches_per_volume": 2, "val_views": [3], "val_interval": 1}
QUICK_TRAINING["mixed_precision"] = False


raw = partial(bundles.raw, "reconstruction")
open_config = partial(bundles.open_config, "reconstruction")


def train(vessels, folder, **overrides):
    options = {"num_views": 3, **QUICK_TRAINING, **overrides}
    workflow = open_config("train", dataset_dir=str(vessels), ckpt_dir=str(folder), **options)
    workflow.run()
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.parametrize("task", ["train", "infer"])
def test_no_property_is_missing(task, vessels):
    assert open_config(task, dataset_dir=str(vessels)).check_properties() == []


def test_train_and_inference_prepare_volumes_alike():
    training, inference = raw("train.yaml"), raw("inference.yaml")
    for key in ("backbone", "head", "network_def", "network_input", "simulation"):
        assert training[key] == inference[key], key
    kept_truth = [step for step in inference["deterministic"] if step["_target_"] != "CopyItemsd"]
    assert training["preprocessing"] == kept_truth
    simulated = ("num_views", "span_deg", "angles_deg", "projection_mode", "detector_noise", "pose_error_deg")
    for key in (*simulated, "window", "spacing_mm", "model"):
        assert training[key] == inference[key], key


@pytest.mark.parametrize("model", MODELS["reconstruction"][1:])
def test_every_other_network_changes_what_train_and_inference_have(model):
    both = {**raw("train.yaml"), **raw("inference.yaml")}
    assert set(raw(f"{model}.yaml")) <= set(both)


def test_metadata_names_the_classes():
    assert raw("metadata.json")["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "background",
        "1": "vessel",
    }


def test_resumed_training_is_the_uninterrupted_one(vessels, tmp_path):
    whole = train(vessels, tmp_path / "whole", max_epochs=3)
    train(vessels, tmp_path / "parts", max_epochs=1, schedule_epochs=3)
    parts = train(vessels, tmp_path / "parts", max_epochs=3, resume=True)
    assert parts["progress"] == whole["progress"]
    for name, value in whole["network"].items():
        assert torch.equal(value, parts["network"][name]), name
    finished = train(vessels, tmp_path / "whole", max_epochs=3, resume=True)
    assert finished["progress"] == whole["progress"]
    other_seed = train(vessels, tmp_path / "other", max_epochs=3, seed=1)
    assert any(not torch.equal(value, other_seed["network"][name]) for name, value in whole["network"].items())


@pytest.mark.parametrize(
    "overrides", [{}, {"lean": True}, {"model": "autoencoder"}, {"projection_mode": "sum"}], ids=str
)
def test_training_leaves_the_best_network_and_the_log(vessels, tmp_path, overrides):
    train(vessels, tmp_path, max_epochs=1, **overrides)
    network = new_network(overrides.get("model"))
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert any(path.name.startswith("events.out") for path in tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["vessels", "vessels_dicom"])
def test_inference_writes_every_result(kind, request, weights, tmp_path):
    dataset_dir = request.getfixturevalue(kind)
    open_config("infer", dataset_dir=str(dataset_dir), output_dir=str(tmp_path), load_path=str(weights), **QUICK).run()
    (case,) = tmp_path.iterdir()
    dicom_seg = ["mask.dcm"] if kind == "vessels_dicom" else []
    assert sorted(path.name for path in case.iterdir()) == sorted([*RESULT_FILES, *dicom_seg])
    probability = nib.load(case / "probability.nii.gz")
    label = nib.load(dataset_dir / "labelsTr" / f"{case.name}.nii.gz")
    assert probability.shape == label.shape
    result = json.loads((case / "result.json").read_text(encoding="utf-8"))
    assert (result["num_views"], result["truth"], result["detector_noise"]) == (3, "file", True)
    if kind == "vessels":
        np.testing.assert_allclose(probability.affine, label.affine, atol=1e-5)


def test_evaluation_scores_network_and_baselines(vessels, weights, tmp_path):
    open_config("evaluate", dataset_dir=str(vessels), output_dir=str(tmp_path), load_path=str(weights), **QUICK).run()
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    methods = [row["method"] for row in scores["cases"]]
    assert methods == ["unet", "thresholded sum", "thresholded minimum"]
    assert (scores["num_views"], scores["model"]) == (3, "unet")
    assert all(row["iou"] > 0.05 for row in scores["cases"][1:])  # a hull is no guess
    assert len((tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()) == 4


def test_evaluation_of_what_refinement_gains(vessels, weights, tmp_path):
    more = {"load_path": str(weights), "refine_steps": 2, "scored_baselines": {}, "threshold": 0.4}
    open_config("evaluate", dataset_dir=str(vessels), output_dir=str(tmp_path), **more, **QUICK).run()
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["thresholds"] == {"unet": 0.4, "unet, refined": 0.4}
    (error,) = scores["reprojection_errors"].values()
    assert error["after"] < error["before"]


@pytest.mark.slow
def test_monai_runs_the_bundle_from_its_own_command_line(vessels, tmp_path):
    options = ["--dataset_dir", vessels, "--ckpt_dir", tmp_path, "--max_epochs", 1]
    options += [f"--{key}={value}" for key, value in QUICK_TRAINING.items()]
    bundles.run_monai([CONFIGS / "train.yaml"], *options)
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.slow
def test_two_processes_train_the_same_config(vessels, tmp_path):
    options = ["--dataset_dir", vessels, "--ckpt_dir", tmp_path, "--max_epochs", 1, "--batch_size", 1]
    options += [f"--{key}={value}" for key, value in QUICK_TRAINING.items()]
    bundles.run_monai([CONFIGS / "train.yaml", CONFIGS / "multi_gpu.yaml"], *options, processes=2)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    # Three cases shared by two processes, one a step, are two steps each, not three.
    assert state["progress"]["iteration"] == 2
    new_network().load_state_dict(state["network"])
