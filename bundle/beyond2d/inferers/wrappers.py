"""Ways to call a network that go around any other: in mixed precision, and over mirror images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer


class MixedPrecisionInferer(Inferer):
    """Runs another inferer in bfloat16 where that is safe, and gives its result in float32.

    bfloat16 has float32's range, so it needs no loss scaling and no state to resume; it is fast on the CPU and on
    every GPU since Ampere.

    Args:
        inferer: what calls the network, the whole volume at once by default.
        enabled: False leaves everything in float32.
    """

    def __init__(self, inferer: Inferer | None = None, enabled: bool = True) -> None:
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.enabled = enabled

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Predicts `inputs` (B, C, X, Y, Z)."""
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            return self.inferer(inputs, network, *args, **kwargs).float()


class MirrorInferer(Inferer):
    """Averages what a network says of a volume and of its mirror images, each mirrored back.

    Args:
        inferer: what calls the network, the whole volume at once by default.
        axes: spatial axes (0, 1, 2) to mirror along, in all combinations: k axes take 2^k predictions. None: just one.
    """

    def __init__(self, inferer: Inferer | None = None, axes: Sequence[int] = ()) -> None:
        self.inferer = SimpleInferer() if inferer is None else inferer
        chosen = [axis + 2 for axis in axes]
        self.flips = [list(dims) for number in range(len(chosen) + 1) for dims in combinations(chosen, number)]

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Predicts `inputs` (B, C, X, Y, Z)."""
        total: Any = None
        for dims in self.flips:
            output = self.inferer(inputs.flip(dims), network, *args, **kwargs)
            total = output if total is None else total.add_(output.flip(dims))  # the first of the flips is none
            del output
        return total if len(self.flips) == 1 else total.div_(len(self.flips))
