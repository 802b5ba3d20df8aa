"""The base of all pages, and the palette."""

from __future__ import annotations

import base64
import html
import io
import itertools
import os
import re
from pathlib import Path

import jinja2
import matplotlib.figure
import numpy as np
import PIL.Image
import pytest

from foundation import page, palette, plots

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = sorted(
    path
    for folder in ("training", "export", "serving", "loadtest", "tests")
    for path in (ROOT / folder).rglob("*.html")
)

# What a person with a colour blindness sees, in linear RGB: G. Machado, M. Oliveira, L. Fernandes,
# A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009, severity 1.0.
VISIONS = {
    "all three cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}

XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of linear sRGB


def linear(color: str) -> np.ndarray:
    values = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    relative = XYZ @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_that_stand_side_by_side_can_be_told_apart(vision: str) -> None:
    seen = VISIONS[vision] @ np.eye(3)
    together = (*palette.SERIES, palette.RED, palette.GREY, palette.INK)
    for one, other in itertools.combinations(together, 2):
        # CIE 1976; 2.3 is just noticeable, and a thin line needs much more
        assert np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))) > 20


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        (palette.INK, "#ffffff"),
        (palette.MUTED, "#ffffff"),
        (palette.BLUE, "#ffffff"),
        (palette.RED, "#ffffff"),
        (palette.GOOD, "#ffffff"),
        (palette.GOOD, palette.GOOD_GROUND),
        (palette.RED, palette.BAD_GROUND),
        (palette.MUTED, palette.CODE_GROUND),
    ],
)
def test_text_has_the_contrast_that_wcag_asks_for(text: str, ground: str) -> None:
    dark, light = sorted(float(XYZ[1] @ linear(color)) for color in (text, ground))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_template_stands_on_the_base_and_has_no_colour_of_its_own(template: Path) -> None:
    text = template.read_text()
    assert text.startswith("{% extends ")
    assert "<html" not in text
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?=[;\" ])", text)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.html"
    path.write_text(
        '{% extends "base.html" %}{% block title %}Of {{ name }}{% endblock %}'
        "{% block body %}<p>{{ words }}</p>{% endblock %}"
    )
    return path


def test_a_page_has_a_head_a_body_and_says_where_it_comes_from(
    template: Path, tmp_path: Path
) -> None:
    page.write(
        tmp_path / "page.html", template, origin=page.origin("make it"), name="it", words="a < b"
    )
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<title>Of it</title>" in text
    assert "<h1>Of it</h1>" in text
    assert "<p>a &lt; b</p>" in text
    assert re.search(r"<footer><code>make it</code><br>\s*commit [0-9a-f]{40}", text)
    assert palette.INK in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "template.html"]


def test_what_is_not_known_of_the_origin_is_left_out(template: Path) -> None:
    assert "<footer" not in page.render(template, name="it", words="")
    bare = page.Origin(commit=None, machine=None, time="2026-01-01T00:00:00+00:00")
    text = page.render(template, origin=bare, name="it", words="")
    assert re.search(r"<footer>\s*outside of git<br>\s*2026-01-01T00:00:00\+00:00</footer>", text)


def test_a_name_without_a_value_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="words"):
        page.render(template, name="it")


def test_a_page_that_cannot_be_made_says_why_and_ends_nothing(
    template: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page.write(tmp_path / "page.html", template, origin=page.origin("make it"), name="it")
    text = (tmp_path / "page.html").read_text()
    assert "<h1>page.html</h1>" in text
    assert "could not be made: UndefinedError: &#39;words&#39; is undefined" in text
    assert "<code>make it</code>" in text
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "page.html cannot be made" in record.message
    assert "UndefinedError" in record.message


def test_a_page_takes_names_that_are_no_unicode(template: Path, tmp_path: Path) -> None:
    page.write(tmp_path / "page.html", template, name="it", words=os.fsdecode(b"caf\xe9"))
    assert r"<p>caf\udce9</p>" in (tmp_path / "page.html").read_text()


def test_the_same_plot_gives_the_same_text() -> None:
    def drawn() -> str:
        figure = matplotlib.figure.Figure()
        figure.subplots().plot([1, 2], label="it")
        return page.svg(figure)

    assert drawn() == drawn()
    assert drawn().startswith("<svg")


def test_a_plot_that_cannot_be_drawn_says_why_in_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def mathematics(label: str) -> matplotlib.figure.Figure:
        figure = matplotlib.figure.Figure()
        figure.subplots().set(title=label)
        return figure

    text = page.drawn(mathematics, r"over $<5 \bad$")
    assert text.startswith('<p class="note">No plot: ValueError: ')
    assert "&lt;5" in text
    assert "a plot cannot be drawn" in caplog.text
    assert page.drawn(mathematics, label="fine").startswith("<svg")


@pytest.mark.parametrize(
    "name", [r"over $5 \bad$", "$x$", r"a\$b", "_private", "_", "100 %", "a&b<c>"]
)
def test_a_name_is_shown_as_it_was_chosen(name: str) -> None:
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    axes.plot([1, 2], label=plots.name(name))
    axes.set(title=f"of {plots.name(name)}")
    legend = axes.legend()
    assert len(legend.get_texts()) == 1
    shown = re.findall("<!-- (.*?) -->", page.svg(figure))
    texts = [html.unescape(text).replace("\N{WORD JOINER}", "") for text in shown]
    assert {name, f"of {name}"} <= set(texts)


def test_a_name_without_end_leaves_room_for_the_plot() -> None:
    figure = matplotlib.figure.Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.set_ylabel(plots.name("begin" + "x" * 5000 + "end"))
    axes.plot([1, 2], label=plots.name("a\nb" * 300))
    axes.legend()
    assert plots.name("begin" + "x" * 5000 + "end").startswith("begin")
    assert plots.name("begin" + "x" * 5000 + "end").endswith("xend")
    page.svg(figure)  # a plot without room would warn, and warnings are errors here


def test_pixels_stand_in_the_page() -> None:
    text = page.pictured('of "a"', np.full, (10, 30, 3), 7, np.uint8)
    found = re.fullmatch('<img src="data:image/png;base64,([^"]*)" alt="of &#34;a&#34;">', text)
    with PIL.Image.open(io.BytesIO(base64.b64decode(found[1]))) as image:
        assert image.size == (30, 10)
        assert image.getpixel((29, 9)) == (7, 7, 7)


def test_a_picture_that_cannot_be_read_says_why_in_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = page.pictured("one.png", Path.read_bytes, Path("no<where>.png"))
    assert text.startswith('<p class="note">No picture: FileNotFoundError: ')
    assert "no&lt;where&gt;.png" in text
    assert "one.png: FileNotFoundError" in caplog.text
