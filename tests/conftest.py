"""Small data sets that several tests share."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from beyond2d.datasets import write_body_dataset, write_vessel_dataset
from beyond2d.lungs import INFECTED
from beyond2d.readers import plan_text
from beyond2d.workflow import config_files

SIZE, SPACING_MM = 32, 4.0
CHESTS_SEED = 0
# For the organs below, with a network of some thousand parameters.
PLAN = {
    "channels": ["CT"],
    "labels": {0: "background", 1: "liver", 2: "spleen", 3: "kidneys"},
    "ignore_label": None,
    "spacing_mm": [11.25, 11.25, 22.5],
    "intensity": [{"scheme": "clip", "low": -100.0, "high": 250.0, "mean": 80.0, "std": 60.0}],
    "patch_size": [16, 16, 8],
    "batch_size": 2,
    "patches_per_case": 1,
    "mirror_axes": [1],
    "kernel_size": [[3, 3, 1], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 1], [2, 2, 2]],
    "features": [4, 8, 8],
    "keep_largest": [],
}
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def vessels(tmp_path_factory):
    """A folder of five phantoms of 32 cubed: three for training, one for validation, one test case."""
    folder = tmp_path_factory.mktemp("vessels")
    write_vessel_dataset(folder, cases=5, size=SIZE, spacing_mm=SPACING_MM)
    return folder


@pytest.fixture(scope="session")
def vessels_dicom(tmp_path_factory):
    """The same phantoms, the images as DICOM series."""
    folder = tmp_path_factory.mktemp("vessels_dicom")
    write_vessel_dataset(folder, cases=5, size=SIZE, spacing_mm=SPACING_MM, dicom=True)
    return folder


@pytest.fixture(scope="session")
def organs(tmp_path_factory):
    """A folder of six abdomens of 32 x 32 x 16 voxels: four for training, one for validation, one test case."""
    folder = tmp_path_factory.mktemp("organs")
    write_body_dataset(folder, "organs", cases=6, size=32, anisotropy=2)
    return folder


@pytest.fixture(scope="session")
def chests(tmp_path_factory):
    """A folder of eight chests of 32 x 32 x 25 voxels: six for training, one for validation, one test case."""
    folder = tmp_path_factory.mktemp("chests")
    write_body_dataset(folder, "chests", cases=8, size=32, seed=CHESTS_SEED)
    return folder


@pytest.fixture(scope="session")
def lung_models(tmp_path_factory):
    """A folder as `models/infection` is, with weights of untrained networks; whatever they mark stays."""
    folder = tmp_path_factory.mktemp("lung_models")
    parts = {"model.pt": "network_def", "plane.pt": "plane_def", "classifier.pt": "classifier_def"}
    for name, part in parts.items():
        state = new_network(system="infection", part=part).state_dict()
        if part != "classifier_def":
            bias = state["final_conv.bias"]  # more of the infected class, so that some is marked within the body
            bias[len(bias) // 3 * INFECTED :] += 0.5
        torch.save(state, folder / name)
    (folder / "judgement.json").write_text('{"threshold": 0.0}', encoding="utf-8")
    (folder / "interval.json").write_text('{"level": 0.9, "reach": 0.02}', encoding="utf-8")
    return folder


def new_network(model=None, system="reconstruction", part="network_def", **overrides):
    """An untrained network of a system, as its configs describe it."""
    parser = ConfigParser()
    parser.read_config(config_files(system, "infer", model))
    parser.update(overrides)
    torch.manual_seed(0)
    return parser.get_parsed_content(part)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of an untrained network."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(new_network().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory):
    """A folder as a segmentation's training leaves it, with a plan and the weights of an untrained network."""
    folder = tmp_path_factory.mktemp("segmenter")
    (folder / "plan.yaml").write_text(plan_text(PLAN), encoding="utf-8")
    network = new_network(system="segmentation", plan_file=str(folder / "plan.yaml"))
    torch.save(network.state_dict(), folder / "model.pt")
    return folder


@pytest.fixture
def real_data():
    """The folder of real volumes, where there is one."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"there are no real volumes at {REAL_DATA}")
    return REAL_DATA
