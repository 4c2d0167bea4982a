"""The page of a quantified infection, for a physician: the figure, how sure it is, and what to look at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..lungs import INFECTED
from ..proportions import BINS, HEIGHTS, MANY_SAMPLES, SIDES
from . import html
from .charts import Part, histogram_chart, strip_chart
from .html import Bar, Card, Markup, Section
from .infection_figures import MINIMUM_LUNG_ML, Chest, brackets, known_estimates, millilitres, percent
from .infection_pictures import INFECTION_COLOUR, LUNG_COLOUR, SHOWN_HU, front_picture, slice_pictures
from .page import COLOURS
from .scene import Scene, class_surfaces
from .template import Kind, grid_rows, result_page
from .viewer import viewer_section

HEALTHY = "healthy lung"
LABEL_COLOURS = {HEALTHY: LUNG_COLOUR, "infected lung": INFECTION_COLOUR}
BIN_COLOURS = dict(zip(BINS, (COLOURS[1], COLOURS[0], COLOURS[5], COLOURS[4]), strict=True))
RULE = (
    "The Chinese diagnosis and treatment protocol for COVID-19 (trial version 7) counts lesions that progress by more "
    "than 50 % within 24 to 48 hours among the signs of a severe case."
)
LIMITS = (
    "The networks were trained on synthetic chests. They have not been validated on patients.",
    "Tumour, atelectasis, effusion, fibrosis, oedema, aspiration and blurring by motion can look the same as an "
    "infection to the tool. It tells how much lung looks infected, not why.",
    "Where a lung is consolidated as a whole it can be missing from the lung mask. Then both the infected volume and "
    "the lung volume are too small, and the proportion is too low; compare the outlines with the slices.",
    "How far the interval reaches was found on synthetic chests. On patients the networks may be further off than on "
    "these, and the truth outside of the interval more often than it says.",
    "Lung volumes depend on how deeply the patient has breathed in. So does the proportion.",
    f"Below {MINIMUM_LUNG_ML:g} ml of lung no proportion is given.",
)
KIND = Kind("Infected part of the lungs", "Chest CT, measured by beyond2d.", LIMITS, "report.json")

Report = Mapping[str, Any]


def infection_page(report: Report, chest: Chest) -> str:
    """The page of a report (see `infection_figures.figures`) on a chest."""
    rows = grid_rows(report["input"]["shape"], report["input"]["spacing_mm"])
    sections = _sections(report, chest)
    return result_page(KIND, report["title"], _headline(report), sections, rows, report["settings"])


def _sections(report: Report, chest: Chest) -> Iterator[Section]:
    yield _flags(report)
    if report["growth"]:
        yield _growth(report["growth"], report)
    yield _viewer(chest)
    yield _slices(report, chest)
    if report["proportion"] is not None:
        yield _front(report, chest)
        yield _regions(report)
        yield _density(report)
        yield _certainty(report)
    if report["scores"]:
        yield _scores(report["scores"])


def _headline(report: Report) -> Markup:
    lung = Card("Lung volume", millilitres(report["lung_ml"]))
    if report["proportion"] is None:
        lead = "Too little lung was found for a proportion. This says nothing about whether there is an infection."
        return html.join(html.cards([Card("Infected lung", "no figure"), lung]), html.paragraph(lead, "lead"))
    infected = Card("Infected volume", millilitres(report["infection_ml"]))
    figure = Card("Infected lung", percent(report["proportion"]), brackets(report))
    return html.join(html.cards([figure, lung, infected]), html.paragraph(_meaning(report), "lead"))


def _meaning(report: Report) -> str:
    lung = millilitres(report["lung_ml"])
    if not report["infection_ml"]:
        return f"In {lung} of lung nothing was marked as infected. That does not rule out an infection."
    infected = millilitres(report["infection_ml"])
    thirds = {name: region["infection_ml"] for name, region in report["regions"].items() if "_" in name}
    most = max(thirds, key=lambda name: thirds[name])
    side, height = most.split("_")
    where = f"the largest part ({millilitres(thirds[most])}) lies in the {height} third of the {side} lung"
    bounds = f" In brackets: {_interval_words(report)}." if brackets(report) else ""
    return f"Of {lung} of lung, {infected} are marked as infected; {where}.{bounds}"


def _interval_words(report: Report) -> str:
    if report["interval_level"] is None:
        return f"the interval of {len(known_estimates(report))} estimates"
    return f"the {100 * report['interval_level']:g} % interval, as found on synthetic chests"


def _flags(report: Report) -> Section:
    if not report["flags"]:
        words = (
            "The checks of lung size, field of view, slices, estimates and density found nothing unusual. They cannot "
            "tell whether the outlines are right: compare them with the slices."
        )
        return Section("Nothing was flagged", html.paragraph(words), "fine")
    return Section("Look at this first", html.bullets(flag["text"] for flag in report["flags"]), "warning")


def _growth(growth: Report, report: Report) -> Section:
    earlier, now = growth["earlier_proportion"], report["proportion"]
    heading = "Change since the earlier scan"
    if now is None:
        words = f"The earlier scan had {percent(earlier)}. This one has no proportion, so there is nothing to compare."
        return Section(heading, html.paragraph(words))
    ago = "Earlier" if growth["hours"] is None else f"{growth['hours']:g} hours ago"
    points = percent(growth["absolute"], sign=True).replace("%", "percentage points")
    relative = "" if growth["relative"] is None else f" (relative change {percent(growth['relative'], sign=True)})"
    change = f"{ago} {percent(earlier)}, now {percent(now)}: a change of {points}{relative}."
    parts = [html.paragraph(change, "lead")]
    low, high = report["proportion_interval"]
    if low is not None and low <= earlier <= high:
        parts.append(html.paragraph("The earlier figure lies within today's interval: there may be no change at all."))
    note = "Both reports have to be of the same patient and of the same networks; the tool does not check that."
    parts += [html.paragraph(f"{RULE} {_verdict(growth)}"), html.paragraph(note)]
    return Section(heading, html.join(*parts), "warning" if growth["rapid"] else "")


def _verdict(growth: Report) -> str:
    if growth["rapid"] is not None:
        return f"By this rule the growth is {'rapid' if growth['rapid'] else 'not rapid'}."
    if growth["hours"] is None:
        return "How many hours lie between the scans is not known, so the rule cannot be applied."
    return f"It says nothing about scans that lie {growth['hours']:g} hours apart with a change such as this."


def _viewer(chest: Chest) -> Section:
    lungs = class_surfaces(chest.label > 0, chest.affine, {"lungs": LUNG_COLOUR})
    infected = class_surfaces(chest.label == INFECTED, chest.affine, {"infected": INFECTION_COLOUR})
    # Lungs that can be looked through show the infection inside of them.
    surfaces = [*infected, *(surface._replace(opacity=0.3) for surface in lungs)]
    scene = Scene(chest.hu, chest.affine, SHOWN_HU, chest.label, LABEL_COLOURS, surfaces, hidden=(HEALTHY,))
    words = "The surfaces of the lungs and of what is infected, and slices of the CT in the lung window."
    return viewer_section(scene, words)


def _slices(report: Report, chest: Chest) -> Section:
    total, enough = chest.label.shape[2], report["proportion"] is not None
    shown = []
    for picture in slice_pictures(chest, whole=not enough):
        height = f"{round(picture.z_mm)} mm".replace("-", "−")
        share = f"{percent(picture.proportion)} infected" if enough else "some lung found"
        share = "no lung" if math.isnan(picture.proportion) else share
        caption = f"{height}, slice {picture.number} of {total}: {share}"
        alt = f"Axial slice at {height}, the patient's right on the left; {share} in this slice"
        shown.append(html.figure(html.image(picture.png, alt), caption))
    words = (
        "Axial slices from the head down, in the lung window (centre −600, width 1500 HU), as seen from the feet: the "
        "patient's right is on the left. Heights are the scanner's; slices count from the feet."
    )
    colours = {"outline of the lungs": LUNG_COLOUR, "infected": INFECTION_COLOUR}
    return Section("Slices", html.join(html.paragraph(words), html.key(colours), html.gallery(shown)))


def _front(report: Report, chest: Chest) -> Section:
    alt = (
        "The lungs from the front, the patient's right on the left, with the depth of infected lung in colour; "
        f"{percent(report['regions']['right']['proportion'])} of the right lung and "
        f"{percent(report['regions']['left']['proportion'])} of the left lung are infected"
    )
    caption = (
        "Mean of the CT from front to back. The colour tells how many mm of infected lung lie behind one another; "
        "where there is no colour there is none."
    )
    return Section("From the front", html.figure(html.image(front_picture(chest), alt), caption), "half")


def _regions(report: Report) -> Section:
    names = {"overall": "Both lungs"}
    for side in SIDES:
        names |= {side: f"{side.capitalize()} lung"}
        names |= {f"{side}_{height}": f"{side.capitalize()} {height}" for height in HEIGHTS}
    rows: list[list[str | Bar]] = []
    for key, name in names.items():
        region = report["regions"][key]
        volumes = [millilitres(region[part]).removesuffix(" ml") for part in ("lung_ml", "infection_ml")]
        rows.append([name, *volumes, Bar(percent(region["proportion"]), region["proportion"] or 0.0)])
    header = ("Region", "Lung (ml)", "Infected (ml)", "Proportion")
    words = "Upper, middle and lower are thirds of each lung's own height, not lobes."
    return Section("By region", html.table(words, header, rows, "figures"), "half")


def _density(report: Report) -> Section:
    densities = report["densities"]
    heading = "Density of the infected part"
    if not report["infection_ml"]:
        return Section(heading, html.paragraph("Nothing is marked as infected."), "half")
    shares = {name: percent(share) for name, share in densities["shares"].items()}
    parts = [Part(name.replace("_", " "), *BINS[name], shares[name], BIN_COLOURS[name]) for name in BINS]
    alt = "Histogram of HU in the infected part: " + ", ".join(f"{part.name} {part.share}" for part in parts)
    chart = histogram_chart(densities["counts"], densities["edges_hu"], parts, "HU, in steps of 50", alt)
    caption = (
        "Share of the infected part in each step; values beyond the ends count in the first and the last. Bounds: "
        "aerated below −750 HU, ground glass to −300, consolidation to 50, denser above. They follow common use and "
        "differ from study to study."
    )
    return Section(heading, html.figure(chart, caption), "half")


def _certainty(report: Report) -> Section:
    known = known_estimates(report)
    heading = "How sure is this?"
    if len(known) < 2:
        words = "There are no further estimates to compare with, so nothing tells how steady this figure is."
        return Section(heading, html.paragraph(words), "half")
    low, high = report["proportion_interval"]
    words = (
        f"{len(known)} estimates of the proportion, from the networks and mirrored copies of the scan. The "
        f"interval from {percent(low)} to {percent(high)} spans {_span(report)}"
    )
    alt = f"{len(known)} estimates between {percent(min(known))} and {percent(max(known))}"
    strip = strip_chart([100 * value for value in known], 100 * report["proportion"], (100 * low, 100 * high),
                        "% of the lungs infected", alt)  # fmt: skip
    caption = "A dot an estimate, in the order of the table; the band is the interval, the line the result."
    rows = [(estimate["name"], percent(estimate["proportion"])) for estimate in report["estimates"]]
    table = html.table("Estimates", ("Estimate", "Proportion"), rows)
    body = html.join(html.paragraph(words), html.figure(strip, caption), html.details("All estimates", table))
    return Section(heading, body, "half")


def _span(report: Report) -> str:
    """What the interval spans, and what that is worth."""
    those = "the middle 95 % of them" if len(known_estimates(report)) >= MANY_SAMPLES else "all of them"
    if report["interval_level"] is None:
        worth = "It tells how far the estimates disagree, not how far they are from the truth"
        return f"{those}, and the result. {worth}: an error that all share does not show."
    level = f"{100 * report['interval_level']:g} %"
    return (
        f"{those}, and reaches further by so much that it held the truth of {level} of the synthetic chests it was "
        "fitted to. Real chests differ from these."
    )


def _scores(scores: Report) -> Section:
    dice = {"lung_dice": "Dice of the lungs", "infection_dice": "Dice of the infection"}
    rows = [(name, "–" if scores[key] is None else f"{scores[key]:.3f}") for key, name in dice.items()]
    rows.append(("True proportion", percent(scores["true_proportion"])))
    return Section("Against the reference", html.table("Compared with the given label", ("Figure", "Value"), rows))
