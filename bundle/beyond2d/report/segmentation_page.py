"""The page of a segmentation: the labels to turn and scroll, their volumes, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry import spacing_of
from . import html
from .html import Card, Markup, Section
from .orientation import turn_of
from .overlays import class_colours, shown_window
from .pictures import coloured_projections, projection_png
from .scene import Scene, class_surfaces, coarse_steps, thinned
from .slices import slices_section
from .tables import case_table
from .template import Kind, grid_rows, result_page
from .viewer import viewer_section

ANGLES_DEG = (0.0, 45.0, 90.0, 135.0)
_MOST_CARDS = 4
_SETTINGS = ("model", "weights_sha256", "network_spacing_mm", "num_members", "flips", "overlap", "mixed_precision")
LIMITS = (
    "A network knows images like those it was trained on. On other scanners, other crops or other bodies it can be "
    "wrong without any sign of it; compare the colours with the slices.",
    "Volumes are counted in voxels. The surfaces are smoothed for looking at.",
)
KIND = Kind("Labelled volume", "Segmented by beyond2d.", LIMITS, "result.json")

Result = Mapping[str, Any]
Volume = NDArray[Any]


class Labelled(NamedTuple):
    """An image, its class numbers and perhaps the true ones, (X, Y, Z) on one grid."""

    image: Volume
    classes: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    affine: NDArray[np.float64]


def segmentation_page(result: Result, volume: Labelled, title: str | None = None) -> str:
    """The page of a result (see `segmentation.SaveSegmentationd`); its only names are the title and the labels'."""
    rows = grid_rows(volume.classes.shape, spacing_of(volume.affine))
    settings = {name: result[name] for name in _SETTINGS if name in result}
    return result_page(KIND, title, _headline(result), _sections(result, volume), rows, settings)


def _sections(result: Result, volume: Labelled) -> Iterator[Section]:
    scene = _scene(result, volume)
    yield viewer_section(scene, "The surface of each label, and slices of the image with the labels in colour.")
    yield _labels(result)
    yield slices_section(scene, "Slices of the image, spread over what is labelled.", volume.truth)
    yield _projections(scene)


def _headline(result: Result) -> Markup:
    volumes = result["volumes_ml"]
    if len(volumes) > _MOST_CARDS:
        return html.cards(
            [Card("Labels", str(len(volumes))), Card("All together", _millilitres(sum(volumes.values())))]
        )
    return html.cards([Card(name, _millilitres(volume)) for name, volume in volumes.items()], equal=True)


def _millilitres(volume_ml: float) -> str:
    """A volume in words, small ones to a hundredth."""
    return f"{volume_ml:,.{2 if volume_ml < 10 else 1}f} ml"


def _scene(result: Result, volume: Labelled) -> Scene:
    colours = dict(zip(result["volumes_ml"], class_colours(len(result["volumes_ml"])), strict=True))
    surfaces = class_surfaces(volume.classes, volume.affine, colours)
    return Scene(volume.image, volume.affine, shown_window(volume.image), volume.classes, colours, surfaces)


def _labels(result: Result) -> Section:
    scores = result["scores"] or {}
    rows = [{"label": name, "volume_ml": ml, **scores.get(name, {})} for name, ml in result["volumes_ml"].items()]
    table = case_table(rows, tuple(rows[0]))
    words = "Volumes on the image's own grid."
    if scores:
        words += (
            " Dice compares voxels with the given label's, NSD surfaces within one voxel, HD95 how far they lie apart."
        )
    body = html.table("Labels", table.header, table.rows, "figures")
    return Section("Volumes and scores" if scores else "Volumes", html.join(html.paragraph(words), body))


def _projections(scene: Scene) -> Section:
    """The labels as one sees them through the body, on a grid coarse enough to be quick."""
    turn = turn_of(scene.affine)
    classes, affine = thinned(scene.classes, scene.affine, coarse_steps(scene.classes.shape, spacing_of(scene.affine)))
    spacing_mm = turn_of(affine).spacing_mm
    upright = torch.as_tensor(np.ascontiguousarray(turn.upright(classes)))
    pictures = coloured_projections(upright, list(scene.colours.values()), spacing_mm, ANGLES_DEG)
    figures = []
    for angle, picture in zip(ANGLES_DEG, pictures, strict=True):
        alt = f"The labels in their colours, projected at {angle:g} degrees about the body's long axis, the head up"
        figures.append(html.figure(html.image(projection_png(picture, spacing_mm), alt), f"{angle:g}°"))
    words = (
        "A pixel has the colour of the label its ray is longest in, and is the brighter the longer the ray. The head "
        "is up, and at 0° the patient's right is on the right."
    )
    body = html.join(html.paragraph(words), html.key(scene.colours), html.gallery(figures))
    return Section("Projections", body)
