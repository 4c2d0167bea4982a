"""A volume predicted by a 2D network that sees a few neighbouring slices at once and answers for each of them.

Slabs lie along Z. Their slices are the network's channels: slice s of channel c is channel c * S + s of the network,
going in and coming out. One slice a slab is plain 2D, three are the usual 2.5D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import convert_to_dst_type
from torch import nn

from ..checks import InputError, check_choice, check_count, join_sizes
from .reach import device_of

_NUM_DIMS = 5  # (B, C, X, Y, Z)


class OneSlabInferer(Inferer):
    """Calls a 2D network on slabs that are already cut out, once; what a training needs.

    Args:
        num_slices: slices of a slab, S: an odd number.
    """

    def __init__(self, num_slices: int = 3) -> None:
        self.num_slices = _check_num_slices(num_slices)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Of slabs (B, C, X, Y, S) what the network says, (B, K, X, Y, S), with its gradients.

        The network takes (B, C * S, X, Y) and gives (B, K * S, X, Y); further arguments go to it as they are.
        """
        _check_dimensions(inputs)
        if inputs.shape[-1] != self.num_slices:
            raise InputError(f"inputs must be slabs of {self.num_slices} slices along Z, got {inputs.shape[-1]}")
        return _predict(inputs, network, *args, **kwargs)


class SlabInferer(Inferer):
    """Predicts a volume in every slab of neighbouring slices and averages, for each slice, over its slabs.

    Beyond its ends the volume goes on with its outermost slice, so that every slice has as many votes as a slab has
    slices. The far sides of X and Y are padded with their edge to what the network can divide, and cropped again.

    Args:
        num_slices: slices of a slab, S: an odd number.
        batch_size: slabs that the network is given at a time.
        multiple: X and Y are padded to multiples of this before they meet the network.
        activation: "softmax" averages probabilities over the K channels; None averages the network's own numbers.
        device: where the whole output is kept, the input's device by default. Slabs go to the network's device.
        progress: whether to show a progress bar.
    """

    def __init__(
        self,
        num_slices: int = 3,
        batch_size: int = 8,
        multiple: int = 16,
        activation: str | None = "softmax",
        device: torch.device | str | None = None,
        progress: bool = False,
    ) -> None:
        self.num_slices = _check_num_slices(num_slices)
        self.batch_size = check_count(batch_size, 1, "batch_size")
        self.multiple = check_count(multiple, 1, "multiple")
        self.activation = None if activation is None else check_choice(activation, ["softmax"], "activation")
        self.device = device
        self.progress = progress

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Predicts `inputs` (B, C, X, Y, Z) of any size, also of fewer slices than a slab; gives (B, K, X, Y, Z).

        The network takes (N, C * S, X, Y) and gives (N, K * S, X, Y); further arguments go to it with every batch.
        The output has the input's type, whatever the network's is. A `MetaTensor` comes back with its metadata.
        """
        _check_dimensions(inputs)
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        padded = self._pad(volume)

        def predict(slabs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            # Under autocast the network's numbers are coarse, but what is made of them need not be.
            output = _predict(slabs, network, *args, **kwargs).to(slabs.dtype)
            return output.softmax(dim=1) if self.activation == "softmax" else output

        output = self._windows(padded, network)(padded, predict, *args, **kwargs)
        size_x, size_y, size_z = volume.shape[2:]
        first = self.num_slices - 1
        output = output[:, :, :size_x, :size_y, first : first + size_z]
        return convert_to_dst_type(output, inputs, dtype=output.dtype, device=output.device)[0]

    def _pad(self, volume: torch.Tensor) -> torch.Tensor:
        """The volume, at each end of Z with all but one slices of a slab more."""
        more_x, more_y = (-size % self.multiple for size in volume.shape[2:4])
        more_z = self.num_slices - 1
        return F.pad(volume, (more_z, more_z, 0, more_y, 0, more_x), mode="replicate")

    def _windows(self, padded: torch.Tensor, network: Callable[..., Any]) -> Callable[..., Any]:
        """MONAI's loop over all slabs: each is one slice further than the last, all count alike."""
        return SlidingWindowInferer(
            roi_size=(*padded.shape[2:4], self.num_slices),
            sw_batch_size=self.batch_size,
            overlap=(0, 0, 1 - 1 / self.num_slices),
            sw_device=device_of(network) if isinstance(network, nn.Module) else None,
            device=self.device,
            progress=self.progress,
        )


def as_slices(volume: torch.Tensor) -> torch.Tensor:
    """Slabs (B, C, X, Y, S) as what a 2D network takes, (B, C * S, X, Y)."""
    return volume.movedim(-1, 2).flatten(1, 2)


def as_volume(output: torch.Tensor, num_slices: int) -> torch.Tensor:
    """What a 2D network gives, (B, K * S, X, Y), as slabs (B, K, X, Y, S)."""
    if output.ndim != _NUM_DIMS - 1 or output.shape[1] % num_slices:
        wanted = f"(B, K * {num_slices}, X, Y) for {num_slices} slices"
        raise InputError(f"network: the output must have the shape {wanted}, got {join_sizes(output.shape)}")
    return output.unflatten(1, (-1, num_slices)).movedim(2, -1)


def _predict(slabs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
    """Of slabs (B, C, X, Y, S) the network's numbers, (B, K, X, Y, S)."""
    output = network(as_slices(slabs), *args, **kwargs)
    if not isinstance(output, torch.Tensor):
        raise InputError(f"network: slabs need one output tensor, got {type(output).__name__}")
    if output.shape[2:] != slabs.shape[2:4]:
        sizes = join_sizes(slabs.shape[2:4]), join_sizes(output.shape[2:])
        raise InputError(f"network: the output must have the input's size {sizes[0]}, got {sizes[1]}")
    return as_volume(output, slabs.shape[-1])


def _check_num_slices(num_slices: Any) -> int:
    """An odd number, so that a slab has a slice in its middle."""
    if isinstance(num_slices, bool) or not isinstance(num_slices, int) or num_slices < 1 or num_slices % 2 == 0:
        raise InputError(f"num_slices must be an odd number such as 1, 3 or 5, got {num_slices!r}")
    return num_slices


def _check_dimensions(inputs: torch.Tensor) -> None:
    if inputs.ndim != _NUM_DIMS or min(inputs.shape) < 1:
        raise InputError(f"inputs must have the shape (B, C, X, Y, Z), got {join_sizes(inputs.shape)}")
