"""Scores of infected lung over many patients, and what a classifier's judgement does to their masks."""

import csv
import json
import math
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from beyond2d.checks import IGNORED, InputError
from beyond2d.phantoms import ChestSpec, centred_affine, chest_phantom
from beyond2d.readers import candidate_items, read_calibration, read_threshold
from beyond2d.report.infection_scores import (
    CASE_COLUMNS,
    InfectionScores,
    agreement,
    agreement_table,
    by_thresholds,
    case_figures,
)
from beyond2d.report.judgement import NOTHING, case_dices, judge

SPEC = ChestSpec((48, 48, 38), (380 / 48, 380 / 48, 8.0), lesions=True)


def label(lung, infected, shape=(10, 10, 10)):
    """Class numbers with so many voxels of lung, so many of them infected."""
    numbers = np.zeros(math.prod(shape), np.uint8)
    numbers[:lung] = 1
    numbers[:infected] = 2
    return numbers.reshape(shape)


def test_figures_of_a_case():
    truth, mask = label(100, 20), label(80, 10)
    figures = case_figures(mask, truth, (2.0, 2.0, 2.5))
    assert figures["lung_dice"] == pytest.approx(2 * 80 / 180)
    assert figures["infection_dice"] == pytest.approx(2 * 10 / 30)
    assert (figures["proportion"], figures["true_proportion"]) == (10 / 80, 0.2)
    assert (figures["lung_ml"], figures["infection_ml"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert set(CASE_COLUMNS[2:]) == set(figures)


def test_a_healthy_patient_counts_and_an_empty_prediction_has_no_proportion():
    assert case_figures(label(50, 0), label(50, 0), (1, 1, 1))["infection_dice"] == 1
    assert case_figures(label(50, 1), label(50, 0), (1, 1, 1))["infection_dice"] == 0
    assert math.isnan(case_figures(label(0, 0), label(50, 5), (1, 1, 1))["proportion"])


def rows_of(pairs, method="2.5D"):
    return [
        {"case": str(number), "method": method, "proportion": found, "true_proportion": true}
        for number, (found, true) in enumerate(pairs)
    ]


def test_agreement_of_proportions():
    content = agreement(rows_of([(0.11, 0.1), (0.18, 0.2), (0.33, 0.3), (0.01, 0.0), (math.nan, 0.2)]))
    assert content["num_cases"] == 4
    assert content["percent_error"]["percent"] == pytest.approx(10)
    assert content["percent_error"]["num_excluded"] == 1
    assert content["largest_in_healthy"] == 0.01
    assert content["limits"]["bias"] == pytest.approx(0.03 / 4)
    assert content["pearson"]["value"] > 0.98
    assert agreement(rows_of([(0.1, 0.1)])) == {"num_cases": 1}
    (line,) = agreement_table(rows_of([(0.1, 0.1), (0.2, 0.2)])).rows
    assert line[0] == "2.5D"
    assert line[-1] == "–"


def volume(array, affine):
    return MetaTensor(torch.as_tensor(array.copy())[None], affine=torch.as_tensor(affine))


def turned(array, affine):
    """The same volume with its axes in another order and two of them flipped."""
    image = nib.Nifti1Image(array, affine)
    way = nib.orientations.ornt_transform(nib.io_orientation(affine), np.array([[2, -1], [0, 1], [1, -1]]))
    image = image.as_reoriented(way)
    return np.asarray(image.dataobj), image.affine


def test_thresholds_find_the_same_in_any_orientation():
    hu, affine = chest_phantom(3, SPEC).volume, centred_affine(SPEC.size, SPEC.spacing_mm)
    numbers = by_thresholds(volume(hu, affine), -600)
    copy, placed = turned(hu, affine)
    found = by_thresholds(volume(copy, placed), -600)
    expected, _ = turned(numbers, affine)
    assert found.shape == copy.shape
    assert (found == expected).mean() > 0.999
    assert (numbers == 2).any()


def item_of(seed):
    phantom, affine = chest_phantom(seed, SPEC), centred_affine(SPEC.size, SPEC.spacing_mm)
    original, truth = volume(phantom.volume, affine), volume(phantom.label.astype(np.float32), affine)
    image = MetaTensor(original.clone(), affine=original.affine, meta={"filename_or_obj": f"case_{seed}.nii.gz"})
    return {"image": image, "original": original, "truth": truth, "before": truth.clone()}


def test_perfect_masks_score_one_beside_thresholds_of_other_patients(tmp_path, capsys):
    handler = InfectionScores(str(tmp_path), {"before": "2.5D"}, reference=[item_of(5)], settings={"seed": 1})
    items = [item_of(seed) for seed in (3, 4)]
    engine = SimpleNamespace(state=SimpleNamespace(batch=items, output=[{} for _ in items]))
    handler._learn_threshold(engine)
    assert -800 <= handler.threshold <= 0
    handler._score_batch(engine)
    handler._write(engine)
    with (tmp_path / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["method"]) for row in rows] == [
        (f"case_{seed}", method) for seed in (3, 4) for method in ("2.5D", "HU thresholds")
    ]
    assert all(float(row[name]) == 1 for row in rows[::2] for name in ("lung_dice", "infection_dice"))
    assert all(0.7 < float(row["lung_dice"]) < 1 for row in rows[1::2])
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores["hu_threshold"] == handler.threshold
    assert scores["agreement"]["2.5D"]["percent_error"]["percent"] == 0
    assert (tmp_path / "proportions.png").read_bytes().startswith(b"\x89PNG")
    assert "HU thresholds" in capsys.readouterr().out


def test_what_nobody_labelled_counts_for_nothing(tmp_path):
    item = item_of(3)
    width = item["truth"].shape[1] // 2
    known, found = item["truth"].clone(), item["truth"].clone()
    known[:, :width] = IGNORED
    found[:, :width] = 2  # wrong, but nobody knows
    handler = InfectionScores(str(tmp_path), {"before": "2.5D"}, reference=[{**item, "truth": known}])
    handler._learn_threshold(None)
    handler._score({**item, "truth": known, "before": found})
    network, baseline = handler.rows
    assert (network["lung_dice"], network["infection_dice"]) == (1, 1)
    half_ml = float((item["truth"][:, width:] > 0).sum()) * np.prod(SPEC.spacing_mm) / 1000
    assert network["lung_ml"] == network["true_lung_ml"] == pytest.approx(half_ml)
    assert baseline["lung_ml"] == pytest.approx(half_ml, rel=0.2)


# Two patients: of the first's candidates one is true, of the healthy second's none.
CANDIDATES = {
    "areas": np.array([40, 10, 5]),
    "true_voxels": np.array([36, 0, 0]),
    "is_true": np.array([True, False, False]),
    "patients": np.array([0, 0, 1]),
    "total_true": np.array([44, 0]),
}


def test_dice_of_patients_from_their_candidates():
    everything = case_dices(CANDIDATES, np.ones(3, bool))
    np.testing.assert_allclose(everything, [2 * 36 / (50 + 44), 0])
    np.testing.assert_allclose(case_dices(CANDIDATES, np.array([True, False, False])), [2 * 36 / (40 + 44), 1])
    np.testing.assert_allclose(case_dices(CANDIDATES, np.zeros(3, bool)), [0, 1])


def test_the_threshold_that_parts_them_is_found_and_can_be_given():
    judgement = judge(np.array([0.9, 0.4, 0.2]), CANDIDATES)
    assert judgement["threshold"] == pytest.approx(0.65)
    assert judgement["auc"]["value"] == 1
    assert (judgement["true_kept"], judgement["false_kept"]) == (1, 0)
    assert judgement["mean_dice_after"] > judgement["mean_dice_before"]
    assert judgement["gain"]["value"] == pytest.approx(judgement["mean_dice_after"] - judgement["mean_dice_before"])
    assert judgement["gain"]["low"] <= judgement["gain"]["value"] <= judgement["gain"]["high"]
    given = judge(np.array([0.9, 0.4, 0.2]), CANDIDATES, threshold=0.3)
    assert (given["threshold"], given["false_kept"]) == (0.3, 1)
    with pytest.raises(InputError, match="scores must be one a candidate, 3, got 2"):
        judge(np.array([0.9, 0.4]), CANDIDATES)


def test_where_nothing_is_worth_keeping_no_score_reaches_the_threshold():
    false = {**CANDIDATES, "true_voxels": np.array([1, 0, 0]), "total_true": np.array([1, 0])}
    assert judge(np.array([0.1, 0.8, 0.9]), false)["threshold"] == NOTHING > 1


def test_files_of_candidates_and_thresholds_that_are_none(tmp_path):
    (tmp_path / "text.npz").write_text("none")
    np.savez(tmp_path / "other.npz", patches=np.zeros((1, 2, 4, 4), np.uint8))
    np.savez(tmp_path / "pickled.npz", **dict.fromkeys(("patches", "is_true", "areas"), np.array([{}])))
    for name in ("none.npz", "text.npz", "other.npz", "pickled.npz"):
        with pytest.raises(InputError, match=name):
            candidate_items(str(tmp_path / name))
    for name, text in (
        ("none.json", None),
        ("text.json", "{"),
        ("list.json", "[1]"),
        ("null.json", '{"threshold": 1e999}'),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            read_threshold(tmp_path / name)
        with pytest.raises(InputError, match=name):
            read_calibration(tmp_path / name)


def test_figures_beside_weights(tmp_path):
    (tmp_path / "figures.json").write_text('{"threshold": 0.4, "level": 0.9, "reach": 0.02, "more": "words"}')
    assert read_threshold(tmp_path / "figures.json") == 0.4
    assert read_calibration(tmp_path / "figures.json") == (0.9, 0.02)
    (tmp_path / "half.json").write_text('{"level": 0.9}')
    with pytest.raises(InputError, match="expected JSON with the number 'reach', it has none"):
        read_calibration(tmp_path / "half.json")
