"""Asks a version and a server small files that ask for much -> build/hostile.json.

    python -m tests.hostile                                  the newest version, in this process,
                                                             and a local server: half a minute
    python -m tests.hostile --grpc host:port [--rest host:port] [--pid 1234]
                                                             a server that runs already

The rows are those of export/hostile.py: lengths that lie, frames and scans without end, text that
unpacks to half a gigabyte; and tensors of a few bytes that declare thousands of rows. Each stands
between two good rows, whose answers must stay as they were. Memory and processor time are counted
where the server's process is on this machine and known. The server may end: ask none that others
need. Exit code 0: all holds; 1: something does not; 2: it could not be asked.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from export import burden, hostile, versions
from foundation import command_line, progress, quiet_tensorflow
from foundation.command_line import InputError
from foundation.figures import Figures
from tests import forked_server
from tests.hostile.server import Asked, HostileCaller, ServerEndedError
from tfs_client import contract
from training.data import dataset

logger = logging.getLogger("tests.hostile")


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m tests.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default="models", help="model store (default: %(default)s)")
    parser.add_argument("--grpc", help="ask this server, host:port, in place of a local one")
    parser.add_argument("--rest", help="ask it over REST too, host:port")
    parser.add_argument("--pid", type=int, help="its process, to count what it takes")
    parser.add_argument("--label", default=contract.LABEL_STABLE, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        if args.grpc is None and (args.rest or args.pid):
            raise InputError("Expected --grpc beside --rest or --pid. Received: no --grpc.")
        return _ask(args.models, args.grpc, args.rest, args.pid, args.label)

    return command_line.run(parser.prog, body)


def _ask(models: str, target: str | None, rest: str | None, pid: int | None, label: str) -> int:
    found = Figures("hostile", "python -m tests.hostile" + (f" --grpc {target}" if target else ""))
    sample = dataset.find(None, max_images=2)
    good = sample.file(sample.items[0]).read_bytes()
    with contextlib.ExitStack() as stack:
        if target is None:
            folder = _newest(Path(models) / contract.MODEL_NAME)
            _add(found, "graph", _of_graph(folder, good), len(hostile.FILES | hostile.EXAMPLES))
            target, rest, pid = stack.enter_context(_local_server(folder))
        caller = HostileCaller(target, good, burden.Meter(pid), label, rest)
        stack.callback(caller.close)
        _add(found, "server", caller.ask_all(), caller.total)
    code = found.write(told=False)
    for figure in found.results:
        if not figure.name.endswith(".faults"):
            bar = f" (bar {figure.bar})" if figure.bar else ""
            logger.info("%s: %.4g %s%s", figure.name, figure.value, figure.unit, bar)
    print("build/hostile.json")
    return code


def _add(found: Figures, who: str, asked: Iterator[Asked], total: int) -> None:
    answered = 0
    memory, seconds = 0, 0.0
    try:
        for one in progress.tracked(asked, who, total=total, unit="rows and tensors"):
            answered += 1
            memory = max(memory, one.memory_bytes or 0)
            seconds = max(seconds, one.seconds or 0)
            for fault in one.faults:
                logger.error("%s: %s: %s", who, one.name, fault)
            found.add(f"{who}.{one.name}.faults", len(one.faults), "", at_most=0)
    except ServerEndedError as error:
        logger.error("%s: %s", who, error)
    found.add(f"{who}.answered", answered, "rows and tensors", at_least=total)
    found.add(f"{who}.most_memory", memory / 2**20, "MiB")
    found.add(f"{who}.most_time", seconds, "s of the processor", at_most=hostile.SECONDS)


def _of_graph(folder: Path, good: bytes) -> Iterator[Asked]:
    quiet_tensorflow.import_tensorflow(keras=False)
    from export.verify import Loaded

    loaded, meter = Loaded(folder), burden.Meter(os.getpid())
    for signature, row, rows in (
        (contract.SIGNATURE_DEFAULT, good, hostile.FILES),
        (contract.SIGNATURE_CLASSIFY, hostile.example(good), hostile.EXAMPLES),
    ):
        ask = functools.partial(loaded.ask, signature)
        for name, cost in burden.measure(ask, row, rows, meter):
            yield Asked(
                name=name,
                faults=cost.faults(),
                memory_bytes=cost.memory_bytes,
                seconds=cost.seconds,
            )


@contextlib.contextmanager
def _local_server(folder: Path) -> Iterator[tuple[str, str, int]]:
    """Serves one version; gives its addresses and its process."""
    number = folder.name
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        config = Path(name) / "models.config"
        config.write_text(
            f'model_config_list {{ config {{ name: "{contract.MODEL_NAME}" '
            f'base_path: "{contract.MODEL_STORE}/{contract.MODEL_NAME}" '
            f'model_platform: "tensorflow" '
            f"model_version_policy {{ specific {{ versions: {number} }} }} "
            f'version_labels {{ key: "{contract.LABEL_STABLE}" value: {number} }} }} }}\n',
            encoding="utf-8",
        )
        with forked_server.serving(
            Path(name),
            "--allow_version_labels_for_unavailable_models=true",
            config=config,
            models=folder.resolve().parents[1],
        ) as (process, ports, _):
            yield f"127.0.0.1:{ports['grpc']}", f"127.0.0.1:{ports['rest']}", process.pid


def _newest(model_folder: Path) -> Path:
    standing = versions.versions(model_folder)
    if not standing:
        raise InputError(
            f"Expected a version in {model_folder}. Received: none. Run `make train export`."
        )
    return model_folder / str(standing[-1])


if __name__ == "__main__":
    sys.exit(main())
