"""Runs signatures without any server around them: what TensorFlow itself can do here.

    python -m tests.bench.server.in_process VERSION_FOLDER FILES.json PIXELS.npy

Asked on stdin, answers on stdout, one JSON object a line: {"do": "answers"} → the right answers;
{"do": "run", "signature": …, "threads": …, "seconds": …} → images, seconds and CPU.
The model is loaded as the local server loads it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation import quiet_tensorflow
from tfs_client import contract

BATCH = 32


def main() -> int:
    """Answers until stdin ends."""
    folder, files_path, pixels_path = (Path(part) for part in sys.argv[1:])
    quiet_tensorflow.import_tensorflow(keras=False)
    from serving.local.loading import saved_model

    saved_model.prepare_tensorflow()
    model = saved_model.SavedModel(folder, saved_model.SessionOptions())
    files = np.array([Path(name).read_bytes() for name in json.loads(files_path.read_text())], "O")
    images = np.load(pixels_path) if pixels_path.exists() else None
    for line in sys.stdin:
        asked = json.loads(line)
        match asked.pop("do"):
            case "size":
                shape = model.signatures[contract.SIGNATURE_IMAGES].inputs["images"].shape
                answer: Any = shape[1:3]
            case "answers":
                images = np.load(pixels_path)
                answer = {
                    contract.SIGNATURE_DEFAULT: _answers(model, "serving_default", files),
                    contract.SIGNATURE_IMAGES: _answers(model, "predict_images", images),
                }
            case "run":
                rows = files if asked["signature"] == contract.SIGNATURE_DEFAULT else images
                answer = _run(model, rows, **asked)
        print(json.dumps(answer), flush=True)
    return 0


def _answers(model: Any, signature: str, rows: NDArray[Any]) -> dict[str, Any]:
    found = _call(model, signature, rows)
    return {
        "probabilities": found[contract.OUTPUT_PROBABILITY].tolist(),
        "labels": [label.decode() for label in found[contract.OUTPUT_LABEL].tolist()],
    }


def _call(model: Any, name: str, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    signature = model.signatures[name]
    (alias,) = signature.inputs
    return model.run(signature, {alias: rows}, contract.PREDICT_OUTPUTS)


def _run(
    model: Any, rows: NDArray[Any], signature: str, threads: int, seconds: float
) -> dict[str, float]:
    """Batches of 32 from several threads; counts those that were computed within the time."""
    batches = [np.roll(rows, -shift, axis=0)[:BATCH] for shift in range(0, len(rows), BATCH)]
    _call(model, signature, batches[0])
    stop = False
    counts = [0] * threads

    def work(index: int) -> None:
        turn = index
        while not stop:
            _call(model, signature, batches[turn % len(batches)])
            counts[index] += BATCH
            turn += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    begin, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop = True
    for worker in workers:
        worker.join()
    return {
        "images": sum(counts),
        "seconds": time.perf_counter() - begin,
        "cpu_s": time.process_time() - cpu,
    }


if __name__ == "__main__":
    sys.exit(main())
