"""What a DICOM object that is made of a series repeats of it: where its slices lie, which they are, and whose.

The only place that reads a patient's name. It goes from the headers into the object and nowhere else: libraries
that quote it in warnings and log lines are hushed, and no error repeats it.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from .dicom import read_header, series_files

PLACE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "PositionReferenceIndicator",
)
OF_A_SLICE = ("SOPClassUID", "SOPInstanceUID")
OF_THE_WHOLE = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
# The standard wants these in every object of a study, be it empty.
PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# These are repeated where a series has them.
OPTIONAL = (
    "IssuerOfPatientID",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def read_sources(folder: Path) -> tuple[list[FileDataset], NDArray[np.float64]]:
    """The headers of a series' slices, in the order of the Z of `VolumeReader`, and the RAS affine of its grid.

    They hold the tags listed here and no others. What the standard wants to be there and is not, or what it does not
    allow to be as it is, such as the sex `unknown`, is empty in them. Orientation and distances are the grid's, and
    the unique identifiers are what anonymisation has left of them.
    """
    with hushed():
        files, affine = series_files(folder)
        tags = (*PLACE, *OF_A_SLICE, *OF_THE_WHOLE, *PATIENT_AND_STUDY, *OPTIONAL)
        sources = [read_header(path, tags) for path in files]
        for source in sources:
            source.pop("SpecificCharacterSet", None)  # all text is decoded by now
            _empty_what_is_unsound(source)
            _lay_on_the_grid(source, sources[0], affine)
        _identify(sources)
    return sources, affine


@contextmanager
def hushed() -> Iterator[None]:
    """Neither warnings nor log lines of pydicom and highdicom: they quote what stands in tags."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _empty_what_is_unsound(source: FileDataset) -> None:
    for keyword in PATIENT_AND_STUDY:
        if keyword not in source or not _is_sound(source[keyword]):
            setattr(source, keyword, "")


def _is_sound(element: DataElement) -> bool:
    if element.VM > 1:
        return False
    if element.keyword == "PatientSex":
        return element.value in ("M", "F", "O")
    types = {"DA": DA, "TM": TM}
    try:
        return element.VR not in types or bool(types[element.VR](element.value))
    except ValueError:
        return False


def _lay_on_the_grid(source: FileDataset, first: FileDataset, affine: NDArray[np.float64]) -> None:
    """One orientation and one distance for all: headers differ by rounding, and a slice may be thicker than a step."""
    step_mm = DSfloat(float(np.linalg.norm(affine[:3, 2])), auto_format=True)
    source.SliceThickness = source.SpacingBetweenSlices = step_mm
    source.ImageOrientationPatient, source.PixelSpacing = first.ImageOrientationPatient, first.PixelSpacing


def _identify(sources: list[FileDataset]) -> None:
    """Anonymisation may empty unique identifiers, or give every slice a frame of reference of its own.

    The header of the file format repeats what a slice is called. What holds for the whole series is the first that a
    slice names; where none does, a stand-in that is the same whenever the series is read.
    """
    for source in sources:
        for keyword in OF_A_SLICE:
            setattr(source, keyword, source.get(keyword) or source.file_meta.get(f"MediaStorage{keyword}", ""))
        source.SOPInstanceUID = source.SOPInstanceUID or generate_uid()
    slices = [str(source.SOPInstanceUID) for source in sources]
    for keyword in OF_THE_WHOLE:
        named = [source[keyword].value for source in sources if source.get(keyword)]
        for source in sources:
            setattr(source, keyword, named[0] if named else generate_uid(entropy_srcs=[keyword, *slices]))
