"""One run of either loop: checks the server, sends, and returns what was measured.

    versions = running.check_server(settings)
    taken = running.take(settings, csv)

All commands that load a server use it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foundation.command_line import InputError
from foundation.progress import Progress
from loadtest.loops import closed_loop, open_loop
from loadtest.loops.job import Job, open_client
from loadtest.loops.rest_client import RestClient
from loadtest.plan.settings import CLOSED, REST, Settings
from loadtest.results import live, samples
from loadtest.results.taken import Taken
from tfs_client import Client, TfsError


def check_server(settings: Settings) -> dict[str, int]:
    """Asks the server for each label's metadata: a version that answers is ready.

    Returns:
        Label → the version behind it.

    Raises:
        InputError: no server, no such model or label, or it has no such signature.
    """
    versions, mix = {}, settings.mix
    try:
        with _asking(settings) as client:
            for label in mix.labels:
                metadata = client.metadata(model=settings.model, label=label)
                versions[label] = metadata.version
                for signature in mix.signatures:
                    if signature not in metadata.signatures:
                        raise InputError(
                            f"Expected {settings.model} version {metadata.version} to have the "
                            f"signature {signature}. Received: {sorted(metadata.signatures)}"
                        )
    except TfsError as error:
        raise InputError(str(error)) from error
    return versions


def _asking(settings: Settings) -> Client | RestClient:
    if settings.api == REST:
        return RestClient(settings.target, settings.model, settings.timeout_s)
    return open_client(settings.target, settings.timeout_s, settings.connection)


def take(
    settings: Settings,
    csv: Path,
    *,
    words: str = "load",
    watch: Callable[[float], Any] | None = None,
) -> Taken:
    """Runs the loop, shows how it goes, and leaves every sample in a file.

    Args:
        settings: checked, see `Settings.check`.
        csv: receives the samples; an older file is replaced.
        words: what the load is called.
        watch: called several times a second with the seconds since the begin.

    Raises:
        InputError: a worker could not begin.
    """
    csv.unlink(missing_ok=True)
    closed = settings.loop == CLOSED
    with Progress(words) as line, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tail = live.Tail(lambda: [csv] if closed else open_loop.sample_files(folder))
        show = live.Shown(line, tail, words, settings.seconds)

        def progress(seconds: float) -> None:
            show(seconds)
            if watch is not None:
                watch(seconds)

        if closed:
            return closed_loop.run(settings, csv, progress)
        taken = open_loop.run(job(settings), folder, progress)
    writer = samples.Writer(csv)
    for sample in taken.samples:
        writer.write(sample)
    writer.close()
    return taken


def job(settings: Settings) -> Job:
    """What the workers of an open loop do."""
    return Job(
        target=settings.target,
        model=settings.model,
        mix=settings.mix,
        plan=settings.plan,
        images=settings.images,
        seed=settings.seed,
        timeout_s=settings.timeout_s,
        in_flight=settings.in_flight,
        workers=settings.workers,
        known=settings.answers,
        connection=settings.connection,
    )
