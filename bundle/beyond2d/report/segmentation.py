"""What a person gets of a segmentation: the result folder of one image, and the scores of many."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.transforms import KeepLargestConnectedComponent, MapTransform, Orientation
from numpy.typing import NDArray
from torch.utils.data import Dataset

from .. import __version__
from ..baselines import between_slices, fit_label, mean_label
from ..checks import IGNORED
from ..geometry import spacing_of
from ..metrics import class_dice, class_scores
from ..readers import case_name
from ..writers import plain, save_volume, staged_folder, write_bytes, write_csv, write_json
from .overlays import overlay_picture
from .segmentation_page import Labelled, segmentation_page
from .tables import summary_table

RESULT_FILES = ("mask.nii.gz", "overlay.png", "report.html", "result.json")
CLASS_FIGURES = ("dice", "nsd", "hd95_mm")
CASE_COLUMNS = ("case", "method", "label", *CLASS_FIGURES, "volume_ml", "truth_ml")
MEAN = "mean"  # the row of a case that is the mean over its labels

Mask = NDArray[np.uint8]


class SaveSegmentationd(MapTransform):
    """Write `RESULT_FILES` of a mask (1, X, Y, Z) of class numbers, and score it where there is a label.

    Args:
        output_dir: the folder for the files; for several cases the folder of one folder a case; None writes none.
        single: whether the files of the one case go into `output_dir` itself.
        labels: name of each label value, in the order of the classes; the file holds the values.
        record: what was run, for result.json.
        truth_key: the label to score against, on the grid of the mask; items may lack it.
        title: heads the page, report.html; nothing else on it names the file or the patient.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        output_dir: str | None,
        single: bool,
        labels: Mapping[int, str],
        record: Mapping[str, Any],
        truth_key: str = "label",
        title: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.title = title
        self.truth_key = truth_key
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.single = single
        self.labels = dict(labels)
        self.record = dict(record)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            case = case_name(output["image"].meta["filename_or_obj"])
            mask, affine = class_volume(output[key]), np.asarray(output[key].affine)
            truth = None if output.get(self.truth_key) is None else class_volume(output[self.truth_key])
            result = self._result(case, mask, truth, affine)
            known = None if truth is None else truth * (truth != IGNORED)
            image = output["original"][0].numpy()
            if self.output_dir is not None:
                with staged_folder(self.output_dir if self.single else self.output_dir / case) as folder:
                    self._write(folder, Labelled(image, mask, known, affine), result)
            output["result"] = plain(result)
        return output

    def _write(self, folder: Path, item: Labelled, result: Mapping[str, Any]) -> None:
        dtype = np.uint8 if max(self.labels) < 256 else np.int16
        save_volume(folder / "mask.nii.gz", np.array(list(self.labels), dtype)[item.classes], item.affine, dtype)
        overlay_picture(
            folder / "overlay.png",
            item.image,
            item.classes,
            item.affine,
            names=_with_volumes(self.labels, result["volumes_ml"]),
            truth=item.truth,
            title=result["case"],
        )
        write_bytes(folder / "report.html", segmentation_page(result, item, self.title).encode())
        write_json(folder / "result.json", result)

    def _result(self, case: str, mask: Mask, truth: Mask | None, affine: NDArray[np.float64]) -> dict[str, Any]:
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        names = list(self.labels.values())[1:]
        scores = None
        if truth is not None:
            known = truth != IGNORED
            rows = class_scores(mask * known, truth * known, spacing_of(affine), len(self.labels))
            chosen = [{figure: row[figure] for figure in CLASS_FIGURES} for row in rows]
            scores = dict(zip(names, chosen, strict=True))
        return {
            **self.record,
            "case": case,
            "beyond2d_version": __version__,
            "labels": {name: value for value, name in self.labels.items()},
            "volumes_ml": {name: float((mask == number).sum() * voxel_ml) for number, name in enumerate(names, 1)},
            "scores": scores,
        }


class SegmentationScores:
    """Score every case that an evaluator predicts, label by label, and at its end write `cases.csv` and `scores.json`.

    Items hold under "pred" and "truth" masks (1, X, Y, Z) of class numbers on the image's own grid, and under "drawn"
    which of the truth's voxels the training has seen.

    Beside the network stands what the labels alone give: the mean of the training labels, fitted to each volume, or,
    with `only_undrawn`, what shape-based interpolation makes of a volume's own drawn slices.

    Args:
        output_dir: for both files.
        labels: name of each label value, in the order of the classes.
        reference: the training items with their "label".
        only_undrawn: score only voxels that training has not seen, where there are any.
        axis: across which the drawn slices lie.
        network: names the network in the table.
        settings: what was run, for scores.json.
    """

    def __init__(
        self,
        output_dir: str,
        labels: Mapping[int, str],
        reference: Dataset,
        settings: Mapping[str, Any],
        only_undrawn: bool = False,
        axis: int = 1,
        network: str = "network",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.names = list(labels.values())
        self.reference = reference
        self.settings = dict(settings)
        self.only_undrawn = only_undrawn
        self.axis = axis
        self.network = network
        self.shares = np.zeros(0, np.float32)
        self.rows: list[dict[str, Any]] = []
        self.cleaning: dict[str, list[float]] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._learn_labels)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score_batch)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _learn_labels(self, engine: Engine) -> None:
        self.rows, self.cleaning = [], {name: [] for name in self.names[1:]}
        if not self.only_undrawn:
            items: Any = (self.reference[index] for index in range(len(self.reference)))  # type: ignore[arg-type]
            to_ras = Orientation(axcodes="RAS", labels=None)
            self.shares = mean_label((class_volume(to_ras(item["label"])) for item in items), len(self.names))

    def _score_batch(self, engine: Engine) -> None:
        state: Any = engine.state
        for inputs, outputs in zip(state.batch, state.output, strict=True):
            self._score({**inputs, **outputs})

    def _score(self, item: dict[str, Any]) -> None:
        case = case_name(item["image"].meta["filename_or_obj"])
        pred, truth = class_volume(item["pred"]), class_volume(item["truth"])
        counted = truth != IGNORED
        if self.only_undrawn and (undrawn := item["drawn"][0].numpy() == 0).any():
            counted &= undrawn
        affine = np.asarray(item["truth"].affine)
        for method, mask in ((self.network, pred), self._baseline(item, truth)):
            figures = class_scores(mask * counted, truth * counted, spacing_of(affine), len(self.names))
            self.rows += list(_case_rows(case, method, self.names[1:], figures))
        self._note_cleaning(pred, truth, counted)

    def _note_cleaning(self, pred: Mask, truth: Mask, counted: NDArray[np.bool_]) -> None:
        """What Dice would gain if only the largest part of each label were kept."""
        # MONAI's transform works in place.
        clean = KeepLargestConnectedComponent(independent=True)(torch.as_tensor(pred[None].copy()))[0].numpy()
        for number, name in enumerate(self.names[1:], 1):
            before, after = (class_dice(mask * counted, truth * counted, number) for mask in (pred, clean))
            self.cleaning[name].append(after - before)

    def _baseline(self, item: dict[str, Any], truth: Mask) -> tuple[str, Mask]:
        if self.only_undrawn:
            known = np.where(item["drawn"][0].numpy() > 0, truth, IGNORED).astype(np.uint8)
            return "interpolated slices", between_slices(known, len(self.names), self.axis)
        ras = nib.io_orientation(np.asarray(item["truth"].affine))
        to_file = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], ras)
        shape = [truth.shape[int(axis)] for axis in np.argsort(ras[:, 0])]
        return "mean label", nib.apply_orientation(fit_label(self.shares, shape), to_file)

    def _write(self) -> None:
        groups = ("method", "label")
        table = summary_table(self.rows, CLASS_FIGURES, groups)
        gains = {name: _mean(gains) for name, gains in self.cleaning.items()}
        content = {**self.settings, "gain_of_keeping_the_largest_part": gains, "cases": self.rows}
        with staged_folder(self.output_dir) as folder:
            write_csv(folder / "cases.csv", self.rows, CASE_COLUMNS)
            write_json(folder / "scores.json", content)
        print(f"\n{table.text()}")


def _case_rows(case: str, method: str, names: list[str], figures: list[dict[str, float]]) -> Iterator[dict[str, Any]]:
    """A row a label, and the case's mean over them."""
    for name, figure in zip(names, figures, strict=True):
        yield {"case": case, "method": method, "label": name, **figure}
    means = {key: _mean(figure[key] for figure in figures) for key in CLASS_FIGURES}
    totals = {key: sum(figure[key] for figure in figures) for key in ("volume_ml", "truth_ml")}
    yield {"case": case, "method": method, "label": MEAN, **means, **totals}


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _with_volumes(labels: Mapping[int, str], volumes_ml: Mapping[str, float]) -> list[str]:
    return [f"{name}, {volumes_ml[name]:.1f} ml" for name in list(labels.values())[1:]]


def class_volume(volume: torch.Tensor) -> Mask:
    """A volume (1, X, Y, Z) of class numbers as an array (X, Y, Z)."""
    return np.asarray(volume[0].as_subclass(torch.Tensor).cpu().numpy()).round().astype(np.uint8)
