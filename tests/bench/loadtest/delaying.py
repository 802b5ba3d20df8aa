"""A gRPC server that answers Predict with prepared bytes, at once or as slowly as a model says.

    python -m tests.bench.loadtest.delaying '{"median_s": 0.004, …}'      truth.Slowness

Prints its port. A line on stdin is answered with how late each answer was sent, in the order in
which the requests came: a thread wakes up later than it asked for, which is not the generator's
fault. No request is read. One with AT_ONCE_KEY in its metadata is answered at once, even in a
stall: its latency is the cost of the way to this server and back.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from typing import Any, Final

import numpy as np

from loadtest.loops.worker import sleep_precisely
from tests.bench import bare_server
from tests.bench.loadtest.truth import Slowness
from tfs_client import contract
from tfs_client.protocol import METHODS, messages as pb, to_proto

AT_ONCE_KEY: Final = "x-at-once"

THREADS: Final = 256

MOST: Final = 1_000_000
"""Requests of one run."""


def main() -> int:
    """Serves until it is killed."""
    sleep_precisely()
    slowness = Slowness(**json.loads(sys.argv[1]))
    answer = prediction()
    behaviour_of = bare_server.prepared(
        {METHODS["Predict"]: answer, METHODS["GetModelMetadata"]: metadata()}
    )
    delayed = _Delayed(slowness, answer)

    def delayed_of(path: str) -> bare_server.Behaviour | None:
        slow = path == METHODS["Predict"] and slowness.median_s
        return delayed if slow else behaviour_of(path)

    server = bare_server.start(delayed_of, THREADS)
    for _ in sys.stdin:
        print(json.dumps([late_s for _, late_s in sorted(delayed.late_s)]), flush=True)
    server.wait_for_termination()
    return 0


class _Delayed:
    """Answers each request after its own delay."""

    def __init__(self, slowness: Slowness, answer: bytes) -> None:
        self.late_s: list[tuple[int, float]] = []
        """Number of the request, and how long after its time the answer was sent."""
        self._slowness, self._answer = slowness, answer
        self._delays_s = enumerate(slowness.delays_s(MOST).tolist() if slowness.median_s else ())
        self._places = threading.Semaphore(slowness.places) if slowness.places else None

    def __call__(self, request: bytes, context: Any) -> bytes:
        """See bare_server.Behaviour."""
        with self._places or contextlib.nullcontext():
            if not any(key == AT_ONCE_KEY for key, _ in context.invocation_metadata()):
                self._wait()
            return self._answer

    def _wait(self) -> None:
        come_s = time.time()
        number, delay_s = next(self._delays_s)
        released_s = float(self._slowness.released_s(come_s + delay_s))
        rest_s = released_s - time.time()
        if rest_s > 0:
            time.sleep(rest_s)
        self.late_s.append((number, time.time() - released_s))


def prediction() -> bytes:
    """The answer to one image."""
    answer = pb.PredictResponse(model_spec={"name": contract.MODEL_NAME})
    answer.model_spec.version.value = 1
    answer.model_spec.signature_name = contract.SIGNATURE_DEFAULT
    outputs: dict[str, Any] = {
        contract.OUTPUT_PROBABILITY: np.array([0.1], np.float32),
        contract.OUTPUT_LABEL: [b"functional"],
        contract.OUTPUT_NEEDS_REVIEW: np.array([False]),
        contract.OUTPUT_VALID: np.array([True]),
    }
    for name, value in outputs.items():
        answer.outputs[name].CopyFrom(to_proto(value))
    return bytes(answer.SerializeToString())


def metadata() -> bytes:
    """What the contract's default signature looks like."""
    signatures = pb.SignatureDefMap()
    signature = signatures.signature_def[contract.SIGNATURE_DEFAULT]
    signature.method_name = contract.METHOD_PREDICT
    info = signature.inputs[contract.INPUT_IMAGE_BYTES]
    info.name, info.dtype = "serving:0", pb.DT_STRING
    info.tensor_shape.dim.add(size=-1)
    answer = pb.GetModelMetadataResponse(model_spec={"name": contract.MODEL_NAME})
    answer.model_spec.version.value = 1
    packed = answer.metadata["signature_def"]
    packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed.value = signatures.SerializeToString()
    return bytes(answer.SerializeToString())


def request(content: bytes) -> bytes:
    """What a bare stub sends: one image."""
    asked = pb.PredictRequest(
        model_spec={
            "name": contract.MODEL_NAME,
            "version_label": contract.LABEL_STABLE,
            "signature_name": contract.SIGNATURE_DEFAULT,
        }
    )
    asked.inputs[contract.INPUT_IMAGE_BYTES].CopyFrom(to_proto([content]))
    return bytes(asked.SerializeToString())


if __name__ == "__main__":
    sys.exit(main())
