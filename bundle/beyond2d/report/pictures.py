"""Pictures of volumes: maximum projections of a prediction beside the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from torch.nn.functional import interpolate, pad

from ..metrics import Array
from ..projection import project
from ..writers import whole_file
from .page import DPI, INK, TITLE, Page, png_bytes, resized

ANGLES_DEG = (0.0, 22.5, 45.0, 67.5, 90.0)
PAGE_WIDTH = 320  # pixels of a picture in a gallery

# What a voxel of the overlap is, with its colour.
AGREEMENT = {"in both": "#3ddc84", "predicted only": "#ff5252", "missed": "#4c9dff"}
# Panels are a whole number of pixels a voxel, where that gives a width between these two.
_MIN_PANEL, _MAX_PANEL = 320, 512
_GAP, _LEFT, _RIGHT, _TOP, _BOTTOM = 8, 150, 24, 108, 64


def projections_picture(
    path: str | Path,
    prediction: Array,
    truth: Array | None = None,
    *,
    spacing_mm: Sequence[float],
    title: str = "",
    threshold: float = 0.5,
) -> None:
    """Write a PNG of maximum projections at `ANGLES_DEG`, Z up, to scale in mm.

    The first row is the prediction, probabilities (X, Y, Z) from black (0) to white (1). Where there is a truth,
    a mask of the same shape, the second row shows it and the third how the prediction, cut at `threshold`,
    overlaps it: a pixel has the colour of what most vessel voxels along its ray are.
    """
    volume = torch.as_tensor(prediction).detach().cpu().float()
    rows = {"prediction": grey_projections(volume, spacing_mm)}
    if truth is not None:
        mask = torch.as_tensor(truth).cpu().bool()
        rows["truth"] = grey_projections(mask.float(), spacing_mm)
        classes = agreement(volume >= threshold, mask)
        rows["overlap"] = coloured_projections(classes, list(AGREEMENT.values()), spacing_mm)
    figure = _draw(rows, _turnable_voxel_mm(spacing_mm), title)
    with whole_file(path) as hidden:
        figure.savefig(hidden, format="png", dpi=DPI)


def agreement(mask: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Where two masks agree: 1 in both, 2 in the first only, 3 in the second only, in the order of `AGREEMENT`."""
    return mask.to(torch.uint8) + (mask & ~truth) + 3 * (~mask & truth).to(torch.uint8)


def grey_projections(
    volume: torch.Tensor, spacing_mm: Sequence[float], angles_deg: Sequence[float] = ANGLES_DEG
) -> np.ndarray:
    """Maximum projections (V, Z, X, 3) of values 0..1, Z up: the first row of an image is the highest slice."""
    return grey_pictures(project(_turnable(volume, spacing_mm), angles_deg))


def grey_pictures(views: torch.Tensor) -> np.ndarray:
    """Views (V, X, Z) of values 0..1 as pictures (V, Z, X, 3), Z up."""
    return _upright(views.clamp(0, 1))[..., None].repeat(3, axis=-1)


def coloured_projections(
    classes: torch.Tensor, colours: Sequence[str], spacing_mm: Sequence[float], angles_deg: Sequence[float] = ANGLES_DEG
) -> np.ndarray:
    """Projections (V, Z, X, 3) of class numbers: a pixel has the colour of the class its ray is longest in."""
    # One class at a time: as numbers instead of a mask each takes four times the memory.
    masks = ((classes == number).float() for number in range(1, len(colours) + 1))
    lengths = torch.stack([project(_turnable(mask, spacing_mm), angles_deg, mode="sum") for mask in masks])
    shades = to_rgba_array(list(colours))[:, :3]
    # The longer a ray's way through vessels, the brighter: edges are smooth and crossings stand out.
    strength = 1 - _upright(torch.exp(-lengths.sum(0)))
    return shades[_upright(lengths.argmax(0))] * strength[..., None]


def projection_png(picture: np.ndarray, spacing_mm: Sequence[float]) -> bytes:
    """One projection (Z, X, 3) as a PNG of a width that fits a column of a page, to scale in mm."""
    across_mm, up_mm = _turnable_voxel_mm(spacing_mm)
    height = max(1, round(PAGE_WIDTH * picture.shape[0] * up_mm / (picture.shape[1] * across_mm)))
    return png_bytes(resized(picture, PAGE_WIDTH, height))


def _upright(views: torch.Tensor) -> np.ndarray:
    """Views (V, X, Z) as images (V, Z, X) with the highest slice first."""
    return views.transpose(1, 2).flip(1).numpy()


def _turnable_voxel_mm(spacing_mm: Sequence[float]) -> tuple[float, float]:
    """The voxel size in mm, in the plane and along Z, after `_turnable`."""
    return min(spacing_mm[:2]), spacing_mm[2]


def _turnable(volume: torch.Tensor, spacing_mm: Sequence[float]) -> torch.Tensor:
    """The volume (X, Y, Z) with square voxels in the plane and X = Y, so that it can be turned about Z."""
    side = min(spacing_mm[:2])
    if spacing_mm[0] != spacing_mm[1]:
        size = [round(count * mm / side) for count, mm in zip(volume.shape, spacing_mm[:2], strict=False)]
        volume = interpolate(volume[None, None], size=(*size, volume.shape[2]), mode="trilinear")[0, 0]
    lack = [max(volume.shape[:2]) - count for count in volume.shape[:2]]
    around_x, around_y = ((count // 2, count - count // 2) for count in lack)
    return pad(volume, (0, 0, *around_y, *around_x))


def _draw(rows: dict[str, np.ndarray], voxel_mm: tuple[float, float], title: str) -> Figure:
    """The figure of images (V, Z, X, 3): a row of panels for each name in `rows`, a column for each angle."""
    _, num_z, num_x, _ = next(iter(rows.values())).shape
    width = min(num_x * math.ceil(_MIN_PANEL / num_x), _MAX_PANEL)
    pixels_per_mm = width / (num_x * voxel_mm[0])
    height = max(1, round(num_z * voxel_mm[1] * pixels_per_mm))
    columns = [_LEFT + column * (width + _GAP) for column in range(len(ANGLES_DEG))]
    page = Page(columns[-1] + width + _RIGHT, _TOP + len(rows) * (height + _GAP) + _BOTTOM)
    page.text(_LEFT, _TOP - 72, title, pixels=TITLE)
    for left, angle in zip(columns, ANGLES_DEG, strict=True):
        page.text(left + width / 2, _TOP - 24, f"{angle:g}°", align="center")
    for row, (name, images) in enumerate(rows.items()):
        top = _TOP + row * (height + _GAP)
        page.text(_LEFT - 16, top + height / 2, name, align="right")
        for left, image in zip(columns, images, strict=True):
            page.image(left, top, width, height, image)
    _draw_scale(page, pixels_per_mm, width)
    if "overlap" in rows:
        page.legend(page.width - _RIGHT, page.height - _BOTTOM / 2, AGREEMENT)
    return page.figure


def _draw_scale(page: Page, pixels_per_mm: float, panel_width: int) -> None:
    """A bar below the first panel, of the largest round length that fits in a third of it."""
    third_mm = panel_width / pixels_per_mm / 3
    power = 10.0 ** math.floor(math.log10(third_mm))
    length_mm = max(step * power for step in (1, 2, 5) if step * power <= third_mm)
    middle = page.height - _BOTTOM / 2
    page.box(_LEFT, middle - 2, length_mm * pixels_per_mm, 4, INK)
    page.text(_LEFT + length_mm * pixels_per_mm + 12, middle, f"{length_mm:g} mm")
