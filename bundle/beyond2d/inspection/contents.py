"""Which files a bundle has to have: the list of MONAI's model zoo, and what a person needs beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .findings import FAILED, OK, Finding, left_out

# The name of a check and the patterns of which one file is enough; how people name a config's ending differs.
REQUIRED = {
    "LICENSE": ("LICENSE",),
    "README": ("docs/README.md",),
    "metadata": ("configs/metadata.json",),
    "inference config": ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml"),
    "train config": ("configs/train*.json", "configs/train*.yaml", "configs/train*.yml"),
    "weights": ("models/model.pt", "models/model.ts"),
}
DATA_LICENSES = ("docs/data_license*", "docs/license*")
LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")


def check_contents(files: Iterable[str], metadata: Mapping[str, Any] | None) -> list[Finding]:
    """One finding for each file that a bundle has to have. `files` are paths from its folder."""
    paths = list(files)
    findings = [_check_required(check, patterns, paths) for check, patterns in REQUIRED.items()]
    return [*findings, _check_data_license(paths, metadata)]


def _check_required(check: str, patterns: tuple[str, ...], paths: list[str]) -> Finding:
    found = _matching(paths, patterns)
    if found:
        return Finding(check, OK, [", ".join(found)])
    detail = f"expected {' or '.join(patterns)}, there is none"
    if check == "weights" and (large := _matching(paths, LARGE_FILES)):
        detail += f"; {large[0]} says where to download it: python -m monai.bundle download_large_files"
    return Finding(check, FAILED, [detail])


def _check_data_license(paths: list[str], metadata: Mapping[str, Any] | None) -> Finding:
    """Data that others own have conditions; where metadata names data, the bundle has to say which."""
    check = "data licence"
    found = _matching(paths, DATA_LICENSES)
    if found:
        return Finding(check, OK, [", ".join(found)])
    if metadata is None:
        return left_out(check, "configs/metadata.json, which says whether data were used, cannot be read")
    source = metadata.get("data_source")
    if not source:
        return left_out(check, "metadata names no data_source")
    detail = f"expected docs/data_license.txt, as metadata names data ({source}); there is none"
    return Finding(check, FAILED, [detail])


def _matching(paths: list[str], patterns: tuple[str, ...]) -> list[str]:
    return [path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns)]
