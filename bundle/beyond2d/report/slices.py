"""Slices of a scene as small pictures: what a page shows of it without its viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from . import html
from .html import Section
from .orientation import turn_of
from .overlays import PLANES, spread_slices, tinted
from .page import png_bytes, resized
from .scene import Scene

COUNT = 4
WIDTH = 320  # pixels
_OUTLINE = 2  # pixels

Volume = NDArray[Any]


class SlicePicture(NamedTuple):
    """A slice as PNG, its number from the patient's left, back or feet, of how many, and its labelled share."""

    png: bytes
    number: int
    total: int
    share: float


def slices_section(scene: Scene, words: str, truth: NDArray[Any] | None = None) -> Section:
    """Slices of a scene in three planes, a gallery each."""
    told = [words, "In axial and coronal slices the patient's right is on the left."]
    if truth is not None:
        told.append("The truth is outlined in white.")
    galleries = []
    for plane, pictures in slice_pictures(scene, truth).items():
        figures = []
        for picture in pictures:
            caption = f"{plane.capitalize()} slice {picture.number} of {picture.total}"
            alt = f"{caption}; {100 * picture.share:.1f} % of it is labelled"
            figures.append(html.figure(html.image(picture.png, alt), caption))
        galleries.append(html.gallery(figures))
    return Section("Slices", html.join(html.paragraph(" ".join(told)), html.key(scene.colours), *galleries))


def slice_pictures(scene: Scene, truth: Volume | None = None, count: int = COUNT) -> dict[str, list[SlicePicture]]:
    """Slices of each plane, spread over what is labelled, the labels in their colours, `truth` as a white outline.

    They are to scale in mm, with the patient's right on the left, as radiologists expect.
    """
    turn = turn_of(scene.affine)
    volumes = [turn.upright(volume) for volume in (scene.grey, scene.classes, *([] if truth is None else [truth]))]
    pictures: dict[str, list[SlicePicture]] = {}
    for plane, across, right, up in PLANES:
        pictures[plane] = []
        for index in spread_slices(volumes[1], across, count):
            images = [np.moveaxis(volume, (across, up, right), (0, 1, 2))[index] for volume in volumes]
            size_mm = images[0].shape[1] * turn.spacing_mm[right], images[0].shape[0] * turn.spacing_mm[up]
            # The first row of a picture is the highest, and X grows to the patient's right.
            images = [image[::-1, ::-1] if right == 0 else image[::-1] for image in images]
            png = png_bytes(_drawn(images, scene, round(WIDTH * size_mm[1] / size_mm[0])))
            total = volumes[0].shape[across]
            pictures[plane].append(SlicePicture(png, index + 1, total, float((images[1] > 0).mean())))
    return pictures


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
