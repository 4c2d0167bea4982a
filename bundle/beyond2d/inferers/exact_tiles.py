"""A volume predicted tile by tile, with what the network gives on the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import nn
from tqdm import tqdm

from ..checks import InputError
from ..tiling import Tile, tile_boxes
from .reach import derive_reach, device_of

_NUM_AXES = 3


class ExactTileInferer(Inferer):
    """Predicts a volume in tiles, with the result of the whole volume and the memory of one tile.

    The halo around a tile and the grid it stands on are derived from the network; a network that has neither is
    refused with an `InputError`: one with statistics over the whole volume (instance, group and layer norm, batch
    norm in training mode, global pooling, attention), random layers, or a layer that is not known here. The
    network's output must have the input's size. What cannot be seen, and must not be, is a network that computes
    with the size of its input as a number.

    Args:
        tile_size: voxels of a tile without its halo, one number or one an axis; a multiple of the network's grid.
            Each inner side adds one halo of work, so large tiles are faster and small ones need less memory.
        device: where the whole output is kept, the input's device by default. Tiles go to the network's device.
        progress: whether to show a progress bar where there are several tiles.
    """

    def __init__(
        self,
        tile_size: Sequence[int] | int = 128,
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        self.tile_size = tile_size
        self.device = device
        self.progress = progress

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Predicts `inputs` of shape (B, C, X, Y, Z), sizes multiples of the grid; gives (B, channels, X, Y, Z).

        Further arguments go to the network with every tile. A `MetaTensor` comes back with its metadata.
        """
        if inputs.ndim != _NUM_AXES + 2:
            raise InputError(f"inputs must have the shape (B, C, X, Y, Z), got {_times(inputs.shape)}")
        module = _as_module(network)
        reach = derive_reach(module, inputs, *args, **kwargs)
        shape = _check_divisible(inputs.shape[2:], reach.grid)
        tiles = tile_boxes(shape, _check_tile_size(self.tile_size, reach.grid), reach.halo)
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        output = self._predict(volume, tiles, module, *args, **kwargs)
        return convert_to_dst_type(output, inputs, dtype=output.dtype, device=output.device)[0]

    def _predict(
        self, volume: torch.Tensor, tiles: list[Tile], network: nn.Module, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        tile_device = device_of(network) or volume.device
        output = None
        for tile in tqdm(tiles, desc="tiles", disable=not self.progress or len(tiles) == 1):
            prediction = network(volume[(..., *tile.read)].to(tile_device), *args, **kwargs)
            if output is None:  # only a prediction tells the number of channels and, under autocast, the type
                size = (*prediction.shape[:2], *volume.shape[2:])
                output = prediction.new_empty(size, device=self.device or volume.device)
            output[(..., *tile.write)] = prediction[(..., *tile.crop)].to(output.device)
        assert output is not None  # a volume has at least one tile
        return output


def _as_module(network: Any) -> nn.Module:
    """The network itself where it is wrapped for several processes or devices."""
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        network = network.module
    if not isinstance(network, nn.Module):
        raise InputError(f"network must be a torch.nn.Module for exact tiles, got {type(network).__name__}")
    return network


def _check_divisible(shape: Sequence[int], grid: Sequence[int]) -> Sequence[int]:
    """Sizes that are multiples of the grid."""
    if any(size < 1 or size % step for size, step in zip(shape, grid, strict=True)):
        raise InputError(
            f"inputs must have sizes that are multiples of the network's grid {_times(grid)}, got {_times(shape)};"
            " pad them first, for instance with DivisiblePad"
        )
    return shape


def _check_tile_size(tile_size: Sequence[int] | int, grid: Sequence[int]) -> list[int]:
    """One size an axis, each a multiple of the grid."""
    sizes = list(tile_size) if isinstance(tile_size, Sequence) else [tile_size] * len(grid)
    if len(sizes) != len(grid) or not all(isinstance(size, int) for size in sizes):
        raise InputError(f"tile_size must be a whole number or {len(grid)}, one an axis, got {tile_size!r}")
    if any(size < 1 or size % step for size, step in zip(sizes, grid, strict=True)):
        nearest = [max(step, size // step * step) for size, step in zip(sizes, grid, strict=True)]
        larger = [size + step for size, step in zip(nearest, grid, strict=True)]
        raise InputError(
            f"tile_size must be a multiple of the network's grid {_times(grid)}, got {_times(sizes)};"
            f" the nearest are {_times(nearest)} and {_times(larger)}"
        )
    return sizes


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)
