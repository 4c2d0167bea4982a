"""Finds the weights of a bundle and the figures beside them: the project's, or somebody's own, and whether they fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser

from ..checks import InputError, check_state_dict
from .recipes import CASES, MODEL, PLAN, RECORD, Recipe, Weights


class Models(NamedTuple):
    """Where each file of a bundle's `models` lies, by its name there, and which of them are not the project's."""

    files: Mapping[str, Path]
    own: list[str]

    def contents(self) -> dict[str, bytes]:
        """The files' content. A record that tells of other weights than those beside it keeps its thresholds only."""
        contents = {name: path.read_bytes() for name, path in self.files.items()}
        if self.own and RECORD in contents and RECORD not in self.own:
            thresholds = json.loads(contents[RECORD])["thresholds"]
            contents[RECORD] = f"{json.dumps({'thresholds': thresholds}, indent=2)}\n".encode()
        return contents


def find_models(system: str, recipe: Recipe, house: Path, given: Path | None) -> Models:
    """Every file that a system's predictions need, from what was `given` (a file of weights, or a training's folder).

    What is missing there is the project's, where the recipe allows for it. The project's own weights come with the
    record of how they were made.
    """
    if given is None and recipe.shipped is None:
        raise InputError(f"weights: {system} has none of its own; expected --weights, the folder of a training")
    shipped = house / "models" / (recipe.shipped or system)
    own = {} if given is None else _own_files(recipe, given)
    files = {name: own.get(name, shipped / name) for name in recipe.files}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise InputError(f"weights: expected {missing[0]}, there is no such file")
    if given is None:
        files |= {name: shipped / name for name in (RECORD, CASES) if (shipped / name).is_file()}
    return Models(files, [name for name in files if name in own])


def check_models(recipe: Recipe, configs: Path, models: Models) -> None:
    """Refuse weights that are not those of the configs' networks, and figures that cannot be read."""
    for name, read in recipe.figures.items():
        read(models.files[name])
    for weights in recipe.weights:
        network = _network(configs, weights, models.files.get(PLAN))
        check_state_dict(models.files[weights.file], network.state_dict())


def _own_files(recipe: Recipe, given: Path) -> dict[str, Path]:
    """The files of a bundle in a training's folder, whose plan may lie one folder above; or one file of weights."""
    if not given.exists():
        raise InputError(f"weights: expected a file of weights or the folder of a training, there is none at {given}")
    folder = given if given.is_dir() else given.parent
    names = recipe.files if given.is_dir() else [name for name in recipe.files if name == PLAN]
    own = {name: folder / name for name in names if (folder / name).is_file()}
    if given.is_file():
        own[MODEL] = given
    if MODEL not in own:
        raise InputError(f"weights: expected {MODEL} in {given}, there is none")
    if PLAN in recipe.files and PLAN not in own:
        own[PLAN] = folder.parent / PLAN
    return own


def _network(configs: Path, weights: Weights, plan: Path | None) -> Any:
    parser = ConfigParser()
    names = ["inference.yaml", *([weights.overlay] if weights.overlay else [])]
    parser.read_config([str(configs / name) for name in names])
    if plan is not None:
        parser.update({"plan_file": str(plan)})
    return parser.get_parsed_content(weights.network)
