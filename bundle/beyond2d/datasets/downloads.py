"""The tasks of the Medical Segmentation Decathlon: where they are, or from where they come."""

from __future__ import annotations

import tarfile
import tempfile
from http.client import HTTPException
from pathlib import Path

from monai.apps import DecathlonDataset, download_url, extractall
from monai.apps.utils import HashCheckError

from ..checks import InputError, check_choice, one_line
from .decathlon import DATALIST


def decathlon_folder(root: str | Path, task: str) -> Path:
    """The folder of a task inside `root`; one that is not there is downloaded, checked and unpacked first.

    Args:
        root: holds or gets one folder a task.
        task: such as Task04_Hippocampus.
    """
    folder = Path(root) / str(task)
    if (folder / DATALIST).is_file():
        return folder
    check_choice(task, tuple(DecathlonDataset.resource), "task")
    try:
        _fetch(folder, DecathlonDataset.resource[task], DecathlonDataset.md5[task])
    except (OSError, RuntimeError, ValueError, HTTPException, HashCheckError, tarfile.TarError) as error:
        raise InputError(
            f"task: expected {folder} with {DATALIST}, there is none, and downloading it failed ({one_line(error)}); "
            f"fetch {DecathlonDataset.resource[task]} and unpack it in {root}"
        ) from error
    return folder


def _fetch(folder: Path, url: str, md5: str) -> None:
    """Unpacks an archive in a hidden folder and moves it into place when it is whole and holds the task."""
    archive = folder.with_name(f"{folder.name}.tar")
    download_url(url, archive, hash_val=md5, hash_type="md5")
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as staging:
        extractall(archive, staging, has_base=False)
        if not (Path(staging) / folder.name / DATALIST).is_file():
            raise ValueError(f"{archive} holds no {folder.name}/{DATALIST}")
        (Path(staging) / folder.name).rename(folder)
