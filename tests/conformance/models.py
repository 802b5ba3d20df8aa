"""Makes the models that the conformance table asks, and the configuration that serves them.

    python -m tests.conformance.models OUT_DIR [--as /models]

Writes OUT_DIR/<model>/<version>, models.config, batching.config and monitoring.config, and prints
the command lines of the two servers that the table asks. With `--as` the configuration names the
folder as a container sees it. Costs TensorFlow's import and some seconds.

    affine      1, 2: x float32 [N] → y = x / 2 + 2 (+ 3 in version 2)
    many        1: a float32 [N, 3], b int64 [N] → total, parity, name; signatures lengths, guarded
    scalar      1: x float32 [] → y = 2 x
    echo        1: a signature a dtype, x of any shape → y = x
    examples    1: TensorFlow 1, serialized tf.Examples → classes, scores, regressions, and faults
    convolution 1: an image [N, 4, 4, 1], unguarded and guarded by ensure_shape
    old         1: TensorFlow 1, a graph without functions
    named       1: no serving_default, one signature `double`
    assorted    1: y = x / 2 + 1; 3 a truncated graph, 4 an unknown op, 5 a warm-up that fails
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from foundation import quiet_tensorflow
from foundation.command_line import InputError, Parser, run
from tests.conformance import setups

quiet_tensorflow.import_tensorflow(keras=False)

import tensorflow as tf  # noqa: E402 - after it was imported quietly
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

from tests import tiny_models  # noqa: E402

DTYPES = [
    *(tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.int16, tf.int32, tf.int64),
    *(tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool, tf.string, tf.complex64, tf.complex128),
]


class _Scalar(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 2.0}


def _save_echo(folder: Path) -> None:
    module = tf.Module()
    module.kept = {
        dtype.name: tf.function(
            lambda x: {"y": tf.identity(x)},
            input_signature=[tf.TensorSpec(None, dtype, name="x")],
        )
        for dtype in DTYPES
    }
    # A name that ends with _bytes makes REST answer base64.
    module.kept["base64"] = tf.function(
        lambda x: {"y_bytes": tf.identity(x)},
        input_signature=[tf.TensorSpec(None, tf.string, name="x")],
    )
    tiny_models.save(module, folder, **module.kept)


def _save_examples(folder: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([1.0 - x, x], axis=1)
        labels = tf.repeat([["low", "high"]], tf.shape(x)[0], axis=0)
        outputs = {
            "serving_default": ("classify", {"classes": labels, "scores": scores}),
            "scores": ("classify", {"scores": scores}),
            "classes": ("classify", {"classes": labels}),
            "no_scores": ("classify", {"other": scores}),
            "three": ("classify", {"classes": labels, "scores": scores, "other": x}),
            "vector": ("classify", {"scores": x}),
            "wide": ("classify", {"classes": labels, "scores": tf.repeat(scores, 2, axis=1)}),
            "short": ("classify", {"scores": scores[:1]}),
            "double": ("classify", {"scores": tf.cast(scores, tf.float64)}),
            "numbers": ("classify", {"classes": scores}),
            "regress": ("regress", {"outputs": 2.0 * x}),
            "column": ("regress", {"outputs": tf.expand_dims(2.0 * x, axis=1)}),
            "no_value": ("regress", {"value": x}),
            "two": ("regress", {"outputs": x, "other": x}),
            "matrix": ("regress", {"outputs": scores}),
            "one": ("regress", {"outputs": x[:1]}),
            "double_value": ("regress", {"outputs": tf.cast(x, tf.float64)}),
            "predict": ("predict", {"y": 2.0 * x}),
        }
        signatures = {
            name: v1.saved_model.build_signature_def(
                {"inputs": v1.saved_model.build_tensor_info(examples)},
                {alias: v1.saved_model.build_tensor_info(held) for alias, held in named.items()},
                f"tensorflow/serving/{method}",
            )
            for name, (method, named) in outputs.items()
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


def _save_assorted(folder: Path) -> None:
    module = tiny_models.Affine(1.0)
    tiny_models.save(module, folder / "1", serving_default=module.serve)
    for version in ("3", "4", "5"):
        shutil.copytree(folder / "1", folder / version)
    graph = folder / "3" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-100])
    graph = folder / "4" / "saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(graph.read_bytes())
    next(
        node
        for function in message.meta_graphs[0].graph_def.library.function
        for node in function.node_def
        if node.op == "Mul"
    ).op = "NoSuchOp"
    graph.write_bytes(message.SerializeToString())
    tiny_models.add_warmup(folder / "5", 'model_spec { name: "assorted" signature_name: "nope" }')


def make(out: Path) -> None:
    """Writes all models below a folder that exists."""
    tf.get_logger().setLevel(logging.ERROR)  # that TensorFlow 1's ways are old is the point here
    for version, offset in (("1", 2.0), ("2", 3.0)):
        affine = tiny_models.Affine(offset)
        tiny_models.save(affine, out / "affine" / version, serving_default=affine.serve)
    many = tiny_models.Many()
    signatures = {"serving_default": many.serve, "lengths": many.lengths, "guarded": many.guarded}
    tiny_models.save(many, out / "many" / "1", **signatures)
    scalar = _Scalar()
    tiny_models.save(scalar, out / "scalar" / "1", serving_default=scalar.serve)
    tiny_models.save(scalar, out / "named" / "1", double=scalar.serve)
    convolution = tiny_models.Convolution()
    signatures = {"serving_default": convolution.serve, "guarded": convolution.guarded}
    tiny_models.save(convolution, out / "convolution" / "1", **signatures)
    _save_echo(out / "echo" / "1")
    tiny_models.save_tf1(out / "old" / "1")
    _save_examples(out / "examples" / "1")
    _save_assorted(out / "assorted")


def main(argv: Sequence[str] | None = None) -> int:
    """Makes the models and prints the command lines; returns the exit code."""
    parser = Parser(
        prog="python -m tests.conformance.models",
        description="makes the models that the table asks",
    )
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="a folder, empty or not there")
    parser.add_argument("--as", dest="seen", help="OUT_DIR as the server sees it (default: same)")
    arguments = parser.parse_args(argv)
    return run(parser.prog, lambda: _make(arguments.out.resolve(), arguments.seen))


def _make(out: Path, seen: str | None) -> int:
    if out.exists() and any(out.iterdir()):
        raise InputError(f"Expected an empty folder. Received: OUT_DIR={out}. Name another one.")
    out.mkdir(parents=True, exist_ok=True)
    make(out)
    seen = seen or str(out)
    setups.write_files(out, seen)
    for setup in setups.SETUPS:
        print(" ".join(["tensorflow_model_server", *setups.flags(setup, seen)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
