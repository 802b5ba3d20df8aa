"""Loads a running model server for a bounded time and reports.

    python -m loadtest.run [--target localhost:8500] [--users 8] [--duration-s 20] [--images FOLDER]

Leaves build/loadtest.html (self-contained), build/loadtest.json (the figures) and
build/loadtest-samples.csv (every request). Costs the duration and about 3 s. Exit code 0: every
request was answered rightly; 1: at least one was not, or the run did not finish; 2: no server, or a
mistake in the command, and nothing was written.

Knows nothing about TensorFlow: images in, latencies out.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tqdm

from loadtest import images, report, samples
from tfs_client import Client, TfsError, contract
from tfs_client.client import DEFAULT_TARGET
from training.command_line import InputError, configure_logging, run
from training.figures import BUILD_DIR, Figures

ROOT = Path(__file__).resolve().parents[1]
GRACE_S = 20.0
"""How long the generator may take beyond duration and deadline, for its start and its end."""

log = logging.getLogger("loadtest")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What one run does."""

    target: str = DEFAULT_TARGET
    """host:port of the server's gRPC port"""

    model: str = contract.MODEL_NAME
    """name of the model"""

    label: str = contract.LABEL_STABLE
    """label of the version to ask"""

    signature: str = contract.SIGNATURE_DEFAULT
    """send files (serving_default) or pixels (predict_images)"""

    users: int = 8
    """how many ask at once"""

    duration_s: int = 20
    """how long they ask"""

    timeout_s: float = 10.0
    """deadline of each request"""

    images: Path | None = None
    """folder of images; None means the sample set"""

    seed: int = 0
    """of the choice of images"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one load test."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    settings = _settings(arguments)
    configure_logging()
    command = shlex.join(["python", "-m", "loadtest.run", *arguments])
    return run("loadtest", lambda: load(settings, command))


def load(settings: Settings, command: str, directory: Path = BUILD_DIR) -> int:
    """Checks, loads, reports.

    Args:
        settings: what to do.
        command: as it was typed, for the record.
        directory: where page, figures and samples go.

    Returns:
        0 if every request was answered rightly, else 1.

    Raises:
        InputError: a setting that cannot be, no images, or no server that could answer.
    """
    check(settings)
    chosen = images.choose(settings.images, seed=settings.seed)
    version = check_server(settings)
    log.info(
        "%d users for %d s, closed loop; target=%s (version %d is %s) signature=%s images=%d",
        *(settings.users, settings.duration_s, settings.target, version, settings.label),
        *(settings.signature, len(chosen)),
    )
    directory.mkdir(parents=True, exist_ok=True)
    csv = directory / "loadtest-samples.csv"
    csv.unlink(missing_ok=True)
    figures = Figures("loadtest", command)
    finished = generate(settings, csv.resolve())
    taken = samples.read(csv)
    summary = samples.summarise(taken)
    page = directory / "loadtest.html"
    shown = {
        name: value for name, value in dataclasses.asdict(settings).items() if value is not None
    }
    report.write(
        page,
        taken=taken,
        summary=summary,
        settings={**shown, "distinct images": len(chosen)},
        finished=finished,
    )
    for code, count, words in summary.by_code:
        log.error("%d x %s: %s", count, code, words)
    figures.add("requests", summary.requests, "requests", at_least=1)
    figures.add("failures", summary.failures, "requests", at_most=0)
    figures.add("finished", finished, "", at_least=1)
    figures.add("requests_per_s", summary.requests_per_s, "requests/s")
    figures.add("p50_ms", summary.p50_ms, "ms")
    figures.add("p95_ms", summary.p95_ms, "ms")
    figures.add("p99_ms", summary.p99_ms, "ms")
    figures.add("max_ms", summary.max_ms, "ms")
    figures.add("users", settings.users, "users")
    figures.add("duration_s", summary.seconds, "s")
    verdict = figures.write(directory)
    print(page)
    return verdict


def check(settings: Settings) -> None:
    """Refuses settings that cannot be.

    Raises:
        InputError: naming the first one.
    """
    for name in ("users", "duration_s", "timeout_s"):
        value = getattr(settings, name)
        if not 0 < value < 1_000_000:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"Expected {flag} above 0. Received: {name}={value}")


def check_server(settings: Settings) -> int:
    """Asks the server for the label's metadata, which is its readiness.

    Returns:
        The version behind the label.

    Raises:
        InputError: no server, no such model or label, or it has no such signature.
    """
    try:
        with Client(settings.target, timeout_s=settings.timeout_s) as client:
            metadata = client.metadata(model=settings.model, label=settings.label)
    except TfsError as error:
        raise InputError(str(error)) from error
    if settings.signature not in metadata.signatures:
        raise InputError(
            f"Expected {settings.model} version {metadata.version} to have the signature "
            f"{settings.signature}. Received: {sorted(metadata.signatures)}"
        )
    return metadata.version


def generate(settings: Settings, csv: Path) -> bool:
    """Runs Locust headless in a process of its own, because gevent patches the whole process.

    Args:
        settings: what to do.
        csv: where the users write their samples; an absolute path.

    Returns:
        Whether it ran to its end.
    """
    command = [
        *(sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("grpc_user.py"))),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--exit-code-on-error", "0"),
        *("--host", settings.target, "--duration-s", str(settings.duration_s)),
        *("--users", str(settings.users), "--spawn-rate", str(settings.users)),
        *("--stop-timeout", f"{settings.timeout_s + 1:g}"),
        *("--signature", settings.signature, "--label", settings.label, "--model", settings.model),
        *("--timeout-s", f"{settings.timeout_s:g}", "--seed", str(settings.seed)),
        *("--samples", str(csv)),
    ]
    if settings.images is not None:
        command += ["--images", str(settings.images.resolve())]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as talk:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=talk
        )
        try:
            _watch(process, settings, csv)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode == 0:
            return True
        talk.seek(0)
        last = talk.read().strip().splitlines()[-5:]
        log.error("the load generator ended with %d: %s", process.returncode, " | ".join(last))
        return False


def _watch(process: subprocess.Popen[bytes], settings: Settings, csv: Path) -> None:
    """Shows the time go by until the process ends, or is long overdue."""
    begin = start = time.monotonic()
    overdue_s = settings.duration_s + settings.timeout_s + GRACE_S
    with tqdm.tqdm(
        total=settings.duration_s,
        desc="load",
        bar_format="{desc}: {n:.0f}/{total:.0f} s |{bar:40}|",
        leave=False,
        disable=None,  # only on a terminal
    ) as bar:
        while process.poll() is None and time.monotonic() - begin < overdue_s:
            time.sleep(0.2)
            if not csv.exists():  # still reading images
                start = time.monotonic()
            bar.n = min(settings.duration_s, time.monotonic() - start)
            bar.refresh()


def _settings(arguments: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.run",
        description="Load a running model server for a bounded time; leaves build/loadtest.html "
        "and build/loadtest.json. Exit code 0: all answers were right; 1: some were not; "
        "2: no server, or a mistake in the command.",
    )
    signatures = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_IMAGES)
    add = parser.add_argument
    add("--target", help="host:port of the server's gRPC port (default: %(default)s)")
    add("--model", help="name of the model (default: %(default)s)")
    add("--label", help="label of the version to ask (default: %(default)s)")
    add(
        "--signature",
        choices=signatures,
        help="send files (serving_default) or pixels (predict_images) (default: %(default)s)",
    )
    add("--users", type=int, help="how many ask at once (default: %(default)s)")
    add("--duration-s", type=int, help="how long, in seconds (default: %(default)s)")
    add("--timeout-s", type=float, help="deadline of each request, seconds (default: %(default)g)")
    add("--images", type=Path, metavar="FOLDER", help="images to send (default: the sample set)")
    add("--seed", type=int, help="of the choice of images (default: %(default)s)")
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    parser.set_defaults(**defaults)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
