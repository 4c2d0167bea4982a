"""The viewer of a page: what it embeds, what a browser is allowed to do with it, and that it draws."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re

import nibabel as nib
import numpy as np
import pytest
from browser import Browser
from matplotlib.colors import rgb_to_hsv, to_rgb
from pages import Page, scene_of
from test_surfaces import ball

from beyond2d.report import html
from beyond2d.report.page import COLOURS
from beyond2d.report.scene import (
    MAX_FACES,
    MAX_VOXELS,
    Scene,
    Surface,
    averaged,
    class_surfaces,
    coarse_steps,
    nifti_bytes,
    scene_content,
    thinned,
)
from beyond2d.report.viewer import NIIVUE, viewer_section
from beyond2d.surfaces import marching_cubes_mesh, mz3_bytes

PLACED = np.array([[0.0, -0.7, 0, 30], [0.5, 0, 0, -20], [0, 0, 1.2, 10], [0, 0, 0, 1]])
PLAIN = np.eye(4)
NAMES = {"liver": COLOURS[0], "spleen": COLOURS[1]}


def scene(affine=PLACED, **changes):
    """Two balls of class 1 and 2 in noise of values -30 to 70."""
    classes = np.zeros((32, 24, 20), np.uint8)
    classes[2:18, 4:20, 2:18] = ball(16, 6) > 0.5
    classes[20:30, 4:14, 8:18] = 2 * (ball(10, 4) > 0.5)
    grey = np.random.default_rng(0).uniform(-30, 70, classes.shape)
    made = Scene(grey, affine, (-20.0, 60.0), classes, NAMES, class_surfaces(classes, affine, NAMES))
    return made._replace(**changes)


def page_of(*sections):
    page = Page(html.document("A title", "A note", html.paragraph("Words"), sections))
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def page():
    return page_of(viewer_section(scene(), "What it shows."))


def read_nifti(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def read_mz3(text):
    """Faces and vertices of an MZ3 file."""
    content = gzip.decompress(base64.b64decode(text))
    assert content[:4] == b"MZ\x03\0"
    num_faces, num_vertices, skipped = np.frombuffer(content, "<u4", 3, 4)
    assert (skipped, len(content)) == (0, 16 + 12 * num_faces + 12 * num_vertices)
    faces = np.frombuffer(content, "<i4", 3 * num_faces, 16).reshape(-1, 3)
    return faces, np.frombuffer(content, "<f4", offset=16 + faces.nbytes).reshape(-1, 3)


def test_the_embedded_volumes_are_the_scenes_own(page):
    wanted, content = scene(), scene_of(page)
    grey, classes = read_nifti(content["grey"]), read_nifti(content["classes"])
    step = 80 / 255
    np.testing.assert_allclose(grey.get_fdata(), wanted.grey.clip(-20, 60), atol=step / 2 + 1e-4)
    assert grey.get_data_dtype() == np.uint8
    assert (grey.header["cal_min"], grey.header["cal_max"]) == pytest.approx((-20, 60))
    np.testing.assert_array_equal(np.asarray(classes.dataobj), wanted.classes)
    for image in (grey, classes):
        np.testing.assert_allclose(image.affine, PLACED, atol=1e-5)
    assert (content["names"], content["shown"]) == (["liver", "spleen"], [True, True])
    assert sorted(content) == ["classes", "colours", "grey", "names", "shown", "start", "surfaces"]
    assert content["colours"] == [[230, 159, 0], [86, 180, 233]]


def test_the_embedded_surfaces_are_the_scenes_own(page):
    for wanted, found in zip(scene().surfaces, scene_of(page)["surfaces"], strict=True):
        faces, vertices_mm = read_mz3(found["mesh"])
        np.testing.assert_array_equal(faces, wanted.mesh.faces)
        np.testing.assert_allclose(vertices_mm, wanted.mesh.vertices_mm, atol=1 / 128 + 1e-5)
        assert (found["name"], found["opacity"], found["shown"]) == (wanted.name, 1.0, True)


def test_values_of_a_byte_survive_as_they_are():
    values = np.arange(256, dtype=np.int16).reshape(8, 8, 4) - 100
    content = scene_content(scene(grey=values, window=(-100.0, 155.0), classes=np.zeros(values.shape, np.uint8)))
    np.testing.assert_array_equal(read_nifti(content["grey"]).get_fdata(), values)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "most", "steps"),
    [
        ((10, 10, 10), (1, 1, 1), 1000, (1, 1, 1)),
        ((10, 10, 10), (1, 1, 1), 999, (2, 1, 1)),
        ((512, 512, 300), (0.7, 0.7, 1.0), 4_000_000, (3, 3, 3)),
        ((512, 512, 60), (0.7, 0.7, 5.0), 4_000_000, (2, 2, 1)),
        ((9, 9, 1), (1, 1, 0.1), 25, (2, 2, 1)),
    ],
)
def test_a_volume_becomes_coarse_where_it_is_finest(shape, spacing_mm, most, steps):
    assert coarse_steps(shape, spacing_mm, most) == steps


@pytest.mark.parametrize("steps", [(1, 1, 1), (2, 3, 1), (4, 2, 5)])
def test_a_coarse_volume_is_the_mean_of_its_blocks_in_their_middle(steps):
    volume = np.random.default_rng(0).random((9, 12, 10))
    coarse, affine = averaged(volume, PLACED, steps)
    assert coarse.shape == tuple(-(-size // step) for size, step in zip(volume.shape, steps, strict=True))
    for place in ((0, 0, 0), (1, 2, 1)):
        corner = [index * step for index, step in zip(place, steps, strict=True)]
        block = volume[tuple(slice(start, start + step) for start, step in zip(corner, steps, strict=True))]
        assert coarse[place] == pytest.approx(block.mean(), rel=1e-6)
        middle = np.array(corner) + (np.array(steps) - 1) / 2
        np.testing.assert_allclose(affine @ [*place, 1], PLACED @ [*middle, 1])


@pytest.mark.parametrize("steps", [(1, 1, 1), (2, 3, 1), (4, 2, 15)])
def test_coarse_class_numbers_are_voxels_in_their_own_place(steps):
    classes = np.arange(9 * 12 * 10).reshape(9, 12, 10)
    coarse, affine = thinned(classes, PLACED, steps)
    for place in ((0, 0, 0), (1, 2, 0)):
        world = affine @ [*place, 1]
        voxel = np.linalg.solve(PLACED, world)[:3]
        assert classes[tuple(voxel.round().astype(int))] == coarse[place]
        np.testing.assert_allclose(voxel, voxel.round(), atol=1e-9)


def test_a_large_volume_becomes_light():
    noise = np.random.default_rng(0).random((256, 256, 80), np.float32)
    mesh = marching_cubes_mesh(noise[:64, :64], 0.5, np.eye(4))
    assert len(mesh.faces) > MAX_FACES
    classes = (noise > 0.5).astype(np.uint8)
    surfaces = [Surface("one", COLOURS[0], mesh), Surface("two", COLOURS[1], mesh)]
    content = scene_content(Scene(noise, np.eye(4), (0.0, 1.0), classes, {"one": COLOURS[0]}, surfaces))
    for name in ("grey", "classes"):
        assert read_nifti(content[name]).shape == (128, 256, 80)
    assert MAX_VOXELS >= 128 * 256 * 80
    assert sum(len(read_mz3(surface["mesh"])[0]) for surface in content["surfaces"]) <= MAX_FACES
    assert len(json.dumps(content)) < 9.5e6  # noise is the worst there is: with NiiVue below 12 MB a page


def test_a_page_with_a_viewer_stands_alone(page):
    scripts = [script for script in page.scripts if script[0].get("type") != "application/json"]
    assert [attributes for attributes, _ in scripts] == [{}, {}]
    assert scripts[0][1] == html.resource(NIIVUE)
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for _, code in scripts]
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "style-src": "'unsafe-inline'",
        "img-src": "data:", "script-src": " ".join(f"'sha256-{value}'" for value in hashes),
    }  # fmt: skip
    for _, attributes in page.elements:
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not page.all("link", "iframe", "object", "embed", "base", "form")
    ours = scripts[1][1]
    assert not re.search(r"fetch|XMLHttpRequest|WebSocket|Worker|import|eval|Function\(|https?:", ours)
    assert not re.search(r"@import|url\(", page.source[: page.source.index("</style>")])


def test_a_page_without_scripts_allows_none():
    policy = next(meta["content"] for meta in page_of(html.Section("A", html.paragraph("b"))).all("meta")[3:])
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_the_viewers_licences_come_along(page):
    licences = html.resource("vendor/LICENSES.txt")
    assert hashlib.sha256(html.resource(NIIVUE).encode()).hexdigest() in licences
    assert [words for tag, words in page.words if tag == "pre"] == [licences]
    for words in ("Copyright (c) 2021, Niivue", "BSD 2-Clause License", "fflate", "gl-matrix", "Apache License"):
        assert words in licences


def test_names_are_text_in_the_markup_and_in_the_data():
    name = '</script><b onclick="x">"liver" & more'
    odd = scene(colours={name: COLOURS[0], "spleen": COLOURS[1]}, surfaces=[])
    page = page_of(viewer_section(odd, name))
    assert not page.all("b")
    assert scene_of(page)["names"] == [name, "spleen"]


def test_every_control_has_a_name_and_can_be_reached(page):
    labelled = {label["for"] for label in page.all("label") if "for" in label}
    sliders = [field for field in page.all("input") if field["type"] == "range"]
    assert len(sliders) == 7
    assert {slider["id"] for slider in sliders} == labelled == {output["for"] for output in page.all("output")}
    boxes = [field for field in page.all("input") if field["type"] == "checkbox"]
    assert len(boxes) == len([label for label in page.all("label") if "for" not in label]) == 4
    assert all("checked" in box for box in boxes)
    buttons = page.all("button")
    assert [button["type"] for button in buttons] == ["button"] * len(buttons)
    assert page.text("button") == [
        "Turn by itself", "Front", "Left", "Above", "Axial", "Coronal", "Sagittal", "All three",
    ]  # fmt: skip
    canvases = page.all("canvas")
    assert [(canvas["tabindex"], canvas["role"]) for canvas in canvases] == [("0", "application")] * 2
    for canvas in canvases:
        assert "liver, spleen" in canvas["aria-label"]
        assert "arrow keys" in canvas["aria-label"]
    assert "focus-visible" in page.source


def test_without_a_viewer_a_line_says_so_and_the_controls_are_hidden(page):
    absent = next(paragraph for paragraph in page.all("p") if paragraph.get("id") == "absent")
    assert "hidden" not in absent
    assert "hidden" in next(div for div in page.all("div") if div.get("id") == "viewer")


@pytest.mark.parametrize("axcodes", ["RAS", "LPI", "SRA"])
def test_the_first_slices_are_those_with_most_of_what_is_shown(axcodes):
    classes = np.zeros((40, 30, 20), np.uint8)
    classes[5, 10:20, 10], classes[5, 12, 5:15] = 1, 1  # crosses at (5, 12, 10)
    classes[20:30, 20:30, 10:20] = 2
    step = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], nib.orientations.axcodes2ornt(axcodes))
    affine = PLAIN @ nib.orientations.inv_ornt_aff(step, classes.shape)
    turned = nib.apply_orientation(classes, step)
    seen = Scene(turned, affine, (0.0, 1.0), turned, NAMES, [], hidden=("spleen",))
    assert scene_content(seen)["start"] == pytest.approx([5.5 / 40, 12.5 / 30, 10.5 / 20])
    assert scene_content(seen._replace(classes=turned * 0))["start"] == [0.5, 0.5, 0.5]


def test_what_is_hidden_at_first_is_not_ticked_and_without_surfaces_there_are_slices_alone():
    page = page_of(viewer_section(scene(surfaces=[], hidden=("spleen",)), "Words"))
    assert scene_of(page)["shown"] == [True, False]
    assert ["checked" in box for box in page.all("input") if box["type"] == "checkbox"] == [True, False]
    assert [canvas["id"] for canvas in page.all("canvas")] == ["slices"]


def test_surfaces_are_those_of_the_classes_that_are_there():
    wanted = scene()
    only_second = np.where(wanted.classes == 2, 2, 0).astype(np.uint8)
    found = class_surfaces(only_second, PLACED, NAMES)
    assert [(surface.name, surface.colour) for surface in found] == [("spleen", COLOURS[1])]
    middle_mm = PLACED @ [*np.argwhere(only_second).mean(axis=0), 1]
    np.testing.assert_allclose(found[0].mesh.vertices_mm.mean(axis=0), middle_mm[:3], atol=0.1)


def test_bytes_of_files_do_not_depend_on_the_hour(monkeypatch):
    first = nifti_bytes(scene().classes, PLACED), mz3_bytes(scene().surfaces[0].mesh)
    monkeypatch.setattr(gzip.time, "time", lambda: 1e9)
    assert (nifti_bytes(scene().classes, PLACED), mz3_bytes(scene().surfaces[0].mesh)) == first


def near(pixels, colour):
    """Where pixels have the hue of a colour, lit or in shadow."""
    found, wanted = rgb_to_hsv(pixels), rgb_to_hsv(to_rgb(colour))
    return (np.abs(found[..., 0] - wanted[0]) < 0.015) & (found[..., 1] > 0.5) & (found[..., 2] > 0.15)


def box_of(browser, name):
    """Rows and columns of an element on the screen."""
    left, top, right, bottom = browser.run(
        f"(({{left, top, right, bottom}}) => [left, top, right, bottom])"
        f"(document.getElementById('{name}').getBoundingClientRect())"
    )
    return slice(max(round(top), 0), round(bottom)), slice(round(left), round(right))


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_the_viewer_and_obeys_the_keyboard(tmp_path, page, browser, width):
    path = tmp_path / "page.html"
    path.write_text(page.source, encoding="utf-8")
    assert browser.open(path, width, 1600) == "ready"
    assert browser.run("document.documentElement.scrollWidth") == width
    assert (browser.run("document.getElementById('absent').hidden"), browser.run("viewer.hidden")) == (True, False)
    pixels = browser.pixels()
    for name in ("solid", "slices"):
        seen = pixels[box_of(browser, name)]
        assert (
            min(near(seen, colour).sum() for colour in NAMES.values() if name == "solid" or colour == COLOURS[0]) > 200
        )

    def value(name):
        return browser.run(f"document.getElementById('{name}').value")

    turn, slice_ = int(value("turn")), int(value("slice-axial"))
    stops = []
    for _ in range(browser.run("document.querySelectorAll('button, input, canvas, summary').length") + 2):
        browser.press("Tab", 9)
        stop = browser.run("document.activeElement.id")
        if stop in ("solid", "slices") and stop not in stops:
            browser.press("ArrowRight", 39)
        stops.append(stop)
    assert {"solid", "spin", "from-above", "turn", "zoom", "slices", "plane-all", "slice-axial", "strength"} <= set(
        stops
    )
    assert "slice-coronal" not in stops  # hidden while one plane is shown
    assert (int(value("turn")), int(value("slice-axial"))) == (turn + 5, slice_ + 1)
    assert browser.run("document.querySelector('[for=slice-axial]~output').textContent").startswith(
        f"{slice_ + 1} of 20"
    )
    browser.run("document.querySelector('[data-surface=\"0\"]').click()")
    assert near(browser.pixels()[box_of(browser, "solid")], COLOURS[0]).sum() < 20
    assert browser.requests() == [path.as_uri()]
    assert browser.complaints() == []


@pytest.mark.slow
def test_a_browser_without_webgl_says_so(tmp_path, page):
    path = tmp_path / "page.html"
    path.write_text(page.source, encoding="utf-8")
    browser = Browser(tmp_path / "profile", "--disable-3d-apis")
    try:
        assert browser.open(path) == "absent"
        assert browser.run("[absent.hidden, viewer.hidden]") == [False, True]
        assert browser.complaints() == []
    finally:
        browser.close()


@pytest.mark.slow
def test_the_policy_lets_nothing_out_and_the_tests_would_see_it(tmp_path, browser):
    """Scripts that ask for more than the page allows: the requests do not happen, and stand on the console."""
    code = "document.body.append(Object.assign(new Image(), {src: 'http://localhost:9/a.png'}));"
    code += "fetch('http://localhost:9/b').catch(() => { viewer.dataset.state = 'refused' });"
    section = html.Section("A", html.Markup('<div id="viewer"></div>'), scripts=(code,))
    path = tmp_path / "page.html"
    text = page_of(section).source.replace("</main>", "<script>viewer.dataset.state = 'not ours'</script></main>")
    path.write_text(text, encoding="utf-8")
    assert browser.open(path) == "refused"
    assert len(browser.complaints()) >= 3
    sent = [event for event in browser.events if event.get("method") == "Network.responseReceived"]
    assert all(event["params"]["response"]["url"].startswith("file:") for event in sent)
