"""Where the slices of a DICOM series lie, in order, and whether they fill a regular grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..checks import InputError, join_sizes

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ROUNDING_MM = 0.02  # headers often hold two decimals
STEP_TOLERANCE = 0.05  # of the distance between slices
GAP = 1.5  # times the usual distance: a slice is missing
TILT_TOLERANCE = 0.01  # sideways shift a mm along the normal: half a degree


@dataclass(frozen=True)
class Slice:
    """One slice: its file, the centre of its first pixel in LPS mm, the directions of a row and of a column
    of pixels, the distances between rows and between columns in mm, and its numbers of rows and columns."""

    path: Path
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: NDArray[np.float64]
    shape: tuple[int, int]


def series_affine(folder: Path, slices: list[Slice]) -> tuple[list[Slice], NDArray[np.float64]]:
    """The slices in order along their normal, and the RAS affine of the grid (columns, rows, slices)."""
    _check_same_plane(slices)
    if len(slices) < 2:
        raise InputError(f"{folder}: expected a 3D series of at least 2 DICOM slices, got one slice")
    first = slices[0]
    normal = np.cross(*first.axes)
    ordered = sorted(slices, key=lambda entry: float(entry.position @ normal))
    positions = np.array([entry.position for entry in ordered])
    _check_steps(folder, ordered, positions @ normal)
    _check_not_tilted(folder, positions - positions[0], normal)
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 3] = positions[0]
    return ordered, LPS_TO_RAS @ affine


def _check_same_plane(slices: list[Slice]) -> None:
    """All slices share size, orientation and pixel spacing, and these are usable."""
    first = slices[0]
    if not np.allclose(first.axes @ first.axes.T, np.eye(2), atol=1e-3):
        raise InputError(f"{first.path}: expected two perpendicular unit vectors in ImageOrientationPatient")
    if (first.spacing <= 0).any():
        raise InputError(f"{first.path}: expected a positive PixelSpacing, got {join_sizes(first.spacing)} mm")
    size, spacing = join_sizes(first.shape), join_sizes(first.spacing)
    for other in slices[1:]:
        expected = f"{other.path}: expected slices like {first.path.name}"
        if other.shape != first.shape:
            raise InputError(f"{expected} with {size} pixels, got {join_sizes(other.shape)}")
        if not np.allclose(other.axes, first.axes, atol=1e-3):
            raise InputError(f"{expected} in orientation, got another one")
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise InputError(f"{expected} with pixels of {spacing} mm, got {join_sizes(other.spacing)} mm")


def _check_steps(folder: Path, ordered: list[Slice], distances: NDArray[np.float64]) -> None:
    """Slices follow one another at one distance; `distances` are positions along their normal in mm."""
    steps = np.diff(distances)
    usual = float(np.median(steps))
    shortest, longest = int(steps.argmin()), int(steps.argmax())
    if steps[shortest] < ROUNDING_MM:
        names = " and ".join(entry.path.name for entry in ordered[shortest : shortest + 2])
        where = f"{distances[shortest]:.2f} mm"
        raise InputError(f"{folder}: expected one slice at each position, got two at {where} ({names})")
    if steps[longest] > GAP * usual:
        where = f"{distances[longest]:.2f} and {distances[longest + 1]:.2f} mm"
        raise InputError(f"{folder}: expected a slice every {usual:.2f} mm, got none between {where}")
    if np.abs(steps - usual).max() > STEP_TOLERANCE * usual + ROUNDING_MM:
        found = f"from {steps[shortest]:.2f} to {steps[longest]:.2f} mm"
        raise InputError(f"{folder}: expected slices at even distances, got {found}")


def _check_not_tilted(folder: Path, shifts: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Slices lie straight above one another; `shifts` are their positions from the first one in mm."""
    along = shifts @ normal
    sideways = np.linalg.norm(shifts - np.outer(along, normal), axis=1)
    worst = int(np.argmax(sideways - TILT_TOLERANCE * along))
    if sideways[worst] > TILT_TOLERANCE * along[worst] + ROUNDING_MM:
        raise InputError(
            f"{folder}: expected slices straight above one another, got a shift of {sideways[worst]:.2f} mm over "
            f"{along[worst]:.2f} mm (a tilted gantry?); resample the series to a straight grid first"
        )
