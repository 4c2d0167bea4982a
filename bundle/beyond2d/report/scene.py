"""What the viewer of a page shows, small enough to travel inside of the page.

A volume becomes 8 bits a voxel and is taken coarser until it has `MAX_VOXELS`; the surfaces of a scene have at most
`MAX_FACES` together. Written as base64 that is at most 6 MB for the volume, whatever it holds, and about 2 MB for the
surfaces.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from ..geometry import spacing_of
from ..surfaces import Mesh, marching_cubes_mesh, mz3_bytes, simplified, smoothed
from .orientation import turn_of

MAX_VOXELS = 4_000_000
MAX_FACES = 150_000
_LEVELS = 255  # of grey

Volume = NDArray[Any]
Steps = tuple[int, int, int]


class Surface(NamedTuple):
    """A mesh under its name in a colour (#rrggbb); `opacity` is 0..1, and it may be hidden at first."""

    name: str
    colour: str
    mesh: Mesh
    opacity: float = 1.0
    shown: bool = True


class Scene(NamedTuple):
    """What to look at: a volume (X, Y, Z) in grey, its class numbers in colour, and surfaces.

    `window` are the values that become black and white; `colours` has the name and the colour (#rrggbb) of class 1,
    2, …, of which some may be `hidden` at first; `affine` is the voxel-to-RAS one of both volumes.
    """

    grey: Volume
    affine: NDArray[np.float64]
    window: tuple[float, float]
    classes: NDArray[np.uint8]
    colours: Mapping[str, str]
    surfaces: Sequence[Surface]
    hidden: Collection[str] = ()


def class_surfaces(classes: Volume, affine: NDArray[np.float64], colours: Mapping[str, str]) -> list[Surface]:
    """The smooth surface of class 1, 2, … of a volume (X, Y, Z) where it has voxels, on a grid as coarse as the page's.

    `colours` has their names and colours; a mask is class 1 where it is true.
    """
    coarse, placed = thinned(classes, affine, coarse_steps(classes.shape, spacing_of(affine)))
    return [
        Surface(name, colour, smoothed(marching_cubes_mesh(coarse == number, 0.5, placed), placed))
        for number, (name, colour) in enumerate(colours.items(), 1)
        if (coarse == number).any()
    ]


def scene_content(scene: Scene) -> dict[str, Any]:
    """The scene as a script reads it: compressed NIfTI and MZ3 files in base64, colours as red, green, blue 0..255."""
    steps = coarse_steps(scene.grey.shape, spacing_of(scene.affine))
    grey, grey_affine = averaged(scene.grey, scene.affine, steps)
    classes, classes_affine = thinned(scene.classes, scene.affine, steps)
    low, high = scene.window
    step = (high - low) / _LEVELS
    shades = np.round((grey.clip(low, high) - low) / step).astype(np.uint8)
    shown = [number for number, name in enumerate(scene.colours, 1) if name not in scene.hidden]
    max_faces = MAX_FACES // max(len(scene.surfaces), 1)
    return {
        "grey": _text(nifti_bytes(shades, grey_affine, step, low)),
        "classes": _text(nifti_bytes(classes.astype(np.uint8), classes_affine)),
        "names": list(scene.colours),
        "shown": [name not in scene.hidden for name in scene.colours],
        "start": _start(classes, classes_affine, shown),
        "colours": [_rgb(colour) for colour in scene.colours.values()],
        "surfaces": [
            {
                "name": surface.name,
                "colour": _rgb(surface.colour),
                "opacity": surface.opacity,
                "shown": surface.shown,
                "mesh": _text(mz3_bytes(simplified(surface.mesh, max_faces))),
            }
            for surface in scene.surfaces
        ],
    }


def coarse_steps(shape: Sequence[int], spacing_mm: Sequence[float], max_voxels: int = MAX_VOXELS) -> Steps:
    """How many voxels along each axis become one, so that `max_voxels` or fewer are left, near to cubes."""
    steps = [1, 1, 1]
    while math.prod(math.ceil(size / step) for size, step in zip(shape, steps, strict=True)) > max_voxels:
        sides = [
            mm * step if step < size else math.inf for mm, step, size in zip(spacing_mm, steps, shape, strict=True)
        ]
        steps[sides.index(min(sides))] += 1
    x, y, z = steps
    return x, y, z


def averaged(
    volume: Volume, affine: NDArray[np.float64], steps: Steps
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The means of a volume (X, Y, Z) over blocks of `steps` voxels, and their affine; the last layer fills up."""
    slabs = list(_slabs(volume, steps))
    return np.stack(slabs), _placed(affine, steps, [(step - 1) / 2 for step in steps])


def thinned(volume: Volume, affine: NDArray[np.float64], steps: Steps) -> tuple[Volume, NDArray[np.float64]]:
    """One voxel from the middle of every block of `steps`, and their affine: numbers that no mean exists of."""
    first = [min(step // 2, size - 1) for step, size in zip(steps, volume.shape, strict=True)]
    x, y, z = (slice(start, None, step) for start, step in zip(first, steps, strict=True))
    return volume[x, y, z], _placed(affine, steps, first)


def nifti_bytes(volume: Volume, affine: NDArray[np.float64], slope: float = 1.0, inter: float = 0.0) -> bytes:
    """A compressed NIfTI file of a volume (X, Y, Z) of bytes whose values are `slope` times the byte plus `inter`.

    It asks viewers to show the least value black and the highest white.
    """
    image = nib.Nifti1Image(np.ascontiguousarray(volume), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_slope_inter(slope, inter)
    image.header["cal_min"], image.header["cal_max"] = inter, inter + _LEVELS * slope
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _slabs(volume: Volume, steps: Steps) -> Iterator[NDArray[np.float32]]:
    """Layer by layer along X, so that no second volume of full size is needed."""
    x, y, z = steps
    lack = [(0, -size % step) for size, step in zip(volume.shape[1:], (y, z), strict=True)]
    for start in range(0, volume.shape[0], x):
        layer = np.pad(volume[start : start + x].mean(axis=0, dtype=np.float32), lack, mode="edge")
        yield layer.reshape(layer.shape[0] // y, y, layer.shape[1] // z, z).mean(axis=(1, 3))


def _placed(affine: NDArray[np.float64], steps: Steps, first: Sequence[float]) -> NDArray[np.float64]:
    """The affine of a grid with every so many voxels of another, from a first place on."""
    placed = np.array(affine, np.float64)
    placed[:3, 3] += placed[:3, :3] @ first
    placed[:3, :3] *= steps
    return placed


def _start(classes: Volume, affine: NDArray[np.float64], numbers: Sequence[int]) -> list[float]:
    """Where to look first, as shares 0..1 of the way to the right, to the front and up: where most is labelled."""
    labelled = turn_of(affine).upright(np.isin(classes, numbers))
    counts = [labelled.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    return [(int(count.argmax()) + 0.5) / len(count) if count.any() else 0.5 for count in counts]


def _rgb(colour: str) -> list[int]:
    return [round(255 * part) for part in to_rgb(colour)]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
