"""Agreement of a reconstruction with the views it was made from.

A probability says where vessel is, a view how bright it is. In between stands the ceiling: the smallest of what the
views smear back to a voxel, as bright as the voxel can be if every view is right. Probability times ceiling,
projected, is what the reconstruction says the views should show.

Volumes are (X, Y, Z) with X = Y, stacks of views (V, X, Z) of values 0..1, angles are degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .projection import back_project, project, scale_to_unit

LEARNING_RATE = 0.05
# Keeps logits finite where a network is certain.
_CERTAIN = 1e-4


def reprojection_error(
    probability: torch.Tensor, views: torch.Tensor, angles_deg: Sequence[float], mode: str = "max"
) -> float:
    """Root of the mean square difference between the views and what the probability says they should show."""
    views = scale_to_unit(views)
    ceiling = _ceiling(views, angles_deg)
    shown = project(probability * ceiling, angles_deg, mode)
    return float((_as_bright(shown, views, mode) - views).square().mean().sqrt())


def refine(
    probability: torch.Tensor,
    views: torch.Tensor,
    angles_deg: Sequence[float],
    steps: int,
    mode: str = "max",
    learning_rate: float = LEARNING_RATE,
    after_step: Callable[[], object] | None = None,
) -> torch.Tensor:
    """Change a probability step by step so that its projections agree better with the views.

    Each step follows the gradient of the squared difference, by Adam on the logits. Bright pixels count more than
    dark ones, which show vessels too thin to be labelled, or noise. `after_step` is called after each step.
    """
    views = scale_to_unit(views)
    ceiling = _ceiling(views, angles_deg)
    logits = torch.logit(probability.float(), eps=_CERTAIN).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        _differentiate(logits, ceiling, views, angles_deg, mode)
        optimizer.step()
        if after_step is not None:
            after_step()
    return logits.detach().sigmoid()


def within_hull(
    probability: torch.Tensor, views: torch.Tensor, angles_deg: Sequence[float], level: float
) -> torch.Tensor:
    """The probability where every view is at least `level` bright, 0 elsewhere: what one view rules out cannot be."""
    return probability * (_ceiling(scale_to_unit(views), angles_deg) >= level)


def _differentiate(
    logits: torch.Tensor, ceiling: torch.Tensor, views: torch.Tensor, angles_deg: Sequence[float], mode: str
) -> None:
    """Add the gradient of the disagreement to `logits.grad`, one view at a time: memory for one is enough."""
    volume = (logits.detach().sigmoid() * ceiling).requires_grad_()
    for view, angle in zip(views, angles_deg, strict=True):
        shown = project(volume, [angle], mode)[0]
        difference = _as_bright(shown, view, mode) - view
        (view * difference.square()).mean().backward()
    (logits.sigmoid() * ceiling).backward(volume.grad)


def _ceiling(views: torch.Tensor, angles_deg: Sequence[float]) -> torch.Tensor:
    return back_project(views, angles_deg, fuse="min").clamp_(min=0)


def _as_bright(shown: torch.Tensor, views: torch.Tensor, mode: str) -> torch.Tensor:
    """Projections in the views' own units: a sum is scaled by the factor that fits best, a maximum is in them."""
    if mode == "max":
        return shown
    plain = shown.detach()
    return shown * ((plain * views).sum() / plain.square().sum().clamp(min=1e-12))
