"""The list of a bundle's files with their SHA-256, and folders that are kept to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .. import __version__
from ..checks import InputError
from ..readers import MANIFEST, file_sha256
from ..writers import staged_folder
from .configs import json_text


def with_manifest(files: Mapping[str, bytes], name: str, system: str, package: str) -> dict[str, bytes]:
    """A bundle's files in their order, and behind them their list, with the version that packed them."""
    ordered = dict(sorted(files.items()))
    hashes = {place: sha256(content) for place, content in ordered.items()}
    manifest = {"beyond2d": __version__, "name": name, "system": system, "package": package, "files": hashes}
    return {**ordered, MANIFEST: json_text(manifest)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def listed_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file that a folder's manifest lists; none where there is no manifest that packing made.

    Names that lead out of the folder are not among them.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    inside = folder.resolve()
    return {place: str(value) for place, value in listed if (inside / place).resolve().is_relative_to(inside)}


def checked_files(folder: Path) -> list[str]:
    """The files that a folder's manifest lists, all of them as they were packed."""
    hashes = listed_files(folder)
    if not hashes:
        raise InputError(f"{folder}: expected a folder that `beyond2d pack` wrote, there is no list in {MANIFEST}")
    for place, expected in hashes.items():
        path = folder / place
        if not path.is_file():
            raise InputError(f"{path}: expected a file that {MANIFEST} lists, there is none")
        if file_sha256(path) != expected:
            raise InputError(f"{path}: expected the file that was packed, its SHA-256 is not the one in {MANIFEST}")
    return list(hashes)


@contextmanager
def bundle_folder(out: str | Path, name: str) -> Iterator[Path]:
    """Yield an empty folder; the bundle `name` that is written there moves into `out` when the block ends well.

    What an earlier bundle of that name left in `out` and this one does not have is removed then; all else stays.
    """
    folder = Path(out) / name
    listed = listed_files(folder)
    earlier = {*listed, MANIFEST} if listed else set()
    with staged_folder(out) as staging:
        yield staging
        written = set(files_in(staging / name))
    remove_files(folder, earlier - written)


def files_in(folder: Path) -> list[str]:
    """Every file below a folder, by its path inside."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def remove_files(folder: Path, places: Iterable[str]) -> None:
    """Remove files, what Python compiled of them, and the folders that this empties."""
    for place in places:
        path = folder / place
        path.unlink(missing_ok=True)
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()
