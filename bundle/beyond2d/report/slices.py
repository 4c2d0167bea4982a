"""Slices of a scene as small pictures: what a page shows of it without its viewer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from . import html
from .html import Section
from .orientation import turn_of
from .overlays import PLANES, labelled_span, spread_slices, tinted
from .page import png_bytes, resized
from .scene import Scene

COUNT = 4
WIDTH = 320  # pixels
_OUTLINE = 2  # pixels

Volume = NDArray[Any]


class SlicePicture(NamedTuple):
    """Slices as PNG, the numbers of the first and the last, counted from the patient's left, back or feet, of how many,
    and what share of the picture is labelled."""

    png: bytes
    first: int
    last: int
    total: int
    share: float

    @property
    def numbers(self) -> str:
        which = f"slice {self.first}" if self.first == self.last else f"slices {self.first}–{self.last}"
        return f"{which} of {self.total}"


def slices_section(scene: Scene, words: str, truth: Volume | None = None, thick: bool = False) -> Section:
    """Slices of a scene in three planes, a gallery each; see `slice_pictures`."""
    told = [words, "In axial and coronal slices the patient's right is on the left."]
    if truth is not None:
        told.append("The truth is outlined in white.")
    galleries = []
    for plane, pictures in slice_pictures(scene, truth, thick).items():
        figures = []
        for picture in pictures:
            caption = f"{plane.capitalize()} {picture.numbers}"
            alt = f"{caption}; {100 * picture.share:.1f} % of it is labelled"
            figures.append(html.figure(html.image(picture.png, alt), caption))
        galleries.append(html.gallery(figures))
    return Section(
        "Thick slices" if thick else "Slices",
        html.join(html.paragraph(" ".join(told)), html.key(scene.colours), *galleries),
    )


def slice_pictures(
    scene: Scene, truth: Volume | None = None, thick: bool = False, count: int = COUNT
) -> dict[str, list[SlicePicture]]:
    """Slices of each plane, spread over what is labelled, the labels in their colours, `truth` as a white outline.

    With `thick` the pictures together show all that is labelled, each the maximum over a part of the slices and the
    class that most of the labelled voxels behind a pixel have. They are to scale in mm, with the patient's right on
    the left, as radiologists expect.
    """
    turn = turn_of(scene.affine)
    volumes = [turn.upright(volume) for volume in (scene.grey, scene.classes, *([] if truth is None else [truth]))]
    pictures: dict[str, list[SlicePicture]] = {}
    for plane, across, right, up in PLANES:
        pictures[plane] = []
        for part in _parts(volumes[1], across, thick, count):
            slabs = [np.moveaxis(volume, (across, up, right), (0, 1, 2))[part] for volume in volumes]
            images = [slabs[0].max(axis=0), *(_most_common(slab, len(scene.colours)) for slab in slabs[1:])]
            size_mm = images[0].shape[1] * turn.spacing_mm[right], images[0].shape[0] * turn.spacing_mm[up]
            # The first row of a picture is the highest, and X grows to the patient's right.
            images = [image[::-1, ::-1] if right == 0 else image[::-1] for image in images]
            png = png_bytes(_drawn(images, scene, round(WIDTH * size_mm[1] / size_mm[0])))
            total = volumes[0].shape[across]
            share = float((images[1] > 0).mean())
            pictures[plane].append(SlicePicture(png, part.start + 1, part.stop, total, share))
    return pictures


def _parts(classes: Volume, across: int, thick: bool, count: int) -> list[slice]:
    """Which slices become a picture each: single ones, or the parts of all that are labelled."""
    if not thick:
        return [slice(index, index + 1) for index in spread_slices(classes, across, count)]
    first, last = labelled_span(classes, across)
    bounds = np.linspace(first, last + 1, min(count, last + 1 - first) + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def _most_common(slab: Volume, num_classes: int) -> NDArray[np.uint8]:
    """The class (rows, columns) that most of the labelled voxels (slices, rows, columns) behind a pixel have, or 0."""
    counts = np.stack([(slab == number).sum(axis=0) for number in range(1, num_classes + 1)])
    return np.where(counts.any(axis=0), 1 + counts.argmax(axis=0), 0).astype(np.uint8)


def _drawn(images: Sequence[Volume], scene: Scene, height: int) -> Volume:
    """A slice of the volume, its classes and perhaps the truth, `WIDTH` pixels wide, in red, green and blue."""
    low, high = scene.window
    size = WIDTH, max(height, 1)
    grey = (resized(images[0], *size) - low) / (high - low)
    classes, *truth = (resized(image, *size, smooth=False) for image in images[1:])
    picture = tinted(grey.clip(0, 1), classes, list(scene.colours.values()))
    for wanted in truth:
        for number in range(1, len(scene.colours) + 1):
            mask = wanted == number
            picture[mask & ~binary_erosion(mask, iterations=_OUTLINE, border_value=1)] = 1.0
    return picture
