"""Small data sets that several tests share."""

from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from beyond2d.datasets import write_organ_dataset, write_vessel_dataset
from beyond2d.workflow import config_files

SIZE, SPACING_MM = 32, 4.0
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
    write_organ_dataset(folder, cases=6, size=32, anisotropy=2)
    return folder


def new_network(model=None):
    """An untrained network of the reconstruction, as its configs describe it."""
    parser = ConfigParser()
    parser.read_config(config_files("reconstruction", "infer", model))
    torch.manual_seed(0)
    return parser.get_parsed_content("network_def")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Weights of an untrained network."""
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(new_network().state_dict(), path)
    return path


@pytest.fixture
def real_data():
    """The folder of real volumes, where there is one."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"there are no real volumes at {REAL_DATA}")
    return REAL_DATA
