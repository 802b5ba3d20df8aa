"""The page /try in a real browser, beside a real server with the sample run's model."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import browser
from tests.browser import Page
from tests.integration.local_server_fixtures import RunningServer, running_server, save_line
from tfs_client import Client, ImageClassifier, ImagePrediction

ANSWERED = "!document.getElementById('answer').hidden"
REFUSED = "!document.getElementById('problem').hidden"
AT_REST = "document.getElementById('progress').textContent === ''"

LEAST_CONTRAST = """
(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = (color) => numbers(color).slice(0, 3).map((part) => linear(part / 255))
    .reduce((sum, part, index) => sum + part * [.2126, .7152, .0722][index], 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const both = [light(getComputedStyle(element).color), light(ground(element))];
    found.push((Math.max(...both) + .05) / (Math.min(...both) + .05));
  }
  return Math.min(...found);
})()
"""
"""The worst contrast of a text with what is behind it; WCAG asks for 4.5."""

# A real browser and a server with the real model take long to start.
pytestmark = pytest.mark.thorough

SAVED_WIDTH = """
new Promise((resolve) => {
  const image = new Image();
  image.onload = () => resolve(image.naturalWidth);
  image.src = document.querySelector('#where a').href;
})
"""
"""What the link to a pasted picture leads to."""


def config(folder: Path, stable: int) -> str:
    labels = f"""
      version_labels {{ key: "canary" value: 2 }} version_labels {{ key: "stable" value: {stable} }}
    """
    return f"""model_config_list {{
      config {{ name: "image_classifier" base_path: "{folder}/models/image_classifier"
        model_platform: "tensorflow" model_version_policy {{ all {{ }} }} {labels} }}
      config {{ name: "line" base_path: "{folder}/models/line" model_platform: "tensorflow" }}
    }}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[RunningServer]:
    """The sample run's model as versions 1, stable, and 2, canary; and a model without pictures."""
    browser.program()
    folder = tmp_path_factory.mktemp("try")
    for version in "12":
        shutil.copytree(
            store / "image_classifier" / "1", folder / "models" / "image_classifier" / version
        )
    save_line(folder / "models" / "line" / "1", 1.0)
    more = ("--try_page", "--allow_version_labels_for_unavailable_models=true")
    with running_server(folder, *more, config=config(folder, 1)) as running:
        running.wait_loaded(1, 2, model="image_classifier")
        yield running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser.page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(started: Page, server: RunningServer) -> Iterator[Page]:
    """The page, just opened; whatever a test does, the console has nothing to complain about."""
    started.look(width=960)
    started.events.clear()
    started.open(f"http://localhost:{server.ports['rest']}/try?{os.urandom(4).hex()}")
    started.wait("document.getElementById('which').options.length === 4")
    yield started
    assert started.complaints() == []


@pytest.fixture
def sample(sample_run: Path, tmp_path: Path) -> Path:
    """A picture whose name every quoting must stand."""
    (found, *_) = sorted((sample_run / "samples").glob("*.png"))
    return Path(shutil.copy(found, tmp_path / '-it\'s "a" $HOME cell; ü %.png'))


def predicted(server: RunningServer, picture: Path, **which: object) -> ImagePrediction:
    with Client(f"localhost:{server.ports['grpc']}") as client:
        return ImageClassifier(client, **which).predict(picture)  # type: ignore[arg-type]


def problem(page: Page) -> str:
    page.wait(f"{AT_REST} && {REFUSED}")
    return page.text("problem")


def test_a_dropped_picture_gets_the_clients_answer(
    page: Page, server: RunningServer, sample: Path
) -> None:
    expected = predicted(server, sample)

    page.drop("zone", sample)
    page.wait(ANSWERED)

    assert page.text("label") == expected.label
    assert page.text("probability") == f"{expected.probability:.4f} of defective"
    assert page.text("review") == ("yes: a person should decide" if expected.needs_review else "no")
    assert page.text("version") == "1 (stable)"
    assert page.text("about").startswith(f"{sample.name}, PNG, ")
    assert page.text("about").endswith("300 \N{MULTIPLICATION SIGN} 300 pixels")
    assert page.value("document.getElementById('picture').naturalWidth") == 300
    assert page.text("problem") == ""


def test_of_many_classes_the_next_ones_are_told(page: Page, sample: Path) -> None:
    names, scores = [f"class {place}" for place in range(7)], [0.05, 0.3, 0.4, 0.1, 0.08, 0.07, 0]
    row = json.dumps({"valid": True, "label": names[2], "classes": names, "scores": scores})
    assert page.value(f"ofWhat({row})") == "class 2"
    assert page.value(f"others({row})") == (
        "class 1 0.3000, class 3 0.1000, class 4 0.0800, class 5 0.0700, …"
    )
    page.choose("file", sample)
    page.wait(ANSWERED)
    assert page.value("document.getElementById('others').hidden")  # there are two


def test_curl_and_python_as_they_are_shown_get_the_same_answer(
    page: Page, sample: Path, tmp_path: Path
) -> None:
    page.choose("file", sample)
    page.wait(ANSWERED)
    label, probability = page.text("label"), page.text("probability").split()[0]

    curl = subprocess.run(
        ["bash", "-c", page.text("curl")], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    (row,) = json.loads(curl.stdout)["predictions"]
    # As it is pasted into a session, line by line.
    python = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=page.text("python") + "\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (curl.stderr, row["label"], f"{row['probability']:.4f}") == ("", label, probability)
    assert "Error" not in python.stderr
    said = python.stdout.split()
    assert (said[0], f"{float(said[1]):.4f}", said[3]) == (label, probability, "1")


def test_a_picture_of_many_megabytes_goes_through_curl_too(
    page: Page, sample: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(sample.read_bytes() + bytes(3_000_000))  # what follows the end is passed over
    page.choose("file", large)
    page.wait(ANSWERED)

    curl = subprocess.run(
        ["bash", "-c", page.text("curl")], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert json.loads(curl.stdout)["predictions"][0]["label"] == page.text("label")


def test_every_label_and_version_can_be_asked_stable_first(
    page: Page, server: RunningServer, sample: Path, tmp_path: Path
) -> None:
    options = "[...document.getElementById('which').options].map((option) => option.text)"
    assert page.value(options) == [
        *("stable (version 1)", "canary (version 2)", "version 2", "version 1"),
    ]
    page.choose("file", sample)
    page.wait(ANSWERED)

    page.value("document.getElementById('which').focus()")
    page.press("ArrowDown", 40)
    page.wait("document.getElementById('version').innerText === '2 (canary)'")
    assert "/labels/canary:predict" in page.text("curl")
    assert 'label="canary"' in page.text("python")
    page.press("ArrowDown", 40)
    page.wait("document.getElementById('version').innerText === '2'")
    assert "/versions/2:predict" in page.text("curl")
    run = subprocess.run(
        [sys.executable, "-c", page.text("python")], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.split()[3] == "2", run.stderr


def test_a_label_that_has_moved_since_the_page_was_opened_is_followed(
    page: Page, server: RunningServer, sample: Path
) -> None:
    try:
        server.reload(config(server.folder, 2))
        page.choose("file", sample)
        page.wait(ANSWERED)

        assert page.text("version") == "2 (stable)"
        assert page.value("document.getElementById('which').selectedOptions[0].text") == (
            "stable (version 2)"
        )
    finally:
        server.reload(config(server.folder, 1))


def test_a_label_that_moves_while_it_is_asked_is_asked_again(
    page: Page, server: RunningServer, sample: Path
) -> None:
    page.ask("Fetch.enable", patterns=[{"urlPattern": "*:predict"}])
    try:
        page.choose("file", sample)
        page.wait_for("Fetch.requestPaused")
        server.reload(config(server.folder, 2))
        page.ask("Fetch.disable")  # which lets the request go
        page.wait(ANSWERED)

        # An answer names no version: version 1 was asked about, and version 2 has answered.
        assert page.text("version") == "2 (stable)"
    finally:
        server.reload(config(server.folder, 1))


def test_what_is_shown_is_copied(page: Page, sample: Path) -> None:
    page.choose("file", sample)
    page.wait(ANSWERED)
    shown = page.text("curl")

    page.click("[data-copies=curl]")

    page.wait("document.querySelector('[data-copies=curl]').innerText === 'Copied'")
    assert page.pasted() == shown


def test_the_page_works_from_the_keyboard_alone(page: Page) -> None:
    page.ask("Page.setInterceptFileChooserDialog", enabled=True)
    seen = []
    for _ in range(3):
        page.press("Tab", 9)
        seen.append(page.value("document.activeElement.id"))
    assert seen == ["model", "which", "file"]
    assert page.value("getComputedStyle(document.getElementById('zone')).outlineStyle") == "solid"

    page.press("Enter", 13)
    page.wait_for("Page.fileChooserOpened")

    page.ask("Page.setInterceptFileChooserDialog", enabled=False)


def test_a_pasted_picture_is_asked_about_and_can_be_saved_for_the_commands(
    page: Page, server: RunningServer, sample: Path
) -> None:
    content = base64.b64encode(sample.read_bytes()).decode()
    page.value(f"""(() => {{
      const letters = atob("{content}"), pasted = new DataTransfer();
      const content = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
      pasted.items.add(new File([content], "image.png", {{ type: "image/png" }}));
      document.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: pasted }}));
    }})()""")
    page.wait(ANSWERED)

    assert page.text("label") == predicted(server, sample).label
    assert page.value("document.querySelector('#where a').download") == "image.png"
    assert page.value(SAVED_WIDTH) == 300
    assert "Save the pasted picture there first." in page.text("where")


def test_pasted_text_is_no_picture(page: Page) -> None:
    page.value(
        'document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: new DataTransfer() }))'
    )

    assert problem(page).startswith("Expected a picture on the clipboard. Received: text")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", b"hello", "notes.txt, 5 bytes, which begins as text"),
        ("page.png", b"<!doctype html><html>", "page.png, 21 bytes, which begins as HTML"),
        ("a.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ", "a.webp, 16 bytes, which begins as WebP"),
        ("empty.png", b"", "empty.png, 0 bytes, which is empty"),
        ("x.png", b"\x01\x02\x03\x04", "whose beginning is of no format that is known here"),
    ],
)
def test_what_is_no_picture_is_told_in_words(
    page: Page, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)

    page.choose("file", tmp_path / name)

    told = problem(page)
    assert told.startswith("Expected a JPEG, PNG, GIF or BMP picture. Received: ")
    assert said in told
    assert not page.value(ANSWERED)


def test_a_file_that_is_too_large_is_not_read(page: Page, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.truncate(33 * 2**20)

    page.choose("file", tmp_path / "huge.png")

    assert problem(page) == (
        "Expected a picture of at most 32 MiB. Received: huge.png, 33.0 MiB. Save it smaller."
    )


def test_a_picture_that_the_model_cannot_read_is_told_with_the_likely_reason(
    page: Page, sample: Path, tmp_path: Path, huge_png: bytes
) -> None:
    whole = sample.read_bytes()
    for name, content, why in (
        ("cut.png", whole[:300], "its end is missing: it is cut off"),
        ("broken.png", whole[:60] + b"\xff" * 99 + whole[159:], "it is damaged"),
        ("huge.png", huge_png, "30000 pixels. A model takes 50 megapixels"),
    ):
        (tmp_path / name).write_bytes(content)
        page.choose("file", tmp_path / name)
        page.wait(f"document.getElementById('about').innerText.startsWith('{name}')")
        told = problem(page)

        assert told.startswith("The model cannot read the picture (valid=false). "), name
        assert why in told, name
        assert page.text("label") == "none", name
        assert page.text("probability") == "none", name
        assert page.text("review") == "yes: a person should decide", name


def test_a_model_that_takes_no_pictures_says_what_it_takes(page: Page, sample: Path) -> None:
    page.choose("file", sample)
    page.wait(ANSWERED)
    page.value("document.getElementById('model').focus()")
    page.press("ArrowDown", 40)

    told = problem(page)
    assert "Received: line, version 1, which takes x and answers y" in told
    assert not page.value(ANSWERED)


def test_several_files_are_told(page: Page, sample: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(sample, tmp_path / "other.png"))

    page.drop("zone", sample, other)
    page.wait(ANSWERED)

    assert page.text("progress") == (
        "This is the first of 2 files; the others were not asked about."
    )


def test_a_server_that_has_gone_is_told_in_words(
    started: Page, sample: Path, tmp_path: Path
) -> None:
    save_line(tmp_path / "models" / "line" / "1", 1.0)
    line = 'config { name: "line" base_path: "/models/line" model_platform: "tensorflow" }'
    with running_server(
        tmp_path, "--try_page", config=f"model_config_list {{ {line} }}"
    ) as running:
        address = f"localhost:{running.ports['rest']}"
        started.open(f"http://{address}/try")
        started.wait("document.getElementById('model').value === 'line'")
        assert running.stop() == 0

    started.choose("file", sample)

    assert problem(started).startswith(f"The server at {address} does not answer.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_is_legible_at_any_width_and_in_both_colours(
    page: Page, sample: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    page.look(width=width, dark=dark)
    cut = tmp_path / ("a_long_name" * 12 + ".png")
    cut.write_bytes(sample.read_bytes()[:300])
    page.choose("file", cut)
    page.wait(f"{ANSWERED} && {REFUSED}")

    assert page.value("document.documentElement.scrollWidth") == width
    assert page.value(LEAST_CONTRAST) >= 4.5
    ground = page.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 300) is dark


@pytest.mark.parametrize("host", ["evil.example", "localhost"])
def test_only_this_machines_names_get_the_page(server: RunningServer, host: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["rest"], timeout=20)
    connection.request("GET", "/try", headers={"Host": host})
    response = connection.getresponse()
    response.read()
    connection.close()

    assert response.status == (200 if host == "localhost" else 403)


def test_without_the_flag_there_is_no_page(tmp_path: Path) -> None:
    save_line(tmp_path / "models" / "line" / "1", 1.0)
    line = 'config { name: "line" base_path: "/models/line" model_platform: "tensorflow" }'
    with running_server(tmp_path, config=f"model_config_list {{ {line} }}") as running:
        assert running.rest("GET", "/try")[0] == 404
