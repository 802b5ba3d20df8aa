"""Loads and runs one SavedModel in a graph Session, which is what TensorFlow Serving does.

A SavedModel that loads here loads there, and one that fails there (a Keras 3 model in a tf.Module,
say) fails here as well: `tf.saved_model.load` would be more forgiving.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from grpc import StatusCode
from numpy.typing import NDArray
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from foundation import files
from serving.local import metrics
from serving.local.dtypes import DT_STRING
from serving.local.errors import CODE_BY_NUMBER, ServingError, not_found, refuse
from serving.local.loading import shape_guard
from serving.local.loading.feeds import check_dtypes
from serving.local.signature import Signature, TensorSpec, from_signature_def

_log = logging.getLogger(__name__)

SERVE_TAG: Final = "serve"


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How sessions are made; the same for every version."""

    tags: tuple[str, ...] = (SERVE_TAG,)
    intra_op_threads: int = 0
    """0: one a core."""
    inter_op_threads: int = 0
    """0: one a core."""
    gpu_memory_fraction: float = 0.0
    """0: grows as needed, so that two versions, or a training run, can share a GPU."""


class SavedModel:
    """A SavedModel in memory, ready to compute; `close` frees it.

    Thread-safe: any number of threads may `run` at the same time, with the interpreter's lock
    released while TensorFlow works.
    """

    def __init__(self, path: Path, options: SessionOptions) -> None:
        """Reads the graph, restores the variables and runs the initializers.

        Raises:
            ServingError: NOT_FOUND where there is no SavedModel with these tags, otherwise
                TensorFlow's own code and text.
        """
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=_session_config(options))
        with self._graph.as_default(), files.no_pattern(path) as plain:
            try:
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, list(options.tags), str(plain)
                )
            except Exception as error:
                self._session.close()
                failure = _load_error(error)
                text = failure.text.replace(str(plain), str(path))
                raise ServingError(failure.code, text) from error
        self.signatures: Mapping[str, Signature] = {
            name: from_signature_def(name, message)
            for name, message in meta_graph.signature_def.items()
        }
        self._callables: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._callables_lock = threading.Lock()
        self._unguarded = shape_guard.unguarded_inputs(
            meta_graph.graph_def,
            {spec.tensor_name for s in self.signatures.values() for spec in s.inputs.values()},
        )
        for signature in self.signatures.values():
            if signature.inputs and signature.outputs:
                # A signature that cannot be called fails its requests, not the whole version.
                with contextlib.suppress(ServingError):
                    self._callable(signature, tuple(signature.outputs))

    def run(
        self, signature: Signature, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Computes some outputs of a signature.

        Args:
            signature: one of `signatures`.
            inputs: alias → array, for every input of the signature. Shapes go to the graph as they
                are, as they do in TensorFlow Serving.
            outputs: aliases, each once.

        Returns:
            Alias → array in the order of `outputs`; strings as objects of type bytes.

        Raises:
            ServingError: INVALID_ARGUMENT, another dtype than declared; what the graph says, with
                its code.
        """
        check_dtypes(signature, inputs)
        for alias, spec in signature.inputs.items():
            if spec.tensor_name in self._unguarded:
                _refuse_wrong_rank(signature.name, alias, spec, inputs[alias])
        names = tuple(outputs)
        run = self._callable(signature, names)
        started = time.perf_counter()
        try:
            values = run(*(inputs[a] for a in signature.inputs))
        except tf.errors.OpError as error:
            raise _op_error(error) from error
        metrics.GRAPH_RUN_TIME.observe(1e6 * (time.perf_counter() - started))
        fetched = dict(zip(_tensor_names(signature, names), values))
        return {name: _array(fetched, signature.outputs[name]) for name in names}

    def close(self) -> None:
        """Frees the session; nothing may run any more."""
        self._callables.clear()
        self._session.close()

    def _callable(self, signature: Signature, outputs: tuple[str, ...]) -> Any:
        """The session's compiled call for these outputs: half the cost of Session.run."""
        key = (signature.name, outputs)
        found = self._callables.get(key)
        if found is None:
            with self._callables_lock:
                found = self._callables.get(key)
                if found is None:
                    options = config_pb2.CallableOptions(
                        feed=[spec.tensor_name for spec in signature.inputs.values()],
                        fetch=_tensor_names(signature, outputs),
                    )
                    try:
                        # Private, and the only way to a call without Python's feed checks: they
                        # would refuse shapes that TensorFlow Serving lets through.
                        found = self._session._make_callable_from_options(options)
                    except tf.errors.OpError as error:
                        raise _op_error(error) from error
                    self._callables[key] = found
        return found


def prepare_tensorflow() -> None:
    """Silences TensorFlow's own warnings; call once, before the first load."""
    tf.get_logger().setLevel(logging.ERROR)


def _session_config(options: SessionOptions) -> config_pb2.ConfigProto:
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
        allow_soft_placement=True,
    )
    # A second round of graph optimization, the optimizer in MLIR and the one that swaps memory each
    # copy the graph with its weights, and no request was measured to become faster. Without the
    # last two, a model with 6.5 MB of weights is loaded and warmed up in 1.1 s in place of 1.6.
    rewriting = config.graph_options.rewrite_options
    rewriting.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    rewriting.disable_tfg_optimizer = True
    rewriting.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
    if options.gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    else:
        config.gpu_options.allow_growth = True
    return config


def _tensor_names(signature: Signature, outputs: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(signature.outputs[alias].tensor_name for alias in outputs))


def _array(fetched: Mapping[str, Any], spec: TensorSpec) -> NDArray[Any]:
    value = fetched[spec.tensor_name]
    if spec.dtype == DT_STRING and not isinstance(value, np.ndarray):
        scalar = np.empty((), dtype=object)
        scalar[()] = value
        return scalar
    return np.asarray(value)


def _op_error(error: Any) -> ServingError:
    code = CODE_BY_NUMBER.get(error.error_code, StatusCode.UNKNOWN)
    return ServingError(code, error.message)


def _load_error(error: Exception) -> ServingError:
    if isinstance(error, tf.errors.OpError):
        return _op_error(error)
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) or "could not be found in SavedModel" in text:
        return not_found(text)
    return ServingError(StatusCode.INVALID_ARGUMENT, text)


def _refuse_wrong_rank(signature: str, alias: str, spec: TensorSpec, array: NDArray[Any]) -> None:
    if spec.shape is None or array.ndim == len(spec.shape):
        return
    received = ",".join(str(size) for size in array.shape)
    _log.warning(
        "refused a rank that can end TensorFlow Serving: signature %s, input %s, expected rank %d, "
        "received shape [%s]. The graph does not check it before a convolution: pass the input "
        "through tf.ensure_shape first.",
        signature,
        alias,
        len(spec.shape),
        received,
    )
    refuse(f"convolution input must be {len(spec.shape)}-dimensional: [{received}]")
