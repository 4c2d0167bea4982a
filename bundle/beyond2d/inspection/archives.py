"""Opens a bundle without trusting it: a folder as it lies, a zip unpacked into a temporary folder."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from ..checks import InputError, one_line
from .findings import OK, Finding, judged

MAX_UNPACKED_BYTES = 20 * 2**30
MAX_FILES = 20_000
# Weights hardly shrink and text seldom tenfold: what unpacks to more than this was made to fill a disk. The allowance
# is for small bundles of nothing but text.
MAX_RATIO, RATIO_ALLOWANCE_BYTES = 100, 10 * 2**20
LEFT_BY_SYSTEMS = ("__MACOSX", ".DS_Store")


class OpenedBundle(NamedTuple):
    """A bundle's folder, its regular files by their path inside, and what is to be said of how it is kept.

    A zip that was refused has no files.
    """

    root: Path
    files: Mapping[str, Path]
    finding: Finding


@contextmanager
def opened(bundle: str | Path, copied: bool = False) -> Iterator[OpenedBundle]:
    """Yield a bundle that lies in a folder or a zip; what was unpacked is removed at the end.

    `copied` has a sound folder copied first, so that whatever the bundle's code writes leaves the original as it is.
    """
    path = Path(bundle)
    if not path.exists():
        raise InputError(f"{path}: expected a bundle, a folder or a zip; there is no such file")
    with tempfile.TemporaryDirectory(prefix="beyond2d-check-") as temporary:
        if path.is_dir():
            original = _listed(path, "folder")
            yield _copied(original, Path(temporary)) if copied and original.finding.outcome == OK else original
        else:
            problems = _unpack(path, Path(temporary))
            refused = OpenedBundle(path, {}, judged("zip", problems, ""))
            yield refused if problems else _unpacked(Path(temporary))


def _copied(original: OpenedBundle, folder: Path) -> OpenedBundle:
    copy = Path(shutil.copytree(original.root, folder / original.root.resolve().name))
    return original._replace(root=copy, files={name: copy / name for name in original.files})


def _unpack(path: Path, folder: Path) -> list[str]:
    """Unpack a zip into an empty folder, or say why not; nothing is written where any entry is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            problems = [*size_problems(path, archive), *_entry_problems(archive)]
            if not problems:
                for entry in archive.infolist():
                    _unpack_entry(archive, entry, folder)
    except Exception as error:  # whatever a zip that nobody vouches for makes of the reader
        return [f"expected a zip that unpacks, got: {one_line(error)}"]
    return problems


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / entry.filename
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file)  # ends at the declared size; a wrong one does not pass the checksum


def size_problems(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """What is absurd about the sizes that a zip declares, beside the size that it has."""
    entries = archive.infolist()
    unpacked, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    problems = []
    if len(entries) > MAX_FILES:
        problems.append(f"expected at most {MAX_FILES} entries, got {len(entries)}")
    if unpacked > MAX_UNPACKED_BYTES:
        problems.append(f"expected at most {MAX_UNPACKED_BYTES / 2**30:g} GiB unpacked, got {unpacked / 2**30:.1f} GiB")
    if unpacked > MAX_RATIO * packed + RATIO_ALLOWANCE_BYTES:
        sizes = f"{unpacked / 2**20:.1f} MiB out of {packed / 2**20:.3f} MiB"
        problems.append(f"expected to unpack to at most {MAX_RATIO} times its size, got {sizes}")
    return problems


def _entry_problems(archive: zipfile.ZipFile) -> list[str]:
    """The entries that would leave the folder, are no files, or hide one another."""
    problems, seen = [], set()
    for entry in archive.infolist():
        name = entry.filename
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if name.casefold() in seen:
            problems.append(f"expected every name once, got {name!r} twice")
        seen.add(name.casefold())
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
            problems.append(f"expected paths inside the bundle, got the absolute path {name!r}")
        elif ".." in PurePosixPath(name).parts or "\\" in name:
            problems.append(f"expected paths inside the bundle, got {name!r}")
        if stat.S_ISLNK(kind):
            problems.append(f"expected files, got the link {name!r}")
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            problems.append(f"expected files, got {name!r}, which is none")
        if entry.flag_bits & 1:
            problems.append(f"expected files that can be read, got {name!r} under a password")
    return problems


def _unpacked(folder: Path) -> OpenedBundle:
    """The bundle in an unpacked zip: all of it, or the one folder in it, outside of which nothing may lie."""
    inner = [path for path in folder.iterdir() if (path / "configs").is_dir()]
    if (folder / "configs").is_dir() or len(inner) != 1:
        return _listed(folder, "zip")
    beside = sorted(path.name for path in folder.iterdir() if path != inner[0] and path.name not in LEFT_BY_SYSTEMS)
    bundle = _listed(inner[0], "zip")
    problems = [f"expected all of the bundle in {inner[0].name}, got {name} beside it" for name in beside]
    return bundle._replace(finding=judged("zip", problems, "".join(bundle.finding.details)))


def _listed(root: Path, check: str) -> OpenedBundle:
    """The regular files below a folder; links are refused, as what they lead to is no part of the bundle."""
    files, problems = {}, []
    for parent, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(parent) / name
            inside = path.relative_to(root).as_posix()
            if path.is_symlink():
                problems.append(f"expected files, got the link {inside}")
            elif path.is_file():
                files[inside] = path
            elif not path.is_dir():
                problems.append(f"expected files, got {inside}, which is none")
    size = sum(path.stat().st_size for path in files.values())
    return OpenedBundle(root, files, judged(check, problems, f"{len(files)} files, {size / 2**20:.1f} MiB"))
