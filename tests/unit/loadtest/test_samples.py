from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from foundation.command_line import InputError
from loadtest.report import page as report, plots
from loadtest.results import generator, samples
from loadtest.results.recording import Recording
from loadtest.results.summary import Summary, summarise
from loadtest.results.taken import Taken
from loadtest.traffic import images
from loadtest.traffic.arrivals import Plan


def sample(
    start_s: float, latency_ms: float, code: str = "OK", version=1, details=""
) -> samples.Sample:
    return samples.Sample(
        start_s=start_s,
        latency_ms=latency_ms,
        name="serving_default",
        code=code,
        version=version if code == "OK" else None,
        details=details,
    )


def summary_of(taken: list[samples.Sample]) -> Summary:
    return summarise(taken, Recording.of(taken, taken[0].start_s if taken else 0.0))


def test_samples_come_back_as_they_were_written(tmp_path):
    taken = [
        dataclasses.replace(sample(1795382975.5, 1.25), late_ms=0.5, label="stable"),
        sample(1795382976.5, 2.5, "UNAVAILABLE", details='no server, "at" a\nplace'),
    ]
    writer = samples.Writer(tmp_path / "samples.csv")
    for one in reversed(taken):
        writer.write(one)
    writer.close()
    back = samples.read(tmp_path / "samples.csv")
    assert back[0] == taken[0]
    assert back[1].details == 'no server, "at" a place'


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "samples.csv"
    writer = samples.Writer(path)
    writer.write(sample(1.0, 2.0))
    writer.write(sample(2.0, 3.0))
    writer.close()
    text = path.read_text()
    path.write_text(text[: text.index("2.000000,3") + 8])
    assert [one.start_s for one in samples.read(path)] == [1.0]
    assert samples.read(tmp_path / "missing.csv") == []


def test_the_summary_counts_failures_apart_from_right_answers():
    right = [sample(at / 100, at + 1.0, version=1 + at % 2) for at in range(100)]
    wrong = [
        sample(0.5, 9000, "UNAVAILABLE", details="gone"),
        sample(0.6, 1, "INVALID_IMAGE", details="bad"),
        sample(0.7, 1, "UNAVAILABLE", details="still gone"),
    ]
    taken = sorted(right + wrong, key=lambda one: one.start_s)
    summary = summary_of(taken)
    assert (summary.requests, summary.failures) == (103, 3)
    assert summary.by_code == (("UNAVAILABLE", 2, "gone"), ("INVALID_IMAGE", 1, "bad"))
    assert summary.by_version == ((1, 50), (2, 50))
    assert summary.seconds == pytest.approx(9.5)
    assert summary.requests_per_s == pytest.approx(100 / 9.5)
    digits = {"rel": 0.001}  # a histogram's three
    assert summary.p50_ms == pytest.approx(50, **digits)
    assert summary.p95_ms == pytest.approx(95, **digits)
    assert summary.p99_ms == pytest.approx(99, **digits)
    assert summary.max_ms == pytest.approx(100, **digits)


def test_a_run_without_an_answer_has_no_percentiles():
    for taken in ([], [sample(1, 1, "UNAVAILABLE")]):
        summary = summary_of(taken)
        assert summary.p50_ms is None
        assert summary.requests_per_s == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "taken",
    [[], [sample(1, 1, "UNAVAILABLE", details="<b>gone</b>")], [sample(1, 5)], [sample(1, 0)]],
    ids=["nothing", "only failures", "one answer", "no time at all"],
)
def test_every_run_gets_a_page_that_stands_alone(tmp_path, taken):
    path = tmp_path / "page.html"
    summary = summary_of(taken)
    settings = {"target": "127.0.0.1:1", "users": 1}
    held = Recording.of(taken, taken[0].start_s if taken else 0.0)
    shown = report.Report(
        taken=Taken(taken, held, [], ["the load generator ended with 1"]),
        summary=summary,
        settings=settings,
        how="closed loop: one user",
        state=generator.summarise([], None),
        pieces=Plan(rate_per_s=10.0, shape="step", duration_s=5.0).pieces,
    )
    report.write(path, shown)
    page = path.read_text()
    assert "Partial: the load generator ended with 1" in page
    assert "Closed loop: one user" in page
    assert "<b>gone" not in page
    assert "src=" not in page
    assert 'href="http' not in page


def test_each_stair_of_a_shape_has_its_own_figures():
    pieces = Plan(rate_per_s=10.0, shape="step", duration_s=5.0).pieces
    taken = [
        sample(100 + second + 0.1 * at, 10.0 * (second + 1), "OK" if at else "UNAVAILABLE")
        for second in range(5)
        for at in range(second + 2)
    ]
    found = plots.stairs(pieces, taken, 100.0)
    assert [stair.offered_per_s for stair in found] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert [stair.requests for stair in found] == [2, 3, 4, 5, 6]
    assert [stair.failures for stair in found] == [1] * 5
    assert [stair.right_per_s for stair in found] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [stair.p99_ms for stair in found] == pytest.approx([10, 20, 30, 40, 50], rel=0.001)


def test_the_choice_of_images_follows_from_the_seed(tmp_path):
    (tmp_path / "below").mkdir()
    for at in range(9):
        Image.new("L", (2, 2)).save(tmp_path / "below" / f"{at}.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    chosen = images.choose(tmp_path, seed=1)
    assert len(set(chosen)) == 9
    assert chosen == images.choose(tmp_path, seed=1)
    assert chosen != images.choose(tmp_path, seed=2)
    assert images.choose(tmp_path, seed=1, limit=3) == images.choose(tmp_path, seed=1, limit=3)
    assert len(images.choose(tmp_path, seed=1, limit=3)) == 3


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="none in"):
        images.choose(tmp_path, seed=0)
    with pytest.raises(InputError, match="which is none"):
        images.choose(tmp_path / "missing", seed=0)


def test_the_sample_set_is_found_without_importing_it():
    pytest.importorskip("elpv_dataset", reason="the sample set is not installed")
    chosen = images.choose(None, seed=0)
    assert len(chosen) == images.LIMIT
    assert {path.suffix for path in chosen} == {".png"}
