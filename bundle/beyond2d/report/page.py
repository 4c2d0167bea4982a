"""The look that all pictures share."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
