"""`make serve`: TensorFlow Serving in a container where there is an engine, else the local server.

    python -m serving.launch [--server auto|container|local] [--grpc-port 8500] [--rest-port 8501]
        [--models models] [--config serving/models.config]

Runs in the foreground until Ctrl-C or SIGTERM and stops everything that it started. Says in one
line which server runs and why. Once the server answers for the label `stable`, it prints the ports,
the page to try it, the versions and a command for a first prediction. Exit code 2, with one line,
where the configuration, a missing version or a port is at fault.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foundation.command_line import InputError, Parser, configure_logging, lines, run
from serving import models_config
from serving.container import engine
from serving.container.engine import ServerCommand, Settings
from serving.models_config import ConfigError, Latest, Model, ModelsConfig, Specific
from tfs_client import Client, contract
from tfs_client.errors import CallError

_log = logging.getLogger("serving.launch")

_COMMAND: Final = "python -m serving.launch"

READY_DEADLINE_S: Final = 180.0
"""Long enough to load a large model from a slow disk, with retries."""

STOP_DEADLINE_S: Final = 20.0
"""Seconds after which a server that was asked to stop is killed."""

_LOOK_S: Final = 1.0
"""Seconds between two checks whether the server has ended or Ctrl-C was pressed."""

_PAUSE_S: Final = 0.1

_FAILED_TO_START: Final = 255
"""Exit code of both servers where a flag, a file, a port or a model keeps them from serving."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a server in the foreground; returns the exit code."""
    configure_logging()
    arguments = _arguments(argv)
    return run(_COMMAND, lambda: _launch(arguments))


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    server: str
    settings: Settings


def _arguments(argv: Sequence[str] | None) -> _Arguments:
    parser = Parser(
        prog=_COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=("auto", "container", "local"), default="auto")
    parser.add_argument("--grpc-port", type=int, default=contract.GRPC_PORT, help="%(default)s")
    parser.add_argument("--rest-port", type=int, default=contract.REST_PORT, help="%(default)s")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder, %(default)s")
    parser.add_argument(
        "--config", type=Path, default=Path("serving/models.config"), help="%(default)s"
    )
    given = parser.parse_args(argv)
    settings = Settings(
        grpc_port=given.grpc_port,
        rest_port=given.rest_port,
        models=given.models,
        config=given.config,
    )
    return _Arguments(server=given.server, settings=settings)


def _launch(arguments: _Arguments) -> int:
    settings = arguments.settings
    config = models_config.read(settings.config)
    check_versions(config, settings.models)
    check_ports(settings)
    command = engine.choose(arguments.server, settings)
    print(f"server={command.kind} ({command.reason})", file=sys.stderr, flush=True)
    _log.info("%s", shlex.join(command.argv))
    return _run(command, settings, config)


def check_versions(config: ModelsConfig, models: Path) -> None:
    """Refuses a configuration whose server would wait forever for a missing version.

    Raises:
        InputError: no model is listed, or a version that is listed has no folder.
    """
    if not config.models:
        raise ConfigError(
            "Expected at least one model in the configuration. Received: none. "
            "List one, see serving/models.config.",
            "no models",
        )
    for model in config.models:
        folder = models_config.folder_of(model, models)
        present = _versions_in(folder)
        if isinstance(model.policy, Specific):
            missing = [version for version in model.policy.versions if version not in present]
            wanted = f"version {missing[0]}" if missing else ""
        else:
            wanted = "" if present else "a version"
        if wanted:
            raise InputError(
                f"Expected {wanted} of {model.name} under {folder}/. Received: no such folder. "
                "Export one first: make train export"
            )
        unserved = _label_without_version(model)
        if unserved is not None:
            raise InputError(
                f"Expected label {unserved} of {model.name} on a version that is served. Received: "
                f"version {model.labels[unserved]}. List that version or move the label."
            )


def check_ports(settings: Settings) -> None:
    """Refuses ports that are in use, before anything is started.

    Raises:
        InputError: names the port and what to do.
    """
    if settings.grpc_port == settings.rest_port:
        raise InputError(
            f"Expected two ports. Received: {settings.grpc_port} for both. "
            "Choose another one with --rest-port."
        )
    for flag, port in (("--grpc-port", settings.grpc_port), ("--rest-port", settings.rest_port)):
        if not 0 < port < 65536:
            raise InputError(
                f"Expected a port from 1 to 65535. Received: {flag} {port}. Choose another one."
            )
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError as error:
                raise InputError(
                    f"Expected port {port} to be free. Received: {error.strerror}. "
                    f"Stop the server that listens there, or choose another port with {flag}."
                ) from error


def _versions_in(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    return {int(child.name) for child in folder.iterdir() if child.name.isdigit()}


def _label_without_version(model: Model) -> str | None:
    if not isinstance(model.policy, Specific):
        return None
    for label, version in model.labels.items():
        if version not in model.policy.versions:
            return label
    return None


def _run(command: ServerCommand, settings: Settings, config: ModelsConfig) -> int:
    """Runs the server as a child until it ends or a signal comes; returns the exit code."""
    stopped_by: list[int] = []
    # A session of its own: Ctrl-C reaches this process alone, which stops the server in order.
    child = subprocess.Popen(command.argv, start_new_session=True)

    def on_signal(number: int, _: object) -> None:
        stopped_by.append(number)

    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        ready = _wait_until_ready(
            f"localhost:{settings.grpc_port}",
            config.models[0],
            READY_DEADLINE_S,
            given_up=lambda: bool(stopped_by) or child.poll() is not None,
        )
        if ready:
            print(lines(banner(settings, config, kind=command.kind)), flush=True)
        elif not stopped_by and child.poll() is None:
            _log.error("the server did not answer within %.0f s", READY_DEADLINE_S)
            return 1
        while not stopped_by and child.poll() is None:
            time.sleep(_PAUSE_S)
    finally:
        _stop(child, command)
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped_by:
        return 130 if stopped_by[0] == signal.SIGINT else 0
    _log.error("the server ended by itself, exit code %s", child.returncode)
    return 2 if child.returncode == _FAILED_TO_START else 1


def _stop(child: subprocess.Popen[bytes], command: ServerCommand) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if command.cleanup:
        subprocess.run(
            command.cleanup, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )


def _wait_until_ready(
    target: str, model: Model, deadline_s: float, given_up: Callable[[], bool]
) -> bool:
    """Waits until the label `stable`, or any version where there is no such label, can answer.

    Args:
        target: host:port of gRPC.
        model: the model that has to answer.
        deadline_s: how long to wait, in seconds.
        given_up: asked once a second; true ends the waiting.

    Returns:
        Whether it is ready.
    """
    label = contract.LABEL_STABLE if contract.LABEL_STABLE in model.labels else None
    deadline = time.monotonic() + deadline_s
    with Client(target) as client:
        while not given_up() and time.monotonic() < deadline:
            try:
                client.wait_ready(label, timeout_s=_LOOK_S, model=model.name)
                return True
            except CallError:  # noqa: PERF203 each refusal means: ask again
                time.sleep(_PAUSE_S)
    return False


def banner(
    settings: Settings, config: ModelsConfig, runs: Path = Path("runs"), *, kind: str = "local"
) -> str:
    """What an operator wants to know first: ports, models, versions, labels, a first prediction.

    Args:
        settings: the ports, and the store.
        config: what is served.
        runs: where trained runs lie; a sample of the served version's run is offered.
        kind: of the server, as in ServerCommand; only the local one has a page.
    """
    page = f"http://localhost:{settings.rest_port}/try"
    if kind != "local":
        page = "none: TensorFlow Serving has none; --server local has one, at /try"
    lines = [
        "",
        f"  gRPC   localhost:{settings.grpc_port}",
        f"  REST   http://localhost:{settings.rest_port}/v1/models/{config.models[0].name}",
        f"  page   {page}",
    ]
    for model in config.models:
        labels = ", ".join(f"{label} → {version}" for label, version in model.labels.items())
        lines.append(
            f"  model  {model.name}: {_policy_words(model)}" + (f" ({labels})" if labels else "")
        )
    lines += ["", f"  Try it:  {_first_try(settings, config, runs)}", "  Stop it: Ctrl-C", ""]
    return "\n".join(lines)


def _first_try(settings: Settings, config: ModelsConfig, runs: Path) -> str:
    """A command that this very server answers."""
    usual = settings.grpc_port == contract.GRPC_PORT
    target = f"localhost:{settings.grpc_port}"
    for model in config.models:
        if model.name == contract.MODEL_NAME:
            image = shlex.quote(str(_sample(model, settings.models, runs)))
            return f"make predict IMAGE={image}" + ("" if usual else f" TARGET={target}")
    name = shlex.quote(config.models[0].name)
    return f".venv/bin/tfs metadata --model {name}" + ("" if usual else f" --target {target}")


def _sample(model: Model, store: Path, runs: Path) -> Path:
    """A picture of the run whose version is asked: other runs may know other pictures."""
    folder = models_config.folder_of(model, store)
    version = model.labels.get(contract.LABEL_STABLE)
    if version is None:
        listed = model.policy.versions if isinstance(model.policy, Specific) else ()
        version = max(listed or _versions_in(folder), default=0)
    try:
        card = json.loads((folder / str(version) / contract.MODEL_CARD).read_text("utf-8"))
        samples = runs / str(card["run"]) / "samples"
        return min(
            path
            for path in samples.iterdir()
            if path.suffix.lower() in contract.IMAGE_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
        )
    except (OSError, ValueError, KeyError, TypeError):  # no card, no such run, no picture
        return Path("path/to/image.png")


def _policy_words(model: Model) -> str:
    match model.policy:
        case Specific(versions):
            word = "version" if len(versions) == 1 else "versions"
            return f"{word} {', '.join(str(version) for version in versions)}"
        case Latest(1):
            return "latest version"
        case Latest(count):
            return f"latest {count} versions"
        case _:
            return "all versions"


if __name__ == "__main__":
    sys.exit(main())
