"""Masks as DICOM SEG, on the slices of the series that they were made of."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid
from skimage.color import rgb2lab

from .. import __version__
from ..checks import InputError, check_same_grid
from ..readers import case_name, hushed, read_sources
from ..writers import staged_folder
from .overlays import class_colours
from .segmentation import class_volume
from .terminology import property_of

MANUFACTURER = "beyond2d"
SERIES_NUMBER = 9000  # far behind those of a scanner
UTF_8 = "ISO_IR 192"
LONGEST_TEXT = 64  # characters of DICOM's LO


class SaveDicomSegd(MapTransform):
    """Write the masks in a volume (1, X, Y, Z) of class numbers as DICOM SEG where its image came as a DICOM series.

    For every mask a file, `<mask>.dcm`, that references the series. Where the image came as another file nothing is
    written. A `<mask>.dcm` of an earlier run goes in any case: it does not belong to the masks that lie there now.

    Args:
        output_dir: the folder for the files; for several cases the folder of one folder a case; None writes none.
        single: whether the files of the one case go into `output_dir` itself.
        masks: of each mask the name of every class in it; classes with the name of class 0 are its background, and
            classes that share a name are one segment.
        system: names the algorithm.
        anatomy: of what the classes are parts, for codes of names that do not say it themselves.
        enabled: false writes none.
        source_key: the image.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        output_dir: str | None,
        single: bool,
        masks: Mapping[str, Sequence[str]],
        system: str,
        anatomy: str | None = None,
        enabled: bool = True,
        source_key: str = "image",
    ) -> None:
        super().__init__(keys)
        if not isinstance(enabled, bool):
            raise InputError(f"dicom_seg: expected True or False, got {enabled!r}")
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.single = single
        self.masks = {mask: list(names) for mask, names in masks.items()}
        self.system = system
        self.anatomy = anatomy
        self.enabled = enabled
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        output = dict(data)
        if self.output_dir is None:
            return output
        series = Path(output[self.source_key].meta["filename_or_obj"])
        folder = self.output_dir if self.single else self.output_dir / case_name(series)
        for key in self.key_iterator(output):
            for mask in self.masks:
                (folder / f"{mask}.dcm").unlink(missing_ok=True)
            if self.enabled and series.is_dir():
                affine = np.asarray(output[key].affine, np.float64)
                write_dicom_segs(
                    folder, class_volume(output[key]), affine, series, self.masks, self.system, self.anatomy
                )
        return output


def write_dicom_segs(
    out: Path,
    classes: NDArray[np.uint8],
    affine: NDArray[np.float64],
    series: Path,
    masks: Mapping[str, Sequence[str]],
    system: str,
    anatomy: str | None = None,
) -> None:
    """Write `<mask>.dcm` of each mask in a volume (X, Y, Z) of class numbers with its RAS affine: all, or none.

    The `series` is the folder that the volume's image was read from; `masks` are as in `SaveDicomSegd`.
    """
    sources, grid = read_sources(series)
    shape = (sources[0].Columns, sources[0].Rows, len(sources))
    check_same_grid(shape, grid, classes.shape, affine, f"{series}, read again for the DICOM SEG")
    algorithm = f"{MANUFACTURER} {system}"
    with staged_folder(out) as folder, hushed():
        for mask, names in masks.items():
            numbers = [0 if name == names[0] else 1 + segments_of(names).index(name) for name in names]
            planes = np.ascontiguousarray(np.array(numbers, np.uint8)[classes].transpose(2, 1, 0))
            seg = dicom_seg(planes, sources, segment_descriptions(names, algorithm, anatomy), algorithm)
            seg.SeriesDescription = _text(f"{algorithm}: {mask}")
            seg.save_as(folder / f"{mask}.dcm")


def segments_of(names: Sequence[str]) -> list[str]:
    """The segments among the names of all classes: each once, and none for what is called as class 0 is."""
    return [name for name in dict.fromkeys(names) if name != names[0]]


def dicom_seg(
    planes: NDArray[np.uint8], sources: Sequence[FileDataset], descriptions: Sequence[Any], algorithm: str
) -> Any:
    """A DICOM SEG of segment numbers (slices, rows, columns), each plane on its source slice.

    Slices without a voxel of a segment are left out of it. Where no voxel is of any segment, all slices are there
    and empty, for that nothing was found is a result, too.
    """
    seg = _highdicom().seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=algorithm,
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="automatic, for research only",
    )
    seg.ContentCreatorName = ""  # no person
    seg.SpecificCharacterSet = UTF_8
    return seg


def segment_descriptions(names: Sequence[str], algorithm: str, anatomy: str | None) -> list[Any]:
    """What each segment is called and shows. Colours go by class, as in overlay.png, so that files differ."""
    colours = class_colours(len(names))
    return [
        _segment(number, name, colours[names.index(name) - 1], algorithm, anatomy)
        for number, name in enumerate(segments_of(names), 1)
    ]


def _segment(number: int, name: str, colour: str, algorithm: str, anatomy: str | None) -> Any:
    hd, shown = _highdicom(), property_of(name, anatomy)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=_text(name),
        segmented_property_category=hd.sr.CodedConcept(*shown.category),
        segmented_property_type=hd.sr.CodedConcept(*shown.type),
        anatomic_regions=[hd.sr.CodedConcept(*shown.region)] if shown.region else None,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm,
            version=__version__,
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        ),
    )
    description.RecommendedDisplayCIELabValue = _cielab(colour)
    return description


def _cielab(colour: str) -> list[int]:
    """A colour as DICOM stores it: L of 0 to 100, and a and b of -128 to 127, on 16 bits."""
    lightness, a, b = rgb2lab(np.array(to_rgb(colour)))
    return [round(value * 65535) for value in (lightness / 100, (a + 128) / 255, (b + 128) / 255)]


def _text(words: str) -> str:
    """As DICOM takes it: a backslash would end it."""
    return words.replace("\\", "/")[:LONGEST_TEXT]


def _highdicom() -> Any:
    """Imported when it is needed: NIfTI needs none of it."""
    try:
        import highdicom
    except ImportError as error:
        advice = "pip install highdicom, or --dicom_seg False"
        raise InputError(f"dicom_seg: expected the package highdicom, got none ({advice})") from error
    return highdicom
