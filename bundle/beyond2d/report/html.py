"""The parts of pages that a browser shows on its own: one file, nothing loaded from anywhere.

Functions take plain text and escape it; what is already HTML has the type `Markup`, so that mypy sees where text
would slip through. The look is in `page.css`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple, NewType

Markup = NewType("Markup", str)

# Browsers then refuse to load anything, and to run any script but those whose hashes are added, even if some text
# slipped through as HTML.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"
_UNITS = re.compile(r"(?<=\d) (?=%|ml|mm|HU|hours)")


class Section(NamedTuple):
    """A part of a page under its own heading; `kind` is "warning" or "fine" for a coloured box, "half" where
    two sections have room side by side; `scripts` run in their order when the page has been read."""

    heading: str
    body: Markup
    kind: str = ""
    scripts: tuple[str, ...] = ()


class Card(NamedTuple):
    """A figure in large letters: what it is, the figure, and what stands beside it in small."""

    name: str
    figure: str
    beside: str = ""


class Bar(NamedTuple):
    """A table's cell with a bar of a share, 0..1, behind its words."""

    words: str
    share: float


def document(title: str, note: str, headline: Markup, sections: Iterable[Section], footer: str = "") -> str:
    """A whole page: its title, a note of a few words on top, the headline and the sections in their order."""
    parts = list(sections)
    scripts = [script for section in parts for script in section.scripts]
    body = "\n".join(_section(number, section) for number, section in enumerate(parts, 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">
<title>{escape(title)}</title>
<style>
{resource("page.css")}</style>
</head>
<body>
<header>
<p class="note">{text(note)}</p>
<h1>{escape(title)}</h1>
{headline}
</header>
<main>
{body}
</main>
<footer><p>{text(footer)}</p></footer>
{"".join(f"<script>{script}</script>" for script in scripts)}
</body>
</html>
"""


def resource(name: str) -> str:
    """The text of a file that lies beside this one, by its path from here."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def text(words: str) -> Markup:
    """Plain words, escaped; numbers keep their units on the same line."""
    return Markup(_UNITS.sub("&nbsp;", escape(words)))


def join(*parts: Markup) -> Markup:
    """One part below the other."""
    return Markup("\n".join(parts))


def paragraph(words: str, kind: str = "") -> Markup:
    """A paragraph; `kind` is its class in the style, such as "lead"."""
    return Markup(f"<p{_class(kind)}>{text(words)}</p>")


def bullets(items: Iterable[str]) -> Markup:
    """A list."""
    return Markup("<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>")


def cards(figures: Iterable[Card], equal: bool = False) -> Markup:
    """Figures side by side, the first one the largest unless all are `equal`."""
    tiles = "".join(
        f'<div><dt>{text(card.name)}</dt><dd>{text(card.figure)} <span class="beside">{text(card.beside)}</span></dd>'
        "</div>"
        for card in figures
    )
    return Markup(f"<dl{_class('cards equal' if equal else 'cards')}>{tiles}</dl>")


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str | Bar]], kind: str = "") -> Markup:
    """A table whose first column names the rows. Where it is too wide it scrolls, with the keyboard as well."""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{text(str(name))}</th>{"".join(map(_cell, cells))}</tr>\n' for name, *cells in rows
    )
    return Markup(
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table{_class(kind)}>'
        f"<caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def image(png: bytes, alt: str) -> Markup:
    """A PNG inside of the page, and what it shows for those who cannot see it."""
    # Width and height stand first in every PNG; with them a browser leaves the place free.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    content = base64.b64encode(png).decode("ascii")
    return Markup(f'<img src="data:image/png;base64,{content}" width="{width}" height="{height}" alt="{escape(alt)}">')


def figure(content: Markup, caption: str) -> Markup:
    """An image or a chart with the words below it."""
    return Markup(f"<figure>{content}<figcaption>{text(caption)}</figcaption></figure>")


def gallery(figures: Iterable[Markup]) -> Markup:
    """Figures side by side in rows, as many as there is room for."""
    return Markup('<div class="gallery">' + "\n".join(figures) + "</div>")


def key(colours: Mapping[str, str]) -> Markup:
    """What each colour of a picture means."""
    items = "".join(
        f'<li><span class="swatch" style="background:{escape(colour)}"></span>{text(name)}</li>'
        for name, colour in colours.items()
    )
    return Markup(f'<ul class="key">{items}</ul>')


def details(summary: str, content: Markup) -> Markup:
    """What unfolds on a click or a press of a key."""
    return Markup(f"<details><summary>{text(summary)}</summary>{content}</details>")


def fine_print(words: str) -> Markup:
    """Text that keeps its lines."""
    return Markup(f"<pre>{escape(words)}</pre>")


def data(name: str, content: Mapping[str, Any]) -> Markup:
    """What a script of the page reads: JSON inside of the element with the id `name`."""
    words = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{escape(name)}">{words}</script>')


def _policy(scripts: Iterable[str]) -> str:
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts]
    allowed = "".join(f" 'sha256-{digest}'" for digest in digests)
    return f"{_POLICY}; script-src{allowed}" if allowed else _POLICY


def _section(number: int, section: Section) -> str:
    heading = f'<h2 id="section-{number}">{text(section.heading)}</h2>'
    return f'<section{_class(section.kind)} aria-labelledby="section-{number}">\n{heading}\n{section.body}\n</section>'


def _cell(cell: str | Bar) -> str:
    if isinstance(cell, Bar):
        return f'<td class="bar" style="--share:{100 * cell.share:.1f}%">{text(cell.words)}</td>'
    return f"<td>{text(cell)}</td>"


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
