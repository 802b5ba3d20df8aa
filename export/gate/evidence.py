"""Asks both versions of a gate, in a process of its own, because a version may end the process.

    python -m export.gate.evidence task.json

Started by export.gate.child alone. TensorFlow ends the whole process over some graphs, so the one
that judges is not the one that asks. Each line on stdout is JSON and says what is about to be done;
the last one before a silence says what the process was doing. Answers are gathered here and judged
elsewhere.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export import burden, hostile
from export.gate import corruptions, signatures as gate_signatures
from foundation import command_line
from tfs_client import RequestError, contract, image_to_array

BATCH_SIZE = 32
WARM_UP_CALLS = 20

SIGNATURES = (contract.SIGNATURE_DEFAULT, contract.SIGNATURE_IMAGES)
"""The two that answer one decision an image; verification compares `classify` with them."""

HELD_OUT, EDGE, CORRUPTED = "held_out", "edge", "corrupted"
"""Names of the sets of pictures; each kind of corruption is a set, CORRUPTED + "." + kind."""

HOSTILE_BYTES = 2**30
"""What hostile files may ask for before the process ends: many times what they may cost."""

EVIDENCE, ANSWERS = "evidence.json", "answers.npz"
"""What is left in the task's folder."""

NO_ROOM = 4
"""The exit code where the disk is full."""


def main(argv: list[str] | None = None) -> int:
    """The command: 0 when everything was asked, 3 when a version answered with an error.

    NO_ROOM where the answers could not be written, which is no version's fault.
    """
    (task_file,) = sys.argv[1:] if argv is None else argv
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    try:
        gather(task, Path(task_file).parent)
    except Exception as error:  # whatever a version does is an answer, not a fault of the gate
        text = getattr(error, "message", None) or str(error)
        _say(failed=f"{type(error).__name__}: {' '.join(text.split())[:400]}")
        return NO_ROOM if command_line.is_disk_full(error) else 3
    return 0


def gather(task: dict[str, Any], folder: Path) -> None:
    """Loads the versions, asks them, and writes EVIDENCE and ANSWERS.

    Stops after the signatures where a version lacks those of the contract: there is nothing more
    that it could be asked. Then there are no ANSWERS.

    Args:
        task: as export.gate.child writes it.
        folder: receives the files.

    Raises:
        Exception: whatever a version raises.
    """
    _begin("importing TensorFlow")
    from foundation import quiet_tensorflow

    quiet_tensorflow.import_tensorflow(keras=False)
    from export.verify import Loaded

    loaded = {}
    for who, version in task["versions"].items():
        _begin(f"loading version {version['number']}")
        loaded[who] = Loaded(Path(version["folder"]))
    signatures = {who: describe(one.signatures) for who, one in loaded.items()}
    (folder / EVIDENCE).write_text(json.dumps({"signatures": signatures}), encoding="utf-8")
    if any(gate_signatures.lacking(found) for found in signatures.values()):
        return
    numbers = {who: version["number"] for who, version in task["versions"].items()}
    asking = _Asking(loaded, numbers)
    files = [Path(path) for path in task["files"]]
    asking.ask_all(HELD_OUT, "the held-out images", files, Path.read_bytes)
    few = [files[index] for index in task["corrupted"]]
    for kind in corruptions.KINDS:
        asking.ask_all(
            f"{CORRUPTED}.{kind}",
            f"images with {kind.replace('_', ' ')}",
            few,
            lambda path, kind=kind: _corrupted(path.read_bytes(), kind, task["seed"]),
        )
    asking.ask_all(EDGE, "edge pictures", list(edge_pictures().values()), bytes)
    with _little_memory():
        hostile_found = _hostile(loaded, numbers, files[0])
    found = {"signatures": signatures, "hostile": hostile_found}
    (folder / EVIDENCE).write_text(json.dumps(found), encoding="utf-8")
    arrays = asking.arrays()
    arrays.update(_latencies(loaded, numbers, files, task["latency_calls"]))
    np.savez(folder / ANSWERS, **arrays)


def _hostile(loaded: dict[str, Any], numbers: dict[str, int], good: Path) -> dict[str, list[str]]:
    """What the candidate spends beyond the bounds: file -> faults, in words.

    The stable version stands already, and an old one may cost gigabytes. A limit on the process's
    memory ends it before that.
    """
    who = "candidate"
    _begin("hostile rows")
    total = len(hostile.FILES) + len(hostile.EXAMPLES)
    found: dict[str, list[str]] = {}
    file = good.read_bytes()
    for signature, row, rows in (
        (contract.SIGNATURE_DEFAULT, file, hostile.FILES),
        (contract.SIGNATURE_CLASSIFY, hostile.example(file), hostile.EXAMPLES),
    ):
        words = f"version {numbers[who]} answers hostile rows of {signature}"
        _say(doing=words, done=len(found), total=total)
        ask = functools.partial(loaded[who].ask, signature)
        for name, cost in burden.measure(ask, row, rows, burden.Meter(os.getpid())):
            found[name] = cost.faults()
            _say(doing=f"{words}, behind {name}", done=len(found), total=total)
    return found


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Within, the process ends where it asks for HOSTILE_BYTES more, on systems with /proc."""
    used = Path("/proc/self/statm")
    if not used.exists():
        yield
        return
    bytes_used = int(used.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (bytes_used + HOSTILE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def describe(signatures: dict[str, Any]) -> dict[str, Any]:
    """Signatures as plain data: method, and dtype and shape of each input and output.

    A shape is a list with null for a free dimension, or null itself where the rank is free.
    """
    import tensorflow as tf

    def tensors(infos: Any) -> dict[str, Any]:
        return {
            name: {
                "dtype": tf.as_dtype(info.dtype).name,
                "shape": None
                if info.tensor_shape.unknown_rank
                else [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim],
            }
            for name, info in sorted(infos.items())
        }

    return {
        name: {
            "method": definition.method_name,
            "inputs": tensors(definition.inputs),
            "outputs": tensors(definition.outputs),
        }
        for name, definition in sorted(signatures.items())
        if not name.startswith("__saved_model")
    }


def edge_pictures() -> dict[str, bytes]:
    """Pictures that nobody trains on and somebody sends: name -> PNG file."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    return {
        name: corruptions.encoded(pixels)
        for name, pixels in {
            "all black": np.zeros((64, 64, 3)),
            "all white": np.full((64, 64, 3), 255),
            "noise": noise,
            "1x1 pixel": np.full((1, 1, 3), 127),
            "very wide": np.resize(noise, (2, 3000, 3)),
            "very tall": np.resize(noise, (3000, 2, 3)),
        }.items()
    }


def _corrupted(file: bytes, kind: str, seed: int) -> bytes:
    try:
        return corruptions.corrupt(file, kind, seed)
    except (RequestError, OSError):
        return file  # TensorFlow reads some files that Pillow does not: they stay as they are


class _Asking:
    """Asks every version the same pictures, through both signatures, and keeps the answers."""

    def __init__(self, loaded: dict[str, Any], numbers: dict[str, int]):
        self._loaded = loaded
        self._numbers = numbers
        self._sizes = {
            who: gate_signatures.image_size(describe(one.signatures)) for who, one in loaded.items()
        }
        self._kept: dict[str, list[np.ndarray]] = collections.defaultdict(list)

    def ask_all(
        self, name: str, words: str, sources: Sequence[Any], read: Callable[[Any], bytes]
    ) -> None:
        _begin(words)
        for start in range(0, len(sources), BATCH_SIZE):
            files = [read(source) for source in sources[start : start + BATCH_SIZE]]
            for who, number in self._numbers.items():
                _say(doing=f"version {number} answers {words}", done=start, total=len(sources))
                for signature, rows in self._requests(who, files):
                    self._keep(name, who, signature, rows)

    def _requests(self, who: str, files: list[bytes]) -> Iterator[tuple[str, Any]]:
        yield contract.SIGNATURE_DEFAULT, files
        images = []
        for file in files:
            # TensorFlow reads some files that Pillow does not
            with contextlib.suppress(RequestError):
                images.append(image_to_array(file, self._sizes[who]))
        if images:
            yield contract.SIGNATURE_IMAGES, np.stack(images)

    def _keep(self, name: str, who: str, signature: str, rows: Any) -> None:
        answers = self._loaded[who].ask(signature, rows)
        # One from before there could be more than two classes does not answer scores.
        of_classes = [contract.OUTPUT_SCORES] if contract.OUTPUT_SCORES in answers else []
        for output in (*contract.DECISION_OUTPUTS, *of_classes):
            values = answers[output]
            if values.shape[:1] != (len(rows),) or values.ndim != 1 + (output in of_classes):
                raise ValueError(
                    f"Expected {output} of {signature} with one row for each of {len(rows)} "
                    f"images. Received: shape {values.shape}"
                )
            if values.dtype == object:
                values = np.array([value.decode("utf-8", "replace") for value in values], "U")
            self._kept[key(who, name, signature, output)].append(values)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in self._kept.items()}


def key(who: str, pictures: str, signature: str, output: str) -> str:
    """Names an array of ANSWERS: one row an image, in the order of the pictures."""
    return f"{who}/{pictures}/{signature}/{output}"


def latency_key(who: str) -> str:
    """Names the array of ANSWERS with milliseconds, one value a call."""
    return f"{who}/latency_ms"


def _latencies(
    loaded: dict[str, Any], numbers: dict[str, int], files: Sequence[Path], calls: int
) -> dict[str, np.ndarray]:
    """Times single files through serving_default, the versions in turns.

    A busy machine slows both alike then; who goes first changes from pair to pair, because the
    second call finds the file's bytes in the processor's cache.
    """
    contents = [path.read_bytes() for path in files[:BATCH_SIZE]]
    spent: dict[str, list[float]] = {who: [] for who in loaded}
    words = " and ".join(f"version {number}" for number in numbers.values())
    _begin(f"timing {words}")
    gc.collect()
    gc.disable()  # a collection would fall on whichever version happens to be asked
    for call, file in zip(range(-WARM_UP_CALLS, calls), itertools.cycle(contents)):
        if call % 10 == 0:
            _say(doing=f"timing {words}", done=max(call, 0), total=calls)
        for who in list(loaded)[:: 1 if call % 2 else -1]:
            begun = time.perf_counter()
            loaded[who].ask(contract.SIGNATURE_DEFAULT, [file])
            if call >= 0:
                spent[who].append(1000 * (time.perf_counter() - begun))
    gc.enable()
    return {latency_key(who): np.array(values) for who, values in spent.items()}


def steps(versions: int) -> int:
    """How many steps there are where so many versions are asked."""
    sets = (HELD_OUT, *corruptions.KINDS, EDGE)
    return len(("import", *range(versions), *sets, "hostile rows", "timing"))


def _begin(doing: str) -> None:
    """Says that the next step begins."""
    _say(doing=doing, begins=True, done=0, total=None)


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    sys.exit(main())
