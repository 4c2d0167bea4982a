"""The pages of a bundle: its README, from the system's model card and the comments of its configs, and data licence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from .configs import heading, key_notes, value_text
from .models import Models
from .recipes import Recipe

README, DATA_LICENSE = "docs/README.md", "docs/data_license.txt"
TAGS = ("monai", "medical")
# Pages that the model cards lead to.
GUIDES = ("docs/conventions.md", "docs/architecture.md")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def packed_pages(
    house: Path, system: str, recipe: Recipe, models: Models, first: str, configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """The README with the pictures it shows, the guides it leads to, and the schemas of what is written.

    Args:
        house: the project's folder.
        system: whose model card becomes the README.
        recipe: of the system.
        models: of the bundle.
        first: a section on this bundle, that comes before those of the card.
        configs: as the bundle has them, by name without ending.
    """
    folder, page = house / "configs" / system, f"docs/{system}.md"
    card = (house / page).read_text(encoding="utf-8")
    copied = {place: place for place in (*GUIDES, *(f"docs/{picture}" for picture in pictures_of(card)))}
    copied |= {f"configs/{system}/{path.name}": f"docs/{path.name}" for path in folder.glob("*.schema.json")}
    places = {page: README, **copied}
    places |= {f"models/{recipe.shipped}/{place}": f"models/{place}" for place in models.files}
    texts = {name: (folder / f"{name}.yaml").read_text(encoding="utf-8") for name in configs}
    body = with_sections(relinked(card, page, places, README), first, config_section(texts, configs))
    pages = {copied[source]: (house / source).read_bytes() for source in copied}
    for guide in GUIDES:
        pages[guide] = relinked(pages[guide].decode(), guide, places, guide).encode()
    return {**pages, README: f"{front_matter(recipe)}{with_bundle_paths(body, system, recipe, list(texts))}".encode()}


def front_matter(recipe: Recipe) -> str:
    """What the Hugging Face Hub reads at the top of a page."""
    tags = "\n".join(f"- {tag}" for tag in (*TAGS, *recipe.tags))
    return f"---\nlicense: apache-2.0\nlibrary_name: monai\ntags:\n{tags}\n---\n\n"


def with_sections(card: str, first: str, last: str) -> str:
    """A model card with one section before all others and one behind them."""
    introduction, begin, rest = card.partition("\n## ")
    return f"{introduction.rstrip()}\n\n{first}{begin}{rest.rstrip()}\n\n{last}"


def how_to_run(name: str, package: str, recipe: Recipe, metadata: Mapping[str, Any], own: bool) -> str:
    """The section on what a bundle needs and how it is run, and whose weights are in it."""
    versions = {"torch": metadata["pytorch_version"], "monai": metadata["monai_version"]}
    versions |= {"numpy": metadata["numpy_version"], **metadata["required_packages_version"]}
    packages = " ".join(f"{package}=={version}" for package, version in versions.items())
    notice = (
        "**The weights in this bundle are not the project's.** Scores and training data on this page are those of the "
        "project's own; see [data_license.txt](data_license.txt).\n\n"
    )
    return (
        f"{notice if own else ''}## Run this bundle\n\n"
        f"It needs Python 3.10 or newer and the packages here, nothing else: the project's code is in `{package}`.\n\n"
        f"```sh\npip install {packages}\ncd {name}\n"
        f"python -m monai.bundle run --config_file configs/inference.json {recipe.example}\n```\n\n"
        "[The configs](#the-configs) says what else can be run and changed. Commands on this page that begin with "
        "`beyond2d`, and scripts, are those of the project that packed this bundle.\n"
    )


def config_section(texts: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """The section on every config: what stands at its top, and its keys with their comments.

    Args:
        texts: the YAML of each config, by name without ending.
        configs: the same configs as the bundle has them.
    """
    parts = ["## The configs\n\nEvery key is an option of `python -m monai.bundle run`, for example `--seed 1`.\n"]
    for name, text in texts.items():
        rows = [
            (f"`{key}`", _cell(value_text(configs[name][key])), note) for key, note in key_notes(text, configs[name])
        ]
        parts.append(f"### {name}.json\n\n{_heading_text(heading(text))}\n")
        if rows:
            parts.append(f"{_table(('Key', 'Value', 'What it is'), rows)}\n")
    return "\n".join(parts)


def with_bundle_paths(text: str, system: str, recipe: Recipe, names: Sequence[str]) -> str:
    """A text that speaks of a system's files, with their places in a bundle. `names` are those of its configs."""
    moved = {f"configs/{system}/": "configs/", f"docs/{system}.md": README}
    moved |= {f"models/{recipe.shipped or system}": "models", f"models/{system}": "models"}
    for source, place in moved.items():
        text = text.replace(source, place)
    return re.sub(rf"\b({'|'.join(names)})\.yaml\b", r"\1.json", text)


def relinked(text: str, page: str, places: Mapping[str, str], target: str) -> str:
    """A Markdown page whose links lead to the same files in the bundle; of others only the words are left.

    Args:
        text: of the page.
        page: its path in the project.
        places: where files and folders of the project are in the bundle.
        target: where the page is in the bundle.
    """

    def replaced(link: re.Match[str]) -> str:
        image, words, goal, part = link.groups()
        if "://" in goal:
            return link[0]
        source = normpath(str(PurePosixPath(page).parent / goal))
        if source not in places:
            return words
        return f"{image}[{words}]({relpath(places[source], str(PurePosixPath(target).parent))}{part or ''})"

    return LINK.sub(replaced, text)


def pictures_of(text: str) -> list[str]:
    """The pictures that a page shows, as it names them."""
    return [link[3] for link in LINK.finditer(text) if link[1] and "://" not in link[3]]


def data_license(recipe: Recipe, models: Models, given: str | None) -> bytes:
    """What the weights were made from, and its licence: the project's words, or those of a packer about own weights."""
    others = [weights.file for weights in recipe.weights if weights.file not in models.own]
    ours = f"The project's weights ({', '.join(others)}) were made from:\n\n{recipe.data}\n"
    unsaid = (
        "Whoever packed this bundle has not said what they were made from, nor under which licence that is. Ask before "
        "you use or share them."
    )
    theirs = f"Not the project's: {', '.join(models.own)}.\n\n{(given or unsaid).strip()}\n"
    parts = [theirs] * bool(models.own) + [ours] * bool(others)
    return "\n".join(parts).encode()


def _heading_text(lines: Sequence[str]) -> str:
    """The comment at the top of a config: sentences, and indented commands as code."""
    blocks = []
    for is_code, block in groupby(lines, key=lambda line: line.startswith("  ")):
        text = "\n".join(line.strip() for line in block)
        blocks.append(f"```sh\n{text.replace(f'{chr(10)}--', ' --')}\n```" if is_code else text)
    return "\n\n".join(blocks)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _cell(value: str) -> str:
    return f"`{value}`" if value else '`""`'
