"""The pages of reconstructions and segmentations: what stands on them, what does not, and that browsers show them."""

from __future__ import annotations

import base64
import io
import json
import re

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch
from browser import Browser
from matplotlib.colors import to_rgb
from monai.data import MetaTensor
from pages import Page, scene_of, told
from test_infection_figures import REPORTS, chest
from test_viewer import read_nifti

from beyond2d.projection import project
from beyond2d.report.infection_figures import upright
from beyond2d.report.infection_page import infection_page
from beyond2d.report.page import COLOURS
from beyond2d.report.pictures import AGREEMENT
from beyond2d.report.reconstruction import SaveReconstructiond
from beyond2d.report.reconstruction_page import KIND
from beyond2d.report.scene import Scene
from beyond2d.report.segmentation import SaveSegmentationd
from beyond2d.report.slices import slice_pictures, slices_section

PATIENT = "Doe_Jane_19700101"
FOLDER = "/ward/7"
ANGLES_DEG = [0.0, 22.5, 45.0, 67.5, 90.0]
AFFINE = np.diag([1.5, 1.5, 1.5, 1.0])
RECORD = {
    "system": "reconstruction", "model": "unet", "weights": f"{FOLDER}/model.pt", "weights_sha256": "5eed" * 16,
    "projection_mode": "max", "detector_noise": True, "pose_error_deg": 0.5, "window": None, "refine_steps": 3,
    "hull_level": 0.0, "seed": 0,
}  # fmt: skip
LABELS = {0: "background", 3: "liver", 7: "spleen <b>"}


def tensor(array, affine=AFFINE, **meta):
    return MetaTensor(
        torch.as_tensor(array), affine=affine, meta={"filename_or_obj": f"{FOLDER}/{PATIENT}.nii", **meta}
    )


def vessels(with_truth=True, **record):
    """A reconstruction of two tubes, one of which is right and one in the wrong place, and the saver's record of it."""
    found, truth = np.zeros((2, 32, 32, 32), np.float32)
    found[6:10, 8:12, 2:30] = truth[6:10, 8:12, 2:30] = 1
    found[20:23, 20:23, 2:30] = 0.8
    truth[25:28, 20:23, 2:30] = 1
    views = tensor(project(torch.as_tensor(truth), ANGLES_DEG), angles_deg=np.array(ANGLES_DEG))
    item = {"image": views, "views": views, "pred": tensor(found[None]), "turned": tensor(found[None])}
    if with_truth:
        item |= {"truth": tensor(truth[None], label_source="file"), "label": tensor(truth[None])}
    return {**item, "reprojection_error": [0.25, 0.125]}, {**RECORD, **record}


def reconstruction_page(folder, item, record, title=None):
    saver = SaveReconstructiond(output_dir=str(folder), single=True, threshold=0.5, record=record, title=title)
    saver(item)
    return read_page(folder)


def organs(with_truth=True):
    mask = np.zeros((24, 20, 12), np.uint8)
    mask[14:20, 4:14, 3:9], mask[3:7, 5:11, 4:8] = 1, 2
    image = np.random.default_rng(0).normal(40, 10, mask.shape).astype(np.float32) + 30 * mask
    item = {"image": tensor(image[None]), "original": tensor(image[None]), "pred": tensor(mask[None])}
    return item | ({"label": tensor(np.roll(mask, 1, axis=0)[None])} if with_truth else {})


def segmentation_page(folder, item, labels=LABELS, title=None):
    record = {"model": "planned", "weights": f"{FOLDER}/model.pt", "task": FOLDER, "weights_sha256": "5eed" * 16}
    record["network_spacing_mm"] = [1.5, 1.5, 3.0]
    SaveSegmentationd(output_dir=str(folder), single=True, labels=labels, record=record, title=title)(item)
    return read_page(folder)


def read_page(folder):
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def shown(page):
    return " ".join(page.text()).replace("\xa0", " ")


def pixels_of(image):
    """The pixels of an image of a page, or of a PNG."""
    png = image if isinstance(image, bytes) else base64.b64decode(image["src"].partition(",")[2])
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def near(pixels, colour, opacity=1.0):
    return np.abs(pixels - opacity * np.array(to_rgb(colour))).max(axis=-1) < 0.02


def test_a_reconstructions_page_has_its_sections_and_figures(tmp_path):
    page = reconstruction_page(tmp_path, *vessels(), title="A case")
    assert page.text("h2") == [
        "Turn and scroll", "From the angles of the views", "Thick slices", "Against the truth", "Against its own input",
        "Limits and intended use", "What was run",
    ]  # fmt: skip
    assert page.text("h1") == page.text("title") == ["A case"]
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for words in (
        f"{result['vessel_ml']:.1f} ml", f"{result['scores']['dice']:.3f}", f"{result['scores']['cldice']:.3f}",
        "0.125", "0.250", "32 × 32 × 32", "1.5 × 1.5 × 1.5", "0, 22.5, 45, 67.5, 90", "the brightest voxel on each ray",
        "up to 0.5 degrees", "5eed" * 16, "simulated", torch.__version__, "the given label",
    ):  # fmt: skip
        assert words in shown(page), words


def test_views_stand_beside_what_the_reconstruction_and_the_truth_show(tmp_path):
    page = reconstruction_page(tmp_path, *vessels())
    captions = page.text("figcaption")[:16]
    kinds = ("Input view", "Reconstruction", "Truth", "Agreement")
    assert captions == [f"{kind}, {angle}°" for kind in kinds for angle in (0.0, 22.5, 67.5, 90.0)]
    view, found, truth, agreement = (pixels_of(image) for image in page.all("img")[0:16:4])
    np.testing.assert_array_equal(view, truth)  # noiseless views of the truth itself
    columns = [int(320 * x / 32) for x in (8, 21.5, 26.5)]  # in both, predicted only, missed
    middle = view.shape[0] // 2
    assert [bool(view[middle, column, 0] > 0.5) for column in columns] == [True, False, True]
    assert [bool(found[middle, column, 0] > 0.5) for column in columns] == [True, True, False]
    assert [int(agreement[middle, column].argmax()) for column in columns] == [1, 0, 2]


def test_the_viewer_gets_the_probability_its_agreement_and_both_surfaces(tmp_path):
    item, record = vessels()
    scene = scene_of(reconstruction_page(tmp_path, item, record))
    found, truth = (item[key][0].numpy() > 0.5 for key in ("pred", "truth"))
    np.testing.assert_allclose(read_nifti(scene["grey"]).get_fdata(), item["pred"][0].numpy(), atol=0.5 / 255)
    np.testing.assert_array_equal(
        read_nifti(scene["classes"]).dataobj, (found & truth) + 2 * (found & ~truth) + 3 * (truth & ~found)
    )
    assert scene["names"] == list(AGREEMENT)
    assert [(surface["name"], surface["shown"]) for surface in scene["surfaces"]] == [
        ("reconstruction", True),
        ("truth", False),
    ]


def test_a_page_without_a_truth_has_no_scores(tmp_path):
    item, record = vessels(with_truth=False)
    page = reconstruction_page(tmp_path, item, record)
    assert "Against the truth" not in page.text("h2")
    assert page.text("figcaption")[:8:4] == ["Input view, 0.0°", "Reconstruction, 0.0°"]
    scene = scene_of(page)
    assert (scene["names"], len(scene["surfaces"])) == (["vessel"], 1)
    assert page.text("h1") == [KIND.title]


def test_an_empty_reconstruction_has_a_page(tmp_path):
    item, record = vessels(with_truth=False)
    item["pred"], item["turned"] = item["pred"] * 0, item["turned"] * 0
    page = reconstruction_page(tmp_path, item, record)
    assert scene_of(page)["surfaces"] == []
    assert "0.0 ml" in shown(page)


def test_given_views_have_no_noise_of_ours(tmp_path):
    item, record = vessels(with_truth=False, projection_mode="sum")
    given = {name: value for name, value in record.items() if name not in ("detector_noise", "pose_error_deg", "seed")}
    words = shown(reconstruction_page(tmp_path, item, given))
    assert "given, not simulated" in words
    assert "line integrals" in words
    assert "detector noise" not in words


def test_a_segmentations_page_has_its_sections_and_figures(tmp_path):
    page = segmentation_page(tmp_path, organs())
    assert page.text("h2") == [
        "Turn and scroll", "Volumes and scores", "Slices", "Projections", "Limits and intended use", "What was run",
    ]  # fmt: skip
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for name in ("liver", "spleen <b>"):
        assert f"{result['volumes_ml'][name]:.2f} ml" in shown(page)
        assert f"{result['scores'][name]['dice']:.3f}" in page.text("td")
    assert not page.all("b")
    for words in ("5eed" * 16, "24 × 20 × 12", "1.5, 1.5, 3.0", "The truth is outlined in white."):
        assert words in shown(page), words
    scene = scene_of(page)
    np.testing.assert_array_equal(read_nifti(scene["classes"]).dataobj, organs()["pred"][0].numpy())
    assert [surface["name"] for surface in scene["surfaces"]] == scene["names"] == ["liver", "spleen <b>"]


def test_many_labels_are_counted_on_top_and_an_empty_mask_has_a_page(tmp_path):
    item = organs(with_truth=False)
    page = segmentation_page(tmp_path, item, labels={number: f"organ {number}" for number in range(9)})
    assert page.text("dt") == ["Labels", "All together"]
    assert page.text("h2")[1] == "Volumes"
    item["pred"] = item["pred"] * 0
    assert scene_of(segmentation_page(tmp_path, item))["surfaces"] == []


def test_projections_show_labels_where_they_are(tmp_path):
    page = segmentation_page(tmp_path, organs(with_truth=False))
    front = pixels_of(page.all("img")[-4])
    # X, the patient's right, to the right: the liver from voxel 14 to 19 of 24, the spleen from 3 to 6.
    half = front.shape[1] // 2
    liver, spleen = (near(front, colour).sum(axis=0) for colour in COLOURS[:2])
    assert liver[half:].sum() > 500 < spleen[:half].sum()
    assert liver[:half].sum() == spleen[half:].sum() == 0


@pytest.mark.parametrize("kind", ["reconstruction", "segmentation"])
def test_no_name_gets_onto_a_page(tmp_path, kind):
    folder = tmp_path / PATIENT
    page = reconstruction_page(folder, *vessels()) if kind == "reconstruction" else segmentation_page(folder, organs())
    for name in (*PATIENT.split("_"), FOLDER, str(tmp_path), "model.pt"):
        assert name not in told(page.source), name


@pytest.mark.parametrize("kind", ["reconstruction", "segmentation"])
def test_a_page_can_be_read_by_everyone(tmp_path, kind):
    page = (
        reconstruction_page(tmp_path, *vessels()) if kind == "reconstruction" else segmentation_page(tmp_path, organs())
    )
    assert page.all("html") == [{"lang": "en"}]
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1"] + ["h2"] * len(page.text("h2"))
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(page.all("img"))
    assert {header["scope"] for header in page.all("th")} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def scene_in(axcodes):
    """A block of class 1 at the patient's right front top, in a file with any axes, and the truth beside it."""
    classes = np.zeros((30, 20, 24), np.uint8)
    classes[20:28, 12:18, 14:22] = 1
    affine = np.diag([1.0, 2.0, 1.5, 1.0])
    step = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.orientations.axcodes2ornt(axcodes))
    placed = affine @ nib.orientations.inv_ornt_aff(step, classes.shape)
    turned, truth = (nib.apply_orientation(volume, step) for volume in (classes, np.roll(classes, -8, axis=0)))
    return Scene(0.0 * turned, placed, (0.0, 1.0), turned, {"block": COLOURS[0]}, []), truth


@pytest.mark.parametrize("axcodes", ["RAS", "LPI", "SRA"])
def test_slices_show_the_patients_right_on_the_left_and_the_truth_as_an_outline(axcodes):
    scene, truth = scene_in(axcodes)
    sizes_mm = {"axial": (30, 40), "coronal": (30, 36), "sagittal": (40, 36)}
    for plane, pictures in slice_pictures(scene, truth).items():
        for picture in pictures:
            pixels = pixels_of(picture.png)
            height, width = pixels.shape[:2]
            assert height / width == pytest.approx(sizes_mm[plane][1] / sizes_mm[plane][0], abs=0.01)
            rows, columns = np.nonzero(near(pixels, COLOURS[0], 0.45))
            assert rows.max() < (0.45 * height if plane == "axial" else 0.5 * height)  # at the front, or at the top
            if plane == "sagittal":
                assert columns.min() > 0.55 * width
            else:
                assert columns.max() < 0.37 * width
                outline = np.nonzero(near(pixels, "white"))[1]
                assert 0.3 * width < outline.min() < outline.max() < 0.63 * width
            assert picture.share > 0


def test_slices_have_their_numbers(tmp_path):
    scene, _ = scene_in("RAS")
    page = Page(slices_section(scene, "Words.").body)
    assert page.text("figcaption")[:4] == [f"Axial slice {number} of 24" for number in (16, 18, 19, 21)]
    assert page.all("img")[0]["alt"] == "Axial slice 16 of 24; 8.0 % of it is labelled"


def test_thick_slices_show_all_that_is_labelled_and_what_most_of_it_is():
    classes = np.zeros((12, 10, 10), np.uint8)
    classes[3, 4, 1:9] = 2
    classes[3, 4, 1] = 1
    classes[8, 4, 2] = 1
    grey = np.zeros(classes.shape)
    grey[:, :, 5] = 1.0  # one bright slice of those below
    colours = {"first": COLOURS[0], "second": COLOURS[1]}
    thick = slice_pictures(Scene(grey, np.eye(4), (0.0, 1.0), classes, colours, []), thick=True)
    axial = thick["axial"]
    assert [picture.numbers for picture in axial] == [f"slices {n}–{n + 1} of 10" for n in (2, 4, 6, 8)]
    assert [picture.share for picture in axial] == pytest.approx([2 / 120, 1 / 120, 1 / 120, 1 / 120])
    assert [bool(pixels_of(picture.png)[0, 0].min() > 0.99) for picture in axial] == [False, False, True, False]
    (front,) = thick["coronal"]
    assert front.numbers == "slice 5 of 10"
    one = slice_pictures(Scene(grey, np.eye(4), (0.0, 1.0), classes, colours, []), thick=True, count=1)["axial"][0]
    width = 320 / 12
    middle = pixels_of(one.png)[round(width * 5.5)]
    for place, colour in ((3, COLOURS[1]), (8, COLOURS[0])):  # X grows to the left
        wanted = 1 - 0.45 * (1 - np.array(to_rgb(colour)))
        np.testing.assert_allclose(middle[round(width * (11.5 - place))], wanted, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reconstruction", "segmentation", "infection"])
def test_a_browser_shows_the_page_of_each_system(tmp_path, kind):
    if kind == "infection":
        volumes = chest()
        page = infection_page(REPORTS["plain"](), upright(*volumes, np.diag([5.0, 5.0, 5.0, 1.0])))
        (tmp_path / "report.html").write_text(page, encoding="utf-8")
    elif kind == "segmentation":
        segmentation_page(tmp_path, organs())
    else:
        reconstruction_page(tmp_path, *vessels())
    path = tmp_path / "report.html"
    browser = Browser(tmp_path / "profile")
    try:
        for width in (1280, 390):
            assert browser.open(path, width) == "ready"
            assert browser.run("document.documentElement.scrollWidth") == width
        assert browser.requests() == [path.as_uri()] * 2
        assert browser.complaints() == []
    finally:
        browser.close()
