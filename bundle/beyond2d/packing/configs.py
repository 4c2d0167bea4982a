"""Turns the configs of a system into those of its bundle: JSON, by the package's own name, weights beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from monai.bundle import ConfigParser
from monai.bundle.utils import EXPR_KEY

PACKAGE = __name__.partition(".")[0]
# Where the configs of every bundle find their weights.
MODELS = {"models_dir": "$@bundle_root + '/models'"}


class KeyNote(NamedTuple):
    """A key that a person may change, and what the config says about it."""

    key: str
    note: str


def packed_config(path: Path, package: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A YAML config as a bundle has it: with another name for the package, and some keys changed where it has them."""
    config: dict[str, Any] = renamed(ConfigParser.load_config_file(path), package)
    return {key: {**MODELS, **changes}.get(key, value) for key, value in config.items()}


def renamed(value: Any, package: str, key: str = "") -> Any:
    """A config whose targets and expressions name `package` in place of this one."""
    if isinstance(value, dict):
        return {name: renamed(item, package, name) for name, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, package) for item in value]
    if isinstance(value, str) and (key == "_target_" or value.startswith(EXPR_KEY)):
        return re.sub(rf"\b{PACKAGE}\b", package, value)
    return value


def json_text(content: Mapping[str, Any]) -> bytes:
    """JSON in ASCII, since MONAI reads configs in whatever encoding a machine has."""
    return f"{json.dumps(content, indent=4)}\n".encode()


def heading(text: str) -> list[str]:
    """The lines of the comment at the top of a YAML config."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines


def key_notes(text: str, config: Mapping[str, Any]) -> list[KeyNote]:
    """The keys at the top level of a YAML config that have a comment, or a plain value that may be another."""
    notes = []
    for line in text.splitlines():
        if found := re.match(r"([\w#]+):.*?(?:\s# (.*))?$", line):
            key, note = found[1], found[2] or ""
            if key in config and (note or ("#" not in key and _is_plain(config[key]))):
                notes.append(KeyNote(key, note))
    return notes


def _is_plain(value: Any) -> bool:
    """Numbers, words and lists of them; not what is made of other keys."""
    if isinstance(value, list):
        return all(_is_plain(item) and not isinstance(item, list) for item in value)
    return not isinstance(value, dict) and not str(value).startswith(("$", "@"))


def value_text(value: Any) -> str:
    """A value as a person would give it on the command line; an ellipsis for what has parts of its own."""
    parts: Iterable[Any] = value if isinstance(value, list) else [value]
    if any(isinstance(part, dict) for part in parts):
        return "…"
    return value if isinstance(value, str) else json.dumps(value)


def packed_metadata(path: Path, own: Sequence[str], plan: Mapping[str, Any] | None) -> dict[str, Any]:
    """A system's metadata as its bundle has it; with weights that are not the project's it says whose data to ask for.

    Args:
        path: metadata.json of the system.
        own: the files of the bundle's models that are not the project's.
        plan: that belongs to weights which are not the project's; it says what goes in and what comes out.
    """
    metadata: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if own:
        metadata["data_source"] = "not the project's, see docs/data_license.txt"
    if plan is not None:
        channels, classes = list(plan["channels"]), list(plan["labels"].values())
        metadata["image_classes"] = f"channels: {', '.join(channels)}"
        metadata["label_classes"] = ", ".join(f"{value}: {name}" for value, name in plan["labels"].items())
        metadata["pred_classes"] = f"channels, logits: {', '.join(classes)}"
        data_format = metadata["network_data_format"]
        data_format["inputs"]["image"] |= {"modality": ", ".join(channels), **_channels(channels, plan)}
        data_format["outputs"]["pred"] |= _channels(classes, plan)
    return metadata


def _channels(names: Sequence[str], plan: Mapping[str, Any]) -> dict[str, Any]:
    numbered = {str(number): name for number, name in enumerate(names)}
    return {"num_channels": len(names), "spatial_shape": plan["patch_size"], "channel_def": numbered}
