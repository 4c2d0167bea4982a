"""The result folder of one reconstruction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from .. import __version__
from ..geometry import spacing_of
from ..metrics import score
from ..readers import case_name
from ..surfaces import marching_cubes_mesh, ply_bytes, stl_bytes
from ..writers import save_volume, staged_folder, write_bytes, write_json
from .pictures import projections_picture

RESULT_FILES = ("probability.nii.gz", "mask.nii.gz", "mesh.stl", "mesh.ply", "views.png", "result.json")


class SaveReconstructiond(MapTransform):
    """Write `RESULT_FILES` of a predicted probability volume (1, X, Y, Z) and score it where there is a truth.

    Args:
        output_dir: the folder for the files; for several cases the folder of one folder a case.
        single: whether the files of the one case go into `output_dir` itself.
        threshold: probability from which a voxel is vessel.
        record: what was run, for result.json.

    The item holds under `keys` the probability on the input's grid, under `turned` the one on the grid of the
    views, and under `truth` and `label` the truth on either grid, where there is one.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        output_dir: str,
        single: bool,
        threshold: float,
        record: Mapping[str, Any],
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.single = single
        self.threshold = threshold
        self.record = dict(record)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            case = case_name(output["image"].meta["filename_or_obj"])
            result = self._result(output, output[key], case)
            with staged_folder(self.output_dir if self.single else self.output_dir / case) as folder:
                self._write(folder, output, output[key], result)
            output["result"] = result
        return output

    def _result(self, data: dict[Hashable, Any], pred: MetaTensor, case: str) -> dict[str, Any]:
        angles_deg = np.asarray(data["image"].meta["angles_deg"])
        affine = np.asarray(pred.affine)
        truth = data.get("truth")
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        return {
            **self.record,
            "case": case,
            "beyond2d_version": __version__,
            "num_views": len(angles_deg),
            "angles_deg": angles_deg.round(4),
            "working_spacing_mm": np.round(spacing_of(np.asarray(data["turned"].affine)), 4),
            "threshold": self.threshold,
            "reprojection_error": data["reprojection_error"],
            "vessel_ml": float((pred >= self.threshold).sum() * voxel_ml),
            "truth": None if truth is None else truth.meta.get("label_source", "file"),
            "scores": None if truth is None else score(pred[0], truth[0], spacing_of(affine), self.threshold),
        }

    def _write(self, folder: Path, data: dict[Hashable, Any], pred: MetaTensor, result: dict[str, Any]) -> None:
        probability, affine = pred[0].numpy(), np.asarray(pred.affine)
        save_volume(folder / "probability.nii.gz", probability, affine, np.float32)
        save_volume(folder / "mask.nii.gz", probability >= self.threshold, affine, np.uint8)
        mesh = marching_cubes_mesh(probability, self.threshold, affine)
        write_bytes(folder / "mesh.stl", stl_bytes(mesh))
        write_bytes(folder / "mesh.ply", ply_bytes(mesh))
        turned, label = data["turned"], data.get("label")
        projections_picture(
            folder / "views.png",
            turned[0],
            None if label is None else label[0],
            spacing_mm=spacing_of(np.asarray(turned.affine)),
            title=f"{result['case']}, reconstructed from {result['num_views']} views",
            threshold=self.threshold,
        )
        write_json(folder / "result.json", result)
