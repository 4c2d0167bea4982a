"""DICOM files as arrays: one series in a folder as a volume, one file as one or more frames.

The geometry is worked out here and not by MONAI's `PydicomReader`, which orders slices by InstanceNumber and
takes the mean distance between positions as it comes: a renumbered, incomplete or tilted series would load
without a word and be wrong in space.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from ..checks import InputError, one_line
from .slices import Slice, series_affine

EXPECTED = "expected a folder with one DICOM series"
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
NEEDED_TAGS = [
    "Modality",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "RescaleSlope",
    "RescaleIntercept",
]
# what pydicom and its decoders raise for damaged files, found by cutting and altering good ones
DAMAGE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
GDCM_SYNTAXES = [*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes]
OPENJPEG_SYNTAXES = [f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)]  # high-throughput JPEG 2000


def read_series(folder: Path, modality: str | None = None) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The one DICOM series of a folder as (X, Y, Z) with its RAS affine: X along a row of pixels, Y down a
    column, Z along the normal of the slices. Rescale slope and intercept are applied. Where the files name their
    `modality`, another than the wanted one is refused."""
    headers = _series_headers(folder)
    found = {str(header.get("Modality") or modality) for header in headers.values()}
    if modality is not None and found != {modality}:
        raise InputError(f"{folder}: expected the modality {modality}, got a series of {', '.join(sorted(found))}")
    ordered, affine = _ordered(folder, headers)
    volume = np.empty((len(ordered), *ordered[0].shape), np.float32)
    for index, entry in enumerate(ordered):
        volume[index] = _only_frame(entry.path, headers[entry.path])
    return volume.transpose(2, 1, 0), affine


def series_files(folder: Path) -> tuple[list[Path], NDArray[np.float64]]:
    """The files of a series in the order of the Z of `read_series`, and the RAS affine."""
    ordered, affine = _ordered(folder, _series_headers(folder))
    return [entry.path for entry in ordered], affine


def read_frames(path: Path) -> tuple[NDArray[np.float32], float | None]:
    """The frames (F, rows, columns) of one DICOM file, bright where a display shows them bright, and the
    edge of their square pixels in mm, None where the header does not say."""
    header = read_header(path)
    _check_whole(path, header)
    frames = _decode(path, header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        frames = frames.max() - frames
    keyword = "PixelSpacing" if "PixelSpacing" in header else "ImagerPixelSpacing"
    if keyword not in header:
        return frames, None
    rows_mm, columns_mm = _numbers(path, header, keyword, 2)
    if not np.isclose(rows_mm, columns_mm, rtol=1e-3) or rows_mm <= 0:
        raise InputError(f"{path}: expected square pixels, got {keyword} {rows_mm:g} x {columns_mm:g} mm")
    return frames, columns_mm


def read_header(path: Path, tags: Sequence[str] = NEEDED_TAGS) -> FileDataset:
    """Some tags of a file, by default those that are needed here and none that tells of the patient."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags))
        _ = [*header.file_meta, *header]  # pydicom interprets a tag only when it is asked for
    except DAMAGE as error:
        raise InputError(f"{path}: DICOM header is damaged ({one_line(error)})") from error
    return header


def _series_headers(folder: Path) -> dict[Path, FileDataset]:
    headers = _image_headers(folder)
    _check_one_series(folder, headers)
    return headers


def _ordered(folder: Path, headers: dict[Path, FileDataset]) -> tuple[list[Slice], NDArray[np.float64]]:
    return series_affine(folder, [_slice(path, header) for path, header in headers.items()])


def _image_headers(folder: Path) -> dict[Path, FileDataset]:
    """The headers of a folder's DICOM images; other files and DICOM objects without pixels are passed over."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder}: {EXPECTED}, got no files (subfolders are not read)")
    dicom_files = [path for path in files if is_dicom(path)]
    endings = {_ending(path) for path in dicom_files}.union(DICOM_ENDINGS)
    for path in files:
        if path not in dicom_files and _ending(path) in endings:
            raise InputError(f"{path}: expected a DICOM file as its name says, got something else")
    headers = {path: read_header(path) for path in dicom_files}
    images = {path: header for path, header in headers.items() if _may_be_image(header)}
    if not images:
        raise InputError(f"{folder}: {EXPECTED}, got no DICOM image among its {len(files)} files")
    for path, header in images.items():
        _check_whole(path, header)
    return images


def _ending(path: Path) -> str:
    """What marks a damaged slice by its name; the numbers at the end of a UID are no ending."""
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def _may_be_image(header: FileDataset) -> bool:
    """All but the known objects without pixels, such as reports; what cannot be told is refused later on."""
    sop_class = UID(str(header.file_meta.get("MediaStorageSOPClassUID", "")))
    is_known = sop_class.name != str(sop_class)
    return not is_known or "Image Storage" in sop_class.name


def _check_whole(path: Path, header: FileDataset) -> None:
    if "BitsAllocated" not in header or not isinstance(header.file_meta.get("TransferSyntaxUID"), UID):
        raise InputError(f"{path}: expected a DICOM image, got a header that is cut short or of something else")


def _check_one_series(folder: Path, headers: dict[Path, FileDataset]) -> None:
    members: dict[str, list[Path]] = {}
    for path, header in headers.items():
        members.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(path)
    if len(members) > 1:
        found = ", ".join(f"{len(files)} such as {files[0].name}" for files in members.values())
        raise InputError(f"{folder}: {EXPECTED}, got {len(members)} (slices: {found}); keep one of them")


def _slice(path: Path, header: FileDataset) -> Slice:
    """What places a slice in space, from its header."""
    return Slice(
        path=path,
        position=np.array(_numbers(path, header, "ImagePositionPatient", 3)),
        axes=np.array(_numbers(path, header, "ImageOrientationPatient", 6)).reshape(2, 3),
        spacing=np.array(_numbers(path, header, "PixelSpacing", 2)),
        shape=(int(_numbers(path, header, "Rows", 1)[0]), int(_numbers(path, header, "Columns", 1)[0])),
    )


def _numbers(path: Path, header: FileDataset, keyword: str, count: int) -> list[float]:
    """The finite numbers of one tag."""
    expected = f"{path}: expected {count} finite numbers in the DICOM tag {keyword}"
    value = header.get(keyword)
    try:
        values = [] if value is None else [float(number) for number in np.atleast_1d(value)]
    except (TypeError, ValueError) as error:
        raise InputError(f"{expected} ({one_line(error)})") from error
    if len(values) != count or not np.isfinite(values).all():
        raise InputError(f"{expected}, got {values}")
    return values


def _only_frame(path: Path, header: FileDataset) -> NDArray[np.float32]:
    frames = _decode(path, header)
    if len(frames) != 1:
        raise InputError(f"{path}: expected one slice in each file of a series, got {len(frames)} frames")
    return frames[0]


def _decode(path: Path, header: FileDataset) -> NDArray[np.float32]:
    """The frames (F, rows, columns) of one file, decompressed, with rescale slope and intercept applied."""
    _check_decoder(path, header.file_meta.TransferSyntaxUID)
    colours = header.get("PhotometricInterpretation")
    if colours not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"{path}: expected a greyscale image, got the DICOM colours {colours}")
    try:
        pixels = pydicom.dcmread(path).pixel_array
    except DAMAGE as error:
        raise InputError(f"{path}: DICOM pixels are damaged or cut short ({one_line(error)})") from error
    slope = _numbers(path, header, "RescaleSlope", 1)[0] if "RescaleSlope" in header else 1.0
    intercept = _numbers(path, header, "RescaleIntercept", 1)[0] if "RescaleIntercept" in header else 0.0
    frames = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return frames.reshape(-1, *frames.shape[-2:])


def _check_decoder(path: Path, syntax: UID) -> None:
    if _can_decode(syntax):
        return
    if syntax in GDCM_SYNTAXES:
        advice = "pip install python-gdcm"
    elif syntax in OPENJPEG_SYNTAXES:
        advice = "pip install pylibjpeg pylibjpeg-openjpeg"
    else:
        advice = "no package decodes it; export the images uncompressed"
    raise InputError(f"{path}: no decoder is installed for the DICOM transfer syntax {syntax.name} ({advice})")


def _can_decode(syntax: UID) -> bool:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2
        handlers = pydicom.config.pixel_data_handlers
        return any(handler.is_available() and handler.supports_transfer_syntax(syntax) for handler in handlers)
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:  # pydicom knows the syntax has no pictures it could decode, as in video
        return False
