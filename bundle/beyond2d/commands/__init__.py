"""The commands of the command line: each is one function that runs something and says what to do next."""

from __future__ import annotations

from .data import check_data, phantom
from .trainings import ensemble, evaluate, info, plan, train
from .vessels import demo, project, reconstruct
from .volumes import draft_labels, quantify, segment

__all__ = [
    "check_data",
    "demo",
    "draft_labels",
    "ensemble",
    "evaluate",
    "info",
    "phantom",
    "plan",
    "project",
    "quantify",
    "reconstruct",
    "segment",
    "train",
]
