"""Reads a bundle's configs, and says which of the names that MONAI asks of them are missing; nothing is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any

from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import ID_SEP_KEY, MACRO_KEY, merge_kv
from monai.utils import BundleProperty, BundlePropertyConfig

from ..checks import one_line
from .findings import FAILED, Finding, judged, left_out

ENDINGS = (".json", ".yaml", ".yml")
KEYED = ("metadata", "inference", "train")
PROPERTIES = {"inference": InferProperties, "train": TrainProperties}
# Far above what any config holds; YAML's aliases can make a short file mean more than a memory holds.
MAX_VALUES, MAX_DEPTH = 1_000_000, 100


class TooLargeError(ValueError):
    """A config that would take forever to look through."""


def read_configs(files: Mapping[str, Path]) -> tuple[dict[str, Any], Finding]:
    """The content of every config that can be read, by its path in the bundle, and the finding about those that cannot.

    Files are read as MONAI reads them: JSON, or YAML without objects.
    """
    configs, problems = {}, []
    for name in (name for name in files if name.startswith("configs/") and name.lower().endswith(ENDINGS)):
        try:
            configs[name] = _read(files[name])
        except Exception as error:  # whatever a file that nobody vouches for makes of the reader
            problems.append(f"{name}: expected {PurePosixPath(name).suffix[1:].upper()}, got: {one_line(error)}")
    return configs, judged("configs", problems, f"{len(configs)} files")


def _read(path: Path) -> Any:
    content = ConfigParser.load_config_file(path)
    if path.stem in KEYED and not isinstance(content, Mapping):
        raise TypeError(f"{type(content).__name__} in place of keys and values")
    for _ in values_in(content):
        pass  # counts them
    return content


def values_in(config: Any) -> Iterator[tuple[str, Any]]:
    """The id, such as `train#trainer`, and the value of everything in a config, in the order of the file."""
    opened, num_values = [("", _parts(config))], 0
    while opened:
        parent, parts = opened[-1]
        for key, value in parts:  # goes on behind the part that was opened last
            num_values += 1
            if num_values > MAX_VALUES or len(opened) > MAX_DEPTH:
                raise TooLargeError(f"more than {MAX_VALUES} values, or lists in lists more than {MAX_DEPTH} deep")
            place = f"{parent}#{key}".removeprefix("#").replace(ID_SEP_KEY, "#")
            yield place, value
            if isinstance(value, (Mapping, list)):
                opened.append((place, _parts(value)))
                break
        else:
            opened.pop()


def _parts(config: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(config, Mapping):
        return iter(config.items())
    return iter(enumerate(config if isinstance(config, list) else ()))


def config_of(configs: Mapping[str, Any], kind: str) -> str | None:
    """The path of a bundle's `inference` or `train` config, where there is one that holds keys."""
    names = (f"configs/{kind}{ending}" for ending in ENDINGS)
    return next((name for name in names if isinstance(configs.get(name), Mapping)), None)


def check_properties(configs: Mapping[str, Any], kind: str) -> Finding:
    """Whether the `inference` or `train` config has the ids that MONAI's applications ask it for."""
    check, name = f"{kind} properties", config_of(configs, kind)
    if name is None:
        return left_out(check, f"there is no configs/{kind} that can be read")
    specs = PROPERTIES[kind].items()
    required = {key: str(spec[BundlePropertyConfig.ID]) for key, spec in specs if spec[BundleProperty.REQUIRED]}
    try:
        config = _merged(configs[name])
    except Exception as error:  # whatever keys that nobody vouches for make of the reader
        return Finding(check, FAILED, [f"{name}: expected keys that MONAI can put together, got: {one_line(error)}"])
    missing = [
        f"{name}: expected the id {place.replace(ID_SEP_KEY, '#')} ({key}), there is none"
        for key, place in required.items()
        if not _has(config, place.split(ID_SEP_KEY))
    ]
    return judged(check, missing, f"{len(required)} ids that MONAI asks for")


def _merged(config: Mapping[str, Any]) -> Any:
    """A config as MONAI holds it, in which a key such as `train#trainer` lies inside of `train`."""
    parser = ConfigParser(config={})
    for key, value in deepcopy(dict(config)).items():
        merge_kv(parser, key, value)
    return parser.get()


def _has(config: Any, keys: list[str]) -> bool:
    """Whether a config has an id; what a macro brings in from elsewhere is taken to be there."""
    for key in keys:
        if isinstance(config, str) and config.startswith(MACRO_KEY):
            return True
        if not isinstance(config, Mapping) or key not in config:
            return False
        config = config[key]
    return True
