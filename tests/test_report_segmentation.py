"""What a person gets of a segmentation: pictures with labels in colour, curves, and the folder of a result."""

from __future__ import annotations

import json

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from matplotlib.colors import to_rgb
from monai.data import MetaTensor
from scipy import ndimage

from beyond2d import __version__
from beyond2d.baselines import between_slices
from beyond2d.checks import IGNORED
from beyond2d.metrics import class_scores
from beyond2d.report import segmentation
from beyond2d.report.curves import curves_picture
from beyond2d.report.overlays import NUM_SLICES, PLANES, overlay_picture
from beyond2d.report.page import BACKGROUND, COLOURS
from beyond2d.report.segmentation import CASE_COLUMNS, RESULT_FILES, SaveSegmentationd, SegmentationScores

LABELS = {0: "background", 3: "liver", 7: "tumour"}
PLAIN = np.diag([1.0, 1.0, 1.0, 1.0])


def block(shape, x, y, z, number=1):
    mask = np.zeros(shape, np.uint8)
    mask[slice(*x), slice(*y), slice(*z)] = number
    return mask


def pixels_of(path):
    return matplotlib.image.imread(path)[..., :3]


def near(pixels, colour):
    return np.abs(pixels - np.array(to_rgb(colour) if isinstance(colour, str) else colour)).max(axis=-1) < 0.02


def tint(number):
    """A class's colour where the image below it is black."""
    return 0.45 * np.array(to_rgb(COLOURS[number - 1]))


def panels_of(path, numbers=(1,)):
    """The pixels of the panels (plane, slice) of an overlay on a black image: nothing else is black or tinted."""
    pixels = pixels_of(path)
    inside = near(pixels, (0, 0, 0))
    for number in numbers:
        inside |= near(pixels, tint(number))
    boxes = [box for box in ndimage.find_objects(ndimage.label(inside)[0]) if inside[box].sum() > 500]
    assert len(boxes) == len(PLANES) * NUM_SLICES
    boxes.sort(key=lambda box: (round(box[0].start / 50), box[1].start))
    panels = [pixels[box] for box in boxes]
    return [panels[row * NUM_SLICES : (row + 1) * NUM_SLICES] for row in range(len(PLANES))]


def extent(panel, number=1):
    """Where a class lies in a panel: from left, to right, from below, to the top; as shares of its sides."""
    rows, columns = np.nonzero(near(panel, tint(number)))
    height, width = panel.shape[:2]
    return [columns.min() / width, (columns.max() + 1) / width, 1 - (rows.max() + 1) / height, 1 - rows.min() / height]


def black(mask):
    return np.zeros(mask.shape, np.float32)


def test_the_colour_is_where_the_mask_is_with_the_patients_right_on_the_left(tmp_path):
    mask = block((32, 40, 48), x=(16, 24), y=(4, 14), z=(30, 42))
    overlay_picture(tmp_path / "o.png", black(mask), mask, PLAIN, names=["block"])
    axial, coronal, sagittal = panels_of(tmp_path / "o.png")
    for panels, expected in (
        (axial, [1 - 24 / 32, 1 - 16 / 32, 4 / 40, 14 / 40]),
        (coronal, [1 - 24 / 32, 1 - 16 / 32, 30 / 48, 42 / 48]),
        (sagittal, [4 / 40, 14 / 40, 30 / 48, 42 / 48]),
    ):
        for panel in panels:  # every slice shows the label
            np.testing.assert_allclose(extent(panel), expected, atol=0.03)


def test_the_picture_is_a_png_of_one_size(tmp_path):
    mask = block((20, 20, 20), (5, 15), (5, 15), (5, 15))
    for name, shape in (("a.png", (20, 20, 20)), ("b.png", (20, 60, 9))):
        overlay_picture(tmp_path / name, np.random.default_rng(0).random(shape), mask[:, :1, :1] * np.ones(shape, int),
                        PLAIN, names=["block"], title="a case")  # fmt: skip
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert pixels_of(tmp_path / name).shape == (920, 1300, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_the_picture_does_not_depend_on_the_files_axes(tmp_path):
    mask = block((24, 30, 20), (13, 20), (4, 10), (9, 17))
    volumes = [np.random.default_rng(0).random(mask.shape), mask, np.roll(mask, 1, axis=0)]
    affine = np.diag([0.8, 1.1, 2.0, 1.0])
    for axcodes in ("RAS", "LPS", "IRP"):
        step = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axcodes))
        image, turned, truth = (nib.apply_orientation(volume, step) for volume in volumes)
        placed = affine @ nib.orientations.inv_ornt_aff(step, mask.shape)
        assert "".join(nib.aff2axcodes(placed)) == axcodes
        overlay_picture(tmp_path / f"{axcodes}.png", image, turned, placed, names=["block"], truth=truth)
    for axcodes in ("LPS", "IRP"):
        np.testing.assert_array_equal(pixels_of(tmp_path / "RAS.png"), pixels_of(tmp_path / f"{axcodes}.png"))


def turned(angle_deg):
    turn = np.deg2rad(angle_deg)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    return affine


def test_an_oblique_volume_is_shown_along_its_nearest_axes(tmp_path):
    mask = block((24, 30, 20), (13, 20), (4, 10), (9, 17))
    for name, affine in (("straight.png", PLAIN), ("oblique.png", turned(20))):
        overlay_picture(tmp_path / name, black(mask), mask, affine, names=["block"])
    np.testing.assert_array_equal(pixels_of(tmp_path / "straight.png"), pixels_of(tmp_path / "oblique.png"))


def test_the_picture_is_to_scale_in_mm(tmp_path):
    mask = block((32, 40, 12), (10, 22), (10, 30), (3, 9))
    overlay_picture(tmp_path / "o.png", black(mask), mask, np.diag([1.0, 0.5, 4.0, 1.0]), names=["block"])
    sides_mm = [32, 20, 48]
    for panels, (_, _, right, up) in zip(panels_of(tmp_path / "o.png"), PLANES, strict=True):
        for panel in panels:
            assert panel.shape[0] / panel.shape[1] == pytest.approx(sides_mm[up] / sides_mm[right], rel=0.05)


def test_classes_have_colours_of_their_own_and_a_legend(tmp_path):
    mask = block((30, 30, 30), (3, 13), (3, 27), (3, 27)) + block((30, 30, 30), (17, 27), (3, 27), (3, 27), 2)
    overlay_picture(tmp_path / "o.png", black(mask), mask, PLAIN, names=["one", "two"])
    axial = panels_of(tmp_path / "o.png", (1, 2))[0]
    assert extent(axial[0], 1)[0] > 0.5 > extent(axial[0], 2)[1]
    pixels = pixels_of(tmp_path / "o.png")
    legend = pixels[-40:]
    for number in (1, 2):
        assert near(legend, COLOURS[number - 1]).sum() > 50
    assert not near(pixels, COLOURS[2]).any()


def test_the_truth_is_a_white_outline(tmp_path):
    mask = block((30, 30, 30), (5, 15), (5, 25), (5, 25))
    whites = []
    for truth in (np.zeros_like(mask), np.roll(mask, 8, axis=0)):
        overlay_picture(tmp_path / "o.png", black(mask), mask, PLAIN, names=["block"], truth=truth)
        whites.append(near(pixels_of(tmp_path / "o.png"), "white")[100:-60].sum())
    assert whites[0] == 0
    assert whites[1] > 200


def test_an_empty_mask_shows_slices_of_the_whole_volume(tmp_path):
    mask = np.zeros((30, 24, 18), np.uint8)
    image = np.broadcast_to(np.arange(18.0), mask.shape)  # brighter towards the head
    overlay_picture(tmp_path / "o.png", image, mask, PLAIN, names=["block"])
    pixels = pixels_of(tmp_path / "o.png")
    assert not near(pixels[:-60], tint(1)).any()
    places = np.linspace(0.1, 0.9, NUM_SLICES)
    for column, place in enumerate(places):
        middle = pixels[170, int((column + 0.5) * 260)]
        assert middle[0] == pytest.approx(round(17 * place) / 17, abs=0.03)


def test_a_thin_volume_and_a_blank_image_have_a_picture(tmp_path):
    mask = block((20, 20, 1), (5, 15), (5, 15), (0, 1))
    overlay_picture(tmp_path / "o.png", np.full(mask.shape, 7.0), mask, PLAIN, names=["block"], truth=mask)
    assert pixels_of(tmp_path / "o.png").shape == (920, 1300, 3)


def curve_columns(pixels, number):
    """The columns from where to where a level curve runs."""
    marked = near(pixels, COLOURS[number])
    return np.flatnonzero(marked[marked.sum(axis=1).argmax()])[[0, -1]]


def test_curves_have_colours_of_their_own_and_rise_where_the_figures_do(tmp_path):
    curves = {"rises": [(0, 0.2), (10, 0.8)], "falls": [(0, 0.9), (10, 0.1)]}
    curves_picture(tmp_path / "c.png", curves, across="minutes", up="Dice", title="training")
    pixels = pixels_of(tmp_path / "c.png")
    assert pixels.shape == (480, 800, 3)
    assert near(pixels[:3], BACKGROUND).all()
    for number, direction in ((0, 1), (1, -1)):
        left, right = (np.flatnonzero(near(pixels[:, column], COLOURS[number])).mean() for column in (200, 650))
        assert np.sign(left - right) == direction  # rows count from above


def test_a_logarithmic_picture_puts_equal_ratios_equally_far_apart(tmp_path):
    curves = {"to a hundred": [(1, 0.0), (10, 0.0), (100, 0.0)], "to ten": [(1, 1.0), (10, 1.0)]}
    for logarithmic, place in ((True, 1 / 2), (False, 9 / 99)):
        curves_picture(tmp_path / "c.png", curves, across="share", up="Dice", logarithmic=logarithmic)
        whole, part = (curve_columns(pixels_of(tmp_path / "c.png"), number) for number in (0, 1))
        assert np.diff(part) / np.diff(whole) == pytest.approx(place, abs=0.03)


def test_single_runs_are_faint_and_of_their_means_colour(tmp_path):
    runs = {"mean": [[(0, 0.13), (10, 0.13)], [(0, 0.87), (10, 0.87)]]}
    curves_picture(tmp_path / "c.png", {"mean": [(0, 0.47), (10, 0.47)]}, across="epoch", up="Dice", faint=runs)
    column = pixels_of(tmp_path / "c.png")[:, 250]
    # Oranges are far redder than they are blue; grid and ground are not.
    redness = column[:, 0] - column[:, 2]
    lines, count = ndimage.label(redness > 0.1)
    assert count == 3
    strongest = [redness[lines == number].max() for number in (1, 2, 3)]
    assert max(strongest[0], strongest[2]) < 0.6 * strongest[1]


def test_more_curves_than_colours_are_all_drawn(tmp_path):
    count = len(COLOURS) + 1
    curves = {f"run {number}": [(0, number), (1, number)] for number in range(count)}
    curves_picture(tmp_path / "c.png", curves, across="epoch", up="Dice")
    rows = near(pixels_of(tmp_path / "c.png"), COLOURS[0])[:, 300]
    assert ndimage.label(rows)[1] == 2  # the first and the last share a colour


AFFINE = np.array([[-0.7, 0, 0, 12], [0, 0.7, 0, -30], [0, 0, 2.0, 5], [0, 0, 0, 1.0]])


def item_of(mask, truth=None, case="abc"):
    """An item as inference hands it on: an image of two channels, a mask and perhaps a label."""
    meta = {"filename_or_obj": f"/data/{case}.nii.gz"}
    image = MetaTensor(torch.rand(2, *mask.shape, generator=torch.Generator().manual_seed(0)), affine=AFFINE, meta=meta)
    item = {"image": image, "original": image, "pred": MetaTensor(torch.as_tensor(mask[None]), affine=AFFINE)}
    return item if truth is None else item | {"label": MetaTensor(torch.as_tensor(truth[None]), affine=AFFINE)}


def two_classes():
    mask = block((16, 18, 10), (2, 9), (3, 12), (2, 8))
    mask[4:6, 5:8, 3:6] = 2
    return mask


@pytest.fixture
def no_picture(monkeypatch):
    """Pictures take longest and have tests of their own."""
    monkeypatch.setattr(segmentation, "overlay_picture", lambda path, *volumes, **texts: path.touch())


def save(folder, item, single=True, labels=LABELS):
    record = {"command": "segment", "model": "planned"}
    return SaveSegmentationd(output_dir=str(folder), single=single, labels=labels, record=record)(item)


def test_a_result_has_its_files_with_the_labels_values_in_the_images_place(tmp_path):
    mask = two_classes()
    output = save(tmp_path / "out", item_of(mask))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(RESULT_FILES)
    written = nib.load(tmp_path / "out" / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.array([0, 3, 7])[mask])
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    assert written.get_data_dtype() == np.uint8
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result == output["result"]
    assert (result["case"], result["command"], result["model"]) == ("abc", "segment", "planned")
    assert result["beyond2d_version"] == __version__
    assert result["labels"] == {"background": 0, "liver": 3, "tumour": 7}
    assert result["scores"] is None
    voxel_ml = 0.7 * 0.7 * 2.0 / 1000
    assert result["volumes_ml"] == pytest.approx({"liver": 360 * voxel_ml, "tumour": 18 * voxel_ml})


def test_with_a_label_a_result_has_scores_of_what_is_labelled(tmp_path, no_picture):
    mask = two_classes()
    truth = np.roll(mask, 1, axis=0)
    truth[:, :, 7:] = IGNORED
    result = save(tmp_path, item_of(mask, truth))["result"]
    known = truth != IGNORED
    rows = class_scores(mask * known, truth * known, (0.7, 0.7, 2.0), 3)
    for name, row in zip(("liver", "tumour"), rows, strict=True):
        assert result["scores"][name] == pytest.approx({key: row[key] for key in ("dice", "nsd", "hd95_mm")})
        assert 0 < row["dice"] < 1
    assert result["volumes_ml"]["liver"] > rows[0]["volume_ml"]  # of all that was found, labelled or not


def test_a_score_that_does_not_exist_is_null(tmp_path, no_picture):
    mask = two_classes()
    save(tmp_path, item_of(mask, np.where(mask == 2, 0, mask)))
    scores = json.loads((tmp_path / "result.json").read_text())["scores"]
    assert scores["tumour"] == {"dice": 0.0, "nsd": 0.0, "hd95_mm": None}


def test_several_cases_have_a_folder_each(tmp_path, no_picture):
    for case in ("one", "two"):
        save(tmp_path, item_of(two_classes(), case=case), single=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(RESULT_FILES)


def test_large_label_values_and_an_empty_mask_are_written(tmp_path, no_picture):
    save(tmp_path, item_of(two_classes()), labels={0: "background", 1: "vein", 1001: "artery"})
    written = nib.load(tmp_path / "mask.nii.gz")
    assert set(np.unique(written.dataobj)) == {0, 1, 1001}
    result = save(tmp_path, item_of(np.zeros((16, 18, 10), np.uint8)))["result"]
    assert not np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).any()
    assert result["volumes_ml"] == {"liver": 0.0, "tumour": 0.0}


def scored(folder, items, reference, **options):
    """The rows of `cases.csv` of a pass of an engine over items."""
    engine = Engine(lambda engine, batch: [{"pred": item["pred"]} for item in batch])
    names = {0: "background", 1: "liver", 2: "tumour"}
    handler = SegmentationScores(str(folder), names, reference, {"seed": 3}, **options)
    handler.attach(engine)
    engine.run([[item] for item in items])
    return handler.rows


def with_truth(mask, truth, case, drawn=None):
    item = item_of(mask, case=case)
    drawn = np.ones(truth.shape) if drawn is None else drawn
    on_grid = {"truth": truth, "drawn": drawn}
    return item | {key: MetaTensor(torch.as_tensor(array[None]), affine=AFFINE) for key, array in on_grid.items()}


def test_every_case_is_scored_label_by_label_beside_the_mean_label(tmp_path, capsys):
    truth = two_classes()
    item = with_truth(np.roll(truth, 1, axis=1), truth, "abc")
    reference = [{"label": MetaTensor(torch.as_tensor(truth[None]), affine=AFFINE)}]
    rows = scored(tmp_path, [item], reference)
    assert [(row["method"], row["label"]) for row in rows] == [
        (method, label) for method in ("network", "mean label") for label in ("liver", "tumour", "mean")
    ]
    expected = class_scores(np.roll(truth, 1, axis=1), truth, (0.7, 0.7, 2.0), 3)
    for row, figures in zip(rows, expected, strict=False):
        assert {key: row[key] for key in figures} == figures
    assert rows[2]["dice"] == pytest.approx(np.mean([row["dice"] for row in expected]))
    # The one reference is the case itself: a mirrored or misplaced mean label would share little with it.
    assert rows[3]["dice"] > 0.85
    header, *lines = (tmp_path / "cases.csv").read_text().splitlines()
    assert header.split(",") == list(CASE_COLUMNS)
    assert len(lines) == 6
    content = json.loads((tmp_path / "scores.json").read_text())
    assert (content["seed"], len(content["cases"])) == (3, 6)
    assert "mean label" in capsys.readouterr().out


def test_only_slices_that_were_not_drawn_count_beside_those_filled_in_between(tmp_path):
    truth = two_classes()
    drawn = np.zeros(truth.shape)
    drawn[:, 4::3] = 1
    pred = truth.copy()
    pred[:, 4::3] = 0  # what is wrong on a drawn slice is not seen
    rows = scored(tmp_path, [with_truth(pred, truth, "abc", drawn)], [], only_undrawn=True, axis=1)
    assert [row["dice"] for row in rows[:3]] == [1.0, 1.0, 1.0]
    filled = between_slices(np.where(drawn > 0, truth, IGNORED).astype(np.uint8), 3, 1)
    expected = class_scores(filled * (drawn == 0), truth * (drawn == 0), (0.7, 0.7, 2.0), 3)
    assert rows[3]["method"] == "interpolated slices"
    assert 0.5 < rows[3]["dice"] == expected[0]["dice"] < 1


def test_the_gain_of_keeping_the_largest_part_is_told(tmp_path):
    truth = block((16, 18, 10), (2, 9), (3, 12), (2, 8))
    pred = truth.copy()
    pred[14, 16, 9] = 1
    scored(tmp_path, [with_truth(pred, truth, "abc")], [{"label": MetaTensor(truth[None], affine=AFFINE)}])
    gain = json.loads((tmp_path / "scores.json").read_text())["gain_of_keeping_the_largest_part"]
    assert gain["liver"] == pytest.approx(1 - 2 * 378 / (2 * 378 + 1))
