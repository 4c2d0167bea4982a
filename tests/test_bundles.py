"""What holds for the configs of every system."""

import json
import pydoc

import pytest
from bundles import raw
from monai.bundle import ComponentLocator, ConfigParser

from beyond2d.workflow import SYSTEMS, home

CONFIGS = home() / "configs"


def targets(config):
    """Every class and function that a config names."""
    if isinstance(config, dict):
        yield from ([config["_target_"]] if "_target_" in config else [])
        config = list(config.values())
    for value in config if isinstance(config, list) else []:
        yield from targets(value)


def test_every_system_has_its_configs():
    assert {path.name for path in CONFIGS.iterdir()} == set(SYSTEMS)


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS).with_suffix(""))
)
def test_every_target_exists(path):
    known = ComponentLocator().get_component_module_name
    for target in targets(ConfigParser.load_config_file(str(path))):
        assert known(target) or pydoc.locate(target), target


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("overlay", ["evaluate.yaml", "multi_gpu.yaml"])
def test_what_an_overlay_changes_is_there(system, overlay):
    parser = ConfigParser(raw(system, "train.yaml"))
    for key in raw(system, overlay):
        parent = key.rpartition("#")[0]
        assert "#" not in key or parent in parser, key


@pytest.mark.parametrize("system", SYSTEMS)
def test_metadata_names_what_goes_in_and_comes_out(system):
    metadata = json.loads((CONFIGS / system / "metadata.json").read_text(encoding="utf-8"))
    data_format = metadata["network_data_format"]
    assert list(data_format["inputs"]) == ["image"]
    assert list(data_format["outputs"]) == ["pred"]
    prediction = data_format["outputs"]["pred"]
    # To MONAI Label these are the values of the label map that it gets, and their names.
    labels = prediction["channel_def"]
    assert len(labels) > 1
    assert list(labels) == [str(value) for value in range(len(labels))]
