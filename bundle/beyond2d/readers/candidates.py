"""The candidates that a segmenter marked, for a classifier to learn from."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import InputError, one_line

KEYS = ("patches", "is_true", "areas", "true_voxels", "patients", "total_true", "cases")


def read_candidates(path: str | Path) -> dict[str, np.ndarray]:
    """All that a file of `datasets.CollectCandidates` holds of n candidates in p cases.

    "patches" (n, C, P, P) of 0..255, "is_true", "areas", "true_voxels" and "patients" (n,), indices into "total_true"
    and "cases" (p,).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected candidates, there is no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in KEYS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected a file of candidates (.npz), cannot read it ({one_line(error)})") from error
    return content


def candidate_items(paths: str | Iterable[str]) -> list[dict[str, Any]]:
    """The candidates of one or more files as items: "image" (C, P, P) and "label" (1,), both 0..1 in float32."""
    files = [paths] if isinstance(paths, str) else paths
    items = []
    for content in map(read_candidates, files):
        images = content["patches"].astype(np.float32) / 255
        labels = content["is_true"].astype(np.float32)[:, None]
        items += [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]
    if not items:
        raise InputError(f"{', '.join(map(str, files))}: expected candidates, got none; is the segmenter trained?")
    return items
