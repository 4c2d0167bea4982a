"""The result folder of a projection."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.image import imsave
from monai.data import MetaTensor

from ..geometry import spacing_of
from ..readers import write_angles_file
from ..writers import staged_folder


def save_views(out: str | Path, views: MetaTensor) -> None:
    """Write views (V, X, Z) with their angles as `beyond2d reconstruct` reads them, and as pictures.

    `views.nii.gz` has the file axes (X, Z, V), so that a viewer scrolls through the views; `angles.yaml` holds
    the angles, the pixel size and the grid that the views were taken of; `view_000.png` and so on are for looking
    at, with the head up.
    """
    stack = views.numpy()
    affine = np.asarray(views.affine, dtype=np.float64)
    spacing_mm = spacing_of(affine)
    with staged_folder(out) as folder:
        file_affine = np.diag([spacing_mm[0], spacing_mm[2], 1.0, 1.0])
        nib.save(nib.Nifti1Image(stack.transpose(1, 2, 0), file_affine), folder / "views.nii.gz")
        write_angles_file(folder / "angles.yaml", np.asarray(views.meta["angles_deg"]).tolist(), spacing_mm[0], affine)
        for number, view in enumerate(stack):
            imsave(folder / f"view_{number:03d}.png", view.T[::-1], cmap="gray", vmin=0, vmax=1)
