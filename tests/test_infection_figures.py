"""The figures of a quantified infection: counted by hand, in any orientation, with their flags and their schema."""

from __future__ import annotations

import json
import math
import warnings

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from beyond2d import __version__
from beyond2d.checks import IGNORED, InputError
from beyond2d.proportions import Calibration
from beyond2d.report.infection_figures import brackets, figures, millilitres
from beyond2d.workflow import home

SHAPE, SPACING_MM = (60, 50, 50), 5.0
PLAIN = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
RIGHT, LEFT = np.s_[34:54, 10:34, 10:40], np.s_[6:22, 10:34, 10:40]
# In the right lung's lower third and in the left lung's upper one.
LOW, HIGH = np.s_[34:44, 10:22, 10:20], np.s_[6:10, 10:20, 34:40]
STEADY = ({"name": "slab", "proportion": 0.05}, {"name": "slab, mirrored", "proportion": 0.06})


def chest(*, right=RIGHT, left=LEFT, low=LOW, high=HIGH, low_hu=-500, high_hu=-100):
    """A CT (X, Y, Z) in RAS with lungs and infections that are boxes of cubes of 5 mm, an eighth of a ml each."""
    hu, label = np.full(SHAPE, -1000.0, np.float32), np.zeros(SHAPE, np.uint8)
    hu[2:58, 2:48] = 40
    for place, number, value in ((right, 1, -850), (left, 1, -850), (low, 2, low_hu), (high, 2, high_hu)):
        if place is not None:
            hu[place], label[place] = value, number
    return hu, label


def stretched(x_mm, y_mm, z_mm):
    return np.diag([x_mm, y_mm, z_mm, 1.0])


def turned(volumes, axcodes):
    """Volumes in RAS as a scanner stores them along other axes, and their affine."""
    step = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.orientations.axcodes2ornt(axcodes))
    affine = PLAIN @ nib.orientations.inv_ornt_aff(step, SHAPE)
    return [nib.apply_orientation(volume, step) for volume in volumes], affine


def oblique():
    """The plain grid, turned by 20 degrees about Z and then by 10 about X."""
    a, b = np.deg2rad([20, 10])
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ about_z * SPACING_MM
    affine[:3, 3] = -20, 31, 7
    return affine


def report_of(volumes, affine=PLAIN, estimates=STEADY, **options):
    return figures(*volumes, affine, estimates, **options)


def codes(report):
    return [flag["code"] for flag in report["flags"]]


def test_figures_are_those_counted_by_hand():
    report = report_of(chest())
    assert report["lung_ml"] == pytest.approx(1800 + 1440)
    assert report["infection_ml"] == pytest.approx(150 + 30)
    assert report["proportion"] == pytest.approx(180 / 3240)
    assert report["proportion_interval"] == pytest.approx([0.05, 0.06])
    expected = {
        "overall": (3240, 180), "right": (1800, 150), "left": (1440, 30),
        "right_upper": (600, 0), "right_middle": (600, 0), "right_lower": (600, 150),
        "left_upper": (480, 30), "left_middle": (480, 0), "left_lower": (480, 0),
    }  # fmt: skip
    assert set(report["regions"]) == set(expected)
    for name, (lung_ml, infection_ml) in expected.items():
        figures = {"lung_ml": lung_ml, "infection_ml": infection_ml, "proportion": infection_ml / lung_ml}
        assert report["regions"][name] == pytest.approx(figures), name
    shares = {"aerated": 0, "ground_glass": 1200 / 1440, "consolidation": 240 / 1440, "denser": 0}
    assert report["densities"]["shares"] == pytest.approx(shares)
    counts = dict(zip(report["densities"]["edges_hu"], report["densities"]["counts"], strict=False))
    assert {edge: count for edge, count in counts.items() if count} == {-500: 1200, -100: 240}
    assert report["input"] == {"shape": [60, 50, 50], "spacing_mm": [5, 5, 5]}
    assert (report["system"], report["schema_version"], report["beyond2d_version"]) == ("infection", 1, __version__)
    assert [report[key] for key in ("flags", "growth", "scores", "title")] == [[], None, None, None]


@pytest.mark.parametrize("axcodes", ["LPS", "LAS", "SRA", "IPR"])
def test_figures_do_not_depend_on_the_files_axes(axcodes):
    volumes, affine = turned(chest(), axcodes)
    plain, other = report_of(chest()), report_of(volumes, affine)
    assert other["input"]["shape"] == list(volumes[1].shape)
    assert {**other, "input": None} == {**plain, "input": None}


def test_an_oblique_grid_has_the_same_figures():
    plain, other = report_of(chest()), report_of(chest(), oblique())
    assert other["flags"] == []
    for name, region in plain["regions"].items():
        assert other["regions"][name] == pytest.approx(region), name


def test_a_sheared_grids_volumes_are_those_of_its_voxels():
    affine = PLAIN.copy()
    affine[1, 2] = 3.0  # a tilted gantry: the voxels' sides grow, their volume does not
    report = report_of(chest(), affine)
    assert (report["lung_ml"], report["regions"]["left"]["lung_ml"]) == pytest.approx((3240, 1440))


def test_right_is_the_patients_right():
    hu, label = chest(high=None)
    report = report_of((hu, label), np.diag([-5.0, 5.0, 5.0, 1.0]))  # now X grows to the patient's left
    assert report["regions"]["left"]["infection_ml"] == pytest.approx(150)
    assert report["regions"]["right"]["infection_ml"] == 0


def test_estimates_may_be_missing():
    estimates = [*STEADY, {"name": "plane", "proportion": math.nan}]
    report = report_of(chest(), estimates=estimates)
    assert report["estimates"][-1] == {"name": "plane", "proportion": None}
    assert report["proportion_interval"] == pytest.approx([0.05, 0.06])
    assert report_of(chest(), estimates=[])["proportion_interval"] == [None, None]


def test_the_proportion_lies_inside_of_its_interval():
    low = report_of(chest(), estimates=[{"name": "a", "proportion": 0.06}, {"name": "b", "proportion": 0.07}])
    assert low["proportion_interval"] == pytest.approx([180 / 3240, 0.07])


def test_a_calibrated_interval_reaches_further_and_says_so():
    plain = report_of(chest())
    report = report_of(chest(), calibration=Calibration(0.9, 0.02))
    assert (plain["interval_level"], report["interval_level"]) == (None, 0.9)
    low, high = report["proportion_interval"]
    assert low < plain["proportion_interval"][0] < plain["proportion_interval"][1] < high
    assert high == pytest.approx(0.061 * math.exp(0.02) - 0.001)
    few = report_of(chest(), estimates=STEADY[:1], calibration=Calibration(0.9, 0.02))
    assert brackets(few) != ""
    assert brackets(report_of(chest(), estimates=STEADY[:1])) == ""


def test_scores_are_dice_and_the_true_proportion():
    hu, label = chest()
    truth = label.copy()
    truth[LOW] = 1  # 1200 of 1440 infected voxels are wrong, 240 right
    truth[RIGHT][:10] = 0  # half of the right lung is none
    scores = report_of((hu, label), truth=truth)["scores"]
    assert scores["infection_dice"] == pytest.approx(2 * 240 / (1440 + 240))
    assert scores["lung_dice"] == pytest.approx(2 * 18720 / (25920 + 18720))
    assert scores["true_proportion"] == pytest.approx(240 / 18720)


def test_what_nobody_labelled_is_not_scored():
    hu, label = chest()
    truth = label.copy()
    truth[LOW] = IGNORED
    scores = report_of((hu, label), truth=truth)["scores"]
    assert scores == {"lung_dice": 1, "infection_dice": 1, "true_proportion": pytest.approx(240 / (25920 - 1200))}
    empty = report_of((hu, label * 0), truth=truth * 0)["scores"]
    assert empty == {"lung_dice": None, "infection_dice": None, "true_proportion": None}


def with_column(cells):
    """A chest whose right lung reaches the feet's side of the scan with so many voxels, of 25 mm2 each."""
    hu, label = chest()
    for cell in range(cells):
        label[40 + cell, 25, :10] = 1
    return hu, label


def with_padding():
    hu, label = chest()
    hu[54:] = -2000
    return hu, label


BIG = {"right": np.s_[34:56, 4:46, 4:46], "left": np.s_[4:26, 4:46, 4:46]}
FAINT = {"low": np.s_[34:35, 10:20, 10:20], "high": None}  # 12.5 of 3240 ml
FLAGS = [
    (None, chest(), PLAIN, STEADY, ""),
    ("cut_by_field_of_view", with_column(5), PLAIN, STEADY, "cuts the lungs towards the feet."),
    (None, with_column(4), PLAIN, STEADY, ""),
    ("cut_by_field_of_view", with_padding(), PLAIN, STEADY, "at the edge of the round field"),
    ("implausible_lung_volume", chest(), stretched(3, 3, 3), STEADY, "700 ml"),
    ("implausible_lung_volume", chest(**BIG), PLAIN, (), "9,702 ml"),
    (None, chest(), stretched(7, 7, 7), STEADY, ""),  # 8891 ml
    ("one_lung", chest(left=np.s_[6:12, 10:26, 10:20], high=None), PLAIN, (), "left lung measures 120 ml"),
    ("one_lung", chest(right=None, low=None, high_hu=-500), PLAIN, (), "right lung measures 0 ml"),
    ("uneven_lungs", chest(left=np.s_[6:16, 10:28, 10:20], high=None), PLAIN, (), "225 ml, less than 38.0 % of both"),
    ("thick_slices", chest(), stretched(5, 5, 7.5), STEADY, "7.5 mm apart"),
    ("few_slices", chest(), stretched(5, 5, 2.9), STEADY, "145 mm high"),
    (None, chest(), stretched(5, 5, 3), STEADY, ""),
    ("wide_interval", chest(), PLAIN, ({"name": "a", "proportion": 0.09},), "5.6 % to 9.0 %"),
    ("wide_interval", chest(), PLAIN, ({"name": "a", "proportion": 0.02}, *STEADY), "2.0 % to 6.0 %"),
    (None, chest(), PLAIN, ({"name": "a", "proportion": 0.03},), ""),  # 2.6 of 5.6 points
    (None, chest(**FAINT), PLAIN, ({"name": "a", "proportion": 0.02},), ""),  # wider than all of it, but 1.6 points
    ("dense_part", chest(low_hu=-300), PLAIN, STEADY, "100.0 % of the infected part"),
    (None, chest(low_hu=-301), PLAIN, STEADY, ""),
]


@pytest.mark.parametrize(("code", "volumes", "affine", "estimates", "words"), FLAGS)
def test_each_flag_is_raised_and_left_out(code, volumes, affine, estimates, words):
    report = report_of(volumes, affine, estimates)
    assert codes(report) == ([] if code is None else [code])
    assert all(words in flag["text"] for flag in report["flags"])


def bases():
    """An abdomen with 225 ml of lung bases on top, 50 of them infected."""
    hu, label = np.full(SHAPE, 40.0, np.float32), np.zeros(SHAPE, np.uint8)
    label[34:49, 10:25, 46:], label[10:25, 10:25, 46:] = 1, 1
    label[34:44, 10:20, 46:] = 2
    return hu, label


def test_too_little_lung_has_no_proportion():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's words for a division by nothing
        report = report_of(bases(), estimates=[{"name": "slab", "proportion": math.nan}], earlier=0.1, hours=30)
    assert (report["proportion"], report["proportion_interval"]) == (None, [None, None])
    assert report["lung_ml"] == pytest.approx(225)
    assert {region["proportion"] for region in report["regions"].values()} == {None}
    assert report["regions"]["right"]["infection_ml"] == pytest.approx(50)
    assert codes(report) == ["no_lung", "cut_by_field_of_view"]
    assert "225 ml of lung were found" in report["flags"][0]["text"]
    assert "cuts this lung towards the head" in report["flags"][0]["text"]
    change = {"earlier_proportion": 0.1, "absolute": None, "relative": None, "hours": 30, "rapid": None}
    assert report["growth"] == change


def test_no_lung_at_all_is_not_cut():
    hu, label = bases()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = report_of((hu, label * 0))
    assert codes(report) == ["no_lung"]
    assert report["lung_ml"] == 0
    assert report["flags"][0]["text"].startswith("0 ml of lung were found")
    assert "does not cut" in report["flags"][0]["text"]
    assert set(report["densities"]["shares"].values()) == {None}


def test_three_hundred_ml_are_enough():
    lung = {"right": None, "left": np.s_[6:16, 10:26, 10:25], "low": None, "high": None}
    enough = report_of(chest(**lung), stretched(5, 5, 5.01), ())
    assert (enough["lung_ml"], enough["proportion"]) == (pytest.approx(300.6), 0)
    assert codes(enough) == ["implausible_lung_volume", "one_lung"]
    assert report_of(chest(**lung), stretched(5, 5, 4.99), ())["proportion"] is None


def test_growth_is_told_by_the_protocols_rule():
    now = 180 / 3240
    grown = report_of(chest(), earlier=0.03, hours=36)["growth"]
    assert grown == {
        "earlier_proportion": 0.03,
        "absolute": pytest.approx(now - 0.03),
        "relative": pytest.approx(now / 0.03 - 1),
        "hours": 36,
        "rapid": True,
    }
    assert report_of(chest(), earlier=0.04, hours=36)["growth"]["rapid"] is False
    assert report_of(chest(), earlier=0.03)["growth"]["rapid"] is None
    assert report_of(chest(), earlier=0.0, hours=36)["growth"]["relative"] is None  # JSON has no infinity


def test_volumes_of_two_sizes_are_refused():
    hu, label = chest()
    with pytest.raises(InputError, match="label must have the shape of hu"):
        report_of((hu, label[1:]))


SCHEMA = json.loads((home() / "configs" / "infection" / "report.schema.json").read_text(encoding="utf-8"))
REPORTS = {
    "plain": lambda: report_of(chest(), title="A case", settings={"model": "slab", "parts": {"mirrored": True}}),
    "oblique": lambda: report_of(chest(), oblique()),
    "healthy": lambda: report_of(chest(low=None, high=None), estimates=()),
    "no lung": lambda: report_of(bases(), earlier=0.1),
    "nothing": lambda: report_of((bases()[0], bases()[1] * 0), truth=bases()[1] * 0),
    "growth": lambda: report_of(chest(), earlier=0.03, hours=36),
    "growth from nothing": lambda: report_of(chest(), earlier=0.0),
    "scored": lambda: report_of(chest(), truth=chest(high=None)[1]),
    "flagged": lambda: report_of(with_column(5), estimates=[{"name": "a", "proportion": math.nan}, *STEADY]),
}


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_follows_the_schema(name):
    report = REPORTS[name]()
    content = json.loads(json.dumps(report, allow_nan=False))
    assert content == report
    jsonschema.Draft202012Validator(SCHEMA).validate(content)


@pytest.mark.parametrize(
    "change",
    [
        {"patient": "Doe"}, {"proportion": 1.2}, {"flags": [{"code": "odd", "text": "odd"}]}, {"title": 3},
        {"proportion_interval": [0.1]}, {"regions": {}}, {"growth": {}}, {"schema_version": 2},
        {"input": {"shape": [1, 2], "spacing_mm": [1, 1, 1]}},
    ],
)  # fmt: skip
def test_the_schema_refuses_another_report(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**REPORTS["plain"](), **change}, SCHEMA)


def test_the_schema_requires_and_describes_every_key():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    report = REPORTS["growth"]()
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == set(report)
    assert SCHEMA["additionalProperties"] is False

    def properties(schema):
        for name, part in schema.get("properties", {}).items():
            yield name, part
            yield from properties(part)
        if "items" in schema:
            yield from properties(schema["items"])
        for part in schema.get("$defs", {}).values():
            yield from properties(part)

    found = list(properties(SCHEMA))
    assert {"spacing_mm", "ground_glass", "lung_ml", "code", "hours"} <= {name for name, _ in found}
    assert [name for name, part in found if not part.get("description")] == []


def test_a_small_volume_is_not_called_none():
    assert [millilitres(volume_ml) for volume_ml in (0.0, 0.04, 0.6, 4312.4)] == ["0 ml", "< 1 ml", "1 ml", "4,312 ml"]
