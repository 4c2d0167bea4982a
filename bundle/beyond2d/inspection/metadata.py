"""Checks what a bundle's metadata.json says, by the schema that MONAI's bundles name.

`meta_schema_20240725.json` is a copy of the file of that name among the releases of Project-MONAI/MONAI-extra-test-data
(version 0.8.1), so that the check works without a network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import validator_for

from ..checks import one_line
from .findings import FAILED, Finding, judged, left_out

SCHEMA = Path(__file__).parent / "meta_schema_20240725.json"
UNREADABLE = "configs/metadata.json cannot be read"


def check_metadata(metadata: Mapping[str, Any] | None) -> list[Finding]:
    """The findings on the schema and on the changelog; None where the file cannot be read."""
    if metadata is None:
        return [left_out(check, UNREADABLE) for check in ("schema", "changelog")]
    return [_check_schema(metadata), _check_changelog(metadata)]


def _check_schema(metadata: Mapping[str, Any]) -> Finding:
    named = metadata.get("schema")
    if not isinstance(named, str) or not named:
        return Finding("schema", FAILED, ["expected metadata to name its schema, got no key 'schema'"])
    name = PurePosixPath(named).name
    if name != SCHEMA.name:
        return left_out(
            "schema", f"metadata names {name}, only {SCHEMA.name} is kept; python -m monai.bundle verify_metadata"
        )
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = validator_for(schema)(schema).iter_errors(metadata)
    return judged("schema", [_problem(error) for error in errors], name)


def _problem(error: ValidationError) -> str:
    """The nearest cause of an error, with its place in the file."""
    cause = best_match([error])
    place = ": ".join(filter(None, ["/".join(map(str, cause.absolute_path)), cause.message]))
    return one_line(place, limit=200)


def _check_changelog(metadata: Mapping[str, Any]) -> Finding:
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(changelog, Mapping):
        return Finding("changelog", FAILED, ["expected metadata to have a changelog by version, got none"])
    listed = ", ".join(map(str, changelog)) or "nothing"
    known = isinstance(version, str) and version in changelog
    problems = [] if known else [f"expected the version {version!r} in the changelog, got {listed}"]
    return judged("changelog", problems, f"version {version}")
