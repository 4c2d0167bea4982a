"""The tasks of the Medical Segmentation Decathlon: where they are, or from where they come."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

from monai.apps import DecathlonDataset, download_and_extract

from ..checks import InputError, check_choice, one_line
from .decathlon import DATALIST


def decathlon_folder(root: str | Path, task: str) -> Path:
    """The folder of a task inside `root`; one that is not there is downloaded, checked and unpacked first.

    Args:
        root: holds or gets one folder a task.
        task: such as Task04_Hippocampus.
    """
    folder = Path(root) / task
    if (folder / DATALIST).is_file():
        return folder
    check_choice(task, tuple(DecathlonDataset.resource), "task")
    try:
        download_and_extract(
            url=DecathlonDataset.resource[task],
            filepath=f"{folder}.tar",
            output_dir=root,
            hash_val=DecathlonDataset.md5[task],
            hash_type="md5",
        )
    except (URLError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"task: expected {folder} with {DATALIST}, there is none, and downloading it failed ({one_line(error)}); "
            f"fetch {DecathlonDataset.resource[task]} and unpack it in {root}"
        ) from error
    return folder
