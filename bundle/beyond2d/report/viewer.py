"""A viewer inside of a page: surfaces to turn and slices to scroll.

NiiVue, the viewer of the field, is part of the page, as it was published; `viewer.js` connects it with the controls.
Both stand behind hashes in the page's policy, and nothing is loaded from anywhere. Where a browser has no JavaScript
or no WebGL 2, one line says so, and the pictures of the page stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from . import html
from .html import Markup, Section
from .scene import Scene, scene_content

HEADING = "Turn and scroll"
NIIVUE = "vendor/niivue.umd.js"
_ABSENT = (
    "The viewer that stands here needs JavaScript and WebGL 2, and this browser does not offer them to the page. The "
    "pictures of this page show the same result."
)
_PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
_VIEWS = {"front": (180, 0), "left": (90, 0), "above": (180, 90)}  # where it is seen from: turn and tilt in degrees
_FIRST_VIEW = 205, 10  # degrees; a little aside, so that there is depth in it
_SOLID_KEYS = "arrow keys turn, plus and minus zoom."
_SLICES_KEYS = "arrow keys, page up and page down scroll, home and end go to the first and the last slice."


def viewer_section(scene: Scene, words: str) -> Section:
    """The section of a scene; `words` tell what it shows."""
    panes = [_solid_pane(scene)] if scene.surfaces else []
    body = html.join(
        html.paragraph(words),
        Markup(f'<p class="absent" id="absent" role="status">{html.text(_ABSENT)}</p>'),
        Markup(f'<div class="viewer" id="viewer" hidden>{"".join([*panes, _slices_pane(scene)])}</div>'),
        html.data("scene", scene_content(scene)),
        html.details("Licences of the viewer", html.fine_print(html.resource("vendor/LICENSES.txt"))),
    )
    return Section(HEADING, body, scripts=(html.resource(NIIVUE), html.resource("viewer.js")))


def _solid_pane(scene: Scene) -> Markup:
    names = ", ".join(surface.name for surface in scene.surfaces)
    views = [_button(f"from-{name}", name.capitalize(), turn=turn, tilt=tilt) for name, (turn, tilt) in _VIEWS.items()]
    buttons = [_button("spin", "Turn by itself", pressed=False), *views]
    sliders = [
        _slider("turn", "Turn", 0, 359, _FIRST_VIEW[0]),
        _slider("tilt", "Tilt", -90, 90, _FIRST_VIEW[1]),
        _slider("zoom", "Zoom", 50, 300, 100),
    ]
    legend = _legend("surface", {surface.name: (surface.colour, surface.shown) for surface in scene.surfaces})
    return _pane("solid", f"Surfaces in 3D: {names}.", _SOLID_KEYS, buttons, sliders, legend)


def _slices_pane(scene: Scene) -> Markup:
    names = ", ".join(scene.colours)
    planes = [_button(f"plane-{name}", name.capitalize(), pressed=name == "axial") for name in _PLANES]
    buttons = [*planes, _button("plane-all", "All three", pressed=False)]
    scrolls = [_slider(f"slice-{name}", name.capitalize(), 1, 1, 1, axis=axis) for name, axis in _PLANES.items()]
    sliders = [*scrolls, _slider("strength", "Colours", 0, 100, 50)]
    legend = _legend("class", {name: (colour, name not in scene.hidden) for name, colour in scene.colours.items()})
    return _pane("slices", f"Slices with {names} in colour.", _SLICES_KEYS, buttons, sliders, legend)


def _pane(name: str, label: str, keys: str, buttons: Iterable[str], sliders: Iterable[str], legend: str) -> Markup:
    words = f"{escape(label)} {keys}"
    return Markup(
        '<div class="pane">\n'
        f'<div class="stage"><canvas id="{name}" tabindex="0" role="application" aria-label="{words}"></canvas></div>\n'
        f'<div class="buttons" role="group" aria-label="View">{"".join(buttons)}</div>\n'
        f'<div class="sliders">{"".join(sliders)}</div>\n{legend}\n<p class="keys">In the picture: {keys}</p></div>'
    )


def _button(name: str, words: str, pressed: bool | None = None, **data: object) -> str:
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    return f'<button type="button" id="{name}"{state}{_data(data)}>{html.text(words)}</button>'


def _slider(name: str, words: str, low: int, high: int, value: int, **data: object) -> str:
    return (
        f'<label for="{name}">{html.text(words)}</label>'
        f'<input type="range" id="{name}" min="{low}" max="{high}" value="{value}"{_data(data)}>'
        f'<output for="{name}">{value}</output>'
    )


def _legend(kind: str, shown: Mapping[str, tuple[str, bool]]) -> str:
    """What each colour means, with a box to tick for each."""
    items = "".join(
        f'<li><label><input type="checkbox" data-{kind}="{number}"{" checked" if ticked else ""}>'
        f'<span class="swatch" style="background:{escape(colour)}"></span>{html.text(name)}</label></li>'
        for number, (name, (colour, ticked)) in enumerate(shown.items())
    )
    return f'<ul class="key">{items}</ul>'


def _data(values: Mapping[str, object]) -> str:
    return "".join(f' data-{name}="{escape(str(value))}"' for name, value in values.items())
