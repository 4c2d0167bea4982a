"""A whole phantom: vessels as rotational angiography shows them, in soft tissue, with skull and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import InputError, check_count, check_spacing
from .arteries import grow_arteries
from .centrelines import Floats, VesselGraph
from .lesions import add_aneurysms, add_nidus
from .rendering import Volume, render_vessels

HEAD_SHARE_OF_VIEW = np.array([0.82, 0.90, 0.88])
SKULL_DEPTH = (1.0, 1.07)
SKULL_HU = 900.0
NIDUS_PROBABILITY = 0.25
ANEURYSM_PROBABILITIES = (0.5, 0.35, 0.15)
MIN_SIZE = 16


@dataclass(frozen=True)
class VesselSpec:
    """What to render.

    size: voxels along X, Y, Z.
    spacing_mm: size of a voxel along X, Y, Z.
    num_aneurysms: how many sacs; None draws none to two from the seed.
    nidus: whether there is an arteriovenous malformation; None draws it from the seed.
    skull: whether a bright shell surrounds the brain, as without subtraction.
    tissue_hu: mean brightness of the brain.
    noise_hu: standard deviation of the noise.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    num_aneurysms: int | None = None
    nidus: bool | None = None
    skull: bool = False
    tissue_hu: float = 40.0
    noise_hu: float = 20.0

    def __post_init__(self) -> None:
        check_grid(self.size, self.spacing_mm)
        if self.num_aneurysms is not None:
            check_count(self.num_aneurysms, 0, "num_aneurysms")
        if not 0 <= self.noise_hu < np.inf:
            raise InputError(f"noise_hu must be 0 or more, got {self.noise_hu}")


@dataclass(frozen=True)
class Phantom:
    """A rendered tree: volume (X, Y, Z) in HU, label (X, Y, Z) of 0 and 1, and the centrelines in mm."""

    volume: Volume
    label: NDArray[np.uint8]
    graph: VesselGraph


def vessel_phantom(seed: int, spec: VesselSpec) -> Phantom:
    """The phantom of a seed. The tree depends on the seed and the field of view only, not on the voxel size."""
    rng = np.random.default_rng(check_count(seed, 0, "seed"))
    head_mm = HEAD_SHARE_OF_VIEW * spec.size * spec.spacing_mm / 2
    graph = _vessels(rng, spec, head_mm)
    fraction, vessels = render_vessels(graph, spec.size, spec.spacing_mm)
    volume = _surroundings(rng, spec, head_mm)
    volume *= 1 - fraction
    volume += vessels
    volume += np.float32(spec.noise_hu) * rng.standard_normal(spec.size, dtype=np.float32)
    return Phantom(volume, (fraction >= 0.5).astype(np.uint8), graph)


def check_grid(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> None:
    """Three numbers of voxels that are enough for a phantom, and three lengths."""
    if len(size) != 3:
        raise InputError(f"size must be three numbers of voxels, got {size}")
    for length in size:
        check_count(length, MIN_SIZE, "size")
    check_spacing(spacing_mm)


def centred_affine(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Floats:
    """The 4x4 affine from voxel indices to RAS mm with the world's origin in the middle of the volume."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -np.array(spacing_mm) * (np.array(size) - 1) / 2
    return affine


def _vessels(rng: np.random.Generator, spec: VesselSpec, head_mm: Floats) -> VesselGraph:
    drawn_aneurysms = int(rng.choice(len(ANEURYSM_PROBABILITIES), p=ANEURYSM_PROBABILITIES))
    drawn_nidus = bool(rng.uniform() < NIDUS_PROBABILITY)
    graph = grow_arteries(rng, head_mm)
    graph = add_aneurysms(rng, graph, drawn_aneurysms if spec.num_aneurysms is None else spec.num_aneurysms)
    if drawn_nidus if spec.nidus is None else spec.nidus:
        graph = add_nidus(rng, graph, head_mm)
    return graph


def _surroundings(rng: np.random.Generator, spec: VesselSpec, head_mm: Floats) -> Volume:
    """Brain with slow variations of brightness, and the skull if asked for, (X, Y, Z)."""
    axes = [np.arange(size) - (size - 1) / 2 for size in spec.size]
    squares = [(axis * s / h) ** 2 for axis, s, h in zip(axes, spec.spacing_mm, head_mm, strict=True)]
    depth = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2], dtype=np.float32)
    volume = np.clip((1 - depth) / 0.05, 0, 1)
    volume *= spec.tissue_hu * (1 + 0.1 * _slow_variations(rng, spec.size))
    if spec.skull:
        inner, outer = SKULL_DEPTH
        volume += SKULL_HU * np.clip(np.minimum(depth - inner, outer - depth) / 0.02, 0, 1)
    return volume


def _slow_variations(rng: np.random.Generator, size: tuple[int, int, int]) -> Volume:
    """A random sum of the lowest cosine waves, (X, Y, Z), with a standard deviation of about 1."""
    num_waves = 6
    field = rng.standard_normal((num_waves,) * 3) / num_waves**1.5
    for length in size:
        positions = (np.arange(length) + 0.5) / length
        waves = np.sqrt(2) * np.cos(np.pi * np.arange(num_waves)[:, None] * positions)
        field = np.tensordot(field.astype(np.float32), waves.astype(np.float32), axes=(0, 0))
    return np.asarray(field)
