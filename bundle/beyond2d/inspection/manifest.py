"""Compares a bundle with the manifest that it was packed with: the SHA-256 of every file, and by which version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from monai.utils.module import version_leq

from .. import __version__
from ..checks import one_line
from ..readers import MANIFEST, file_sha256
from .findings import FAILED, Finding, judged, left_out


def check_manifest(files: Mapping[str, Path]) -> list[Finding]:
    """The findings on the hashes and on the version that packed; bundles of others have no manifest."""
    if MANIFEST not in files:
        return [left_out(check, f"there is no {MANIFEST}") for check in ("hashes", "packed by")]
    try:
        manifest = json.loads(files[MANIFEST].read_text(encoding="utf-8"))
        hashes = dict(manifest["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"{MANIFEST}: expected JSON with the SHA-256 of every file under 'files', got: {one_line(error)}"
        return [Finding("hashes", FAILED, [problem]), left_out("packed by", f"{MANIFEST} cannot be read")]
    return [_check_hashes(files, hashes), _check_version(manifest)]


def _check_hashes(files: Mapping[str, Path], hashes: Mapping[str, Any]) -> Finding:
    """Hidden files that nobody listed, as hubs and file managers leave them, pass: Python imports nothing from them."""
    present = {name: path for name, path in files.items() if name in hashes or not _is_hidden(name)}
    present.pop(MANIFEST, None)
    problems = [f"{name}: in {MANIFEST}, not in the bundle" for name in sorted(hashes.keys() - present.keys())]
    problems += [f"{name}: not in {MANIFEST}" for name in sorted(present.keys() - hashes.keys())]
    for name in sorted(hashes.keys() & present.keys()):
        found = file_sha256(present[name])
        if found != hashes[name]:
            problems.append(f"{name}: expected SHA-256 {str(hashes[name])[:12]}…, got {found[:12]}…")
    return judged("hashes", problems, f"{len(present)} files are as they were packed")


def _check_version(manifest: Mapping[str, Any]) -> Finding:
    """A newer version may have packed what this one does not know how to look at."""
    packed_by = manifest.get("beyond2d")
    if not isinstance(packed_by, str):
        return left_out("packed by", f"{MANIFEST} does not say which version of beyond2d packed the bundle")
    newer = not version_leq(packed_by, __version__)
    problem = f"packed by beyond2d {packed_by}, which is newer than this one, {__version__}: update to check or run it"
    return judged("packed by", [problem] if newer else [], f"beyond2d {packed_by}")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
