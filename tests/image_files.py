"""Makes the image files that the readers are tested with, and loads them as a config does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gdcm
import nibabel as nib
import numpy as np
import pydicom
import torch
import yaml
from monai.transforms import LoadImaged
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid

from beyond2d.readers import LabelReader, ViewsReader, VolumeReader

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIAL = np.eye(3)
OBLIQUE = np.array([[0.8, 0.6, 0.0], [-0.48, 0.64, 0.6], [0.36, -0.48, 0.8]])  # rows: row, column, normal
PIXEL_SPACING = [0.7, 0.5]  # between rows, between columns
STEP_MM = 2.0
ORIGIN = np.array([-20.0, 13.0, 40.0])


def random_volume(shape: tuple[int, ...] = (9, 7, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, shape, dtype=np.int16)


def write_dicom(path: Path, pixels: np.ndarray, sop_class: str = CTImageStorage, **tags: Any) -> None:
    """One DICOM image of integer pixels (rows, columns) or (frames, rows, columns) with the tags given."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(
        str(path), {}, preamble=b"\0" * 128, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    image.SOPClassUID, image.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    image.PatientName = "Secret^Person"
    image.Rows, image.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        image.NumberOfFrames = len(pixels)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    image.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        setattr(image, tag, value)
    image.save_as(path)


def write_series(
    folder: Path,
    volume: np.ndarray | None = None,
    axes: np.ndarray = AXIAL,
    positions: np.ndarray | None = None,
    series: str = "1.2.3.4",
    prefix: str = "image",
    **tags: Any,
) -> np.ndarray:
    """A series whose file names and instance numbers run against the order in space; returns its RAS affine.

    `volume` is (columns, rows, slices), `positions` are mm along the normal `axes[2]`.
    """
    volume = random_volume() if volume is None else volume
    positions = STEP_MM * np.arange(volume.shape[2]) if positions is None else positions
    folder.mkdir(parents=True, exist_ok=True)
    for index, position in enumerate(positions):
        write_dicom(
            folder / f"{prefix}{len(positions) - index:03d}",
            np.ascontiguousarray(volume[:, :, index].T),
            SeriesInstanceUID=series,
            ImagePositionPatient=[float(f"{value:.8g}") for value in ORIGIN + position * axes[2]],
            ImageOrientationPatient=list(axes[:2].ravel()),
            InstanceNumber=int((index * 3) % 7),
            **{"PixelSpacing": PIXEL_SPACING, **tags},
        )
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * PIXEL_SPACING[1], axes[1] * PIXEL_SPACING[0]
    affine[:3, 2], affine[:3, 3] = axes[2] * STEP_MM, ORIGIN + positions.min() * axes[2]
    return LPS_TO_RAS @ affine


def edit_slice(path: Path, **tags: Any) -> None:
    image = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(image, tag, value)
    image.save_as(path)


def compress(path: Path, syntax: str) -> None:
    """Rewrites a DICOM file with another transfer syntax."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(voxels, np.diag([1.5, 1.5, 2.0, 1.0]) if affine is None else affine), path)
    return path


def write_pictures(folder: Path, pictures: np.ndarray, ending: str = "png") -> Path:
    """One file a view; view_10 comes after view_9 in number but before it in the alphabet."""
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(pictures):
        path = folder / f"view_{index + 8}.{ending}"
        if ending == "npy":
            np.save(path, picture)
        elif ending == "dcm":
            write_dicom(path, picture, XRayAngiographicImageStorage, ImagerPixelSpacing=[0.25, 0.25])
        else:
            Image.fromarray(picture).save(path)
    return folder


def write_angles(folder: Path, count: int = 4, name: str = "angles.yaml", **content: Any) -> Path:
    path = folder / name
    content = {"angles_deg": [22.5 * index for index in range(count)], **content}
    path.write_text(json.dumps(content, indent="\t") if name.endswith(".json") else yaml.safe_dump(content))
    return path


def random_pictures(dtype: Any = np.uint16, shape: tuple[int, ...] = (4, 6, 9)) -> np.ndarray:
    """(V, rows, columns), one bright spot in the top row of the second column of each."""
    pictures = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
    pictures[:, 0, 1] = 255
    return pictures


def load_volume(path: Path, num_channels: int = 1) -> torch.Tensor:
    reader = VolumeReader(num_channels)
    return LoadImaged(keys="image", reader=reader, ensure_channel_first=True)({"image": str(path)})["image"]


def load_label(path: Path) -> torch.Tensor:
    return LoadImaged(keys="label", reader=LabelReader(), ensure_channel_first=True)({"label": str(path)})["label"]


def load_views(path: Path, angles_file: Path | None) -> torch.Tensor:
    reader = ViewsReader(angles_file)
    return LoadImaged(keys="image", reader=reader, ensure_channel_first=False)({"image": str(path)})["image"]
