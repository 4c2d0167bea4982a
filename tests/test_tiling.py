from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from beyond2d.tiling import Layer, Reach, Window, network_reach, tile_boxes

RANDOM = np.random.default_rng(0)
CASES = [
    tuple(tuple(int(n) for n in RANDOM.integers(low, high, 3)) for low, high in ((1, 30), (1, 12), (0, 9)))
    for _ in range(30)
]


@pytest.mark.parametrize(("shape", "tile_size", "halo"), CASES)
def test_cut_and_put_together_gives_the_volume_again(shape, tile_size, halo):
    volume = RANDOM.random(shape)
    combined = np.full(shape, np.nan)
    for tile in tile_boxes(shape, tile_size, halo):
        assert np.isnan(combined[tile.write]).all(), "written twice"
        combined[tile.write] = volume[tile.read][tile.crop]
    np.testing.assert_array_equal(combined, volume)


@pytest.mark.parametrize(("shape", "tile_size", "halo"), CASES)
def test_a_tile_reads_its_halo_and_nothing_beyond_the_border(shape, tile_size, halo):
    for tile in tile_boxes(shape, tile_size, halo):
        for read, write, length, width in zip(tile.read, tile.write, shape, halo, strict=True):
            assert read == slice(max(write.start - width, 0), min(write.stop + width, length))


def test_a_tile_larger_than_the_volume_is_the_volume():
    (tile,) = tile_boxes((5, 6, 7), (8, 8, 8), (4, 4, 4))
    assert tile.read == tile.write == tile.crop == (slice(0, 5), slice(0, 6), slice(0, 7))


def read_by(layer: nn.Module, length: int, output: int) -> list[int]:
    """The input voxels that one output voxel depends on, by putting a one into each input voxel in turn."""
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        responses = layer(torch.eye(length)[:, None])[:, 0, output]
    return responses.nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "upsamples"),
    [
        (kernel, *rest)
        for kernel, *rest in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1), (1, 2), (False, True))
        if kernel >= rest[0] and not (rest[2] == 2 and rest[0] > 1)  # else some output voxels read nothing
    ],
)
def test_window_reads_what_a_convolution_reads(kernel, stride, padding, dilation, upsamples):
    kind = nn.ConvTranspose1d if upsamples else nn.Conv1d
    layer = kind(1, 1, kernel, stride, padding, dilation=dilation, bias=False)
    window = Window((kernel - 1) * dilation + 1, stride, padding, upsamples)
    for output in range(12, 18):
        inputs = read_by(layer, 64, output)
        assert window.reads(output, output) == (inputs[0], inputs[-1])


def test_a_range_of_outputs_reads_the_union_of_what_each_reads():
    for window in (Window(3, 1, 1), Window(3, 2, 1), Window(2, 2, 0, True), Window(4, 2, 1, True)):
        reads = [window.reads(output, output) for output in range(-5, 12)]
        union = min(first for first, _ in reads), max(last for _, last in reads)
        assert window.reads(-5, 11) == union


def test_outputs_that_read_nothing_lie_between_voxels():
    assert Window(1, 3, 0, upsamples=True).reads(1, 1) == (0, 1)


def along_one_axis(*layers: tuple[tuple[int, ...], Window]) -> list[Layer]:
    return [Layer(windows=(Window(),))] + [Layer(sources, (window,)) for sources, window in layers]


def test_reach_of_a_chain():
    layers = along_one_axis(
        ((0,), Window(3, 1, 1)),
        ((1,), Window(2, 2)),
        ((2,), Window(3, 1, 1)),
        ((3,), Window(2, 2, 0, True)),
    )
    # Output 0 and 1 come from coarse voxels -1 … 1, these from fine ones -2 … 3, and these from inputs -3 … 4.
    assert network_reach(layers) == Reach(grid=(2,), halo=(4,))


def test_reach_of_branches_is_that_of_the_widest():
    layers = along_one_axis(((0,), Window(3, 1, 1)), ((0,), Window(9, 1, 4)), ((1, 2), Window()))
    assert network_reach(layers) == Reach(grid=(1,), halo=(4,))


def test_a_layer_beside_the_output_does_not_widen_the_reach():
    layers = along_one_axis(((0,), Window(9, 1, 4)), ((0,), Window(3, 1, 1)))
    assert network_reach(layers) == Reach(grid=(1,), halo=(1,))


def test_a_detour_over_a_finer_grid_keeps_the_grid():
    layers = along_one_axis(((0,), Window(2, 2, 0, True)), ((1,), Window(3, 1, 1)), ((2,), Window(2, 2)))
    assert network_reach(layers) == Reach(grid=(1,), halo=(1,))


def test_axes_are_independent():
    layers = [Layer(windows=(Window(), Window())), Layer((0,), (Window(5, 1, 2), Window()))]
    assert network_reach(layers) == Reach(grid=(1, 1), halo=(2, 0))
