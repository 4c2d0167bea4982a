"""Which cases a workflow runs on."""

from __future__ import annotations

from pathlib import Path

from monai.data import load_decathlon_datalist

from ..checks import InputError

DATALIST = "dataset.json"


def load_cases(
    dataset_dir: str, section: str, input: str | None = None, label: str | None = None
) -> list[dict[str, str]]:
    """The items {image, label} of one section of a folder's datalist, or of the one volume `input`.

    A folder without a datalist gives all its volumes: its NIfTI files, and its sub-folders as DICOM series. Labels
    are optional.
    """
    if input is not None:
        return [{"image": str(input)} if label is None else {"image": str(input), "label": str(label)}]
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise InputError(
            f"dataset_dir: expected a folder, there is none at {folder}; `beyond2d phantom vessels --out {folder}` "
            "makes one"
        )
    if (folder / DATALIST).is_file():
        return _listed(folder, section)
    return [{"image": str(path)} for path in _volumes(folder)]


def _listed(folder: Path, section: str) -> list[dict[str, str]]:
    path = folder / DATALIST
    try:
        items = load_decathlon_datalist(path, data_list_key=section, base_dir=folder)
    except ValueError as error:  # no JSON, or JSON without this section
        raise InputError(f"{path}: expected a datalist with a list named {section!r}: {error}") from error
    missing = [item["image"] for item in items if not Path(item["image"]).exists()]
    if missing:
        raise InputError(f"{path}: lists {len(missing)} images that do not exist, first {missing[0]}")
    return [{key: item[key] for key in ("image", "label") if key in item} for item in items]


def _volumes(folder: Path) -> list[Path]:
    volumes = sorted(path for path in folder.iterdir() if path.is_dir() or path.name.endswith((".nii", ".nii.gz")))
    if not volumes:
        raise InputError(f"{folder}: expected dataset.json, NIfTI files or DICOM folders, got none of them")
    return volumes
