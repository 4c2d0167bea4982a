"""Several answers to one question, so that a person sees how far they are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn


class EstimatesInferer(Inferer):
    """Predicts a volume as it is and mirrored, by the given network and by others, and gives all of the answers.

    The result is the mean of the given network's two answers, finished. Behind its K channels stands one channel an
    answer, the numbers of its classes once it is finished, too: the given network's as it is and mirrored, then each
    other network's.

    Args:
        inferer: what calls the given network.
        others: name of each other network, and what calls it as (inferer, network).
        finish: what is made of the volume and probabilities of it, such as `CandidateRejection`; None leaves them.
        axis: the spatial axis to mirror along; the lungs' is 0, right to left.
    """

    def __init__(
        self,
        inferer: Inferer,
        others: Mapping[str, tuple[Inferer, nn.Module]] | None = None,
        finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        axis: int = 0,
    ) -> None:
        self.inferer = inferer
        self.others = dict(others or {})
        self.finish = finish
        self.axis = axis

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Of images (B, C, X, Y, Z) the result and every answer, (B, K + answers, X, Y, Z)."""
        mean, classes = self._both(self.inferer, inputs, network, *args, **kwargs)
        for inferer, other in self.others.values():
            classes += self._both(inferer, inputs, other.eval(), *args, **kwargs)[1]
        return torch.cat([self._finished(inputs, mean), *classes], dim=1)

    def _both(
        self, inferer: Inferer, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The mean of the two answers (B, K, X, Y, Z), and the classes (B, 1, X, Y, Z) of each."""
        dims = [self.axis + 2]
        plain = inferer(inputs, network, *args, **kwargs)
        mirrored = inferer(inputs.flip(dims), network, *args, **kwargs).flip(dims)
        answers = [self._finished(inputs, answer) for answer in (plain, mirrored)]
        classes = [answer.argmax(dim=1, keepdim=True).to(plain.dtype) for answer in answers]
        return (plain + mirrored) / 2, classes

    def _finished(self, inputs: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        return answer if self.finish is None else self.finish(inputs, answer)


def estimate_names(model: str, others: Sequence[str] = ()) -> list[str]:
    """What the answers of `EstimatesInferer` are called, in their order."""
    return [name for network in (model, *others) for name in (network, f"{network}, mirrored")]
