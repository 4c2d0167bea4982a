"""The configs of the segmentation: complete, consistent with one another, and running as MONAI runs them."""

import csv
import json
import math
from functools import partial

import bundles
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from conftest import PLAN, new_network

from beyond2d.readers import plan_text, read_plan
from beyond2d.report.segmentation import RESULT_FILES
from beyond2d.workflow import MODELS, home

CONFIGS = home() / "configs" / "segmentation"
REPORT = {"model": "network2", "size": [32, 32, 16]}
# In float32: bfloat16 weight gradients of feature maps this small are not reproducible on a CPU.
QUICK_TRAINING = {"mixed_precision": False, "val_interval": 1, "check_data": False}
OWN_LISTS = {"fold": None}  # dataset.json's training and validation


raw = partial(bundles.raw, "segmentation")
open_config = partial(bundles.open_config, "segmentation")


def train(organs, folder, **overrides):
    """Trains in a folder, by the plan of the tests unless the folder has another."""
    if not (folder / "plan.yaml").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.yaml").write_text(plan_text(PLAN), encoding="utf-8")
    options = {"dataset_dir": str(organs), "ckpt_dir": str(folder), "max_epochs": 1, **QUICK_TRAINING, **OWN_LISTS}
    open_config("train", **{**options, **overrides}).run()
    return torch.load(folder / "last.pt", weights_only=True)


def read_history(folder):
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "minutes"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("task", ["train", "infer"])
@pytest.mark.parametrize("model", MODELS["segmentation"])
def test_no_property_is_missing(task, model, organs, segmenter):
    given = {"ckpt_dir": str(segmenter)} if task == "train" else {"models_dir": str(segmenter)}
    given |= {"check_data": False, **OWN_LISTS} if task == "train" else {}
    assert open_config(task, model, dataset_dir=str(organs), **given).check_properties() == []


def regridding(config):
    """How each key is interpolated, and what it gets beyond the scan."""
    (step,) = [step for step in config["spatial"] if step["_target_"].endswith("Uprightd")]
    return dict(zip(step["keys"], zip(step["mode"], step["padding_mode"], strict=True), strict=True))


def test_train_and_inference_describe_the_same_network_and_images():
    training, inference = raw("train.yaml"), raw("inference.yaml")
    shared = ("class_values", "architecture", "network_def", "network", "loading", "intensity", "window_size")
    for key in (*shared, "model", "seed", "device", "mixed_precision"):
        assert training[key] == inference[key], key
    labels_too = {"keys", "mode", "padding_mode", "allow_missing_keys"}  # in inference labels stay where they are
    for one, other in zip(training["spatial"], inference["spatial"], strict=True):
        assert {key: one[key] for key in one.keys() - labels_too} == {
            key: other[key] for key in other.keys() - labels_too
        }
    ways = [regridding(config) for config in (training, inference)]
    assert ways[0].pop("label") == ("nearest", "zeros")
    assert ways[0] == ways[1]


def test_validation_evaluation_and_inference_predict_alike():
    windows = [raw("train.yaml")["validate"]["window"], raw("inference.yaml")["window"]]
    for window in windows:
        window.pop("overlap")
        window.pop("progress", None)
    assert windows[0] == windows[1]
    evaluated = raw("evaluate.yaml")["validate#postprocessing"]["transforms"]
    inferred = raw("inference.yaml")["postprocessing"]["transforms"]
    evaluated[0].pop("transform")
    inferred[0].pop("transform")
    assert evaluated == inferred[: len(evaluated)]


@pytest.mark.parametrize("model", MODELS["segmentation"][1:])
def test_every_other_network_changes_what_the_configs_have(model):
    """What it brings along anew, it uses itself."""
    known, text = {**raw("train.yaml"), **raw("inference.yaml")}, (CONFIGS / f"{model}.yaml").read_text()
    assert raw(f"{model}.yaml")["model"] == model
    assert all(f"'@{key}'" in text for key in raw(f"{model}.yaml").keys() - known.keys())


def test_metadata_names_the_classes():
    channels = raw("metadata.json")["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert channels == {"0": "background", "1": "anterior", "2": "posterior"}


def test_resumed_training_is_the_uninterrupted_one(organs, tmp_path):
    whole = train(organs, tmp_path / "whole", max_epochs=3)
    train(organs, tmp_path / "parts", max_epochs=1, schedule_epochs=3)
    parts = train(organs, tmp_path / "parts", max_epochs=3, resume=True)
    assert parts["progress"] == whole["progress"]
    for name, value in whole["network"].items():
        assert torch.equal(value, parts["network"][name]), name
    history = read_history(tmp_path / "whole")
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert read_history(tmp_path / "parts") == history
    other_seed = train(organs, tmp_path / "other", max_epochs=3, seed=1)
    assert any(not torch.equal(value, other_seed["network"][name]) for name, value in whole["network"].items())


@pytest.mark.parametrize(
    "overrides",
    [
        {"fold": 1, "num_folds": 4, "num_cases": 2},
        {"labelled_fraction": 0.25, "elastic_prob": 1.0},
        *({**REPORT, "dice_weight": weight} for weight in (0, 0.5, 1)),
        {"model": "network1", "size": [16, 16, 16]},
    ],
    ids=str,
)
def test_training_leaves_the_best_network_and_the_log(organs, tmp_path, overrides):
    train(organs, tmp_path, **overrides)
    network = new_network(overrides.get("model"), "segmentation", plan_file=str(tmp_path / "plan.yaml"))
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    (row,) = read_history(tmp_path)
    assert math.isfinite(float(row["train_loss"]))
    assert 0 <= float(row["metric"]) <= 1
    assert any(path.name.startswith("events.out") for path in tmp_path.iterdir())


def test_training_makes_a_plan_once_and_follows_what_a_person_edits(organs, tmp_path):
    folder = tmp_path / "new"
    planned = {"plan_file": str(folder / "plan.yaml"), "memory_gb": 0.002, "check_data": True}
    workflow = open_config("train", dataset_dir=str(organs), ckpt_dir=str(folder), **OWN_LISTS, **planned)
    plan = workflow.parser.get_parsed_content("plan")
    assert plan == read_plan(folder / "plan.yaml")
    assert plan["labels"] == PLAN["labels"]
    assert plan["intensity"][0]["scheme"] == "clip"
    (folder / "plan.yaml").write_text(plan_text({**PLAN, "features": [6, 8, 8], "mirror_axes": []}))
    state = train(organs, folder)
    assert next(iter(state["network"].values())).shape[0] == 6
    assert yaml.safe_load((folder / "plan.yaml").read_text())["features"] == [6, 8, 8]


def test_inference_writes_every_result(organs, segmenter, tmp_path):
    open_config("infer", dataset_dir=str(organs), models_dir=str(segmenter), output_dir=str(tmp_path)).run()
    (case,) = tmp_path.iterdir()
    assert sorted(path.name for path in case.iterdir()) == sorted(RESULT_FILES)
    mask, image = nib.load(case / "mask.nii.gz"), nib.load(organs / "imagesTr" / f"{case.name}.nii.gz")
    assert mask.shape == image.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
    result = json.loads((case / "result.json").read_text(encoding="utf-8"))
    assert (result["case"], result["model"], result["flips"]) == (case.name, "planned", True)
    assert set(result["volumes_ml"]) == set(result["scores"]) == {"liver", "spleen", "kidneys"}


@pytest.mark.parametrize("labelled", [False, True])
def test_the_reports_network_segments_on_the_images_own_grid(labelled, organs, segmenter, tmp_path):
    network = new_network("network2", "segmentation", plan_file=str(segmenter / "plan.yaml"))
    torch.save(network.state_dict(), tmp_path / "model.pt")
    image = next(iter(sorted((organs / "imagesTr").iterdir())))
    options = {"input": str(image), "models_dir": str(segmenter), "load_path": str(tmp_path / "model.pt")}
    options |= {"label": str(organs / "labelsTr" / image.name)} if labelled else {}
    options |= {"output_dir": str(tmp_path / "out"), "size": [16, 16, 8]}
    open_config("infer", "network2", **options).run()
    assert nib.load(tmp_path / "out" / "mask.nii.gz").shape == nib.load(image).shape
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert (result["scores"] is not None) == labelled


def evaluate(organs, segmenter, folder, **overrides):
    options = {"dataset_dir": str(organs), "ckpt_dir": str(segmenter), "output_dir": str(folder), **OWN_LISTS}
    open_config("evaluate", **{**options, **overrides}).run()
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert len(scores["cases"]) == len(rows)
    return rows, scores


@pytest.mark.parametrize("part", ["validation", "test"])
def test_evaluation_scores_the_network_beside_a_baseline(part, organs, segmenter, tmp_path):
    rows, scores = evaluate(organs, segmenter, tmp_path, part=part)
    labels = ["liver", "spleen", "kidneys", "mean"]
    assert [(row["method"], row["label"]) for row in rows] == [
        (method, label) for method in ("planned", "mean label") for label in labels
    ]
    assert float(rows[-1]["dice"]) > 0.2  # organs lie alike in all
    assert float(rows[0]["truth_ml"]) > 100
    assert (scores["part"], scores["model"], scores["fold"]) == (part, "planned", None)
    assert set(scores["gain_of_keeping_the_largest_part"]) == set(labels[:-1])


def test_evaluation_of_slices_that_nobody_drew(organs, segmenter, tmp_path):
    sparse = {"part": "training", "labelled_fraction": 0.25, "only_undrawn": True}
    rows, scores = evaluate(organs, segmenter, tmp_path, **sparse)
    assert {row["method"] for row in rows} == {"planned", "interpolated slices"}
    assert len({row["case"] for row in rows}) == 4
    everything, _ = evaluate(organs, segmenter, tmp_path, part="training")
    undrawn, whole = (sum(float(row["truth_ml"]) for row in part) for part in (rows, everything))
    assert 0.3 < undrawn / whole < 0.8
    assert scores["labelled_fraction"] == 0.25


@pytest.mark.slow
def test_monai_runs_the_bundle_from_its_own_command_line(organs, segmenter, tmp_path):
    common = ("--dataset_dir", organs, "--plan_file", segmenter / "plan.yaml")
    training = (*common, "--ckpt_dir", tmp_path, "--num_folds", 2, "--mixed_precision", "False")
    bundles.run_monai([CONFIGS / "train.yaml"], *training, "--max_epochs", 1, "--val_interval", 1)
    both = [CONFIGS / "train.yaml", CONFIGS / "evaluate.yaml"]
    bundles.run_monai(both, *training, "--output_dir", tmp_path / "scores")
    assert (tmp_path / "scores" / "cases.csv").is_file()
    weights = ("--load_path", tmp_path / "model.pt", "--output_dir", tmp_path / "out")
    bundles.run_monai([CONFIGS / "inference.yaml"], *common, *weights)
    assert len(list((tmp_path / "out").glob("*/mask.nii.gz"))) == 1


@pytest.mark.slow
def test_two_processes_train_the_same_config(organs, segmenter, tmp_path):
    files = [CONFIGS / "train.yaml", CONFIGS / "multi_gpu.yaml"]
    options = ["--dataset_dir", organs, "--ckpt_dir", tmp_path, "--plan_file", segmenter / "plan.yaml"]
    options += ["--num_folds", 4, "--max_epochs", 1, "--val_interval", 1, "--batch_size", 1]
    bundles.run_monai(files, *options, "--mixed_precision", "False", processes=2)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    # Three cases shared by two processes, one a step, are two steps each, not three.
    assert state["progress"]["iteration"] == 2
    network = new_network(system="segmentation", plan_file=str(segmenter / "plan.yaml"))
    network.load_state_dict(state["network"])
    assert len(read_history(tmp_path)) == 1
