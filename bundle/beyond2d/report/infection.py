"""What a person gets of a quantified infection of the lungs: masks, figures and a page."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..checks import InputError, one_line
from ..lungs import INFECTED
from ..proportions import Calibration, growth
from ..readers import case_name
from ..writers import plain, save_volume, staged_folder, write_bytes, write_json
from .infection_figures import SCHEMA_VERSION, SYSTEM, brackets, figures, millilitres, percent, upright
from .infection_page import infection_page
from .segmentation import class_volume

INFECTION_FILES = ("infection.nii.gz", "lung.nii.gz", "report.html", "report.json")


class SaveInfectiond(MapTransform):
    """Write `INFECTION_FILES` of a volume (1, X, Y, Z) of class numbers: 0 none, 1 healthy, 2 infected lung.

    Items hold the CT in HU under "original", further estimates of the proportion under "estimates", each with "name"
    and "proportion", and perhaps a label to score against, all on the grid of the class numbers. The report lands
    under "result" as well. No name of a file or a folder gets into it but what `record` and `title` bring.

    Args:
        output_dir: the folder for the files; for several cases the folder of one folder a case; None writes none.
        single: whether the files of the one case go into `output_dir` itself.
        record: what was run, for the report's settings.
        calibration: how far beyond the estimates the interval reaches; None: it spans them and no more.
        title: heads the page.
        baseline: report.json of an earlier scan of the patient, to tell the growth since.
        hours: from that scan to this one, where known.
        truth_key: the label's key; items may lack it.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        output_dir: str | None,
        single: bool,
        record: Mapping[str, Any],
        calibration: Calibration | None = None,
        title: str | None = None,
        baseline: str | None = None,
        hours: float | None = None,
        truth_key: str = "truth",
    ) -> None:
        super().__init__(keys)
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.single = single
        self.record = dict(record)
        self.calibration = calibration
        self.title = title
        self.earlier = None if baseline is None else read_proportion(baseline)
        if hours is not None:
            if self.earlier is None:
                raise InputError(f"hours needs the baseline they are counted from, got {hours} hours and no baseline")
            growth(self.earlier, self.earlier, hours)  # refuses bad hours now rather than after all the work
        self.hours = hours
        self.truth_key = truth_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        output = dict(data)
        for key in self.key_iterator(output):
            label, affine = class_volume(output[key]), np.asarray(output[key].affine, np.float64)
            hu = output["original"][0].numpy()
            truth = None if output.get(self.truth_key) is None else class_volume(output[self.truth_key])
            report = figures(
                hu, label, affine, output["estimates"], calibration=self.calibration, truth=truth,
                earlier=self.earlier, hours=self.hours, title=self.title, settings=self.record,
            )  # fmt: skip
            if self.output_dir is not None:
                case = case_name(output["original"].meta["filename_or_obj"])
                with staged_folder(self.output_dir if self.single else self.output_dir / case) as folder:
                    save_volume(folder / "lung.nii.gz", label > 0, affine, np.uint8)
                    save_volume(folder / "infection.nii.gz", label == INFECTED, affine, np.uint8)
                    write_json(folder / "report.json", report)
                    page = infection_page(report, upright(hu, label, affine))
                    write_bytes(folder / "report.html", page.encode())
            output["result"] = plain(report)
        return output


def headline(report: Mapping[str, Any]) -> str:
    """A report in one line, for the terminal."""
    lung = millilitres(report["lung_ml"])
    if report["proportion"] is None:
        return f"Infected    no figure: {lung} of lung found, too little for one"
    share = " ".join([percent(report["proportion"]), brackets(report)]).strip()
    return f"Infected    {share} of the lungs: {millilitres(report['infection_ml'])} of {lung}"


def read_proportion(path: str | Path) -> float:
    """The proportion in an earlier scan's report.json."""
    wanted = "report.json of an earlier scan"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected the {wanted}, cannot read it ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: expected the {wanted}, got no JSON ({one_line(error)})") from error
    content = content if isinstance(content, dict) else {}
    for name, value in (("system", SYSTEM), ("schema_version", SCHEMA_VERSION)):
        if content.get(name) != value:
            found = one_line(repr(content.get(name)), 40)
            raise InputError(f"{path}: expected the {wanted} with {name} {value!r}, got {found}")
    proportion = content.get("proportion")
    if isinstance(proportion, bool) or not isinstance(proportion, int | float) or not 0 <= proportion <= 1:
        found = one_line(repr(proportion), 40)
        advice = ": there was too little lung for one" if proportion is None and "proportion" in content else ""
        raise InputError(f"{path}: expected a proportion between 0 and 1, got {found}{advice}")
    return float(proportion)
