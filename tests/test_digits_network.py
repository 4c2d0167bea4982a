"""The VGG in three dimensions, held to the published number of parameters, and MONAI's ResNets beside it."""

import pytest
import torch
from monai.bundle import ConfigParser

from beyond2d.networks import VolumetricVGG13
from beyond2d.workflow import config_files


def test_parameters_are_the_published_ones():
    assert sum(parameter.numel() for parameter in VolumetricVGG13().parameters()) == 14_104_982


def test_layers_are_the_derived_ones():
    level = ["Conv3d", "BatchNorm3d", "ReLU"] * 2 + ["MaxPool3d"]
    layers = list(VolumetricVGG13())
    assert [type(layer).__name__ for layer in layers] == level * 4 + ["Flatten", "Linear", "ReLU", "Linear"]
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv3d)]
    channels = [(layer.in_channels, layer.out_channels) for layer in convolutions]
    assert channels == [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    assert all(layer.kernel_size == (3, 3, 3) and layer.bias is not None for layer in convolutions)
    linear = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert linear == [(512, 100), (100, 10)]


def test_ten_numbers_for_each_volume():
    network = VolumetricVGG13().eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 16, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101, 152])
def test_every_depth_of_resnet_by_config(depth):
    parser = ConfigParser()
    parser.read_config(config_files("digits", "infer", "resnet"))
    parser["network_def"]["_target_"] = f"monai.networks.nets.resnet{depth}"
    with torch.device("meta"):  # without data: the deepest has 117 million parameters
        network = parser.get_parsed_content("network_def")
        assert network(torch.zeros(2, 1, 16, 16, 16)).shape == (2, 10)
    assert network.layer1[0].conv1.in_channels == 64
