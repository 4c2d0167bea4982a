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
from ..surfaces import Mesh, marching_cubes_mesh, ply_bytes, stl_bytes
from ..transforms.views import seen_part, threshold_at
from ..writers import plain, save_volume, staged_folder, write_bytes, write_json
from .pictures import projections_picture
from .reconstruction_page import Reconstructed, reconstruction_page

RESULT_FILES = (
    "probability.nii.gz", "mask.nii.gz", "mesh.stl", "mesh.ply", "views.png", "report.html", "result.json",
)  # fmt: skip


class SaveReconstructiond(MapTransform):
    """Write `RESULT_FILES` of a predicted probability volume (1, X, Y, Z) and score it where there is a truth.

    Args:
        output_dir: the folder for the files; for several cases the folder of one folder a case; None writes none.
        single: whether the files of the one case go into `output_dir` itself.
        threshold: probability from which a voxel is vessel, or several of them by number of views.
        record: what was run, for result.json.
        title: heads the page, report.html; nothing else on it names the file or the patient.

    The item holds under `keys` the probability on the input's grid, under `turned` the one on the grid of the
    views, padded, under `views` those, and under `truth` and `label` the truth on either grid, where there is one.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        output_dir: str | None,
        single: bool,
        threshold: float | Mapping[int, float],
        record: Mapping[str, Any],
        title: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.single = single
        self.threshold = threshold
        self.record = dict(record)
        self.title = title

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            case = case_name(output["image"].meta["filename_or_obj"])
            result = self._result(output, output[key], case)
            if self.output_dir is not None:
                with staged_folder(self.output_dir if self.single else self.output_dir / case) as folder:
                    self._write(folder, output, output[key], result)
            output["result"] = plain(result)
        return output

    def _result(self, data: dict[Hashable, Any], pred: MetaTensor, case: str) -> dict[str, Any]:
        angles_deg = np.asarray(data["image"].meta["angles_deg"])
        affine = np.asarray(pred.affine)
        truth = data.get("truth")
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        threshold = threshold_at(self.threshold, len(angles_deg))
        return {
            **self.record,
            "case": case,
            "beyond2d_version": __version__,
            "num_views": len(angles_deg),
            "angles_deg": angles_deg.round(4),
            "working_spacing_mm": np.round(spacing_of(np.asarray(data["turned"].affine)), 4),
            "threshold": threshold,
            "reprojection_error": data["reprojection_error"],
            "vessel_ml": float((pred >= threshold).sum() * voxel_ml),
            "truth": None if truth is None else truth.meta.get("label_source", "file"),
            "scores": None if truth is None else score(pred[0], truth[0], spacing_of(affine), threshold),
        }

    def _write(self, folder: Path, data: dict[Hashable, Any], pred: MetaTensor, result: dict[str, Any]) -> None:
        probability, affine, threshold = pred[0].numpy(), np.asarray(pred.affine), result["threshold"]
        save_volume(folder / "probability.nii.gz", probability, affine, np.float32)
        save_volume(folder / "mask.nii.gz", probability >= threshold, affine, np.uint8)
        mesh = marching_cubes_mesh(probability, threshold, affine)
        write_bytes(folder / "mesh.stl", stl_bytes(mesh))
        write_bytes(folder / "mesh.ply", ply_bytes(mesh))
        turned, label = data["turned"], data.get("label")
        projections_picture(
            folder / "views.png",
            turned[0],
            None if label is None else label[0],
            spacing_mm=spacing_of(np.asarray(turned.affine)),
            title=f"{result['case']}, reconstructed from {result['num_views']} views",
            threshold=threshold,
        )
        page = reconstruction_page(result, _reconstructed(data, pred, mesh), self.title)
        write_bytes(folder / "report.html", page.encode())
        write_json(folder / "result.json", result)


def _reconstructed(data: dict[Hashable, Any], pred: MetaTensor, mesh: Mesh) -> Reconstructed:
    views, angles_deg, seen = seen_part(data["views"], data["turned"])
    truth, label = data.get("truth"), data.get("label")
    return Reconstructed(
        probability=pred[0].numpy(),
        truth=None if truth is None else truth[0].numpy(),
        affine=np.asarray(pred.affine),
        mesh=mesh,
        views=views.cpu(),
        angles_deg=angles_deg,
        seen=seen.cpu(),
        seen_truth=None if label is None else seen_part(data["views"], label)[2].cpu(),
        seen_spacing_mm=spacing_of(np.asarray(data["views"].affine)),
    )
