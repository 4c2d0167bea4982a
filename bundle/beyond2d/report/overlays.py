"""Pictures of a segmentation: its labels in colour on slices of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ..writers import whole_file
from .page import BACKGROUND, COLOURS, DPI, INK

# A row a plane: its name, the axis across it, and the axes to the right and up of the page, in RAS.
PLANES = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))
NUM_SLICES = 5
_SHOWN = (0.5, 99.5)  # percentiles of the image that become black and white
_OPACITY = 0.45

Volume = NDArray[Any]


def overlay_picture(
    path: str | Path,
    image: Volume,
    mask: Volume,
    affine: NDArray[np.float64],
    *,
    names: Sequence[str],
    truth: Volume | None = None,
    title: str = "",
) -> None:
    """Write a PNG of slices in three planes, to scale in mm, spread over what is labelled.

    `image`, `mask` and `truth` are (X, Y, Z) on one grid of any orientation. Areas of class 1, 2, … have the colours
    of `names`; the truth is a white outline. As radiologists expect, the patient's right is on the left.
    """
    to_ras = nib.io_orientation(affine)
    turned = [nib.apply_orientation(volume, to_ras) for volume in (image, mask, *([] if truth is None else [truth]))]
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)[np.argsort(to_ras[:, 0])]
    figure = Figure(figsize=(2.6 * NUM_SLICES, 9.2), facecolor=BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(PLANES), NUM_SLICES, squeeze=False)
    grey = _grey(turned[0])
    colours = class_colours(len(names))
    for row, (name, across, right, up) in zip(grid, PLANES, strict=True):
        for axes, index in zip(row, spread_slices(turned[1], across), strict=True):
            images = [np.moveaxis(volume, (right, up, across), (1, 0, 2))[..., index] for volume in (grey, *turned[1:])]
            _draw(axes, images, colours, spacing_mm[up] / spacing_mm[right], flip=right == 0)
            axes.set_title(f"{name} {index + 1}", color=INK, fontsize=9)
    _legend(figure, names, truth is not None)
    figure.suptitle(title, color=INK, fontsize=14)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png", dpi=DPI)


def _grey(image: Volume) -> NDArray[np.float32]:
    """Intensities as 0..1."""
    low, high = shown_window(image)
    return ((np.asarray(image, np.float32) - low) / (high - low)).clip(0, 1)


def shown_window(image: Volume) -> tuple[float, float]:
    """The intensities that become black and white."""
    low, high = np.percentile(np.asarray(image[:: max(1, image.shape[0] // 128)], np.float32), _SHOWN)
    return float(low), max(float(high), float(low) + 1e-6)


def spread_slices(mask: Volume, across: int, count: int = NUM_SLICES) -> list[int]:
    """Which slices to show, evenly spread over those with a label, or over all."""
    first, last = labelled_span(mask, across)
    return [round(first + (last - first) * (place + 0.5) / count) for place in range(count)]


def labelled_span(mask: Volume, across: int) -> tuple[int, int]:
    """The first and the last slice with a label, or of all where there is none."""
    other = tuple(axis for axis in range(3) if axis != across)
    shown = np.flatnonzero((mask > 0).any(axis=other))
    return (int(shown[0]), int(shown[-1])) if shown.size else (0, mask.shape[across] - 1)


def tinted(grey: Volume, mask: Volume, colours: Sequence[str]) -> Volume:
    """A plane of values 0..1 in red, green and blue, with the colours of its classes laid over it."""
    picture = np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
    for number, colour in enumerate(colours, 1):
        picture[mask == number] += _OPACITY * (np.array(to_rgb(colour)) - picture[mask == number])
    return picture


def class_colours(count: int) -> list[str]:
    """The colour of class 1, 2, …; after the seventh they begin anew."""
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _draw(axes: Axes, images: Sequence[Volume], colours: Sequence[str], aspect: float, flip: bool) -> None:
    """One slice of the image, mask and perhaps truth, each (up, right)."""
    axes.imshow(tinted(images[0], images[1], colours), origin="lower", aspect=aspect, interpolation="nearest")
    for number in range(1, int(images[2].max()) + 1 if len(images) > 2 else 1):
        if (images[2] == number).any() and min(images[2].shape) > 1:  # a single row of voxels has no outline
            axes.contour(images[2] == number, levels=[0.5], colors="white", linewidths=0.8)
    if flip:
        axes.invert_xaxis()
    axes.set_axis_off()


def _legend(figure: Figure, names: Sequence[str], has_truth: bool) -> None:
    colours = class_colours(len(names))
    handles: list[Patch | Line2D] = [Patch(color=c, label=name) for c, name in zip(colours, names, strict=True)]
    if has_truth:
        handles.append(Line2D([], [], color="white", label="truth"))
    columns = min(len(handles), 5)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK)
