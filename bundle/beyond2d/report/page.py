"""The look that all pictures share."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

BACKGROUND = "#10141b"
INK = "#e8ecf2"
# Told apart with any colour vision: the set of Okabe and Ito without its black.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
DPI = 100
# Heights of letters in pixels.
TEXT, TITLE = 22, 28


class Page:
    """A figure addressed in pixels from its upper left corner, so that voxels fall on whole pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=BACKGROUND)
        FigureCanvasAgg(self.figure)

    def text(self, left: float, top: float, words: str, align: str = "left", pixels: float = TEXT) -> None:
        points = pixels * 72 / DPI
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, words, size=points, color=INK, ha=align, va="center")

    def box(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        x, y, across, up = self._place(left, top, width, height)
        self.figure.add_artist(Rectangle((x, y), across, up, facecolor=colour, edgecolor="none"))

    def image(self, left: float, top: float, width: float, height: float, image: np.ndarray) -> None:
        axes = self.figure.add_axes(self._place(left, top, width, height))
        axes.imshow(image, aspect="auto", interpolation="bicubic")
        axes.set_axis_off()

    def legend(self, right: float, top: float, colours: dict[str, str]) -> None:
        handles = [Rectangle((0, 0), 1, 1, facecolor=colour, label=name) for name, colour in colours.items()]
        style = {"fontsize": TEXT * 72 / DPI, "labelcolor": INK, "handlelength": 1, "handleheight": 1}
        place = (right / self.width, 1 - top / self.height)
        self.figure.legend(
            handles=handles, ncols=len(handles), loc="center right", bbox_to_anchor=place, frameon=False, **style
        )

    def _place(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        bottom = 1 - (top + height) / self.height
        return left / self.width, bottom, width / self.width, height / self.height


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (rows, columns, 3) of red, green and blue, 0..1, as PNG."""
    content = io.BytesIO()
    Image.fromarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8)).save(content, format="png", optimize=True)
    return content.getvalue()


def resized(picture: np.ndarray, width: int, height: int, smooth: bool = True) -> np.ndarray:
    """A plane (rows, columns) or (rows, columns, 3) of numbers in another size, each row and column alike."""
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    layers = np.asarray(picture, np.float32).reshape(*picture.shape[:2], -1)
    new = [np.asarray(Image.fromarray(layer).resize((width, height), method)) for layer in np.moveaxis(layers, 2, 0)]
    return np.stack(new, axis=2).reshape(height, width, *picture.shape[2:])
