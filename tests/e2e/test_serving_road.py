"""A real run, really exported, behind a real server: what a person and a service get."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from export import parity
from loadtest import run as loadtest
from serving import launch
from tests.e2e.launching import ROOT
from tests.integration.loadtest import commands
from tfs_client import Client, ImageClassifier, cli, contract
from training import run


def test_the_banner_shows_ports_and_a_command_that_works(served: tuple) -> None:
    target, rest, talk = served
    text = talk.read_text()
    assert "server=local (" in text
    assert target in text
    assert rest in text
    assert re.search(r"version 1 \(stable → 1\)", text)
    assert re.search(r"make predict IMAGE=\S+", text)


def test_predict_shows_label_probability_review_version_and_latency(
    served: tuple, sample_run: Path, tmp_path: Path
) -> None:
    target, _, _ = served
    samples = sorted((sample_run / run.SAMPLES).iterdir())
    flags = ("predict", *map(str, samples), "--target", target)
    done = commands.run(cli.main, *flags, folder=tmp_path)
    assert done.code == 0, done.told
    header, *rows = done.out.splitlines()
    assert header.split() == [
        "file", "label", "probability", "needs_review", "version", "latency_ms",
    ]  # fmt: skip
    expected = {Path(row.path).name: row for row in run.load(sample_run).predictions()}
    assert len(rows) == 2
    for row in rows:
        _, label, probability, review, version, latency = row.split()
        assert label in ("sound", "defective")
        assert any(abs(float(probability) - one.probability) < 1e-4 for one in expected.values())
        assert review in ("yes", "no")
        assert version == "1"
        assert float(latency) > 0


def test_all_ways_give_the_runs_own_probabilities(
    served: tuple, sample_run: Path, tmp_path: Path
) -> None:
    target, rest, _ = served
    flags = ("--run", str(sample_run), "--target", target, "--rest", rest)
    done = commands.run(parity.main, *flags, folder=tmp_path)
    assert done.code == 0, done.told
    written = json.loads((tmp_path / done.out.strip()).read_text())
    held = [entry for entry in written["results"] if entry["holds"] is not None]
    assert len(held) == 16  # two file formats, four ways, difference and decisions
    assert all(entry["holds"] for entry in held)


def test_a_broken_file_harms_no_other_file_of_the_request(served: tuple, sample_run: Path) -> None:
    good = [path.read_bytes() for path in sorted((sample_run / run.SAMPLES).iterdir())]
    with Client(served[0]) as client:
        classifier = ImageClassifier(client)
        alone = classifier.predict_many(good)
        cut_short = good[0][: len(good[0]) // 2]
        first, broken, second = classifier.predict_many([good[0], cut_short, good[1]])
    assert not broken.valid
    assert broken.needs_review
    assert broken.label == ""
    assert np.isnan(broken.probability)
    for before, after in zip(alone, (first, second)):
        assert after.valid
        assert (after.label, after.needs_review) == (before.label, before.needs_review)
        assert after.probability == pytest.approx(before.probability, abs=1e-6)


def test_the_image_size_is_read_from_the_server(served: tuple) -> None:
    with Client(served[0]) as client:
        assert ImageClassifier(client).input_size() == (64, 64)
        spec = client.metadata(label="stable").signatures[contract.SIGNATURE_IMAGES]
        assert spec.inputs[contract.INPUT_IMAGES].shape == (None, 64, 64, 3)


def test_the_load_test_leaves_a_page_and_figures(served: tuple, tmp_path: Path) -> None:
    flags = ("--target", served[0], "--users", "2", "--duration-s", "1")
    done = commands.run(loadtest.main, *flags, folder=tmp_path)
    assert done.code == 0, done.told
    figures = done.figures
    assert figures["failures"] == 0
    assert figures["requests"] > 10
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert "<svg" in done.page


def test_a_port_in_use_is_one_line_and_leaves_the_first_server_alone(
    served: tuple, store: Path
) -> None:
    port = served[0].rsplit(":", 1)[1]
    flags = ("--server", "local", "--models", str(store), "--grpc-port", port)
    done = commands.run(launch.main, *flags, folder=ROOT)
    assert done.code == 2
    last = done.told.splitlines()[-1]
    assert port in last
    assert "Received" in last
    with Client(served[0]) as client:
        assert client.status()[0].available


def test_serving_before_exporting_says_what_to_do(tmp_path: Path) -> None:
    flags = ("--server", "local", "--models", str(tmp_path / "models"))
    done = commands.run(launch.main, *flags, folder=ROOT)
    assert done.code == 2
    assert "make train export" in done.told.splitlines()[-1]
    assert "Traceback" not in done.told
