"""What a picture file costs inside a version, beside pixels and beside Pillow.

    python -m export.decoding                      the newest version, sample pictures, a minute
    python -m export.decoding --version models/image_classifier/1

Asks the version in this process, without a server: images/s of serving_default (files) for one and
several callers, and of predict_images (pixels). Then decoding and resizing alone on one core, in
the graph and in Pillow. All of it in turns, several times over; a figure is the median. Last what
small hostile files (export/hostile.py) and large pictures cost: memory, and time beside Pillow's.
Writes build/bench-decoding.json. The rates have no bars, because a busy machine slows TensorFlow's
threads more than Pillow; memory and time have.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from export import burden, hostile, versions
from foundation import command_line, figures, progress, quiet_tensorflow
from foundation.command_line import InputError
from tfs_client import contract
from training import config
from training.data import dataset

quiet_tensorflow.import_tensorflow(keras=False)

import tensorflow as tf  # noqa: E402 - after it was imported quietly
from tensorflow.core.protobuf import config_pb2  # noqa: E402

from export.verify import Loaded  # noqa: E402
from training.data import preprocessing  # noqa: E402

PICTURES = 64
BATCH_SIZE = 32
ROUNDS = 7

LARGE_SIDE = 4000
"""Pixels of a large picture's side."""

MOST_OVER_PILLOW = 10
"""Times that a large picture may take longer than in Pillow."""

CALLERS = {1: (1, 2), BATCH_SIZE: (1, 2, 4)}
"""Rows of a request -> how many ask at the same time."""


def main(argv: list[str] | None = None) -> int:
    """The command; prints the path of the figures on stdout."""
    parser = command_line.Parser(
        prog="python -m export.decoding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default="models", help="model store (default: %(default)s)")
    parser.add_argument("--version", help="folder of a version (default: the newest)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="each measurement, each round (default: 0.5)"
    )
    args = parser.parse_args(argv)
    command_line.configure_logging()

    def body() -> int:
        folder = args.version or _newest(Path(args.models) / contract.MODEL_NAME)
        return _measure(Path(folder), args.seconds)

    return command_line.run(parser.prog, body)


def _measure(folder: Path, seconds: float) -> int:
    found = dataset.find(None, max_images=PICTURES)
    files = [found.file(item).read_bytes() for item in found.items]
    calls = {**_version_calls(folder, files), **_one_core_calls(files)}
    measured = _in_turns(calls, seconds)
    result = figures.Figures("bench-decoding", f"python -m export.decoding --version {folder}")
    for name, rate in measured.items():
        if name.startswith(("graph.", "pillow.")):
            result.add(f"{name}.one_core", 1000 / rate, "ms/image")
        else:
            result.add(name, rate, "images/s")
    cores = os.cpu_count() or 1
    pixels = measured["predict_images.rows_32.callers_2"]
    from_files = measured["serving_default.rows_32.callers_2"]
    decoding = measured["graph.decode_and_resize"]
    result.add("serving_default_over_predict_images", from_files / pixels, "")
    result.add(
        "serving_default_over_its_parts",
        from_files * (1 / pixels + 1 / (decoding * cores)),
        "of what pixels and decoding on all cores leave",
    )
    loaded = Loaded(folder)
    _add_hostile(result, loaded, files[0])
    _add_large(result, loaded)
    result.add("graph_over_pillow.decode", measured["pillow.decode"] / measured["graph.decode"], "")
    result.add(
        "graph_over_pillow.decode_and_resize",
        measured["pillow.decode_and_resize"] / decoding,
        "",
    )
    return result.write()


def _add_hostile(result: figures.Figures, loaded: Loaded, good: bytes) -> None:
    """Peak memory and processor time of each hostile file, between two good ones."""
    ask = functools.partial(loaded.ask, contract.SIGNATURE_DEFAULT)
    meter = burden.Meter(os.getpid())
    for name, cost in burden.measure(ask, good, hostile.FILES, meter):
        if cost.memory_bytes is not None:
            memory, most = cost.memory_bytes / 2**20, hostile.MEMORY_BYTES / 2**20
            result.add(f"hostile.{name}.memory", memory, "MiB", at_most=most)
        result.add(f"hostile.{name}.time", cost.seconds, "s", at_most=hostile.SECONDS)
        result.add(f"hostile.{name}.neighbours_kept", cost.harmed == "", "")


def _add_large(result: figures.Figures, loaded: Loaded) -> None:
    """Peak memory and processor time of large pictures in every format."""
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    size = (LARGE_SIDE, LARGE_SIDE)
    picture = PIL.Image.fromarray(noise).resize(size, PIL.Image.Resampling.BICUBIC)
    allowed = hostile.FRAME_FACTOR * 3 * LARGE_SIDE**2 + hostile.MEMORY_BYTES
    meter = burden.Meter(os.getpid())
    for name, mode, options in (
        ("png", "RGB", {"compress_level": 1}),
        ("jpeg", "RGB", {}),
        ("jpeg", "RGB", {"progressive": True}),
        ("gif", "P", {}),
        ("bmp", "RGB", {}),
    ):
        target = io.BytesIO()
        picture.convert(mode).save(target, name, **options)
        file = target.getvalue()
        started = time.process_time()
        _pillow_decode(file).resize((64, 64), PIL.Image.Resampling.BILINEAR)
        of_pillow = time.process_time() - started
        meter.start()
        loaded.ask(contract.SIGNATURE_DEFAULT, [file])
        memory, seconds = meter.stop()
        label = f"large.{'progressive_' if options.get('progressive') else ''}{name}"
        if memory is not None:
            result.add(f"{label}.memory_of_what_is_allowed", memory / allowed, "", at_most=1)
        if seconds is not None:
            ratio = seconds / of_pillow
            result.add(f"{label}.time_over_pillow", ratio, "", at_most=MOST_OVER_PILLOW)


def _pillow_decode(file: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(file))
    image.load()
    return image


def _newest(model_folder: Path) -> Path:
    standing = versions.versions(model_folder)
    if not standing:
        raise InputError(
            f"Expected a version in {model_folder}. Received: none. Run `make export`."
        )
    return model_folder / str(standing[-1])


def _version_calls(folder: Path, files: Sequence[bytes]) -> dict[str, tuple[Callable, int, int]]:
    """Name -> what to call, images a call, callers."""
    loaded = Loaded(folder)
    images = loaded.signatures[contract.SIGNATURE_IMAGES].inputs[contract.INPUT_IMAGES]
    height, width = (dim.size for dim in images.tensor_shape.dim[1:3])
    pixels = np.zeros((BATCH_SIZE, height, width, 3), np.uint8)
    calls: dict[str, tuple[Callable, int, int]] = {}
    for count, callers in CALLERS.items():
        batch = np.array([files[row % len(files)] for row in range(count)], object)

        def ask_files(batch: np.ndarray = batch) -> None:
            loaded.ask(contract.SIGNATURE_DEFAULT, batch)

        for many in callers:
            name = f"{contract.SIGNATURE_DEFAULT}.rows_{count}.callers_{many}"
            calls[name] = (ask_files, count, many)
    calls[f"{contract.SIGNATURE_IMAGES}.rows_{BATCH_SIZE}.callers_2"] = (
        lambda: loaded.ask(contract.SIGNATURE_IMAGES, pixels),
        BATCH_SIZE,
        2,
    )
    return calls


def _one_core_calls(files: Sequence[bytes]) -> dict[str, tuple[Callable, int, int]]:
    height, width = config.RunConfig().image_height, config.RunConfig().image_width
    limit = config.RunConfig().max_pixels
    decode = _on_one_core(lambda file: preprocessing.decode(file, limit))
    decode_and_resize = _on_one_core(
        lambda file: preprocessing.decode_and_resize(file, height, width, limit)
    )

    def pillow_decode_and_resize(file: bytes) -> PIL.Image.Image:
        return _pillow_decode(file).resize((width, height), PIL.Image.Resampling.BILINEAR)

    each = {
        "graph.decode": decode,
        "graph.decode_and_resize": decode_and_resize,
        "pillow.decode": _pillow_decode,
        "pillow.decode_and_resize": pillow_decode_and_resize,
    }
    return {
        name: (lambda one=one: [one(file) for file in files], len(files), 1)
        for name, one in each.items()
    }


def _on_one_core(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[bytes], object]:
    graph = tf.Graph()
    with graph.as_default():
        file = tf.compat.v1.placeholder(tf.string, [])
        # the operation, not its answer: copying the pixels out is no part of it
        computed = function(file).op
    settings = config_pb2.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    session = tf.compat.v1.Session(graph=graph, config=settings)
    return session.make_callable(computed, [file])


def _in_turns(calls: dict[str, tuple[Callable, int, int]], seconds: float) -> dict[str, float]:
    """Name -> images/s."""
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for call, _, _ in calls.values():
        call()
    for name in progress.tracked([*calls] * ROUNDS, "bench-decoding", unit="measurements"):
        call, images, callers = calls[name]
        rates[name].append(images * _calls_per_second(call, callers, seconds))
    return {name: statistics.median(found) for name, found in rates.items()}


def _calls_per_second(call: Callable, callers: int, seconds: float) -> float:
    done = [0] * callers
    started = time.perf_counter()

    def ask(caller: int) -> None:
        while time.perf_counter() < started + seconds:
            call()
            done[caller] += 1

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
