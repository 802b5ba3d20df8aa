"""The base of all pages, and the palette."""

from __future__ import annotations

import base64
import contextlib
import datetime
import html
import io
import itertools
import json
import os
import re
from pathlib import Path

import jinja2
import markupsafe
import matplotlib.figure
import numpy as np
import PIL.Image
import pytest

from foundation.pages import page, palette, plots, svg
from tests.house.pages import faults

STARTED = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)

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


SCREENS = {"light": 0, "dark": 1}


def shade(color: str, screen: str) -> str:
    """What a colour of the palette is on a screen."""
    return next(pair for pair in palette.COLORS.values() if pair[0] == color)[SCREENS[screen]]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("vision", VISIONS)
def test_colours_that_stand_side_by_side_can_be_told_apart(vision: str, screen: str) -> None:
    seen = VISIONS[vision] @ np.eye(3)
    together = (*palette.SERIES, palette.RED, palette.GREY, palette.INK)
    shades = [shade(color, screen) for color in together]
    for one, other in itertools.combinations(shades, 2):
        # CIE 1976; 2.3 is just noticeable, and a thin line needs much more
        assert np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))) > 20


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize(
    ("text", "ground", "least"),
    [
        ("ink", "ground", 4.5),
        ("muted", "ground", 4.5),
        ("blue", "ground", 4.5),
        ("bad", "ground", 4.5),
        ("good", "ground", 4.5),
        ("good", "good-ground", 4.5),
        ("bad", "bad-ground", 4.5),
        ("muted", "code-ground", 4.5),
        ("red", "ground", 3.0),  # lines: WCAG 1.4.11
        ("orange", "ground", 3.0),
        ("green", "ground", 3.0),
        ("purple", "ground", 3.0),
    ],
)
def test_what_is_shown_has_the_contrast_that_wcag_asks_for(
    text: str, ground: str, least: float, screen: str
) -> None:
    shades = [palette.COLORS[name][SCREENS[screen]] for name in (text, ground)]
    dark, light = sorted(float(XYZ[1] @ linear(color)) for color in shades)
    assert (light + 0.05) / (dark + 0.05) >= least


PARTS = {
    name
    for template in TEMPLATES
    for name in re.findall(r'{% include "(.+?)" %}', template.read_text())
}
"""What pages have in common: a part of each, and none alone."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_template_stands_on_the_base_and_has_no_colour_or_format_of_its_own(
    template: Path,
) -> None:
    text = template.read_text()
    assert text.startswith("{% extends ") or f"{template.parent.name}/{template.name}" in PARTS
    assert "<html" not in text
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?=[;\" ])", text)
    assert "format(" not in text  # foundation/pages/numbers.py says how numbers are shown


PROGRAMS = sorted(
    path
    for folder in ("training", "export", "serving/rollout", "loadtest", "tests/bench")
    for path in (ROOT / folder).rglob("*.py")
)


def test_every_plot_is_made_by_the_one_who_knows_how_wide_it_is() -> None:
    own = re.compile(r"\bFigure\(figsize|subplots\(|\.legend\(")
    assert [path for path in PROGRAMS if own.search(path.read_text())] == []


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
    origin = page.origin("make it", STARTED)
    page.write(tmp_path / "page.html", template, origin=origin, name="it", words="a < b")
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<title>Of it</title>" in text
    assert "<h1>Of it</h1>" in text
    assert "<p>a &lt; b</p>" in text
    assert faults(text) == []
    head = text[: text.index("</header>")]
    assert re.search(r"<dt>started</dt><dd><time[^>]*>2026-01-01 00:00:00 UTC</time>", head)
    assert re.search(r"<dt>finished</dt><dd><time[^>]*>20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", head)
    assert re.search(r"<dt>machine</dt><dd>\d+ cores of .*, Python 3\.", head)
    known = r'<code title="([0-9a-f]{12})[0-9a-f]{28}\+?">\1</code>'
    assert re.search(rf"<dt>commit</dt><dd>({known}|outside of git)".replace("\\1", r"\2"), head)
    assert "<dt>command</dt><dd><code>make it</code>" in head
    for light, dark in palette.COLORS.values():
        assert light in text
        assert dark in text
    assert "prefers-color-scheme: dark" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "template.html"]


def test_what_is_not_known_of_the_origin_is_told_so(template: Path) -> None:
    assert 'class="origin"' not in page.render(template, name="it", words="")
    bare = page.Origin(commit=None, machine=None, finished="2026-01-01T00:00:00+00:00")
    text = page.render(template, origin=bare, name="it", words="")
    assert "outside of git" in text
    assert text.count("not recorded") == 2
    assert "<dt>started</dt>" not in text
    assert "2026-01-01 00:00:00 UTC" in text


def test_a_value_without_a_filter_is_shown_for_people(template: Path) -> None:
    for value, shown in ((None, "–"), (float("nan"), "–"), (1e-05, "0.00001"), (True, "yes")):  # noqa: RUF001
        assert f"<p>{shown}</p>" in page.render(template, name="it", words=value)


@pytest.mark.parametrize(
    "words",
    [
        '<img src="https://a.example/b.png" alt="b">',
        '<img src="data:image/png;base64,AA">',
        '<link rel="stylesheet" href="a.css">',
        '<a href="https://a.example">away</a>',
        '<p style="background: url(a.png)">x</p>',
        "<style>@import 'a.css'</style>",
        "<script>fetch('a')</script>",
        '<svg role="img" data-values="[1]"></svg>',
        '<svg role="img" aria-label="a" data-values="[]"></svg>',
        '<svg role="img" aria-label="8.5e+03" data-values="[1]"></svg>',
        '<svg role="img" aria-label="a" data-values="[1]"><g style="fill: #2563a8"></g></svg>',
        *(f"<td>{one}</td>" for one in ("nan", "None", "True", "8.53e+03", "-4.2 %", "85300 ms")),
        "<td>0.30000000000000004</td>",
        "<h1>another</h1>",
    ],
)
def test_what_a_page_must_not_have_is_found(template: Path, words: str) -> None:
    origin = page.origin("make it", STARTED)
    assert faults(page.render(template, origin=origin, name="it", words="fine")) == []
    text = page.render(template, origin=origin, name="it", words=markupsafe.Markup(words))
    assert len(faults(text)) == 1


@pytest.mark.parametrize(
    "words", ["p95 -6.1% (-64.1% to +145.5%)", "B: -14.1% (-19.4% to -8.6%)", "85,300 ms"]
)
def test_what_a_page_may_have_is_no_fault(template: Path, words: str) -> None:
    text = page.render(template, origin=page.origin("make it", STARTED), name="it", words=words)
    assert faults(text) == []


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


def line(label: str = "it") -> matplotlib.figure.Figure:
    figure, (axes,) = plots.panels(2)
    axes.plot([1, 2, 3], [0.5, np.nan, 8530.4], label=label, color=palette.BLUE)
    plots.style(axes)
    return figure


def test_the_same_plot_gives_the_same_text() -> None:
    assert page.drawn("a line", line) == page.drawn("a line", line)


def test_a_plot_is_there_for_a_wide_and_for_a_narrow_screen_and_says_what_it_shows() -> None:
    text = page.drawn("a line", line)
    assert re.findall('<svg class="(.*?)" role="img"', text) == ["wide", "narrow"]
    widths = [float(width) for width in re.findall(r'viewBox="0 0 ([\d.]+)', text)]
    assert widths == pytest.approx([72 * plots.WIDE, 72 * plots.NARROW])
    assert text.count('aria-label="a line. it: 0.500 to 8,530"') == 2


def test_a_plot_has_the_colours_of_the_page_and_text_that_can_be_read() -> None:
    text = page.drawn("a line", line)
    assert "stroke: var(--blue)" in text
    assert not re.search('style="[^"]*#[0-9a-f]{6}', text)
    assert re.search("<text[^>]*>8,000</text>", text)
    assert "metadata" not in text


def test_a_line_whose_colour_nobody_chose_has_one_of_the_palette() -> None:
    def drawn() -> matplotlib.figure.Figure:
        figure, (axes,) = plots.panels(2)
        axes.plot([1, 2])
        return figure

    assert page.drawn("a", drawn).count("stroke: var(--blue)") >= 2


def test_a_plot_takes_its_values_along() -> None:
    (axes,) = svg.values(line())
    (series,) = axes["series"]
    assert (series["name"], series["color"]) == ("it", "var(--blue)")
    assert (series["x"], series["y"]) == ([1, 2, 3], [0.5, None, 8530.4])
    assert axes["across"] is True


def test_values_of_bars_and_of_categories_have_names() -> None:
    figure, (axes,) = plots.panels(2)
    axes.bar([0, 1], [3, 5], label="right")
    axes.bar([0, 1], [2, 1], bottom=[3, 5], label="wrong")
    axes.set_xticks([0, 1], ["one", "two"])
    plots.style(axes)
    svg.element(figure, alt="bars")
    (shown,) = svg.values(figure)
    assert [(one["name"], one["y"]) for one in shown["series"]] == [
        ("right", [3, 5]),
        ("wrong", [2, 1]),
    ]
    assert shown["x"]["names"] == {"0": "one", "1": "two"}


def test_a_legend_covers_no_data() -> None:
    for label in ("it", "a name as long as names of versions and of runs can be"):
        figure, (axes,) = plots.panels(2)
        for number in range(4):
            axes.plot([1, 2], [number, 1], label=f"{label} {number}")
        axes.set(title="Title")
        plots.style(axes)
        figure.canvas.draw()
        legend = axes.get_legend().get_window_extent()
        assert legend.y0 >= axes.get_window_extent().y1
        assert legend.x1 <= figure.bbox.x1
        assert axes.get_legend().get_title().get_text() == "Title"


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(
    ("low", "high"),
    [(11, 14), (3.3, 41), (0.8, 230), (0.002, 90_000), (120, 125), (1, 1e12), (1e-8, 1), (99, 101)],
)
def test_the_numbers_of_a_logarithmic_axis_stand_apart(low: float, high: float, which: str) -> None:
    for height in (1.2, 5):
        for narrow in (False, True):
            with plots.narrow() if narrow else contextlib.nullcontext():
                figure, (axes,) = plots.panels(height)
                values = {which: [low, high], "xy".replace(which, ""): [1, 2]}
                axes.plot(values["x"], values["y"])
                getattr(axes, f"set_{which}scale")("log")
                plots.style(axes)
                figure.canvas.draw()
                labels = getattr(axes, f"get_{which}ticklabels")()
                boxes = [one.get_window_extent() for one in labels]
                assert 2 <= len(boxes) <= 9
                assert not any("e" in one.get_text() for one in labels)
                for one, other in itertools.pairwise(boxes):
                    assert not one.overlaps(other)


def test_a_plot_that_cannot_be_drawn_says_why_in_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = page.drawn("it", line, r"over $<5 \bad$")
    assert text.startswith('<p class="note">No plot: ValueError: ')
    assert "&lt;5" in text
    assert "a plot cannot be drawn" in caplog.text
    assert page.drawn("it", line, label="fine").startswith('<figure class="plot">')


@pytest.mark.parametrize(
    "name", [r"over $5 \bad$", "$x$", r"a\$b", "_private", "_", "100 %", "a&b<c>"]
)
def test_a_name_is_shown_as_it_was_chosen(name: str) -> None:
    def named() -> matplotlib.figure.Figure:
        figure, (axes,) = plots.panels(2)
        axes.plot([1, 2], label=plots.name(name))
        axes.set(title=f"of {plots.name(name)}")
        plots.style(axes)
        return figure

    text = page.drawn("it", named)
    shown = [html.unescape(one) for one in re.findall("<text[^>]*>(.*?)</text>", text)]
    read = [one.replace("\N{WORD JOINER}", "") for one in shown]
    assert {name, f"of {name}"} <= set(read)
    assert (
        json.loads(html.unescape(re.search('data-values="(.*?)"', text)[1]))[0]["series"][0]["name"]
        == name
    )


def test_a_name_without_end_leaves_room_for_the_plot() -> None:
    def named() -> matplotlib.figure.Figure:
        figure, (axes,) = plots.panels(2.8)
        axes.set_ylabel(plots.name("begin" + "x" * 5000 + "end"))
        axes.plot([1, 2], label=plots.name("a\nb" * 300))
        plots.style(axes)
        return figure

    assert plots.name("begin" + "x" * 5000 + "end").startswith("begin")
    assert plots.name("begin" + "x" * 5000 + "end").endswith("xend")
    page.drawn("it", named)  # a plot without room would warn, and warnings are errors here


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
