"""The configs of infected lung: complete, consistent with one another, and running as MONAI runs them."""

import csv
import json
from functools import partial
from inspect import signature

import bundles
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import new_network

from beyond2d.inferers import CandidateRejection
from beyond2d.readers import read_candidates, read_threshold
from beyond2d.report.infection import INFECTION_FILES
from beyond2d.workflow import MODELS, home

CONFIGS = home() / "configs" / "infection"
COARSE = {"spacing_mm": [12.0, 12.0, 12.0]}
# In float32: bfloat16 weight gradients of feature maps this small are not reproducible on a CPU.
QUICK_TRAINING = {"mixed_precision": False, "val_interval": 1, "check_data": False, "patch_size": [32, 32], **COARSE}


raw = partial(bundles.raw, "infection")
open_config = partial(bundles.open_config, "infection")


def train(chests, folder, model=None, **overrides):
    options = {"dataset_dir": str(chests), "ckpt_dir": str(folder), "max_epochs": 1, "patches_per_case": 2}
    open_config("train", model, **{**options, **QUICK_TRAINING, **overrides}).run()
    return torch.load(folder / "last.pt", weights_only=True)


def read_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", ["train", "infer", "train_classifier"])
def test_no_property_is_missing(task, chests, lung_models, candidates, tmp_path):
    given = {
        "train": {"dataset_dir": str(chests), "check_data": False, "ckpt_dir": str(tmp_path)},
        "infer": {"dataset_dir": str(chests), "models_dir": str(lung_models)},
        "train_classifier": {**candidates, "ckpt_dir": str(tmp_path)},
    }
    assert open_config(task, **given[task]).check_properties() == []


def test_train_and_inference_describe_the_same_network_and_images():
    training, inference = raw("train.yaml"), raw("inference.yaml")
    for key in ("network_def", "network", "loading", "intensity", "window_hu", "spacing_mm", "num_slices", "model"):
        assert training[key] == inference[key], key
    plane = {**inference["network_def"], "in_channels": 1, "out_channels": 3}
    assert inference["plane_def"] == plane
    assert (
        raw("classifier.yaml")["network_def"] == raw("evaluate.yaml")["classifier_def"] == inference["classifier_def"]
    )
    upright = [next(step for step in config["spatial"] if "mode" in step) for config in (training, inference)]
    assert all((step["mode"][0], step["padding_mode"][0]) == ("cubic_if_thick", "border") for step in upright)


def test_evaluation_drops_the_same_small_parts_as_inference():
    dropped = [
        {key: value for key, value in step.items() if key != "keys"}
        for post in (raw("evaluate.yaml")["validate#postprocessing"], raw("inference.yaml")["postprocessing"])
        for step in post["transforms"]
        if step["_target_"] == "RemoveSmallObjectsd"
    ]
    assert len(dropped) == 2
    assert dropped[0] == dropped[1]


def test_patches_are_cut_alike_for_training_and_inference():
    defaults = signature(CandidateRejection).parameters
    gathered = raw("candidates.yaml")
    assert gathered["margin"] == defaults["margin"].default
    # Training crops patches out of larger ones; inference makes them as large, and crops their middle.
    assert (gathered["patch_size"], raw("classifier.yaml")["patch_size"]) == (
        defaults["patch_size"].default,
        defaults["crop_size"].default,
    )


def test_the_2d_network_changes_what_the_configs_have():
    assert set(raw("plane.yaml")) <= set(raw("train.yaml")) & set(raw("inference.yaml"))


def test_resumed_training_is_the_uninterrupted_one(chests, tmp_path):
    whole = train(chests, tmp_path / "whole", max_epochs=2)
    train(chests, tmp_path / "parts", schedule_epochs=2)
    parts = train(chests, tmp_path / "parts", max_epochs=2, resume=True)
    assert parts["progress"] == whole["progress"]
    assert all(torch.equal(value, parts["network"][name]) for name, value in whole["network"].items())
    other_seed = train(chests, tmp_path / "other", max_epochs=2, seed=1)
    assert any(not torch.equal(value, other_seed["network"][name]) for name, value in whole["network"].items())


@pytest.mark.parametrize("model", MODELS["infection"])
def test_training_leaves_the_best_network_and_the_log(chests, tmp_path, model):
    train(chests, tmp_path, model)
    network = new_network(model, "infection")
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    (row,) = read_rows(tmp_path / "history.csv")
    assert np.isfinite(float(row["train_loss"]))


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    """Files of made-up candidates in three patients each, the true ones brighter, for a classifier."""
    folder, rng = tmp_path_factory.mktemp("candidates"), np.random.default_rng(0)
    files = {"train_file": folder / "training.npz", "val_file": folder / "validation.npz"}
    for path in files.values():
        is_true, areas = np.arange(24) % 2 == 0, rng.integers(5, 50, 24)
        patches = rng.integers(0, 120, (24, 4, 72, 72)) + 100 * is_true[:, None, None, None]
        known = {
            "patches": patches.astype(np.uint8),
            "is_true": is_true,
            "areas": areas,
            "true_voxels": areas * is_true,
        }
        totals = np.bincount(np.arange(24) % 3, areas * is_true).astype(int) + 10
        np.savez(path, **known, patients=np.arange(24) % 3, total_true=totals, cases=np.array(["a", "b", "c"]))
    return {name: str(path) for name, path in files.items()}


def test_candidates_are_those_of_the_cases_held_out(chests, lung_models, tmp_path):
    files = [tmp_path / "first.npz", tmp_path / "second.npz"]
    common = {"dataset_dir": str(chests), "load_path": str(lung_models / "model.pt"), **COARSE}
    for fold, file in enumerate(files):
        open_config("candidates", candidates_file=str(file), fold=fold, num_folds=3, **common).run()
    content = read_candidates(files[0])
    assert content["patches"].shape[1:] == (4, 72, 72)
    assert len(content["cases"]) == len(content["total_true"]) == 2
    assert set(content["cases"]).isdisjoint(read_candidates(files[1])["cases"])
    assert (content["true_voxels"] <= content["areas"]).all()
    assert (content["is_true"] == (content["true_voxels"] >= content["areas"] / 4)).all()
    assert set(content["patients"]) <= {0, 1}
    assert content["patches"][:, 3].reshape(len(content["areas"]), -1).max(axis=1).min() > 0


def test_a_classifier_is_trained_and_judged(candidates, tmp_path):
    quick = {**candidates, "ckpt_dir": str(tmp_path)}
    open_config("train_classifier", **quick, max_epochs=1).run()
    torch.save(new_network(system="infection", part="classifier_def").state_dict(), tmp_path / "untrained.pt")
    for weights in ("model.pt", "untrained.pt"):
        folder = tmp_path / weights.removesuffix(".pt")
        open_config("judge", **quick, load_path=str(tmp_path / weights), output_dir=str(folder)).run()
        judgement = json.loads((folder / "judgement.json").read_text(encoding="utf-8"))
        assert judgement["mean_dice_after"] >= judgement["mean_dice_before"]
        assert judgement["auc"]["low"] <= judgement["auc"]["value"] <= judgement["auc"]["high"]
        assert read_threshold(folder / "judgement.json") == judgement["threshold"]
    given = {"threshold_file": str(tmp_path / "model" / "judgement.json"), "output_dir": str(tmp_path / "again")}
    open_config("judge", **quick, **given).run()
    assert read_threshold(tmp_path / "again" / "judgement.json") == read_threshold(given["threshold_file"])


def test_evaluation_scores_the_network_beside_thresholds(chests, lung_models, tmp_path):
    folder = tmp_path / "classifier"
    folder.mkdir()
    (folder / "judgement.json").write_text('{"threshold": 1.5}', encoding="utf-8")
    (folder / "model.pt").write_bytes((lung_models / "classifier.pt").read_bytes())
    options = {"dataset_dir": str(chests), "load_path": str(lung_models / "model.pt"), **COARSE}
    rows = {}
    for name, given in (("alone", {}), ("both", {"classifier_dir": str(folder), "hu_baseline": False})):
        open_config("evaluate", output_dir=str(tmp_path / name), **options, **given).run()
        rows[name] = {row["method"]: row for row in read_rows(tmp_path / name / "cases.csv")}
        assert (tmp_path / name / "proportions.png").is_file()
    assert set(rows["alone"]) == {"2.5D", "HU thresholds"}
    assert float(rows["alone"]["HU thresholds"]["lung_dice"]) > 0.7
    assert float(rows["alone"]["2.5D"]["infection_ml"]) > 0
    # A threshold that no score reaches rejects everything, but for what interpolation makes of undecided voxels, and
    # leaves the lung as it is.
    left = float(rows["both"]["2.5D, classifier"]["infection_ml"])
    assert left < 0.05 * float(rows["alone"]["2.5D"]["infection_ml"])
    assert float(rows["both"]["2.5D, classifier"]["lung_ml"]) >= float(rows["alone"]["2.5D"]["lung_ml"])


def test_inference_writes_every_result(chests, lung_models, tmp_path):
    options = {"dataset_dir": str(chests), "models_dir": str(lung_models), "output_dir": str(tmp_path), **COARSE}
    open_config("infer", **options).run()
    (case,) = tmp_path.iterdir()
    assert sorted(path.name for path in case.iterdir()) == sorted(INFECTION_FILES)
    image = nib.load(chests / "imagesTr" / f"{case.name}.nii.gz")
    masks = [nib.load(case / name) for name in ("lung.nii.gz", "infection.nii.gz")]
    for mask in masks:
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    lung, infection = (np.asarray(mask.dataobj) for mask in masks)
    assert set(np.unique(lung)) | set(np.unique(infection)) <= {0, 1}
    assert not (infection & ~lung).any()
    result = json.loads((case / "report.json").read_text(encoding="utf-8"))
    names = ["slab", "slab, mirrored", "plane", "plane, mirrored"]
    assert [estimate["name"] for estimate in result["estimates"]] == names


@pytest.mark.parametrize("left_out", [{"second_opinion": False}, {"classify": False}])
def test_parts_of_inference_can_be_left_out_with_their_weights(chests, lung_models, tmp_path, left_out):
    image = next(iter(sorted((chests / "imagesTr").iterdir())))
    given = {"plane_load_path": "none.pt"} if "second_opinion" in left_out else {"classifier_load_path": "none.pt"}
    options = {"models_dir": str(lung_models), "input": str(image), "output_dir": str(tmp_path), **COARSE}
    workflow = open_config("infer", **options, **left_out, **given)
    workflow.run()
    result = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert len(result["estimates"]) == (2 if "second_opinion" in left_out else 4)


@pytest.mark.slow
def test_monai_runs_the_bundle_from_its_own_command_line(chests, lung_models, tmp_path):
    coarse = ("--spacing_mm", "[12.0,12.0,12.0]", "--dataset_dir", chests)
    training = (*coarse, "--ckpt_dir", tmp_path, "--mixed_precision", "False", "--patch_size", "[32,32]")
    bundles.run_monai([CONFIGS / "train.yaml"], *training, "--max_epochs", 1, "--val_interval", 1)
    both = [CONFIGS / "train.yaml", CONFIGS / "evaluate.yaml"]
    bundles.run_monai(both, *training, "--output_dir", tmp_path / "scores")
    assert (tmp_path / "scores" / "cases.csv").is_file()
    weights = ("--models_dir", lung_models, "--load_path", tmp_path / "model.pt", "--output_dir", tmp_path / "out")
    bundles.run_monai([CONFIGS / "inference.yaml"], *coarse, *weights)
    assert len(list((tmp_path / "out").glob("*/report.html"))) == 1


@pytest.mark.slow
def test_two_processes_train_the_same_config(chests, tmp_path):
    files = [CONFIGS / "train.yaml", CONFIGS / "multi_gpu.yaml"]
    options = ["--dataset_dir", chests, "--ckpt_dir", tmp_path, "--spacing_mm", "[12.0,12.0,12.0]"]
    options += ["--patch_size", "[32,32]", "--num_folds", 3, "--max_epochs", 1, "--val_interval", 1, "--batch_size", 1]
    bundles.run_monai(files, *options, "--mixed_precision", "False", processes=2)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    # Four cases shared by two processes, one a step, are two steps each, not four.
    assert state["progress"]["iteration"] == 2
    new_network(system="infection").load_state_dict(state["network"])
    assert len(read_rows(tmp_path / "history.csv")) == 1
