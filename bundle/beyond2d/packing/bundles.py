"""Puts a bundle together as paths and their content, and writes it as a folder and a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..checks import InputError, check_choice, one_line
from ..readers import read_plan
from .code import package_files, package_name
from .configs import PACKAGE, json_text, packed_config, packed_metadata
from .manifests import bundle_folder, sha256, with_manifest
from .models import Models, check_models, find_models
from .pages import DATA_LICENSE, data_license, how_to_run, packed_pages
from .recipes import PLAN, RECIPES, Recipe

LARGE_FILES = "large_files.yml"
# Model zoos keep no larger files among the others.
LARGE_BYTES = 25 * 2**20
EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
UNIX, READABLE_FILE = 3, 0o100644


class Bundle(NamedTuple):
    """A bundle: its folder's name, its files by their path inside, and which of its models are not the project's."""

    name: str
    files: Mapping[str, bytes]
    own: list[str]


def pack_system(
    house: Path, system: str, out: str | Path, weights: str | Path | None = None, license_file: str | Path | None = None
) -> Bundle:
    """Write the bundle of a system into `out`, as the folder `name` and as `name.zip`.

    Args:
        house: the project's folder, with configs, models, docs and LICENSE.
        system: one of `RECIPES`.
        out: folder for both. What an earlier bundle of that name left there is replaced, all else stays.
        weights: of one's own, a file or the folder of a training, in place of the project's.
        license_file: text on what these were made from, and under which licence that is.
    """
    bundle = put_together(house, system, weights, license_file)
    with bundle_folder(out, bundle.name) as staging:
        for place, content in bundle.files.items():
            path = staging / bundle.name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (staging / f"{bundle.name}.zip").write_bytes(zipped(bundle))
    return bundle


def put_together(
    house: Path, system: str, weights: str | Path | None = None, license_file: str | Path | None = None
) -> Bundle:
    """The bundle of a system, see `pack_system`; the same input gives the same bytes."""
    recipe = RECIPES[check_choice(system, tuple(RECIPES), "system")]
    if weights is None and license_file is not None:
        raise InputError("data_license: is about weights of one's own, which --weights names; got none")
    folder = house / "configs" / system
    models = find_models(system, recipe, house, None if weights is None else Path(weights))
    check_models(recipe, folder, models)
    code = package_files()
    package = package_name(code)
    name = recipe.name if models.own else recipe.shipped_name or recipe.name
    configs, metadata = _configs(folder, package, recipe, models), _metadata(folder, models)
    files = {f"{package}/{place}": content for place, content in code.items()}
    files |= {f"models/{place}": content for place, content in models.contents().items()}
    files |= {f"configs/{stem}.json": json_text(config) for stem, config in {**configs, "metadata": metadata}.items()}
    files["configs/logging.conf"] = (folder / "logging.conf").read_bytes()
    files |= packed_pages(
        house, system, recipe, models, how_to_run(name, package, recipe, metadata, bool(models.own)), configs
    )
    files |= {DATA_LICENSE: data_license(recipe, models, _license_text(license_file)), "LICENSE": _license(house)}
    files |= _large_files(files)
    return Bundle(name, with_manifest(files, name, system, package), models.own)


def zipped(bundle: Bundle) -> bytes:
    """A bundle as a zip: stored, since weights do not shrink, and nothing in it that depends on time or machine."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for place, content in bundle.files.items():
            entry = zipfile.ZipInfo(f"{bundle.name}/{place}", EARLIEST_ZIP_TIME)
            entry.create_system, entry.external_attr = UNIX, READABLE_FILE << 16
            file.writestr(entry, content)
    return archive.getvalue()


def _configs(folder: Path, package: str, recipe: Recipe, models: Models) -> dict[str, dict[str, Any]]:
    """Every config of a system as its bundle has it, by name; first that whose keys people change most."""
    changes = {**recipe.changes, **({"inference": {"task": "own"}} if PLAN in models.own else {})}
    names = sorted((path.stem for path in folder.glob("*.yaml")), key=lambda name: (name != "inference", name))
    return {name: packed_config(folder / f"{name}.yaml", package, changes.get(name, {})) for name in names}


def _metadata(folder: Path, models: Models) -> dict[str, Any]:
    plan = read_plan(models.files[PLAN]) if PLAN in models.own else None
    return packed_metadata(folder / "metadata.json", models.own, plan)


def _large_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The list of weights that a model zoo keeps elsewhere, as MONAI downloads them; nothing where there are none."""
    large = [
        {"path": place, "url": "", "hash_val": sha256(content), "hash_type": "sha256"}
        for place, content in sorted(files.items())
        if place.startswith("models/") and len(content) > LARGE_BYTES
    ]
    if not large:
        return {}
    listed = yaml.safe_dump({"large_files": large}, sort_keys=False)
    return {LARGE_FILES: f"# Fill in each url; then `python -m monai.bundle download_large_files`.\n{listed}".encode()}


def _license(house: Path) -> bytes:
    """The project's licence: from its folder, or from what pip keeps of an installed package."""
    path = house / "LICENSE"
    if path.is_file():
        return path.read_bytes()
    text = distribution(PACKAGE).read_text("licenses/LICENSE")
    if text is None:
        raise InputError(f"expected the project's LICENSE in {house}, there is none")
    return text.encode()


def _license_text(path: str | Path | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InputError(f"data_license: expected a text file, cannot read {path} ({one_line(error)})") from error
