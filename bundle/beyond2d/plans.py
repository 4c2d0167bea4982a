"""Makes the plan of a data set and keeps it beside what is trained by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, LoadImaged, Orientationd
from tqdm import tqdm

from .checks import check_number
from .geometry import spacing_of
from .planning import case_figures, make_plan
from .readers import LabelReader, VolumeReader, fold_cases, plan_text, read_datalist, read_plan
from .transforms import SameGridd
from .writers import write_bytes

# Gigabytes for training where there is no GPU: what a laptop can spare.
CPU_MEMORY_GB = 4.0


def plan_for(dataset_dir: str, path: str | Path, memory_gb: float | None = None) -> dict[str, Any]:
    """The plan in the file `path`; where there is none, it is made from the training cases and written there."""
    if not Path(path).is_file():
        write_plan(dataset_dir, path, memory_gb)
    return read_plan(path)


def write_plan(dataset_dir: str, path: str | Path, memory_gb: float | None = None) -> None:
    """Looks at every training case, and writes the plan that fits them and `memory_gb` of memory for training."""
    path = Path(path)
    plan = _plan_of(dataset_dir, memory_available_gb() if memory_gb is None else check_number(memory_gb, "memory_gb"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, plan_text(plan).encode())


def memory_available_gb() -> float:
    """For training: that of the first GPU, or what a laptop can spare."""
    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
    return CPU_MEMORY_GB


def _plan_of(dataset_dir: str, memory_gb: float) -> dict[str, Any]:
    datalist = read_datalist(dataset_dir)
    image_reader: Any = VolumeReader(len(datalist.channels))
    label_reader: Any = LabelReader()
    load = Compose(
        [
            LoadImaged("image", reader=image_reader, ensure_channel_first=True),
            LoadImaged("label", reader=label_reader, ensure_channel_first=True),
            SameGridd("label"),
            Orientationd(["image", "label"], axcodes="RAS", labels=None),
        ]
    )
    figures = []
    for case in tqdm(fold_cases(dataset_dir, "training"), desc="planning", unit="case"):
        item: Any = load(case)
        label = item["label"][0].numpy()
        if datalist.ignore_label is not None:
            label = np.where(label == datalist.ignore_label, 0, label)
        figures.append(case_figures(item["image"].numpy(), label, spacing_of(np.asarray(item["image"].affine))))
    return make_plan(figures, datalist.channels, datalist.labels, datalist.ignore_label, memory_gb)
