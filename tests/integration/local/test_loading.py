"""Loading one version: SavedModels that cannot be loaded, warm-up, TensorFlow Lite."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import flexbuffers
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.lite.python import schema_py_generated
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow_serving.apis import prediction_log_pb2

from serving.local import metrics
from serving.local.errors import ServingError
from serving.local.loading.loader import ModelLoader
from serving.local.loading.saved_model import SessionOptions
from serving.local.loading.warmup import WarmupOptions
from serving.local.signature import ServableModel
from tests import tiny_models
from tests.integration.local_server_fixtures import save_line

NO_TAGS = (
    "Could not find meta graph def matching supplied tags: {{ {} }}. To inspect available tag-sets "
    "in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
)


class _Counter(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="by")])
    def count(self, by: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"calls": self.calls.assign_add(by)}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_line(tmp_path_factory.mktemp("line") / "1", 1.0)


@pytest.fixture
def version(line: Path, tmp_path: Path) -> Path:
    """A copy of line/1 to be broken."""
    return shutil.copytree(line, tmp_path / "1")


def loader(**options: object) -> ModelLoader:
    return ModelLoader(SessionOptions(), WarmupOptions(), **options)  # type: ignore[arg-type]


def refusal(version: Path, load: ModelLoader | None = None) -> str:
    with pytest.raises(ServingError) as refused:
        (load or loader())("line", 1, version)
    return str(refused.value).replace(str(version), "PATH")


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "assets.extra/tf_serving_warmup_requests",
        "model.tflite",
    ],
)
def test_what_would_keep_its_reader_waiting_is_refused(version: Path, name: str) -> None:
    file = version / name
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    os.mkfifo(file)

    assert refusal(version, loader(prefer_tflite=True)) == (
        f"INVALID_ARGUMENT: Expected files and folders only. Received: PATH/{name}, which is "
        "neither. Publish the version again."
    )


def edit(version: Path, change: Callable[[saved_model_pb2.SavedModel], object]) -> None:
    file = version / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())


def answer(model: ServableModel, value: float = 2.0) -> float:
    signature = model.signatures["serving_default"]
    (x,), (y,) = signature.inputs, signature.outputs
    return float(model.run(signature, {x: np.array([value], np.float32)}, [y])[y][0])


def cut(file: str, size: int) -> Callable[[Path], None]:
    def break_it(version: Path) -> None:
        (path,) = version.glob(file)
        path.write_bytes(path.read_bytes()[:size])

    return break_it


def remove(file: str) -> Callable[[Path], None]:
    return lambda version: next(iter(version.glob(file))).unlink()


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (cut("saved_model.pb", 1000), "OUT_OF_RANGE: Read less bytes than requested"),
        (cut("saved_model.pb", 3), "OUT_OF_RANGE: Read less bytes than requested"),
        (cut("saved_model.pb", 0), "NOT_FOUND: " + NO_TAGS.format("serve")),
        (
            lambda version: (version / "saved_model.pb").write_bytes(b"\xff" * 100),
            "DATA_LOSS: Can't parse PATH/saved_model.pb as binary proto",
        ),
        (
            remove("saved_model.pb"),
            "NOT_FOUND: Specified file path does not appear to contain a SavedModel bundle (should "
            "have a file called `saved_model.pb`)\nSpecified file path: PATH",
        ),
        (cut("variables/*index", 20), "DATA_LOSS: file is too short to be an sstable"),
        (cut("variables/*data*", 5), "OUT_OF_RANGE: Read less bytes than requested"),
        (
            remove("variables/*data*"),
            "NOT_FOUND: PATH/variables/variables.data-00000-of-00001; No such file or directory",
        ),
        (
            lambda version: edit(
                version, lambda saved: saved.meta_graphs[0].graph_def.node.add(name="n", op="No")
            ),
            "NOT_FOUND: Op type not registered 'No' in binary running on ",
        ),
        (
            lambda version: edit(
                version,
                lambda saved: (
                    saved.meta_graphs[0]
                    .graph_def.library.function[0]
                    .node_def.add(name="n", op="No")
                ),
            ),
            "NOT_FOUND: Op type not registered 'No' in binary running on ",
        ),
    ],
    ids=[
        "a graph cut off",
        "a graph cut off at its head",
        "an empty graph",
        "a graph of nonsense",
        "no graph",
        "an index of variables cut off",
        "variables cut off",
        "no variables",
        "an unknown op",
        "an unknown op in a function",
    ],
)
def test_a_broken_saved_model_fails_with_tensorflow_servings_code_and_text(
    version: Path, break_it: Callable[[Path], object], error: str
) -> None:
    break_it(version)

    assert refusal(version).startswith(error)


def test_without_an_index_of_variables_the_log_says_what_the_real_server_would_do(
    version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(version / "variables")

    assert refusal(version).startswith("INVALID_ARGUMENT: ")
    assert "it would serve this version and fail its requests" in caplog.text


def test_a_folder_whose_path_looks_like_a_pattern_is_loaded(line: Path, tmp_path: Path) -> None:
    version = shutil.copytree(line, tmp_path / "models [1]*?" / "1")
    loaded = loader()("line", 1, version)
    loaded.close()
    (version / "variables" / "variables.data-00000-of-00001").unlink()
    assert refusal(version).startswith("NOT_FOUND: PATH/variables/variables.data-00000-of-00001;")


def test_a_folder_that_is_a_file_fails_as_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file")

    assert refusal(tmp_path / "1").startswith("NOT_FOUND: Specified file path does not appear")


def test_the_tags_choose_the_graph(version: Path) -> None:
    edit(version, lambda saved: saved.meta_graphs[0].meta_info_def.tags.append("gpu"))
    both = ModelLoader(SessionOptions(tags=("serve", "gpu")), WarmupOptions())

    assert refusal(version) == "NOT_FOUND: " + NO_TAGS.format("serve")
    model = both("line", 1, version)
    assert answer(model) == 2.0
    model.close()


def test_a_negative_version_is_refused(line: Path) -> None:
    with pytest.raises(ServingError, match="INVALID_ARGUMENT: Session version shouldn't be negat"):
        loader()("line", -1, line)


@pytest.mark.parametrize("iterations", [1, 3])
def test_warm_up_requests_are_replayed_as_often_as_the_flag_says(
    tmp_path: Path, iterations: int
) -> None:
    module = _Counter()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.count})
    one = "tensor_shape { } int_val: 1"
    tiny_models.add_warmup(
        tmp_path / "1",
        f'model_spec {{ name: "m" }} inputs {{ key: "by" value {{ dtype: DT_INT32 {one} }} }}',
    )

    model = ModelLoader(SessionOptions(), WarmupOptions(iterations=iterations))(
        "m", 1, tmp_path / "1"
    )

    signature = model.signatures["serving_default"]
    calls = model.run(signature, {"by": np.int32(0)}, ["calls"])["calls"]  # type: ignore[dict-item]
    assert calls == iterations
    model.close()
    assert f'model_path="{tmp_path / "1"}",status="OK"' in metrics.page()


def write_warmup(version: Path, records: list[bytes]) -> Path:
    (version / "assets.extra").mkdir()
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path


def record(text: str) -> bytes:
    return text_format.Parse(text, prediction_log_pb2.PredictionLog()).SerializeToString()


GOOD = record(
    'predict_log { request { model_spec { name: "line" } inputs { key: "x" value { dtype: DT_FLOAT '
    "tensor_shape { dim { size: 1 } } float_val: 1 } } } }"
)
BAD = record('predict_log { request { model_spec { name: "line" signature_name: "no" } } }')


def test_one_failing_warm_up_request_fails_the_load(version: Path) -> None:
    write_warmup(version, [GOOD, BAD, GOOD])

    assert refusal(version) == 'FAILED_PRECONDITION: Serving signature key "no" not found.'
    off = ModelLoader(SessionOptions(), WarmupOptions(enabled=False))
    off("line", 1, version).close()


def test_a_thousand_warm_up_records_are_the_maximum(version: Path) -> None:
    path = write_warmup(version, [GOOD] * 1000)
    loader()("line", 1, version).close()

    path.unlink()
    path.parent.rmdir()
    write_warmup(version, [GOOD] * 1001)
    assert refusal(version) == (
        "INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at "
        "PATH/assets.extra/tf_serving_warmup_requests"
    )


def test_a_warm_up_record_of_nonsense_fails_the_load(version: Path) -> None:
    write_warmup(version, [b"\xff\xff"])

    assert refusal(version).startswith("INVALID_ARGUMENT: Failed to parse warmup record: ")


@pytest.mark.parametrize("damage", ["not TFRecord", "cut off"])
def test_a_broken_warm_up_file_fails_the_load(version: Path, damage: str) -> None:
    path = write_warmup(version, [GOOD, GOOD])
    path.write_bytes(
        b"no record at all" * 9 if damage == "not TFRecord" else path.read_bytes()[:-5]
    )

    error = refusal(version)

    assert error.startswith("DATA_LOSS: ")
    assert error.endswith(". Please verify your warmup data is in TFRecord format.")


def test_loads_are_counted_by_their_path_and_outcome(version: Path, tmp_path: Path) -> None:
    loader()("line", 1, version).close()
    refusal(tmp_path / "2")

    count = ":tensorflow:cc:saved_model:load_attempt_count"
    page = metrics.page()
    assert f'{count}{{model_path="{version}",status="success"}} 1' in page
    assert f'{count}{{model_path="{tmp_path / "2"}",status="fail"}} 1' in page
    assert f':tensorflow:cc:saved_model:load_latency{{model_path="{version}"}} ' in page


@pytest.fixture(scope="module")
def lite(line: Path) -> Iterator[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tf.lite.TFLiteConverter.from_saved_model(str(line)).convert()


def test_a_tflite_model_is_preferred_where_the_flag_says_so(version: Path, lite: bytes) -> None:
    (version / "model.tflite").write_bytes(lite)

    model = loader(prefer_tflite=True)("line", 1, version)
    signature = model.signatures["serving_default"]
    assert list(signature.inputs) == ["serving_default_x"]
    assert answer(model) == 2.0
    three = {"serving_default_x": np.array([0, 2, 4], np.float32)}
    assert next(iter(model.run(signature, three, list(signature.outputs)).values())).tolist() == [
        1.0,
        2.0,
        3.0,
    ]
    model.close()

    graph = loader()("line", 1, version)
    assert list(graph.signatures["serving_default"].inputs) == ["x"]
    graph.close()


def test_without_a_tflite_model_the_saved_model_is_loaded(version: Path) -> None:
    model = loader(prefer_tflite=True)("line", 1, version)

    assert list(model.signatures["serving_default"].inputs) == ["x"]
    model.close()


@pytest.mark.parametrize("content", [b"nonsense" * 20, b""])
def test_a_broken_tflite_model_fails_the_load(version: Path, content: bytes) -> None:
    (version / "model.tflite").write_bytes(content)

    assert refusal(version, loader(prefer_tflite=True)) == (
        "INVALID_ARGUMENT: Cannot build FlatBufferModel from buffer."
    )


class _Latin(str):
    """A text of bytes: flatbuffers' builder would write it as UTF-8, which a message is not."""

    def encode(self, *_: str) -> bytes:
        return super().encode("latin-1")


def with_signatures(lite: bytes, held: dict[str, str], *, early: bool = False) -> bytes:
    """A model with these in the metadata that TensorFlow Serving reads.

    `early`: its tensors are named as the first converters did, without a number.
    """
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, text in held.items():
            builder.Key(name)
            builder.String(_Latin(text))
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(lite))
    for tensor in model.subgraphs[0].tensors if early else ():
        tensor.name = tensor.name.split(b":")[0]
    model.metadata = [schema_py_generated.MetadataT()]
    model.metadata[0].name = "signature_defs_metadata"
    model.metadata[0].buffer = len(model.buffers)
    model.buffers.append(schema_py_generated.BufferT())
    model.buffers[-1].data = list(builder.Finish())
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def lite_signature(x: str = "serving_default_x:0", y: str = "StatefulPartitionedCall:0") -> str:
    message = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, alias, name in ((message.inputs, "x", x), (message.outputs, "y", y)):
        infos[alias].name, infos[alias].dtype = name, tf.float32.as_datatype_enum
        infos[alias].tensor_shape.dim.add(size=-1)
    return message.SerializeToString().decode("latin-1")


@pytest.mark.parametrize("early", [False, True])
def test_the_signatures_in_a_tflite_models_metadata_are_its_signatures(
    version: Path, lite: bytes, early: bool
) -> None:
    both = {"halved": lite_signature(), "serving_default": lite_signature()}
    (version / "model.tflite").write_bytes(with_signatures(lite, both, early=early))

    model = loader(prefer_tflite=True)("line", 1, version)

    assert list(model.signatures) == ["halved", "serving_default"]
    signature = model.signatures["halved"]
    assert (list(signature.inputs), list(signature.outputs)) == (["x"], ["y"])
    found = model.run(signature, {"x": np.array([0, 2], np.float32)}, ["y"])
    assert found["y"].tolist() == [1.0, 2.0]
    model.close()


@pytest.mark.parametrize(
    ("held", "refused"),
    [
        (
            {"serving_default": "no message"},
            "INVALID_ARGUMENT: Invalid SignatureDefs found in TfLite model: Cannot parse signature "
            "def found in flatbuffer.",
        ),
        (
            {"serving_default": lite_signature(x="z:0")},
            "INTERNAL: Unknown tensor 'z:0'.\n\tSignature input x references an unknown tensor",
        ),
        (
            {"serving_default": lite_signature(y="z")},
            "INTERNAL: Unknown tensor 'z'.\n\tSignature output y references an unknown tensor",
        ),
    ],
)
def test_signatures_that_do_not_fit_a_tflite_model_fail_the_load(
    version: Path, lite: bytes, held: dict[str, str], refused: str
) -> None:
    (version / "model.tflite").write_bytes(with_signatures(lite, held))

    assert refusal(version, loader(prefer_tflite=True)) == refused


def test_metadata_that_is_no_map_fails_the_load(version: Path, lite: bytes) -> None:
    whole = with_signatures(lite, {"serving_default": "marked here"})
    at = whole.index(b"marked here")
    (version / "model.tflite").write_bytes(whole[: at + 12] + b"\xff" * 40 + whole[at + 52 :])

    # What lies behind the metadata differs from conversion to conversion.
    assert refusal(version, loader(prefer_tflite=True)).startswith(
        (
            "INVALID_ARGUMENT: Invalid SignatureDefs found in TfLite model: ",
            "INVALID_ARGUMENT: Cannot build FlatBufferModel from buffer.",
        )
    )
