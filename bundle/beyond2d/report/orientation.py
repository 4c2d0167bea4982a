"""The way between a grid's own axes and those nearest to the patient's, without any interpolation."""

from __future__ import annotations

from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..geometry import spacing_of

_RAS = [[0, 1], [1, 1], [2, 1]]

Volume = NDArray[Any]


class Turn(NamedTuple):
    """Orientations, as nibabel has them, to the axes nearest to RAS and back, and the voxel size in mm in between."""

    to_ras: Volume
    back: Volume
    spacing_mm: list[float]

    def upright(self, volume: Volume) -> Volume:
        """A volume (X, Y, Z) of the grid with its axes nearest to RAS."""
        return np.asarray(nib.apply_orientation(volume, self.to_ras))

    def undone(self, volume: Volume) -> Volume:
        """An upright volume with the grid's own axes."""
        return np.asarray(nib.apply_orientation(volume, self.back))


def turn_of(affine: Volume) -> Turn:
    """How a grid's axes are turned to those nearest to RAS."""
    to_ras = nib.io_orientation(affine)
    spacing_mm = np.array(spacing_of(affine))[np.argsort(to_ras[:, 0])].tolist()
    return Turn(to_ras, nib.orientations.ornt_transform(_RAS, to_ras), spacing_mm)
