"""What a physician gets of a quantified infection: pictures, the page, the files, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import math
import re

import matplotlib.image
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pages import Page, told
from test_infection_figures import PLAIN, REPORTS, STEADY, bases, chest, oblique, report_of, turned, with_column

from beyond2d.checks import InputError
from beyond2d.proportions import HISTOGRAM_EDGES, Calibration
from beyond2d.report import infection, infection_page
from beyond2d.report.infection import INFECTION_FILES, SaveInfectiond, headline
from beyond2d.report.infection_figures import upright
from beyond2d.report.infection_pictures import chosen_slices, front_picture, slice_pictures

PATIENT = "Doe_Jane_19700101"


def item_of(volumes, affine=PLAIN, estimates=STEADY, truth=None, name=PATIENT):
    """An item as inference hands it on."""
    arrays = {"original": volumes[0], "pred": volumes[1]} | ({} if truth is None else {"truth": truth})
    tensors = {}
    for key, array in arrays.items():
        meta = {"filename_or_obj": f"/data/{name}/{name}.nii.gz"}
        tensors[key] = MetaTensor(torch.as_tensor(np.ascontiguousarray(array)[None]), affine=affine, meta=meta)
    return {**tensors, "estimates": [*estimates]}


def save(folder, item, single=True, record=None, **options):
    return SaveInfectiond(output_dir=str(folder), single=single, record=record or {}, **options)(item)


@pytest.fixture
def no_pictures(monkeypatch):
    """Pictures take longest and have tests of their own."""
    monkeypatch.setattr(infection_page, "slice_pictures", lambda *chest, **options: [])
    monkeypatch.setattr(infection_page, "front_picture", lambda chest: bytes(24))


def pixels_of(png):
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def orange(pixels):
    """Where something infected is shown: far redder than blue."""
    return pixels[..., 0] - pixels[..., 2] > 0.2


def sides_of(mask):
    """How many pixels lie in the left and in the right half."""
    half = mask.shape[1] // 2
    return mask[:, :half].sum(), mask[:, half:].sum()


def test_slices_show_the_patients_right_on_the_left_in_any_orientation():
    plain = slice_pictures(upright(*chest(), PLAIN))
    lower = [picture for picture in plain if picture.number <= 20]
    upper = [picture for picture in plain if picture.number > 34]
    assert len(lower) > 1 < len(upper)
    for pictures, there, not_there in ((lower, 0, 1), (upper, 1, 0)):
        for picture in pictures:
            sides = sides_of(orange(pixels_of(picture.png)))
            assert sides[there] > 1000
            assert sides[not_there] == 0
    volumes, affine = turned(chest(), "LPI")
    assert [picture.png for picture in slice_pictures(upright(*volumes, affine))] == [picture.png for picture in plain]


def test_slices_tell_their_number_their_height_and_their_infected_share():
    affine = PLAIN.copy()
    affine[2, 3] = -100
    pictures = {picture.number: picture for picture in slice_pictures(upright(*chest(), affine))}
    assert list(pictures) == sorted(pictures, reverse=True)
    for number, picture in pictures.items():
        assert picture.z_mm == -100 + 5 * (number - 1)
        infected = 120 * (11 <= number <= 20) + 40 * (35 <= number <= 40)
        assert picture.proportion == pytest.approx(infected / (480 + 384))


def test_slices_are_cut_around_the_lungs_unless_whole():
    shapes = [pixels_of(slice_pictures(upright(*chest(), PLAIN), whole)[0].png).shape for whole in (False, True)]
    # The lungs' box with 15 mm around is 54 by 30 voxels of 60 by 50.
    assert [shape[0] / shape[1] for shape in shapes] == pytest.approx([30 / 54, 50 / 60], rel=0.02)


def test_the_front_shows_where_infection_is_and_how_deep():
    picture = orange(pixels_of(front_picture(upright(*chest(), PLAIN)))[:-96])  # without the scale of colours
    rows, columns = np.nonzero(picture)
    upper = rows < picture.shape[0] / 2
    assert (columns[upper] > picture.shape[1] / 2).all()
    assert (columns[~upper] < picture.shape[1] / 2).all()
    assert min(upper.sum(), (~upper).sum()) > 500
    assert len(front_picture(upright(*chest(low=None, high=None), PLAIN))) > 1000  # nothing infected


@pytest.mark.parametrize("count", [3, 8])
def test_chosen_slices_are_those_with_most_infection_that_lie_apart(count):
    lung = np.r_[[0] * 10, [50] * 80, [0] * 10]
    infection = np.zeros(100, int)
    infection[20:60] = 40 - np.abs(np.arange(20, 60) - 35)
    chosen = chosen_slices(lung, infection, count)
    assert len(chosen) == count
    assert chosen == sorted(chosen, reverse=True)
    assert 35 in chosen
    assert infection[chosen].all()
    assert -np.diff(chosen).max() >= 0.5 * 40 / count


def test_slices_are_spread_where_little_or_nothing_is_infected():
    lung = np.r_[[0] * 10, [50] * 80, [0] * 10]
    healthy = chosen_slices(lung, np.zeros(100, int))
    assert healthy == [85, 75, 65, 55, 45, 35, 25, 15]
    one = np.zeros(100, int)
    one[40] = 5
    spread = chosen_slices(lung, one)
    assert 40 in spread
    assert len(spread) == 8
    assert (spread[0], spread[-1]) == (85, 15)
    assert chosen_slices(np.zeros(16, int), np.zeros(16, int), 4) == [14, 10, 6, 2]
    assert chosen_slices([0, 0], [0, 0]) == [1, 0]


def page_of(report, volumes, affine=PLAIN):
    page = Page(infection_page.infection_page(report, upright(*volumes, affine)))
    assert page.open == []
    return page


SECTIONS = [
    "Turn and scroll", "Slices", "From the front", "By region", "Density of the infected part", "How sure is this?",
    "Limits and intended use", "What was run",
]  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return page_of(REPORTS["plain"](), chest())


def test_a_page_stands_alone(page):
    # Not even a name space. An image's data may hold any letters; scripts and licences have a test of their own.
    source = re.sub(r"<pre>.*?</pre>", "", told(page.source), flags=re.DOTALL)
    assert not re.search(r"https?:|//|@import|url\(|<link|<script|<iframe|<object| on[a-z]+=", source)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source


def test_a_page_can_be_read_by_everyone(page):
    assert page.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)] == ["h1"] + ["h2"] * (1 + len(SECTIONS))
    pictures = [image["alt"] for image in page.all("img")] + [chart["aria-label"] for chart in page.all("svg")]
    assert len(page.all("img")) == 9
    assert len(page.all("svg")) == 2
    assert all(len(words) > 20 for words in pictures)
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(pictures)
    headers = page.all("th")
    assert headers
    assert {header["scope"] for header in headers} == {"col", "row"}
    assert len(page.all("caption")) == len(page.all("table"))
    labels = {section["aria-labelledby"] for section in page.all("section")}
    assert labels == {heading["id"] for heading in page.all("h2")}
    wide = [div for div in page.all("div") if div.get("class") == "wide"]
    assert [div["tabindex"] for div in wide] == ["0"] * len(page.all("table"))


def test_a_page_has_its_sections_and_figures(page):
    assert page.text("h2") == ["Nothing was flagged", *SECTIONS]
    assert page.text("h1") == ["A case"]
    shown = " ".join(page.text())
    for words in ("5.6 %", "[5.0, 6.0]", "3,240 ml", "180 ml", "lower third of the right lung", "5 × 5 × 5",
                  "parts.mirrored", "25.0 %", "83.3 %", "not for diagnosis"):  # fmt: skip
        assert words in shown, words
    assert len(page.all("circle")) == len(STEADY)
    bars = [bar for bar in page.all("rect") if "fill" in bar and float(bar["height"]) > 0]
    assert len(bars) == 2
    assert len(page.all("rect")) == len(HISTOGRAM_EDGES) - 1 + 1  # a bar a bin, and the band


def test_a_title_is_text_and_its_absence_is_filled(no_pictures):
    title = '<b>"Ward" & 3</b>'
    page = page_of(report_of(chest(), title=title, settings={"<i>": "<script>"}), chest())
    assert page.text("title") == page.text("h1") == [title]
    assert not page.all("b", "i")
    assert "<script>" in page.text("td")
    assert page_of(report_of(chest()), chest()).text("h1") == [infection_page.KIND.title]


def test_flags_stand_in_a_box_before_the_pictures(no_pictures):
    page = page_of(REPORTS["flagged"](), with_column(5))
    assert page.text("h2")[0] == "Look at this first"
    assert page.all("section")[0]["class"] == "warning"
    assert page.text("li")[0].startswith("The field of view cuts the lungs towards the feet.")
    assert page.text("td").count("–") == 1  # the estimate without a lung


@pytest.mark.parametrize(
    ("earlier", "hours", "words", "kind"),
    [
        (0.03, 36, "By this rule the growth is rapid.", "warning"),
        (0.045, 36, "By this rule the growth is not rapid.", None),
        (0.03, 100, "It says nothing about scans that lie 100 hours apart", None),
        (0.03, None, "is not known, so the rule cannot be applied", None),
        (0.055, None, "The earlier figure lies within today's interval", None),
        (0.0, None, "Earlier 0.0 %, now 5.6 %: a change of +5.6 percentage points.", None),
    ],
)
def test_growth_is_told_in_words(no_pictures, earlier, hours, words, kind):
    page = page_of(report_of(chest(), earlier=earlier, hours=hours), chest())
    assert page.text("h2")[1] == "Change since the earlier scan"
    assert page.all("section")[1].get("class") == kind
    shown = " ".join(page.text("p")).replace("\xa0", " ")
    assert words in shown
    assert ("within today's interval" in shown) == (earlier == 0.055)


def test_the_page_tells_what_its_interval_is_worth(no_pictures):
    plain, fitted = (
        infection_page.infection_page(report_of(chest(), **options), upright(*chest(), PLAIN))
        for options in ({}, {"calibration": Calibration(0.9, 0.02)})
    )
    assert "how far the estimates disagree" in plain
    assert "held the truth" not in plain
    assert "held the truth of 90&nbsp;% of the synthetic chests" in fitted
    assert "In brackets: the 90&nbsp;% interval" in fitted
    assert "In brackets: the interval of 2 estimates" in plain


def test_a_page_without_a_proportion_has_no_empty_tables():
    page = page_of(REPORTS["no lung"](), bases())
    assert page.text("h2") == [
        "Look at this first", "Change since the earlier scan", "Turn and scroll", "Slices", "Limits and intended use",
        "What was run",
    ]  # fmt: skip
    assert "no figure" in page.text("dd")
    assert len(page.all("table")) == 1  # of what was run
    assert len(page.all("img")) == 4  # all slices with lung
    assert "None" not in " ".join(page.text())
    assert len(page_of(REPORTS["nothing"](), (bases()[0], bases()[1] * 0)).all("img")) == 8


def test_a_healthy_chest_has_a_page(no_pictures):
    page = page_of(REPORTS["healthy"](), chest(low=None, high=None))
    shown = " ".join(page.text())
    assert "nothing was marked as infected" in shown
    assert "Nothing is marked as infected." in page.text("p")
    assert "nothing tells how steady this figure is" in shown
    assert not page.all("svg")


def test_scores_are_on_the_page(no_pictures):
    page = page_of(REPORTS["scored"](), chest())
    assert "Against the reference" in page.text("h2")
    assert {"1.000", "4.6 %"} <= set(page.text("td"))


def test_the_files_are_written_on_the_scans_own_grid(tmp_path):
    volumes, (_, affine) = chest(), (None, oblique())
    output = save(tmp_path / "out", item_of(volumes, affine), record={"model": "slab"}, title="A case")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(INFECTION_FILES)
    for name, number in (("lung.nii.gz", 1), ("infection.nii.gz", 2)):
        written = nib.load(tmp_path / "out" / name)
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(written.dataobj), volumes[1] >= number)
        np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report == output["result"]
    assert (report["settings"], report["title"]) == ({"model": "slab"}, "A case")
    assert "A case" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_truth_is_scored(tmp_path, no_pictures):
    volumes = chest()
    assert save(tmp_path, item_of(volumes, truth=volumes[1]))["result"]["scores"]["infection_dice"] == 1
    assert save(tmp_path, item_of(volumes))["result"]["scores"] is None


def test_no_file_names_the_patient(tmp_path, no_pictures):
    save(tmp_path / PATIENT, item_of(chest(), truth=chest()[1]))
    for path in (tmp_path / PATIENT).iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        content = told(content.decode()).encode() if path.suffix == ".html" else content
        assert len(content) > 1000
        for part in (*PATIENT.split("_"), str(tmp_path)):
            assert part.encode() not in content, path.name


def test_several_cases_have_a_folder_each(tmp_path, no_pictures):
    for name in ("one", "two"):
        save(tmp_path, item_of(chest(), name=name), single=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(INFECTION_FILES)


def test_files_are_written_whole_or_not_at_all(tmp_path, no_pictures, monkeypatch):
    save(tmp_path / "old", item_of(chest()))
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}

    def fail(*_):
        raise RuntimeError("no page")

    monkeypatch.setattr(infection, "infection_page", fail)
    for folder in ("old", "new"):
        with pytest.raises(RuntimeError, match="no page"):
            save(tmp_path / folder, item_of(chest(high=None)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_report_is_the_next_ones_baseline(tmp_path, no_pictures):
    first = save(tmp_path / "first", item_of(chest(low=np.s_[34:44, 10:16, 10:20])))["result"]
    again = save(tmp_path / "again", item_of(chest()), baseline=str(tmp_path / "first" / "report.json"), hours=24)
    growth = again["result"]["growth"]
    assert growth["earlier_proportion"] == first["proportion"] == pytest.approx(105 / 3240)
    assert growth["relative"] == pytest.approx(75 / 105)
    assert growth["rapid"] is True


GOOD = {"system": "infection", "schema_version": 1, "proportion": 0.1}
BAD_BASELINES = [
    (None, "cannot read it"),
    ("{", "got no JSON"),
    ("\udcff", "got no JSON"),
    ("[0.1]", "with system 'infection', got None"),
    (json.dumps({**GOOD, "system": "digits"}), "with system 'infection', got 'digits'"),
    (json.dumps({**GOOD, "schema_version": 2}), "with schema_version 1, got 2"),
    (json.dumps({"system": "infection", "schema_version": 1}), "expected a proportion between 0 and 1, got None"),
    (json.dumps({**GOOD, "proportion": None}), "got None: there was too little lung for one"),
    (json.dumps({**GOOD, "proportion": "0.1"}), "expected a proportion between 0 and 1, got '0.1'"),
    (json.dumps({**GOOD, "proportion": True}), "got True"),
    (json.dumps({**GOOD, "proportion": 1.5}), "got 1.5"),
    (json.dumps({**GOOD, "proportion": math.nan}), "got nan"),
]


@pytest.mark.parametrize(("text", "words"), BAD_BASELINES)
def test_a_bad_baseline_is_refused_before_anything_is_computed(tmp_path, text, words):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        SaveInfectiond(output_dir=str(tmp_path), single=True, record={}, baseline=str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("hours", "with_baseline", "words"),
    [
        (36, False, "hours needs the baseline they are counted from, got 36 hours and no baseline"),
        (0, True, "hours must be above 0, got 0"),
        ("36", True, "hours must be a number, got '36'"),
    ],
)
def test_bad_hours_are_refused_before_anything_is_computed(tmp_path, hours, with_baseline, words):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(words)):
        SaveInfectiond(
            output_dir=str(tmp_path), single=True, record={}, baseline=str(path) if with_baseline else None, hours=hours
        )


def test_the_terminal_gets_a_line():
    assert headline(REPORTS["plain"]()) == "Infected    5.6 % [5.0, 6.0] of the lungs: 180 ml of 3,240 ml"
    for few in ((), STEADY[:1]):  # one estimate has nothing to disagree with
        assert headline(report_of(chest(), estimates=few)) == "Infected    5.6 % of the lungs: 180 ml of 3,240 ml"
    assert headline(REPORTS["no lung"]()) == "Infected    no figure: 225 ml of lung found, too little for one"
