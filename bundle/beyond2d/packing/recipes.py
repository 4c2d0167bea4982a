"""What each system's bundle is made of: its name, its weights and the figures beside them, where its data came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..readers import read_calibration, read_plan, read_threshold, threshold_for

MODEL, PLAN, RECORD, CASES = "model.pt", "plan.yaml", "record.json", "cases.csv"


class Weights(NamedTuple):
    """A file of weights, the id of its network in inference.yaml, and the config that has to lie over it."""

    file: str
    network: str = "network_def"
    overlay: str | None = None


@dataclass(frozen=True)
class Recipe:
    """What a system's bundle is made of.

    Args:
        name: of the folder. MONAI Label guesses from its words what a model does.
        shipped: the folder of the project's weights below `models`; None: there are none.
        weights: every file of weights. Of weights of one's own only `model.pt`, and the plan where there is one, have
            to be there; the project's stand in for the others.
        example: options with which inference runs on one file.
        tags: for the Hub, beside those that every bundle has.
        data: what the project's weights were made from, and under which licence that is.
        shipped_name: of the folder with the project's weights, where it is another.
        figures: every further file that a prediction needs, and what reads it, or complains.
        changes: values of keys that are others in a bundle, by the name of the config.
    """

    name: str
    shipped: str | None
    weights: tuple[Weights, ...]
    example: str
    tags: tuple[str, ...]
    data: str
    shipped_name: str = ""
    figures: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Every file that a prediction needs, as it is named in the bundle's `models`."""
        return [*(weights.file for weights in self.weights), *self.figures]


def _read_thresholds(path: Path) -> float:
    return threshold_for(str(path.parent), "unet", "max", 10)


RECIPES = {
    "reconstruction": Recipe(
        name="beyond2d_reconstruction",
        shipped="reconstruction",
        weights=(
            Weights(MODEL),
            Weights("model_sum.pt"),
            *(Weights(f"autoencoder/views_{n:02d}.pt", overlay="autoencoder.yaml") for n in (2, 3, 5, 10)),
        ),
        figures={RECORD: _read_thresholds},
        example="--input volume.nii.gz --num_views 10 --output_dir result",
        tags=("reconstruction", "angiography"),
        data="49 synthetic cerebral vessel trees (seeds 0 to 48), made by the project itself. No data of any person "
        "were used. What makes them is part of the project and under its licence, Apache-2.0.",
    ),
    "segmentation": Recipe(
        name="beyond2d_segmentation",
        shipped="segmentation/hippocampus",
        shipped_name="beyond2d_hippocampus_segmentation",
        weights=(Weights(MODEL),),
        figures={PLAN: read_plan},
        example="--input image.nii.gz --output_dir result",
        tags=("segmentation",),
        data="200 of the 260 labelled MR volumes of Task04_Hippocampus of the Medical Segmentation Decathlon "
        "(Antonelli et al. 2022; data of Vanderbilt University Medical Center), licensed under CC BY-SA 4.0 "
        "(https://creativecommons.org/licenses/by-sa/4.0/). The volumes are not part of this bundle.",
    ),
    "digits": Recipe(
        name="beyond2d_digits_classification",
        shipped=None,
        weights=(Weights(MODEL),),
        changes={"inference": {"load_path": "$@bundle_root + '/models/model.pt'"}},
        example="--input digits.npy --output_dir result",
        tags=("classification",),
        data="",
    ),
    "infection": Recipe(
        name="beyond2d_infection_segmentation",
        shipped="infection",
        weights=(Weights(MODEL), Weights("plane.pt", "plane_def"), Weights("classifier.pt", "classifier_def")),
        figures={"judgement.json": read_threshold, "interval.json": read_calibration},
        example="--input chest.nii.gz --output_dir result",
        tags=("segmentation", "ct", "lung"),
        data="180 synthetic chests, made by the project itself. No scan of a person was trained on. What makes them is "
        "part of the project and under its licence, Apache-2.0.",
    ),
}
