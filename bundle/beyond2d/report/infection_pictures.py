"""Pictures of a quantified infection: slices of the CT with what was found, and how deep it is seen from the front."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from PIL import Image

from ..lungs import INFECTED
from ..proportions import proportion_of
from .infection_figures import Chest
from .page import BACKGROUND, COLOURS, DPI, INK

NUM_SLICES = 8
LUNG_COLOUR, INFECTION_COLOUR = COLOURS[1], COLOURS[0]
SHOWN_HU = (-1350.0, 150.0)  # the lung window: centre -600, width 1500
MARGIN_MM = 15.0
SLICE_PIXELS, FRONT_PIXELS = 440, 560  # widths
SCALE_MM = 50
_NUM_COLOURS = 192  # of a slice's palette: enough for greys and tints, and less than half the bytes
_SHADOW = withStroke(linewidth=3, foreground=BACKGROUND)
# Without the darkest third, which a dark lung would hide.
_DEPTHS = ListedColormap(colormaps["inferno"](np.linspace(0.35, 1, 256)))

Box = tuple[slice, slice, slice]
Plane = NDArray[Any]


class SlicePicture(NamedTuple):
    """An axial slice as PNG, its number from the feet, its height in mm, and how much of its lung is infected."""

    png: bytes
    number: int
    z_mm: float
    proportion: float


def whole_box(chest: Chest) -> Box:
    """The box of the whole volume."""
    x, y, z = (slice(0, size) for size in chest.label.shape)
    return x, y, z


def lung_box(chest: Chest) -> Box:
    """The box around the lungs with a margin of 15 mm."""
    lung = chest.label > 0
    places = [np.flatnonzero(lung.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    margins = [int(np.ceil(MARGIN_MM / side)) for side in chest.spacing_mm]
    x, y, z = (slice(max(p[0] - m, 0), int(p[-1]) + 1 + m) for p, m in zip(places, margins, strict=True))
    return x, y, z


def chosen_slices(lung: Sequence[int], infection: Sequence[int], count: int = NUM_SLICES) -> list[int]:
    """Which slices to show, from the head down, given how many voxels of lung and infection each has.

    Those with most infection that are not next to one another come first. Where that gives too few, or nothing is
    infected, slices that are evenly spread over the lungs, or without a lung over the volume, fill up.
    """
    chosen: list[int] = []
    left = np.array(infection)
    apart = max(1, int(0.75 * np.ptp(np.flatnonzero(left)) / count)) if left.any() else 1
    while left.any() and len(chosen) < count:
        chosen.append(int(left.argmax()))
        left[max(0, chosen[-1] - apart + 1) : chosen[-1] + apart] = 0
    shown = np.flatnonzero(lung) if np.any(lung) else np.arange(len(lung))
    spread = {int(shown[int(shown.size * (place + 0.5) / count)]) for place in range(count)} - set(chosen)
    while spread and len(chosen) < count:
        farthest = max(sorted(spread), key=lambda index: min((abs(index - other) for other in chosen), default=0))
        chosen.append(farthest)
        spread.remove(farthest)
    return sorted(chosen, reverse=True)


def slice_pictures(chest: Chest, whole: bool = False) -> list[SlicePicture]:
    """The chosen axial slices in the lung window: lungs outlined, infection filled, the patient's right on the left.

    They are cut around the lungs, unless they are to be `whole`.
    """
    counts = [np.count_nonzero(chest.label >= number, axis=(0, 1)) for number in (1, INFECTED)]
    box = whole_box(chest) if whole else lung_box(chest)
    middle = [(part.start + min(part.stop, size)) / 2 for part, size in zip(box, chest.label.shape, strict=True)]
    return [_slice_picture(chest, box, index, middle) for index in chosen_slices(*counts)]


def front_picture(chest: Chest) -> bytes:
    """The mean of the CT over the lungs' depth, seen from the front, and in colour how many mm of it are infected."""
    box = lung_box(chest)
    x_mm, y_mm, z_mm = chest.spacing_mm
    grey = chest.hu[box].clip(*SHOWN_HU).mean(axis=1, dtype=np.float32)
    label = chest.label[box]
    depth_mm = np.count_nonzero(label == INFECTED, axis=1) * y_mm
    size_mm = grey.shape[0] * x_mm, grey.shape[1] * z_mm
    figure, axes = _figure(FRONT_PIXELS, size_mm, below=96)
    _show(axes, grey, size_mm, *np.percentile(grey, (1, 99.5)))
    _outline(axes, np.any(label > 0, axis=1), size_mm, LUNG_COLOUR)
    seen = np.ma.masked_equal(depth_mm.T, 0)
    style: dict[str, Any] = {"cmap": _DEPTHS, "vmin": 0, "vmax": max(float(depth_mm.max()), y_mm), "alpha": 0.8}
    colours = axes.imshow(seen, origin="lower", extent=(0, size_mm[0], 0, size_mm[1]), interpolation="nearest", **style)
    _marks(axes, size_mm, 28)
    bar = figure.colorbar(colours, cax=figure.add_axes((0.08, 62 / figure.bbox.height, 0.84, 18 / figure.bbox.height)),
                          orientation="horizontal")  # fmt: skip
    bar.set_label("infected depth from front to back (mm)", color=INK, fontsize=14)
    bar.ax.tick_params(colors=INK, labelsize=14)
    return _png(figure)


def _slice_picture(chest: Chest, box: Box, index: int, middle: Sequence[float]) -> SlicePicture:
    x_mm, y_mm, _ = chest.spacing_mm
    label, hu = chest.label[box[0], box[1], index], chest.hu[box[0], box[1], index]
    size_mm = label.shape[0] * x_mm, label.shape[1] * y_mm
    figure, axes = _figure(SLICE_PIXELS, size_mm)
    _show(axes, hu, size_mm, *SHOWN_HU)
    if (label == INFECTED).any() and min(label.shape) > 1:
        across, up = _centres(label, size_mm)
        axes.contourf(across, up, (label == INFECTED).T, levels=[0.5, 2], colors=[INFECTION_COLOUR], alpha=0.35)
    _outline(axes, label > 0, size_mm, LUNG_COLOUR)
    _outline(axes, label == INFECTED, size_mm, INFECTION_COLOUR)
    _marks(axes, size_mm, 30)
    whole = chest.label[:, :, index]
    height_mm = float((chest.affine @ [*middle[:2], index, 1])[2])
    return SlicePicture(_png(figure, _NUM_COLOURS), index + 1, height_mm, proportion_of(whole == INFECTED, whole > 0))


def _figure(width: int, size_mm: tuple[float, float], below: int = 0) -> tuple[Figure, Axes]:
    """A figure so many pixels wide that holds an image of this size, to scale, and `below` pixels under it."""
    height = max(round(width * size_mm[1] / size_mm[0]), 16)
    figure = Figure(figsize=(width / DPI, (height + below) / DPI), dpi=DPI, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, below / (height + below), 1, height / (height + below)))
    axes.set_axis_off()
    return figure, axes


def _show(axes: Axes, hu: Plane, size_mm: tuple[float, float], black: float, white: float) -> None:
    """A plane (right, up) in mm, mirrored so that the patient's right is on the left."""
    extent = (0, size_mm[0], 0, size_mm[1])
    axes.imshow(
        hu.T, cmap="gray", vmin=black, vmax=max(white, black + 1), origin="lower", extent=extent,
        aspect="auto", interpolation="bilinear",
    )  # fmt: skip
    axes.set(xlim=(size_mm[0], 0), ylim=(0, size_mm[1]), autoscale_on=False)


def _outline(axes: Axes, mask: Plane, size_mm: tuple[float, float], colour: str) -> None:
    if mask.any() and min(mask.shape) > 1:
        axes.contour(*_centres(mask, size_mm), mask.T, levels=[0.5], colors=[colour], linewidths=1.3)


def _centres(mask: Plane, size_mm: tuple[float, float]) -> list[Plane]:
    """Where the pixels of a plane (right, up) are, in mm."""
    return [(np.arange(size) + 0.5) * mm / size for size, mm in zip(mask.shape, size_mm, strict=True)]


def _marks(axes: Axes, size_mm: tuple[float, float], pixels: float) -> None:
    """The patient's sides, and where there is room a scale, at a fixed distance in pixels from the corners."""
    points = pixels * 72 / DPI
    aside = 0.3 * points
    for place, side, align in ((0, "R", "left"), (1, "L", "right")):
        _letters(axes, side, (place, 1), ((1 - 2 * place) * aside, -aside), points, ha=align, va="top")
    length = SCALE_MM / size_mm[0]
    if length < 0.6 and axes.bbox.height > 3 * pixels:
        start = ScaledTranslation(aside / 72, aside / 72, axes.figure.dpi_scale_trans)
        axes.plot([0, length], [0, 0], color=INK, linewidth=3, transform=axes.transAxes + start,
                  path_effects=[_SHADOW])  # fmt: skip
        _letters(axes, f"{SCALE_MM // 10} cm", (0, 0), (aside, 1.5 * aside), 0.7 * points, ha="left", va="bottom")


def _letters(
    axes: Axes, words: str, corner: tuple[float, float], away: tuple[float, float], points: float, **align: Any
) -> None:
    style: dict[str, Any] = {"color": INK, "weight": "bold", "size": points, "path_effects": [_SHADOW]}
    axes.annotate(words, corner, away, xycoords="axes fraction", textcoords="offset points", **style, **align)


def _png(figure: Figure, num_colours: int | None = None) -> bytes:
    """The figure as a PNG, with a palette of so many colours where a number is given."""
    canvas: Any = figure.canvas
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    if num_colours is not None:
        picture = picture.quantize(num_colours, dither=Image.Dither.NONE)
    content = io.BytesIO()
    picture.save(content, format="png", optimize=True)
    return content.getvalue()
