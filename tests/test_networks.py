"""The paper's network, held to the paper's own figures."""

import pytest
import torch
from torchinfo import summary

from beyond2d.networks import DenoisingAutoencoder


def test_parameters_are_the_papers():
    assert sum(parameter.numel() for parameter in DenoisingAutoencoder().parameters()) == 360_481


def test_memory_is_the_papers():
    """torchinfo's count at 384 cubed, derived without running it: a pass over a tensor without data."""
    network = DenoisingAutoencoder().to("meta")
    counted = summary(network, input_size=(1, 1, 384, 384, 384), device="meta", verbose=0)
    assert counted.total_output_bytes / 1e9 == pytest.approx(43.034, abs=5e-4)
    total = counted.total_input + counted.total_output_bytes + counted.total_param_bytes
    assert total / 1e9 == pytest.approx(43.261, abs=5e-3)


def test_output_has_the_inputs_size():
    network = DenoisingAutoencoder().eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 16, 24, 8)).shape == (2, 1, 16, 24, 8)
