"""The configs of the digits: complete, consistent with one another, and running as MONAI runs them."""

import csv
import json
from functools import partial

import bundles
import numpy as np
import pytest
import torch

from beyond2d.datasets import write_digit_dataset
from beyond2d.networks import VolumetricVGG13
from beyond2d.workflow import MODELS, home

CONFIGS = home() / "configs" / "digits"
# A network of some thousand parameters, where it does not matter which it is.
SMALL = {
    "network_def#_target_": "monai.networks.nets.resnet10",
    "network_def#widen_factor": 0.0625,
    "network_def#feed_forward": True,
}


raw = partial(bundles.raw, "digits")
open_config = partial(bundles.open_config, "digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder of 30 drawn digits: 21 for training, 3 for validation, 6 for testing."""
    return write_digit_dataset(tmp_path_factory.mktemp("digits") / "data", cases=30).parent


def train(digits, folder, model="resnet", overlays=(), **overrides):
    options = {"dataset_dir": str(digits), "ckpt_dir": str(folder), "batch_size": 10, **overrides}
    open_config("train", model, overlays, **options).run()
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """The folder of a small network trained for two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    train(digits, folder, max_epochs=2, **SMALL)
    return folder


@pytest.mark.parametrize("task", ["train", "infer"])
@pytest.mark.parametrize("model", MODELS["digits"])
def test_no_property_is_missing(task, model, digits, tmp_path):
    workflow = open_config(task, model, dataset_dir=str(digits), ckpt_dir=str(tmp_path))
    assert workflow.check_properties() == []


def test_train_and_inference_prepare_digits_alike():
    training, inference = raw("train.yaml"), raw("inference.yaml")
    assert training["preprocessing"] == inference["deterministic"]
    for key in ("network_def", "network", "model", "mixed_precision"):
        assert training[key] == inference[key], key


def test_the_published_recipe_changes_what_training_has():
    assert set(raw("published.yaml")) <= set(raw("train.yaml"))


def test_the_other_network_changes_what_train_and_inference_have():
    assert set(raw("resnet.yaml")) <= set(raw("train.yaml")) & set(raw("inference.yaml"))


def test_metadata_names_the_classes():
    channels = raw("metadata.json")["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == [str(digit) for digit in range(10)]


def test_resumed_training_is_the_uninterrupted_one(digits, tmp_path):
    whole = train(digits, tmp_path / "whole", max_epochs=3, **SMALL)
    train(digits, tmp_path / "parts", max_epochs=1, schedule_epochs=3, **SMALL)
    parts = train(digits, tmp_path / "parts", max_epochs=3, resume=True, **SMALL)
    assert parts["progress"] == whole["progress"]
    for name, value in whole["network"].items():
        assert torch.equal(value, parts["network"][name]), name
    other_seed = train(digits, tmp_path / "other", max_epochs=3, seed=1, **SMALL)
    assert any(not torch.equal(value, other_seed["network"][name]) for name, value in whole["network"].items())


def test_training_leaves_the_best_network_and_the_log(digits, tmp_path):
    state = train(digits, tmp_path, model=None, max_epochs=1)
    # 21 digits in steps of 10: the last one alone is left out, batch norm could do nothing with it.
    assert state["progress"]["iteration"] == 2
    VolumetricVGG13().load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert any(path.name.startswith("events.out") for path in tmp_path.iterdir())


def test_the_published_recipe(digits, tmp_path):
    state = train(digits, tmp_path, overlays=("published.yaml",), max_epochs=2, **SMALL)
    (group,) = state["optimizer"]["param_groups"]
    assert (group["lr"], group["weight_decay"]) == (1e-5, 0)
    workflow = open_config("train", None, ("published.yaml",), dataset_dir=str(digits), ckpt_dir=str(tmp_path))
    assert workflow.parser.get_parsed_content("train#trainer").state.max_epochs == 60
    assert len(workflow.parser.get_parsed_content("train#preprocessing").transforms) == 3
    assert workflow.parser.get_parsed_content("loss").label_smoothing == 0


def test_evaluation_scores_network_and_baselines(digits, trained, tmp_path):
    load_path = str(trained / "model.pt")
    options = {"dataset_dir": str(digits), "output_dir": str(tmp_path), "load_path": load_path, **SMALL}
    open_config("evaluate", "resnet", **options).run()
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(scores["methods"]) == ["nearest mean", "nearest neighbours", "resnet"]
    assert np.array(scores["methods"]["resnet"]["confusion"]).sum() == 6
    assert len((tmp_path / "cases.csv").read_text(encoding="utf-8").splitlines()) == 19


def predictions(folder, **options):
    open_config("infer", "resnet", output_dir=str(folder), **options, **SMALL).run()
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_inference_gives_probabilities(digits, trained, tmp_path):
    load_path = str(trained / "model.pt")
    rows = predictions(tmp_path / "section", dataset_dir=str(digits), load_path=load_path)
    with np.load(digits / "test.npz") as arrays:
        images, labels = arrays["image"], arrays["label"]
    assert [int(row["label"]) for row in rows] == labels.tolist()
    for row in rows:
        probabilities = [float(row[f"probability_{digit}"]) for digit in range(10)]
        assert sum(probabilities) == pytest.approx(1)
        assert float(row["probability"]) == max(probabilities) == probabilities[int(row["predicted"])]
    np.save(tmp_path / "mine.npy", images)
    unlabelled = predictions(tmp_path / "file", input=str(tmp_path / "mine.npy"), load_path=load_path)
    assert [row["predicted"] for row in unlabelled] == [row["predicted"] for row in rows]
    assert {row["label"] for row in unlabelled} == {""}


@pytest.mark.slow
def test_monai_runs_the_bundle_from_its_own_command_line(digits, tmp_path):
    bundles.run_monai([CONFIGS / "train.yaml"], "--dataset_dir", digits, "--ckpt_dir", tmp_path, "--max_epochs", 1)
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.slow
def test_two_processes_train_the_same_config(digits, tmp_path):
    files = [CONFIGS / name for name in ("train.yaml", "resnet.yaml", "multi_gpu.yaml")]
    small = [f"--{key}={value}" for key, value in SMALL.items()]
    options = ["--dataset_dir", digits, "--ckpt_dir", tmp_path, "--max_epochs", 1, "--batch_size", 4]
    bundles.run_monai(files, *options, *small, processes=2)
    # 21 digits shared by two processes, four a step, are three steps each, not five.
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["iteration"] == 3
