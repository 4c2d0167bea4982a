"""Charts as SVG inside of a page: sharp at any size, in the page's light or dark colours, without a file of their own.

They are drawn `WIDTH` units wide, the width of a narrow screen, so that their letters stay readable there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .html import Markup

WIDTH = 360
LEFT, RIGHT = 44, 18  # margins
PLOT_HEIGHT = 130
DOT_STEP = 9


class Part(NamedTuple):
    """A named range of a histogram: from `low` to `high` on its axis, its share of the whole, its colour."""

    name: str
    low: float
    high: float
    share: str
    colour: str


def histogram_chart(
    counts: Sequence[float], edges: Sequence[float], parts: Sequence[Part], unit: str, alt: str
) -> Markup:
    """Bars of what each bin holds in percent of all, with the parts named above them."""
    bottom = 36 + PLOT_HEIGHT
    shares = [100 * count / (sum(counts) or 1) for count in counts]
    highest = _nice_top(max(shares))
    drawn = [_grid(value / highest, f"{value:g} %", bottom) for value in (0, highest / 2, highest)]
    for share, low, high in zip(shares, edges[:-1], edges[1:], strict=True):
        colour = next((part.colour for part in parts if part.low <= low < part.high), "currentColor")
        x, end = _across(low, edges[0], edges[-1]), _across(high, edges[0], edges[-1])
        height = PLOT_HEIGHT * share / highest
        place = f'x="{x + 0.5:.1f}" y="{bottom - height:.1f}" width="{end - x - 1:.1f}" height="{height:.1f}"'
        drawn.append(f'<rect {place} fill="{colour}"/>')
    for part in parts:
        low, high = max(part.low, edges[0]), min(part.high, edges[-1])
        start, end = _across(low, edges[0], edges[-1]), _across(high, edges[0], edges[-1])
        drawn.append(_line(start + 1, 31, end - 1, 31, colour=part.colour, width=3))
        drawn += [_words((start + end) / 2, 12, part.name), _words((start + end) / 2, 25, part.share)]
    for value in sorted({edges[0], edges[-1]} | {part.low for part in parts if math.isfinite(part.low)}):
        drawn.append(_words(_across(value, edges[0], edges[-1]), bottom + 16, f"{value:g}".replace("-", "−")))
    drawn.append(_words((LEFT + WIDTH - RIGHT) / 2, bottom + 32, unit))
    return _svg(bottom + 36, alt, drawn)


def strip_chart(values: Sequence[float], central: float, bounds: tuple[float, float], unit: str, alt: str) -> Markup:
    """A row of its own for every value as a dot, over a band of the bounds and a line at the central value."""
    bottom = 30 + DOT_STEP * len(values)
    lowest, highest = min([*values, bounds[0], central]), max([*values, bounds[1], central])
    ticks = _ticks(lowest, highest)
    start, end = min(ticks[0], lowest), max(ticks[-1], highest)
    places = [_across(value, start, end) for value in (*bounds, central)]
    size = f'width="{max(places[1] - places[0], 1):.1f}" height="{bottom - 18}"'
    drawn = [f'<rect x="{places[0]:.1f}" y="18" {size} class="band"/>']
    for tick in ticks:
        x = _across(tick, start, end)
        drawn += [_line(x, 18, x, bottom), _words(x, bottom + 16, f"{tick:g}")]
    drawn.append(_line(places[2], 18, places[2], bottom, colour="currentColor", width=2))
    drawn.append(_words(min(max(places[2], LEFT + 20), WIDTH - RIGHT - 20), 12, "result"))
    for row, value in enumerate(values):
        drawn.append(f'<circle cx="{_across(value, start, end):.1f}" cy="{26 + DOT_STEP * row}" r="3.5" class="dot"/>')
    drawn.append(_words((LEFT + WIDTH - RIGHT) / 2, bottom + 32, unit))
    return _svg(bottom + 36, alt, drawn)


def _svg(height: float, alt: str, drawn: Sequence[str]) -> Markup:
    inside = "\n".join(drawn)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt)}">\n{inside}\n</svg>')


def _across(value: float, low: float, high: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1)


def _grid(share: float, words: str, bottom: float) -> str:
    y = bottom - PLOT_HEIGHT * share
    return _line(LEFT, y, WIDTH - RIGHT, y) + f'<text x="{LEFT - 5}" y="{y + 4:.1f}" class="up">{escape(words)}</text>'


def _line(x: float, y: float, end_x: float, end_y: float, colour: str = "", width: float = 1) -> str:
    style = f'stroke="{colour}" stroke-width="{width}"' if colour else 'class="grid"'
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end_x:.1f}" y2="{end_y:.1f}" {style}/>'


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _nice_top(value: float) -> float:
    """The least of 10, 20, 40, 60, 80, 100 that is not below a value of at most 100."""
    return next(top for top in (10.0, 20.0, 40.0, 60.0, 80.0, 100.0) if top >= min(value, 100.0))


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers that reach around both."""
    power = 10.0 ** math.floor(math.log10(max(high - low, 1e-2)))
    step = next(part * power for part in (0.2, 0.5, 1, 2, 5) if (high - low) / (part * power) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]
