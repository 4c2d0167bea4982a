"""The package's own code, as it is copied into every bundle under a name made from its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePath

from .configs import PACKAGE

# No code: what Python compiles, and the systems that an installed package brings along.
LEFT_OUT = ("__pycache__", "systems")


def package_files() -> dict[str, bytes]:
    """The content of every file of the package, by its path inside of it."""
    package = Path(__file__).resolve().parents[1]
    files = {path.relative_to(package): path for path in package.rglob("*") if path.is_file()}
    return {place.as_posix(): path.read_bytes() for place, path in sorted(files.items()) if _is_code(place)}


def package_name(files: Mapping[str, bytes]) -> str:
    """`beyond2d_` and eight hexadecimal digits: packages of the same name hold the same code.

    MONAI Label imports the code of all its bundles into one process, where of two packages of one name the first wins.
    """
    content = hashlib.sha256()
    for place, code in sorted(files.items()):
        content.update(f"{place}\0{len(code)}\0".encode() + code)
    return f"{PACKAGE}_{content.hexdigest()[:8]}"


def _is_code(place: PurePath) -> bool:
    return not any(part in LEFT_OUT or part.startswith(".") for part in place.parts)
