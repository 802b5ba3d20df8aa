"""The embedded model server: TensorFlow Serving's flags, ports, answers and errors.

    python -m serving.local --port=8500 --rest_api_port=8501 \
        --model_config_file=serving/models.config --model_path_prefix_map=/models=$PWD/models

`serving/tensorflow_model_server` is the same under TensorFlow Serving's name. Costs TensorFlow's
import (3 s) and the models' loading before it answers. For development and tests; production is
TensorFlow Serving. Ends with 0 after SIGTERM or Ctrl-C, and with 255, as TensorFlow Serving does,
where the command line, the configuration, a port or a model is at fault.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Final

from foundation import files, quiet_tensorflow
from foundation.command_line import InputError, configure_logging, lines, run
from serving import models_config
from serving.local import flags as flags_module
from serving.local.errors import ServingError, invalid_argument, not_found
from serving.local.flags import Flags
from serving.models_config import ConfigError, ModelsConfig
from tfs_client.protocol import messages as serving_pb2

_log = logging.getLogger(__name__)

_FAILED: Final = 255
"""TensorFlow Serving's -1, for everything that keeps it from serving."""

_VERSION: Final = "2.19 (the embedded server of this project, which answers as 2.19.1 does)"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the server until it is told to stop; returns the exit code."""
    configure_logging()
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run("serving.local", lambda: _main(arguments))


def _main(arguments: Sequence[str]) -> int:
    if "--help" in arguments:
        print(flags_module.usage("tensorflow_model_server"))
        return _FAILED
    try:
        flags = flags_module.parse(arguments, lambda line: print(lines(line), flush=True))
    except ServingError as error:
        _complain(f"{error.text} See --help.")
        return _FAILED
    if flags.version:
        print(f"TensorFlow ModelServer: {_VERSION}")
        # tensorflow, or tensorflow-cpu: whichever is installed.
        (package, *_) = metadata.packages_distributions()["tensorflow"]
        print(f"TensorFlow Library: {metadata.version(package)}")
        return 0
    return _start(flags)


def _start(flags: Flags) -> int:
    """Serves; says why not, in TensorFlow Serving's words, where it cannot."""
    try:
        flags.check()
        return _serve(flags)
    except ConfigError as error:
        # Our words tell where the fault in the file is, TensorFlow Serving's follow on stdout.
        _complain(f"serving.local: error: {error}")
        if error.logged_text:
            _complain(error.logged_text)
        return _failed(invalid_argument(error.served_text))
    except FileNotFoundError as error:
        _complain(
            f"serving.local: error: Expected a file. Received: {error.filename}, {error.strerror}. "
            "Correct the flag that names it."
        )
        return _failed(not_found(f"{error.filename}; {error.strerror}"))
    except (ServingError, InputError, OSError) as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    print(lines(f"Failed to start server. Error: {error}"), flush=True)
    return _FAILED


def _complain(text: str) -> None:
    """What is in it of a file's making cannot move the cursor or colour the terminal."""
    print(lines(text), file=sys.stderr)


def _serve(flags: Flags) -> int:
    started = time.monotonic()
    config = _configuration(flags)
    for name, port in (("port", flags.port), ("rest_api_port", flags.rest_api_port)):
        if port:
            _check_free(name, port)
    quiet_tensorflow.import_tensorflow(keras=False)
    from serving.local import server

    # TensorFlow's modules are 280,000 objects that stay. A full garbage collection that visits them
    # held up every request, for 0.7 s on a busy machine. What is made later, versions above all,
    # is still collected.
    gc.freeze()
    server_started = time.monotonic()
    _log.info("TensorFlow %s imported in %.1f s", server.TENSORFLOW, server_started - started)
    with ExitStack() as closing:
        stop = _stop_on_signals(closing)
        running = closing.enter_context(server.Server(flags, config))
        running.wait_until_ready(stop)
        if not stop.is_set():
            ports = running.listen()
            _log.info(
                "ready in %.2f s after TensorFlow's import", time.monotonic() - server_started
            )
            if flags.port_file:
                files.write(Path(flags.port_file), json.dumps(ports) + "\n")
        stop.wait()
    _log.info("stopped")
    return 0


def _stop_on_signals(closing: ExitStack) -> threading.Event:
    """An event that SIGTERM or SIGINT sets; a second signal ends the process at once.

    Python runs signal handlers in the main thread only, and only when that thread wakes up; the
    system may deliver the signal to a thread of gRPC's or TensorFlow's meanwhile. The wake-up
    socket, however, receives the signal's number whichever thread is interrupted.
    """
    stop = threading.Event()
    read, write = socket.socketpair()
    write.setblocking(False)

    def watch() -> None:
        while received := read.recv(1):
            number = received[0]
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            if stop.is_set():
                os._exit(128 + number)
            _log.info("stopping: %s", signal.Signals(number).name)
            stop.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        closing.callback(signal.signal, number, signal.signal(number, lambda *_: None))
    closing.callback(write.close)
    closing.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write.fileno()))
    return stop


def _configuration(flags: Flags) -> ModelsConfig:
    """What to serve: the config file if there is one, else the one model of the flags."""
    if flags.model_config_file:
        return models_config.read(Path(flags.model_config_file))
    message = serving_pb2.ModelServerConfig()
    message.model_config_list.config.add(
        name=flags.model_name,
        base_path=flags.model_base_path,
        model_platform=models_config.PLATFORM,
    )
    config = models_config.from_message(message)
    models_config.check_list(config.models)
    return config


def _check_free(flag: str, port: int) -> None:
    """Refuses a port in use before TensorFlow's import has cost its seconds."""
    if not 0 < port < 2**16:
        raise InputError(
            f"Expected a port from 1 to 65535. Received: --{flag}={port}. Choose another one."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((flags_module.HOST, port))
        except OSError as error:
            raise InputError(
                f"Expected a free port. Received: --{flag}={port}, {error.strerror}. "
                f"Stop what listens there or choose another port with --{flag}."
            ) from error
