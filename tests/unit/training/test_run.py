"""A run on disk: whole or not there."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.command_line import InputError
from training import publication, run
from training.config import RunConfig


def test_a_missing_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a run in .*latest.*make train"):
        run.load(tmp_path / "latest")


def _made(folder: Path) -> Path:
    """As much of a run as is read at once."""
    folder.mkdir(parents=True)
    content = {
        "id": folder.name,
        "config": dataclasses.asdict(RunConfig()),
        "classes": ["sound", "defective"],
        "data": {"root": "images"},
    }
    (folder / run.SETTINGS).write_text(json.dumps(content))
    return folder


def test_a_run_is_named_by_its_folder_or_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(tmp_path / "runs" / "cnn-7a392d309d05")
    other = _made(tmp_path / "elsewhere" / "cnn-1")
    made.with_name("latest").symlink_to(made.name)
    monkeypatch.chdir(tmp_path)
    for text in ("cnn-7a392d309d05", "latest", "runs/latest", str(made)):
        assert run.named(text).path == made
    for text in ("elsewhere/cnn-1", str(other)):
        assert run.named(text).path == other
    assert run.named("cnn-1", Path("elsewhere")).path == other
    # as a later command is told to name it
    assert run.named("latest").name == "cnn-7a392d309d05"
    assert run.named("elsewhere/cnn-1").name == str(other)


@pytest.mark.parametrize(
    "change",
    [
        *({"classes": None}, {"classes": ["a", "a"]}, {"classes": ["a", 1]}, {"classes": "ab"}),
        *({"id": 5}, {"data": None}, {"data": {}}, {"config": None}),
        *({"config": {"data": 5}}, {"config": {"positive": ["x"]}}),
    ],
)
def test_settings_that_training_does_not_write_are_one_line(
    change: dict[str, object], tmp_path: Path
) -> None:
    settings = _made(tmp_path / "run") / run.SETTINGS
    settings.write_text(json.dumps(json.loads(settings.read_text()) | change))
    with pytest.raises(InputError) as told:
        run.load(tmp_path / "run")
    assert "\n" not in str(told.value)
    assert "run.json as training writes it. Received: " in str(told.value)


def test_settings_that_are_no_json_are_one_line(tmp_path: Path) -> None:
    settings = _made(tmp_path / "run") / run.SETTINGS
    for text in ("", "[" * 200_000, '{"id": ' + "1" * 5000 + "}", "[]", "null"):
        settings.write_text(text)
        with pytest.raises(InputError, match="as training writes it"):
            run.load(tmp_path / "run")


HEADER = "path,split,label,probability,predicted,review,model_probability"
ROWS = (
    "v.png,validation,sound,0.1,sound,False,0.1",
    "t.png,test,defective,0.9,defective,False,0.9",
)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (HEADER,),
        (HEADER, ROWS[0]),
        (HEADER, ROWS[0], ROWS[1][:20]),
        *((HEADER, ROWS[0], ROWS[1][:-3] + cell) for cell in ("abc", "", "nan", "inf", "1.5")),
        (HEADER, ROWS[0], ROWS[1].replace("defective", "zonk")),
        (HEADER.replace("label", "lable"), *ROWS),
    ],
)
def test_answers_that_training_does_not_write_are_one_line(
    lines: tuple[str, ...], tmp_path: Path
) -> None:
    folder = _made(tmp_path / "run")
    (folder / run.PREDICTIONS).write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as told:
        run.load(folder).said()
    assert "\n" not in str(told.value)
    assert "predictions.csv as training writes it. Received: " in str(told.value)
    (folder / run.PREDICTIONS).write_text("\n".join([HEADER, *ROWS]) + "\n")
    assert run.load(folder).said()[1].shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cnn-7a39", r"in runs/cnn-7a39\. Received: .*\. Did you mean cnn-7a392d309d05\?"),
        ("runs/cnn-7a39", r"in runs/cnn-7a39\. Received: .*\. Did you mean cnn-7a392d309d05\?"),
        ("resnet", "Train one first: make train"),
        ("cnn-7a392d309d05/samples", "in cnn-7a392d309d05/samples"),
        ("", "a run, or its name in runs. Received: nothing"),
    ],
)
def test_a_run_that_is_not_there_comes_with_the_nearest(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _made(tmp_path / "runs" / "cnn-7a392d309d05")
    _made(tmp_path / "runs" / ".cnn-7a39")  # under way
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        run.named(text)


def test_a_run_that_is_not_as_training_writes_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / run.SETTINGS).write_text('{"id": "x"}')
    with pytest.raises(InputError, match="as training writes it"):
        run.load(tmp_path)


def test_only_one_process_makes_a_run_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    final = tmp_path / "runs" / "cnn-1"
    holding = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib; from training import publication\n"
            "with publication.sole_writer(pathlib.Path(sys.argv[1])):\n"
            "    print('held', flush=True); time.sleep(60)",
            str(final),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holding.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="under way"), publication.sole_writer(final):
            pass
    finally:
        holding.send_signal(signal.SIGKILL)
        holding.wait()
        holding.stdout.close()
    with publication.sole_writer(final):
        pass
    assert list(final.parent.iterdir()) == []  # no lock is left lying about


def test_a_run_that_was_interrupted_while_it_was_published_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "cnn-1"
    partial = publication.partial_folder(final)
    (partial / run.CHECKPOINTS).mkdir(parents=True)

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publication.publish(partial, final)
    assert (partial / run.CHECKPOINTS).is_dir()


def test_clearing_keeps_only_what_an_interrupted_run_goes_on_from(tmp_path: Path) -> None:
    partial = tmp_path / ".cnn-1"
    for name in (run.CHECKPOINTS, run.TENSORBOARD, run.CACHE, run.SAMPLES):
        (partial / name).mkdir(parents=True)
    for name in (run.SETTINGS, ".metrics.json.123", "best.weights.h5"):
        (partial / name).touch()
    publication.clear(partial, resume=True)
    assert {path.name for path in partial.iterdir()} == {run.CHECKPOINTS, run.TENSORBOARD}
    publication.clear(partial, resume=False)
    assert list(partial.iterdir()) == []


def test_what_stands_in_the_runs_place_is_refused_before_training(tmp_path: Path) -> None:
    final = tmp_path / "cnn-1"
    publication.check_place(final)
    (final / "notes").mkdir(parents=True)
    with pytest.raises(InputError, match=r"nothing or a whole run in .*cnn-1.*Move it away"):
        publication.check_place(final)
    (final / run.SETTINGS).touch()
    publication.check_place(final)
    (tmp_path / run.LATEST).mkdir()
    with pytest.raises(InputError, match=r"latest to be a link.*Received: a folder"):
        publication.check_place(final)


def test_publishing_leaves_no_working_files(tmp_path: Path) -> None:
    final = tmp_path / "cnn-1"
    partial = publication.partial_folder(final)
    (partial / "checkpoint").mkdir(parents=True)
    (partial / run.SETTINGS).write_text("{}")
    publication.publish(partial, final)
    publication.point_latest(final)
    publication.point_latest(final)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn-1", "latest"]
    assert [path.name for path in (tmp_path / "latest").iterdir()] == [run.SETTINGS]
