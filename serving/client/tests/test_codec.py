"""The two messages of Predict, held against protobuf: what it would write and read."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.client.tests.wire_bytes import CODES, bounded, values
from tfs_client import InputNameError, ValueRangeError, codec
from tfs_client.wire import serving_pb2 as pb

SPEC = pb.ModelSpec(name="modèle", version={"value": 3}, signature_name="été")

SHAPES = [(), (0,), (1,), (3,), (2, 3), (2, 0, 3), (2, 1, 3), (1, 2, 3, 2), (2, 1, 2, 1, 3)]

LAYOUTS = {
    "as it is": lambda array: array,
    "column-major": lambda array: np.array(array, order="F"),
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    "backwards": lambda array: np.flip(np.ascontiguousarray(np.flip(array))),
    "of another byte order": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "unaligned": lambda array: np.frombuffer(
        b"\0" + array.tobytes(), array.dtype, array.size, 1
    ).reshape(array.shape),
    "of a subclass": lambda array: array.view(type("Array", (np.ndarray,), {})),
    "read-only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
}


def by_protobuf(arrays, outputs=(), spec: pb.ModelSpec = SPEC) -> pb.PredictRequest:
    """What protobuf makes of it; numeric arrays as tensor_content."""
    request = pb.PredictRequest(model_spec=spec, output_filter=outputs)
    for name, array in arrays.items():
        tensor = request.inputs[name]
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_shape.SetInParent()
        if array.dtype == object:
            tensor.dtype = pb.DT_STRING
            tensor.string_val.extend(
                one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()
            )
        else:
            tensor.dtype = CODES[array.dtype.name]
            native = array.astype(array.dtype.newbyteorder("="))  # little-endian, where this runs
            tensor.tensor_content = native.tobytes()
    return request


def check_requests(arrays, outputs=(), template: codec.RequestTemplate | None = None) -> None:
    """The first time, the second time, and by the short way, where it goes it."""
    template = template or codec.RequestTemplate(SPEC, outputs)
    expected = by_protobuf(arrays, outputs)
    for request in (template.encode(arrays), template.encode(arrays)):
        assert pb.PredictRequest.FromString(request) == expected
    short = template.encode_known(arrays)
    assert short is None or pb.PredictRequest.FromString(short) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", CODES)
def test_a_request_says_what_protobuf_would_have_written(dtype, layout):
    for shape in SHAPES:
        # Some of numpy's functions give a tensor of rank 0 a dimension.
        array = LAYOUTS[layout](values(dtype, shape))
        check_requests({"x": array})


def test_the_short_way_is_taken_and_only_for_what_was_written_before():
    template = codec.RequestTemplate(SPEC)
    array = values("float32", (2, 3))
    assert template.encode_known({"x": array}) is None
    template.encode({"x": array})
    changed = array + 1
    short = template.encode_known({"x": changed})
    assert pb.PredictRequest.FromString(short) == by_protobuf({"x": changed})
    for other in (array.T, array.astype(">f4"), array.astype(np.float64), array[:, ::-1], [1.0]):
        assert template.encode_known({"x": other}) is None
    assert template.encode_known({"y": array}) is None
    assert template.encode_known({"x": np.ma.array(array, mask=True)}) is None


def test_more_shapes_than_are_kept_are_written_all_the_same():
    template = codec.RequestTemplate(SPEC)
    for size in itertools.chain(range(700), range(700)):
        check_requests({"x": np.zeros(size, np.uint8)}, template=template)


def test_one_template_serves_many_threads_with_shapes_of_their_own():
    template = codec.RequestTemplate(SPEC)
    wrong = []

    def write(seed: int) -> None:
        for size in np.random.default_rng(seed).integers(0, 900, 300):
            arrays = {"x": np.full(size, seed, np.int16), "y": np.full((size, 2), seed, np.uint8)}
            request = template.encode_known(arrays) or template.encode(arrays)
            if pb.PredictRequest.FromString(request) != by_protobuf(arrays):
                wrong.append((seed, size))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
numeric = st.sampled_from([name for name in CODES if name != "bfloat16"])
either_order = st.sampled_from("<>").flatmap(
    lambda order: numeric.map(lambda name: np.dtype(name).newbyteorder(order))
)
any_shape = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
any_array = either_order.flatmap(lambda dtype: hnp.arrays(dtype, any_shape))
texts = st.one_of(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"])))
any_strings = hnp.arrays(object, any_shape, elements=texts)


@bounded
@given(st.dictionaries(names, st.one_of(any_array, any_strings), max_size=4), st.lists(names))
def test_any_names_shapes_and_dtypes_are_written_as_protobuf_would(arrays, outputs):
    check_requests(arrays, tuple(outputs))


@pytest.mark.parametrize("size", [127, 128, 16383, 16384, 2**21 - 1, 2**21])
def test_lengths_on_both_sides_of_a_varints_steps_are_right(size):
    check_requests({"x" * 127: np.zeros(size, np.uint8), "x" * 128: np.zeros((size, 1), np.uint8)})
    check_requests({"x": np.array([b"y" * size, b""], object)})


def test_text_that_utf8_does_not_have_is_the_callers_mistake():
    template = codec.RequestTemplate(SPEC)
    with pytest.raises(InputNameError, match=r"Expected .* Received: "):
        template.encode({"\ud800": np.zeros(1)})
    with pytest.raises(ValueRangeError, match=r"Expected .*'x'.* Received: "):
        template.encode({"x": np.array(["\ud800"], object)})
