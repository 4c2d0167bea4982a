"""Reads weights without running what a pickle may hold."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from ..checks import one_line
from .archives import size_problems
from .findings import Finding, judged, left_out

MODEL = "models/model.pt"
ENDINGS = (".pt", ".pth", ".ckpt")


def check_weights(files: Mapping[str, Path]) -> Finding:
    """Whether every file of weights can be read with `weights_only=True`, and the model's holds tensors by name."""
    check = "weights load"
    found = {name: path for name, path in files.items() if name.endswith(ENDINGS)}
    if not found:
        return left_out(check, f"there are no files that end in {', '.join(ENDINGS)}")
    problems = [f"{name}: {problem}" for name, path in found.items() if (problem := _problem(name, path))]
    return judged(check, problems, f"{len(found)} with weights_only=True")


def _problem(name: str, path: Path) -> str | None:
    try:
        content = read_weights(path)
    except Exception as error:  # whatever a file that nobody vouches for makes of the reader
        return _why_not(path, error)
    if name == MODEL and not tensors_in(content):
        return f"expected tensors by name, got {type(content).__name__} without any"
    return None


def read_weights(path: Path) -> Any:
    """The content of a file that torch.save wrote, its tensors left on the disk where the format allows it."""
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    with zipfile.ZipFile(path) as archive:
        if problems := size_problems(path, archive):
            raise ValueError(problems[0])
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def tensors_in(content: Any) -> dict[str, torch.Tensor]:
    """The tensors by name, which may lie under `model`, as MONAI's CheckpointSaver writes several objects."""
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    pairs = content.items() if isinstance(content, Mapping) else ()
    return {name: value for name, value in pairs if isinstance(value, torch.Tensor)}


def _why_not(path: Path, error: Exception) -> str:
    """What a file asks for beside tensors, read from its text without running it; else the reader's own words."""
    try:
        asked = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not in torch's own format: there is no list to be had
        asked = []
    if asked:
        return f"expected tensors alone, got a pickle that would run {', '.join(asked)}"
    words = str(error).rpartition("WeightsUnpickler error:")[2].split("Please")[0].split("Check the")[0]
    reason = one_line(f"{type(error).__name__} {words}".strip())
    return f"expected weights as torch.save writes them, which load with weights_only=True, got: {reason}"
