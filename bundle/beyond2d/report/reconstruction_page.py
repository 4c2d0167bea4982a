"""The page of a reconstruction: the vessels to turn, what they were made from, and how far to trust them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry import spacing_of
from ..metrics import FIGURES
from ..projection import project, scale_to_unit
from ..surfaces import Mesh, marching_cubes_mesh
from . import html
from .html import Card, Markup, Section
from .page import COLOURS
from .pictures import AGREEMENT, agreement, coloured_projections, grey_pictures, projection_png
from .scene import Scene, Surface
from .slices import slices_section
from .tables import case_table
from .template import Kind, Rows, grid_rows, in_words, result_page
from .viewer import viewer_section

VESSEL = {"vessel": COLOURS[0]}
_NUM_ANGLES = 4
_TRUTHS = {"file": "the given label", "otsu": "the volume's own Otsu label, which stands in where no label is given"}
_SETTINGS = ("model", "weights_sha256", "refine_steps", "hull_level", "seed")
LIMITS = (
    "The network was trained on synthetic trees. It has not been validated on patients.",
    "A few views do not determine a volume: what lies behind other vessels in all of them can be missing, and what "
    "fits all of them can be there without being real. The fewer the views, the more of both.",
    "Volumes depend on the threshold; thin vessels are the first to go.",
)
KIND = Kind("Vessels from a few views", "Reconstructed by beyond2d.", LIMITS, "result.json")

SLABS = (
    "The maximum of the probability, from 0 (black) to 1 (white), over a quarter of the slices at a time. A pixel has "
    "the colour that most of the coloured voxels behind it have."
)

Result = Mapping[str, Any]
Volume = NDArray[Any]


class Reconstructed(NamedTuple):
    """A reconstruction as its page needs it.

    `probability` and `truth` (X, Y, Z) lie on the input's own grid, `mesh` in its world; `seen` and `seen_truth`
    (X, X, Z) on the grid of the `views` (V, X, Z) that were taken at `angles_deg`.
    """

    probability: Volume
    truth: Volume | None
    affine: NDArray[np.float64]
    mesh: Mesh
    views: torch.Tensor
    angles_deg: Sequence[float]
    seen: torch.Tensor
    seen_truth: torch.Tensor | None
    seen_spacing_mm: Sequence[float]


def reconstruction_page(result: Result, vessels: Reconstructed, title: str | None = None) -> str:
    """The page of a result (see `reconstruction.SaveReconstructiond`); no name gets onto it but the title."""
    rows = [*_geometry(result, vessels), *_physics(result)]
    settings = {name: result[name] for name in _SETTINGS if name in result}
    return result_page(KIND, title, _headline(result), _sections(result, vessels), rows, settings)


def _sections(result: Result, vessels: Reconstructed) -> Iterator[Section]:
    scene = _scene(vessels, result["threshold"])
    shown = "The colours tell where it agrees with the truth." if vessels.truth is not None else ""
    words = (
        f"The surface where the probability of vessel crosses {result['threshold']:.3g}, and slices of the probability"
    )
    yield viewer_section(scene, f"{words} from 0 (black) to 1 (white). {shown}".strip())
    yield _projections(result, vessels)
    yield slices_section(scene, SLABS, thick=True)
    if result["scores"] is not None:
        yield _scores(result)
    yield _consistency(result)


def _headline(result: Result) -> Markup:
    angles = result["angles_deg"]
    cards = [
        Card("Vessel", f"{result['vessel_ml']:.1f} ml"),
        Card("Views", str(result["num_views"]), f"{min(angles):.0f}° to {max(angles):.0f}°"),
    ]
    if result["scores"] is not None:
        cards.append(Card("Dice", f"{result['scores']['dice']:.3f}"))
    return html.cards(cards)


def _scene(vessels: Reconstructed, threshold: float) -> Scene:
    mask = torch.as_tensor(vessels.probability >= threshold)
    surfaces = [Surface("reconstruction", COLOURS[0], vessels.mesh)] if len(vessels.mesh.faces) else []
    if vessels.truth is None:
        classes, colours = mask.to(torch.uint8), VESSEL
    else:
        truth = torch.as_tensor(vessels.truth) > 0
        classes, colours = agreement(mask, truth), AGREEMENT
        surfaces.append(
            Surface("truth", COLOURS[1], marching_cubes_mesh(truth.numpy(), 0.5, vessels.affine), 0.5, False)
        )
    return Scene(vessels.probability, vessels.affine, (0.0, 1.0), classes.numpy(), colours, surfaces)


def _projections(result: Result, vessels: Reconstructed) -> Section:
    """The views beside what the reconstruction, and the truth, show from the same angles."""
    chosen = np.unique(np.linspace(0, len(vessels.angles_deg) - 1, _NUM_ANGLES).round().astype(int)).tolist()
    angles_deg = [float(vessels.angles_deg[number]) for number in chosen]
    mode = result["projection_mode"]
    rows = {
        "Input view": grey_pictures(scale_to_unit(vessels.views[chosen])),
        "Reconstruction": grey_pictures(scale_to_unit(project(vessels.seen, angles_deg, mode))),
    }
    if vessels.seen_truth is not None:
        truth = vessels.seen_truth > 0
        rows["Truth"] = grey_pictures(scale_to_unit(project(truth.float(), angles_deg, mode)))
        classes = agreement(vessels.seen >= result["threshold"], truth)
        rows["Agreement"] = coloured_projections(classes, list(AGREEMENT.values()), vessels.seen_spacing_mm, angles_deg)
    kind = "Maximum projections" if mode == "max" else "Line integrals"
    words = (
        f"{kind} of the views and, from the same angles, of the reconstruction. The head is up, and at 0° the "
        "patient's right is on the right, as in the views."
    )
    galleries = [html.key(AGREEMENT)] if vessels.seen_truth is not None else []
    for name, pictures in rows.items():
        figures = [
            _projection(f"{name}, {angle:.1f}°", projection_png(picture, vessels.seen_spacing_mm))
            for angle, picture in zip(angles_deg, pictures, strict=True)
        ]
        galleries.append(html.gallery(figures))
    return Section("From the angles of the views", html.join(html.paragraph(words), *galleries))


def _projection(caption: str, png: bytes) -> Markup:
    return html.figure(html.image(png, f"{caption}: vessels bright on black, the head up"), caption)


def _scores(result: Result) -> Section:
    table = case_table([{name: _number(result["scores"][name]) for name in FIGURES}], FIGURES)
    words = (
        f"Compared with {_TRUTHS.get(result['truth'], result['truth'])}, on the input's own grid. IoU and Dice compare "
        "voxels, clDice centrelines, NSD surfaces within one voxel; Betti-0 error is by how many the numbers of "
        "separate parts differ."
    )
    body = html.table("Scores", ("Figure", "Value"), list(zip(table.header, table.rows[0], strict=True)))
    return Section("Against the truth", html.join(html.paragraph(words), body), "half")


def _consistency(result: Result) -> Section:
    before, after = result["reprojection_error"]
    words = (
        "Root mean square difference between the views and what the reconstruction says they should show, where 1 is "
        "the brightest pixel of the views. It tells whether the result fits its input, not whether it is right."
    )
    figures = [("Disagreement with the views", f"{after:.3f}")]
    if result["refine_steps"]:
        figures.insert(0, ("Before refinement", f"{before:.3f}"))
    body = html.table("Consistency", ("Figure", "Value"), figures)
    return Section("Against its own input", html.join(html.paragraph(words), body), "half")


def _geometry(result: Result, vessels: Reconstructed) -> Rows:
    return [
        *grid_rows(vessels.probability.shape, spacing_of(vessels.affine)),
        ("voxel size worked at (mm)", " × ".join(f"{side:.3g}" for side in result["working_spacing_mm"])),
        ("views", str(result["num_views"])),
        ("angles (degrees)", ", ".join(f"{angle:.4g}" for angle in result["angles_deg"])),
        ("threshold", f"{result['threshold']:.3g}"),
    ]


def _physics(result: Result) -> Rows:
    """What the views are; those that were given as they are have no noise of ours."""
    model = {"max": "the brightest voxel on each ray", "sum": "line integrals"}[result["projection_mode"]]
    window = "the input's own range" if result["window"] is None else in_words(result["window"])
    rows = [("image model", model), ("intensities kept", window)]
    if "detector_noise" not in result:
        return [*rows, ("views are", "given, not simulated")]
    noise, error = result["detector_noise"], result["pose_error_deg"]
    simulated = [("views are", "simulated"), ("detector noise", "on" if noise else "off")]
    return [*rows, *simulated, ("pose error", f"up to {error:g} degrees" if error else "off")]


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
