"""The parts of the local server that need no process: labels, folders, tensors, JSON."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.local import json_text, source, tensor_proto
from serving.local.core import CoreOptions, ModelSpec, ServerCore
from serving.local.errors import ServingError, invalid_argument
from serving.local.signature import Signature
from serving.local.versions import LoadOptions, State, VersionManager
from serving.models_config import Model, ModelsConfig, Specific


class Loaded:
    """A version that can do nothing but be closed."""

    signatures: dict[str, Signature] = {}  # noqa: RUF012 never written to

    def __init__(self) -> None:
        self.closed = False

    def run(self, *_: object) -> dict[str, np.ndarray]:
        return {}

    def close(self) -> None:
        self.closed = True


def core(tmp_path: Path, labels_for_unavailable_versions: bool = False) -> ServerCore:
    for version in (1, 2):
        (tmp_path / "m" / str(version)).mkdir(parents=True, exist_ok=True)
    options = CoreOptions(
        prefix_map=("/models", str(tmp_path)),
        labels_for_unavailable_versions=labels_for_unavailable_versions,
    )
    return ServerCore(lambda *_: Loaded(), options)


def config(versions: tuple[int, ...], platform: str = "tensorflow", **labels: int) -> ModelsConfig:
    policy = Specific(versions)
    model = Model(name="m", base_path="/models/m", policy=policy, labels=labels, platform=platform)
    return ModelsConfig(models=(model,))


def test_labels_at_start_need_the_flag_for_them(tmp_path: Path) -> None:
    strict, lenient = core(tmp_path), core(tmp_path, labels_for_unavailable_versions=True)

    with pytest.raises(ServingError, match="FAILED_PRECONDITION: Request to assign label to"):
        strict.reload(config((1,), stable=1))

    lenient.reload(config((1,), stable=1))
    assert lenient.wait_until_available(timeout_s=10)["m"].state is State.AVAILABLE
    assert lenient.version_of(ModelSpec("m", label="stable")) == 1
    strict.close()
    lenient.close()


def test_a_platform_cannot_change(tmp_path: Path) -> None:
    server = core(tmp_path)
    server.reload(config((1,)))

    with pytest.raises(ServingError) as refused:
        server.reload(config((1,), platform="nope"))

    assert refused.value.text == (
        "Illegal to change a model's platform. For model m platform was tensorflow and new "
        "platform requested is nope"
    )
    server.close()


def test_a_handle_keeps_a_version_alive_until_the_request_is_answered(tmp_path: Path) -> None:
    made: dict[int, Loaded] = {}

    def load(_: str, version: int, __: Path) -> Loaded:
        return made.setdefault(version, Loaded())

    manager = VersionManager(load)
    manager.aspire("m", {1: tmp_path})
    manager.wait_until_available(["m"], timeout_s=10)
    with manager.handle("m") as handle:
        manager.aspire("m", {})
        assert handle.loaded is made[1]
        assert not made[1].closed
        assert manager.statuses("m")[0].state is State.UNLOADING
        with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
            manager.handle("m")
    manager.close()
    assert made[1].closed
    assert manager.statuses("m")[0].state is State.END


def test_the_old_version_stays_while_the_new_one_cannot_be_loaded(tmp_path: Path) -> None:
    def load(_: str, version: int, __: Path) -> Loaded:
        if version == 2:
            raise invalid_argument("broken")
        return Loaded()

    manager = VersionManager(load, LoadOptions(max_retries=0))
    manager.aspire("m", {1: tmp_path})
    manager.wait_until_available(["m"], timeout_s=10)
    manager.aspire("m", {2: tmp_path})
    manager.wait_until_available(["m"], timeout_s=10)

    assert manager.is_available("m", 1)
    manager.close()


def test_a_failed_load_is_tried_again_as_often_as_the_flags_say(tmp_path: Path) -> None:
    attempts: list[int] = []

    def load(_: str, version: int, __: Path) -> Loaded:
        attempts.append(version)
        if len(attempts) < 3:
            raise invalid_argument("not yet")
        return Loaded()

    manager = VersionManager(load, LoadOptions(max_retries=2, retry_interval_s=0.01))
    manager.aspire("m", {1: tmp_path})

    assert manager.wait_until_available(["m"], timeout_s=10)["m"].state is State.AVAILABLE
    assert len(attempts) == 3
    manager.close()


def test_only_folders_with_whole_numbers_are_versions(tmp_path: Path) -> None:
    for name in ("1", "0002", ".3", "four", "5.tmp", "-6", "²", "99999999999999999999"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")

    assert source.versions_in(tmp_path) == {1: tmp_path / "1", 2: tmp_path / "0002"}


@pytest.mark.parametrize(
    ("base_path", "folder"),
    [
        ("/models/m", "/store/m"),
        ("/models", "/store"),
        ("/models2/m", "/models2/m"),
        ("file:///abs/m", "/abs/m"),
    ],
)
def test_the_prefix_map_maps_whole_parts_of_a_path(base_path: str, folder: str) -> None:
    assert source.mapped(base_path, ("/models/", "/store")) == Path(folder)


DTYPES = [
    *(tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int8, tf.int16, tf.int32, tf.int64),
    *(tf.uint8, tf.uint16, tf.uint32, tf.uint64, tf.bool, tf.complex64, tf.complex128),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("as_content", [True, False])
def test_every_dtype_is_read_and_written_as_tensorflow_does(
    dtype: tf.DType, as_content: bool
) -> None:
    array = np.array([[0, 1], [1, 3]]).astype(dtype.as_numpy_dtype)
    sent = tf.make_tensor_proto(array)
    if not as_content:
        sent = type(sent)()
        tensor_proto.encode(array, dtype.as_datatype_enum, sent)

    found = tensor_proto.decode(sent)

    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(tf.make_ndarray(sent), array)


def test_strings_are_read_from_values_and_from_content() -> None:
    proto = tf.make_tensor_proto([b"ab", b"", b"c\x00"])
    content = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape)
    content.tensor_content = b"\x02\x00\x02abc\x00"

    assert tensor_proto.decode(proto).tolist() == [b"ab", b"", b"c\x00"]
    assert tensor_proto.decode(content).tolist() == [b"ab", b"", b"c\x00"]
    content.tensor_content = b"\x02\x00\x03abc\x00"
    with pytest.raises(tensor_proto.MalformedTensorError):
        tensor_proto.decode(content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (1.0, "1.0"),
        (1 / 3, "0.333333343"),
        (9e6, "9e+06"),
        (3e-5, "3e-05"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_numbers_are_written_as_tensorflow_serving_writes_float32(value: float, text: str) -> None:
    assert json_text.decimal(float(np.float32(value)), 9) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        ('{"a": 1', "Missing a comma or } after an object member. at offset: 7"),
        ('{"a": [1 2]}', "Missing a comma or ] after an array element. at offset: 9"),
        ('{"a": nope}', "Invalid value. at offset: 7"),
        ("{} {}", "The document root must not be followed by other values. at offset: 3"),
        ('{"a": "b', "Missing a closing quotation mark in string. at offset: 8"),
        ('{"ü": nope}', "Invalid value. at offset: 8"),
        ('{"a": "\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        ('{"a": 1e400}', "Number too big to be stored in double. at offset: 6"),
        ("  ", "The document is empty. at offset: 2"),
    ],
)
def test_a_fault_in_json_is_named_in_rapidjsons_words(text: str, words: str) -> None:
    with pytest.raises(ServingError) as refused:
        json_text.loads(text.encode())

    assert refused.value.text == f"JSON Parse error: {words}"


def test_json_is_read_as_rapidjson_reads_it() -> None:
    text = (
        r"""{"a": [Inf, -Infinity, 18446744073709551616, -9223372036854775808, "\udc00"], "a": 2}"""
    )

    found = json_text.loads(text.encode())["a"]

    assert found == [math.inf, -math.inf, 1.8446744073709552e19, -(2**63), "\udced\udcb0\udc80"]


def test_long_texts_are_cut_for_grpc() -> None:
    assert invalid_argument("x" * 1024).grpc_text == "x" * 1024
    assert invalid_argument("x" * 1025).grpc_text == "x" * 1024 + "...TRUNCATED"
