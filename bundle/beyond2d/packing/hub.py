"""Shares packed bundles on the Hugging Face Hub, by MONAI's own functions."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.bundle import download, push_to_hf_hub

from ..checks import InputError, one_line
from ..readers import MANIFEST
from ..writers import write_bytes
from .manifests import bundle_folder, checked_files, files_in, remove_files
from .pages import README, relinked

HUB = "huggingface_hub"
PAGE, METADATA = "README.md", "configs/metadata.json"


def push_bundle(folder: str | Path, repo: str, private: bool = True, tag: str | None = None) -> None:
    """Upload a packed bundle, as its manifest lists it, with a page for the Hub.

    In two commits: MONAI would copy docs/README.md for the Hub's page, with links that lead nowhere from there and a
    second header. The first commit leaves that page out; the second is the page, and what a tag names.

    Args:
        folder: of the bundle; it stays as it is.
        repo: OWNER/NAME; made where there is none.
        private: whether a repository that is made is hidden from others.
        tag: a name for this state of the repository, such as its version.
    """
    folder = Path(folder)
    places = [*checked_files(folder), MANIFEST]
    with _asking(repo) as hub, tempfile.TemporaryDirectory() as temporary:
        if tag is not None:
            _check_new_tag(hub, repo, tag)
        for place in places:
            path = Path(temporary, "bundle", place)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / place, path)
        page = relinked((folder / README).read_text(encoding="utf-8"), README, {place: place for place in places}, PAGE)
        Path(temporary, "page").mkdir()
        write_bytes(Path(temporary, "page", PAGE), page.encode())
        push_to_hf_hub(
            repo, "bundle", temporary, private=private, ignore_patterns=[PAGE], delete_patterns=["beyond2d_*/*"]
        )
        push_to_hf_hub(repo, "page", temporary, private=private, version=tag)


def pull_bundle(repo: str, out: str | Path, revision: str = "main") -> Path:
    """Download a repository's bundle into a folder of its name in `out`, whole or not at all; nothing of it is run.

    Of a packed bundle only what its manifest lists is kept, and every file has to be as it was packed.

    Args:
        repo: OWNER/NAME.
        out: folder for the bundle's folder. What an earlier bundle of that name left there is replaced.
        revision: a branch, tag or commit.
    """
    name = _checked_name(repo)
    with _asking(repo), bundle_folder(out, name) as staging:
        folder = staging / name
        download(name, bundle_dir=staging, source=HUB, repo=repo, version=revision, progress=False)
        if not (folder / METADATA).is_file():
            raise InputError(f"{repo}: expected a MONAI bundle, there is no {METADATA}")
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        if (folder / MANIFEST).is_file():
            remove_files(folder, set(files_in(folder)) - {*checked_files(folder), MANIFEST})
    return Path(out) / name


def _checked_name(repo: str) -> str:
    """The name in OWNER/NAME."""
    found = re.fullmatch(r"[\w-][\w.-]*/([\w-][\w.-]*)", str(repo))
    if not found:
        raise InputError(f"repo: expected OWNER/NAME on the Hugging Face Hub, got {repo!r}")
    return found[1]


def _check_new_tag(hub: Any, repo: str, tag: str) -> None:
    """MONAI would leave a tag that is there where it is, at what was pushed before."""
    if hub.repo_exists(repo) and tag in {known.name for known in hub.list_repo_refs(repo).tags}:
        raise InputError(f"tag: {repo} has {tag!r} already; choose another, or delete it there")


@contextmanager
def _asking(repo: str) -> Iterator[Any]:
    """Yield the package that speaks to the Hub; what it or the Hub refuses becomes one line."""
    _checked_name(repo)
    if find_spec(HUB) is None:
        raise InputError(f"expected the package {HUB}, it is not installed: pip install {HUB}")
    hub, errors = import_module(HUB), import_module(f"{HUB}.errors")
    try:
        yield hub
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise InputError(f"{repo}: the Hugging Face Hub refused, or could not be reached: {one_line(error)}") from error
