"""The embedded model server: TensorFlow Serving's flags, ports, answers and errors.

    python -m serving.local --port=8500 --rest_api_port=8501 \
        --model_config_file=serving/models.config --model_path_prefix_map=/models=$PWD/models

Costs TensorFlow's import (3 s) and the models' loading before it answers. For development and
tests; production is TensorFlow Serving. Ends with 0 after SIGTERM or Ctrl-C, 2 where the command
line, the configuration or a port is at fault, 1 where a model cannot be loaded.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving import models_config
from serving.local import flags as flags_module
from serving.local.errors import ServingError
from serving.local.flags import Flags
from serving.models_config import Model, ModelsConfig
from training import quiet_tensorflow
from training.command_line import InputError, configure_logging, run

_log = logging.getLogger(__name__)

_SIGNAL_POLL_S: Final = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the server until it is told to stop; returns the exit code."""
    configure_logging()
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run("serving.local", lambda: _serve(arguments))


def _serve(arguments: Sequence[str]) -> int:
    started = time.monotonic()
    try:
        flags = flags_module.parse(arguments, _say)
        flags.prefix_map()
    except ServingError as error:
        raise InputError(error.text) from error
    config = _configuration(flags)
    for name, port in (("port", flags.port), ("rest_api_port", flags.rest_api_port)):
        if port > 0:
            _check_free(name, port)
    quiet_tensorflow.import_tensorflow(keras=False)
    from serving.local import server

    server_started = time.monotonic()
    _log.info("TensorFlow %s imported in %.1f s", server.TENSORFLOW, server_started - started)
    running = server.Server(flags, config)
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:
        _log.info("stopping: %s", signal.Signals(number).name)
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        failed = running.wait_until_ready(stop)
        if failed:
            print(f"serving.local: error: {failed}", file=sys.stderr)
            return 1
        if not stop.is_set():
            ports = running.listen()
            _log.info(
                "ready in %.2f s after TensorFlow's import", time.monotonic() - server_started
            )
            if flags.port_file:
                _write_atomically(Path(flags.port_file), json.dumps(ports) + "\n")
        # Not one long wait: the system may hand a signal to a thread of gRPC's or TensorFlow's, and
        # Python then runs its handler only when the main thread comes back to life.
        while not stop.wait(_SIGNAL_POLL_S):
            pass
    finally:
        running.close()
    _log.info("stopped")
    return 0


def _configuration(flags: Flags) -> ModelsConfig:
    """What to serve: the config file if there is one, else the one model of the flags."""
    if flags.model_config_file:
        return models_config.read(Path(flags.model_config_file))
    if not flags.model_base_path:
        raise InputError(
            "Expected --model_config_file or --model_base_path. Received: neither. "
            "Start with --model_config_file=serving/models.config."
        )
    base_path = str(Path(flags.model_base_path).absolute())
    return ModelsConfig(models=(Model(name=flags.model_name, base_path=base_path),))


def _check_free(flag: str, port: int) -> None:
    """Refuses a port in use before TensorFlow's import has cost its seconds."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((flags_module.HOST, port))
        except OSError as error:
            raise InputError(
                f"Expected a free port. Received: --{flag}={port}, {error.strerror}. "
                f"Stop what listens there or choose another port with --{flag}."
            ) from error


def _write_atomically(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
