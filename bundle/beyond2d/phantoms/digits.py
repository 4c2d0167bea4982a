"""Digits in space: 28 x 28 pictures of digits made into 16 x 16 x 16 volumes, and drawings of digits to begin with.

A picture becomes a slab that is turned about all three axes, moved a little and overlaid with noise, as in the
public "3D MNIST". A digit that is not turned stands upright and looks to the front: a picture's columns run along X
and its rows down Z, as those of a view do, and Y is its thickness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from ..checks import InputError, check_count, check_number

NUM_DIGITS = 10
PICTURE_SIZE = 28
VOLUME_SIZE = 16
PIXELS_PER_VOXEL = PICTURE_SIZE / VOLUME_SIZE
# Standard deviation in pixels; without it a stroke one pixel wide would fall between voxels.
SMOOTHING_PIXELS = 0.6

# A drawing fills the middle 20 of 28 pixels, as handwritten digits of MNIST do.
DRAWN_PIXELS = 20
PEN_PIXELS = (2.0, 3.6)
SLANT_DEG = 12.0
SHEAR = 0.25
WIDTHS = (0.65, 1.0)
HEIGHTS = (0.85, 1.0)
BEND = 0.06

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]
Volume = NDArray[np.float32]


@dataclass(frozen=True)
class DigitSpec:
    """How far poses vary; every digit draws its own evenly within these.

    max_angle_deg: largest turn about each of the axes, either way; beyond 90 a 6 could not be told from a 9.
    thickness: thinnest and thickest slab in voxels.
    max_shift: largest shift along each axis in voxels, either way.
    noise: standard deviation of the noise; ink is 1.
    """

    max_angle_deg: float = 45.0
    thickness: tuple[float, float] = (2.0, 4.0)
    max_shift: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        for name, largest in (("max_angle_deg", 90.0), ("max_shift", VOLUME_SIZE / 2), ("noise", 1.0)):
            if not 0 <= check_number(getattr(self, name), name) <= largest:
                raise InputError(f"{name} must be between 0 and {largest:g}, got {getattr(self, name)}")
        if len(self.thickness) != 2 or not 0 < self.thickness[0] <= self.thickness[1] <= VOLUME_SIZE:
            raise InputError(f"thickness must be two numbers of voxels, the lower first, got {self.thickness}")


@dataclass(frozen=True)
class DigitPose:
    """Where one digit stands: turns in degrees about X, Y and Z, thickness and shift in voxels, and its noise.

    It is turned about Y (in its own plane) first, then about X, then about Z, each about the volume's centre.
    """

    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thickness: float = 3.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise: float = 0.0
    noise_seed: int = 0


def draw_pose(rng: np.random.Generator, spec: DigitSpec) -> DigitPose:
    """A random pose within `spec`."""
    turn_x, turn_y, turn_z = map(float, rng.uniform(-spec.max_angle_deg, spec.max_angle_deg, 3))
    shift_x, shift_y, shift_z = map(float, rng.uniform(-spec.max_shift, spec.max_shift, 3))
    return DigitPose(
        angles_deg=(turn_x, turn_y, turn_z),
        thickness=float(rng.uniform(*spec.thickness)),
        shift=(shift_x, shift_y, shift_z),
        noise=spec.noise,
        noise_seed=int(rng.integers(2**31)),
    )


def extrude(image: Picture, pose: DigitPose) -> Volume:
    """The volume (16, 16, 16) in 0..1 of a picture (28, 28) of 0..255 with its top row first."""
    if image.shape != (PICTURE_SIZE, PICTURE_SIZE) or image.dtype != np.uint8:
        raise InputError(f"image must be 28 x 28 uint8, got {image.shape} of {image.dtype}")
    x, y, z = _slab_coordinates(pose)
    middle = (PICTURE_SIZE - 1) / 2
    places = np.stack([middle - PIXELS_PER_VOXEL * z, middle + PIXELS_PER_VOXEL * x])
    smooth = gaussian_filter(image.astype(np.float32) / 255, SMOOTHING_PIXELS)
    ink = map_coordinates(smooth, places, order=1, output=np.float32)
    ink *= np.clip(pose.thickness / 2 + 0.5 - np.abs(y), 0, 1)
    ink += pose.noise * np.random.default_rng(pose.noise_seed).standard_normal(ink.shape)
    return ink.clip(0, 1).reshape((VOLUME_SIZE,) * 3)


def _slab_coordinates(pose: DigitPose) -> Floats:
    """Where the voxels lie in the slab before it was turned and shifted, (3, voxels), in voxels from its centre."""
    axis = np.arange(VOLUME_SIZE) - (VOLUME_SIZE - 1) / 2
    voxels = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    turn_x, turn_y, turn_z = pose.angles_deg
    # Lower case: about the volume's axes, which stay where they are.
    turned = Rotation.from_euler("yxz", [turn_y, turn_x, turn_z], degrees=True).as_matrix()
    return np.asarray(turned.T @ (voxels - np.array(pose.shift)[:, None]))


def draw_digit(digit: int, rng: np.random.Generator) -> Picture:
    """A random drawing (28, 28) of a digit from 0 to 9: white strokes of a pen on black, smooth at their edges."""
    if check_count(digit, 0, "digit") >= NUM_DIGITS:
        raise InputError(f"digit must be between 0 and 9, got {digit}")
    matrix, bend = _distortion(rng)
    strokes = [_distorted(stroke, matrix, bend) for stroke in _STROKES[digit]]
    starts, ends = (np.concatenate([stroke[part] for stroke in strokes]) for part in (slice(-1), slice(1, None)))
    ink = np.clip(rng.uniform(*PEN_PIXELS) / 2 + 0.5 - _distance_to_segments(starts, ends), 0, 1)
    return np.rint(255 * ink).astype(np.uint8)


def _distortion(rng: np.random.Generator) -> tuple[Floats, float]:
    """A random matrix (2, 2) of slant, shear and size, and how far the middle is bent sideways."""
    slant = np.deg2rad(rng.uniform(-SLANT_DEG, SLANT_DEG))
    turned = np.array([[np.cos(slant), -np.sin(slant)], [np.sin(slant), np.cos(slant)]])
    sheared = np.array([[1.0, rng.uniform(-SHEAR, SHEAR)], [0.0, 1.0]])
    return turned @ sheared @ np.diag([rng.uniform(*WIDTHS), rng.uniform(*HEIGHTS)]), float(rng.uniform(-BEND, BEND))


def _distorted(stroke: Floats, matrix: Floats, bend: float) -> Floats:
    """Points (P, 2) of the unit square, x to the right and y downwards, as pixels of the picture."""
    centred = stroke - 0.5
    bent = centred + np.stack([bend * np.cos(2 * np.pi * centred[:, 1]), np.zeros(len(stroke))], axis=1)
    return np.asarray((PICTURE_SIZE - 1) / 2 + (DRAWN_PIXELS - 1) * bent @ matrix.T)


def _distance_to_segments(starts: Floats, ends: Floats) -> Floats:
    """How far every pixel (28, 28) is from the nearest of the segments (S, 2), in pixels."""
    rows, columns = np.mgrid[:PICTURE_SIZE, :PICTURE_SIZE]
    from_start = np.stack([columns, rows], axis=-1)[:, :, None] - starts
    along = ends - starts
    share = np.clip((from_start * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.asarray(np.linalg.norm(from_start - share[..., None] * along, axis=-1).min(axis=-1))


def _line(*points: tuple[float, float]) -> Floats:
    return np.array(points, dtype=np.float64)


def _arc(x: float, y: float, width: float, height: float, start_deg: float, end_deg: float) -> Floats:
    """A part of an ellipse with these half-axes; 0 degrees is to the right, 90 is down."""
    angles = np.deg2rad(np.linspace(start_deg, end_deg, 2 + round(abs(end_deg - start_deg) / 15)))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


# The strokes of each digit in the unit square, x to the right and y downwards.
_STROKES: tuple[list[Floats], ...] = (
    [_arc(0.5, 0.5, 0.36, 0.48, 0, 360)],
    [_line((0.36, 0.2), (0.54, 0.02), (0.54, 0.98))],
    [_arc(0.5, 0.28, 0.33, 0.26, 180, 400), _line((0.75, 0.45), (0.14, 0.97), (0.88, 0.97))],
    [_arc(0.45, 0.26, 0.32, 0.24, 190, 450), _arc(0.45, 0.74, 0.37, 0.24, 270, 530)],
    [_line((0.6, 0.02), (0.12, 0.64), (0.9, 0.64)), _line((0.68, 0.32), (0.68, 0.98))],
    [_line((0.82, 0.04), (0.26, 0.04), (0.22, 0.44)), _arc(0.45, 0.68, 0.38, 0.3, 230, 500)],
    [_arc(0.7, 0.68, 0.53, 0.66, 270, 180), _arc(0.5, 0.7, 0.33, 0.27, 180, 540)],
    [_line((0.12, 0.04), (0.88, 0.04), (0.42, 0.98))],
    [_arc(0.5, 0.26, 0.28, 0.24, 90, 450), _arc(0.5, 0.74, 0.35, 0.24, 270, 630)],
    [_arc(0.48, 0.3, 0.31, 0.27, 0, 360), _line((0.79, 0.3), (0.7, 0.98))],
)
