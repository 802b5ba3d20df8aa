"""Starts the process that asks the versions, shows how far it is, and says how it ended.

Imports no TensorFlow, and survives whatever the other process does.
"""

from __future__ import annotations

import dataclasses
import json
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from export.gate import evidence
from export.gate.images import Image, Version
from foundation import command_line
from foundation.command_line import InputError
from foundation.progress import Progress
from tfs_client import contract


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a version answered on one set of N pictures, one row a picture."""

    probability: np.ndarray
    label: np.ndarray
    needs_review: np.ndarray
    valid: np.ndarray
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    """float [N, K], in the version's order; empty where the version answers none"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the process left behind."""

    ended: str | None
    """how it ended too early, in words; None if it asked everything it could"""
    signatures: dict[str, Any] | None
    """version ("candidate", "stable") -> signatures, as evidence.describe() gives them"""
    arrays: dict[str, np.ndarray] | None
    """None where it ended early, or a version lacks what the contract asks for"""
    hostile: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """hostile row -> what it cost the candidate beyond the bounds, in words"""

    def answers(
        self, who: str, pictures: str, signature: str = contract.SIGNATURE_DEFAULT
    ) -> Answers:
        """A version's answers on a set of pictures; a set with no pictures gives empty arrays."""
        assert self.arrays is not None
        names = [field.name for field in dataclasses.fields(Answers)]
        return Answers(
            **{
                name: self.arrays.get(evidence.key(who, pictures, signature, name), np.zeros(0))
                for name in names
            }
        )

    def latency_ms(self, who: str) -> np.ndarray:
        """The timed calls of a version, in milliseconds: float [calls]."""
        assert self.arrays is not None
        return self.arrays[evidence.latency_key(who)]


def gather(
    asked: dict[str, Version],
    images: Sequence[Image],
    corrupted: Sequence[int],
    *,
    seed: int,
    latency_calls: int,
    max_silence_s: float,
) -> Evidence:
    """Asks the versions in a process of its own.

    Args:
        asked: "candidate", and "stable" if there is one.
        images: the held-out ones.
        corrupted: which of them are asked once more with every corruption.
        seed: of the corruptions.
        latency_calls: timed calls to each version.
        max_silence_s: a process that gets no further for so long is killed.
    """
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        folder = Path(name)
        task = {
            "versions": {
                who: {"number": version.number, "folder": str(version.folder.resolve())}
                for who, version in asked.items()
            },
            "files": [str(image.file.resolve()) for image in images],
            "corrupted": list(corrupted),
            "seed": seed,
            "latency_calls": latency_calls,
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        ended = _watch(folder, max_silence_s, evidence.steps(len(asked)))
        signatures = arrays = None
        hostile: dict[str, list[str]] = {}
        if ended is None:
            found = json.loads((folder / evidence.EVIDENCE).read_text(encoding="utf-8"))
            signatures, hostile = found["signatures"], found.get("hostile", {})
            if (folder / evidence.ANSWERS).exists():
                with np.load(folder / evidence.ANSWERS, allow_pickle=False) as file:
                    arrays = dict(file)
        return Evidence(ended=ended, signatures=signatures, arrays=arrays, hostile=hostile)


def _watch(folder: Path, max_silence_s: float, steps: int) -> str | None:
    """Runs the process to its end; None, or in words what happened instead."""
    with (folder / "stderr").open("w+", encoding="utf-8", errors="replace") as talk:
        process = subprocess.Popen(
            [sys.executable, "-m", "export.gate.evidence", str(folder / "task.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            start_new_session=True,  # Ctrl-C is for the gate, which then ends this process itself
        )
        try:
            doing, failed, silent = _follow(process, max_silence_s, steps)
            if silent:
                return f"no progress in {max_silence_s:g} s while {doing}; the process was killed"
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if code == 0:
            return None
        if code == evidence.NO_ROOM:
            raise InputError(
                f"Expected room for the versions' answers in {folder.parent}. Received: {failed}. "
                "Make room there, or name another folder with TMPDIR; no verdict was written."
            )
        if failed:
            return f"an error while {doing}: {failed}"
        talk.seek(0)
        return f"the process ended with {_cause(code)} while {doing}{_last_words(talk)}"


def _follow(
    process: subprocess.Popen[str], max_silence_s: float, steps: int
) -> tuple[str, str | None, bool]:
    """Shows progress until the process closes its output.

    Args:
        process: that asks.
        max_silence_s: it may say nothing for so long.
        steps: that it will begin.

    Returns:
        what it did last, its own error if it said one, and whether it fell silent instead.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    doing, failed, begun = "starting", None, 0
    with Progress("gate", unit="asked") as shown:
        while True:
            command_line.raise_if_interrupted()
            try:
                line = lines.get(timeout=max_silence_s)
            except queue.Empty:
                process.kill()
                reader.join()
                return doing, failed, True
            if line is None:
                reader.join()
                return doing, failed, False
            try:
                said = json.loads(line)
            except json.JSONDecodeError:
                continue  # some library's own talk
            if not isinstance(said, dict):
                continue
            failed = said.get("failed", failed)
            doing = said.get("doing", doing)
            begun += bool(said.get("begins"))
            words = f"{begun} of {steps}: {doing}"
            shown.move(said.get("done", 0), total=said.get("total"), words=words)


def _cause(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _last_words(talk: IO[str]) -> str:
    """What stderr says of the end: TensorFlow's fatal line, else the last outside of a stack."""
    lines = [line.strip() for line in talk if not re.match(r"\s*(@|PC:|\*\*\*|$)", line)]
    fatal = [found[1] for line in lines if (found := re.match(r"F\d{4} .*?\] (.*)", line))]
    words = fatal[-1:] or lines[-1:]
    return f": {words[0][:300]}" if words else ""
