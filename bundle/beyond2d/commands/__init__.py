"""The commands of the command line: each is one function that runs something and says what to do next."""

from __future__ import annotations

from .checking import check
from .data import check_data, phantom
from .sharing import pack, pull, push
from .trainings import ensemble, evaluate, info, plan, train
from .vessels import demo, project, reconstruct
from .volumes import draft_labels, quantify, segment

__all__ = [
    "check",
    "check_data",
    "demo",
    "draft_labels",
    "ensemble",
    "evaluate",
    "info",
    "pack",
    "phantom",
    "plan",
    "project",
    "pull",
    "push",
    "quantify",
    "reconstruct",
    "segment",
    "train",
]
