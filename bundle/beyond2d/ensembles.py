"""Puts the networks of several folds into one folder that is used like a single one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .checks import InputError, load_state_dict
from .readers import plan_text, read_plan
from .writers import staged_folder, write_bytes

WEIGHTS, PLAN = "model.pt", "plan.yaml"


def write_ensemble(folders: Sequence[str | Path], out: str | Path, keep_largest: Sequence[int] | int = ()) -> Path:
    """Writes `model.pt`, the weights of all networks in half precision, and the `plan.yaml` that belongs to them.

    Args:
        folders: of trainings by one plan, each with `model.pt` and, there or one folder above, `plan.yaml`.
        out: for both files.
        keep_largest: label values of which only the largest connected part shall stay.
    """
    if not folders:
        raise InputError("folders must name at least one training, got none")
    plans = [_plan_of(Path(folder)) for folder in folders]
    for folder, plan in zip(folders, plans, strict=True):
        if plan != plans[0]:
            raise InputError(f"{folder}: expected the plan of {folders[0]}, got another")
    if plans[0]["num_members"] != 1:
        raise InputError(f"{folders[0]}: expected a training of one network, got an ensemble already")
    kept = [keep_largest] if isinstance(keep_largest, int) else list(keep_largest)
    if unknown := [value for value in kept if value not in plans[0]["labels"]]:
        known = ", ".join(map(str, plans[0]["labels"]))
        raise InputError(f"keep_largest must be label values of the plan, {known}, got {unknown[0]!r}")
    states = [load_state_dict(Path(folder) / WEIGHTS) for folder in folders]
    for folder, state in zip(folders, states, strict=True):
        if state.keys() != states[0].keys():
            raise InputError(f"{folder}: expected the network of {folders[0]}, got another")
    plan = {**plans[0], "num_members": len(folders), "keep_largest": kept}
    with staged_folder(out) as staging:
        torch.save(_together(states), staging / WEIGHTS)
        write_bytes(staging / PLAN, plan_text(plan).encode())
    return Path(out)


def _plan_of(folder: Path) -> dict[str, Any]:
    beside = folder / PLAN
    return read_plan(beside if beside.is_file() else folder.parent / PLAN)


def _together(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The weights under the names that `networks.ensemble_of` gives them."""
    if len(states) == 1:
        return halved(states[0])
    return {
        f"members.{number}.{name}": tensor
        for number, state in enumerate(states)
        for name, tensor in halved(state).items()
    }


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as float16; a weight that has two names stays one, and is stored once."""
    halves: dict[int, torch.Tensor] = {}
    for tensor in state.values():
        halves.setdefault(tensor.data_ptr(), tensor.half() if tensor.is_floating_point() else tensor)
    return {name: halves[tensor.data_ptr()] for name, tensor in state.items()}
