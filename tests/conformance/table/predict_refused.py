"""Predict: what is refused, with which code and text."""

from __future__ import annotations

from tests.conformance.case import Case, Subject, invalid, own, predict, recorded, refused
from tests.conformance.table.requests import (
    A_NARROW,
    AFFINE,
    MANY,
    A,
    B,
    X,
    dims,
    given,
    label,
    spec,
    version,
    x,
)

NOT_FOUND = "Servable not found for request: "
SIZES = "input size does not match signature: "
BAD_TENSOR = invalid("tensor parsing error: x")
PARITY = 'output_filter: "parity" '
IMAGE = "convolution input must be 4-dimensional: "


def image(*sizes: int, signature: str = "") -> str:
    tensor = f"dtype: DT_FLOAT {dims(*sizes)} float_val: 1"
    return spec("convolution", signature=signature) + given("image", tensor)


def expects(dtype: str) -> str:
    return f"Expects arg[0] to be float but {dtype} is provided"


def _of_wrong_rank(name: str, *sizes: int) -> Case:
    shape = ",".join(map(str, sizes))
    why = (
        "where oneDNN computes convolutions, TensorFlow Serving may end: sizes are looked at "
        "before the rank; elsewhere it says the same"
    )
    return own(name, predict(image(*sizes)), invalid(f"{IMAGE}[{shape}]…"), why, ends=True)


NAMES = (
    recorded("no model spec", predict(X), invalid("Missing ModelSpec")),
    recorded(
        "no model name", predict("model_spec { } " + X), invalid("ModelSpec has no name specified.")
    ),
    recorded("nothing at all", predict(""), invalid("Missing ModelSpec")),
    recorded(
        "a version and no name",
        predict("model_spec { version { value: 1 } } " + X),
        invalid("ModelSpec has no name specified."),
    ),
    recorded(
        "unknown model", predict(spec("nope") + X), refused("NOT_FOUND", NOT_FOUND + "Latest(nope)")
    ),
    recorded(
        "unknown model and version",
        predict(spec("nope", version(1)) + X),
        refused("NOT_FOUND", NOT_FOUND + "Specific(nope, 1)"),
    ),
    recorded(
        "unknown model and label",
        predict(spec("nope", label("stable")) + X),
        invalid("Unrecognized servable version label: stable"),
    ),
    recorded(
        "a model's name in other letters",
        predict(spec("Affine") + X),
        refused("NOT_FOUND", NOT_FOUND + "Latest(Affine)"),
    ),
    recorded(
        "a model's name like a path",
        predict(spec("../affine") + X),
        refused("NOT_FOUND", NOT_FOUND + "Latest(../affine)"),
    ),
    recorded(
        "unknown version",
        predict(spec("affine", version(9)) + X),
        refused("NOT_FOUND", NOT_FOUND + "Specific(affine, 9)"),
    ),
    recorded(
        "version zero",
        predict(spec("affine", version(0)) + X),
        refused("NOT_FOUND", NOT_FOUND + "Specific(affine, 0)"),
    ),
    recorded(
        "negative version",
        predict(spec("affine", version(-1)) + X),
        refused("NOT_FOUND", NOT_FOUND + "Specific(affine, -1)"),
    ),
    recorded(
        "the largest version",
        predict(spec("affine", version(2**63 - 1)) + X),
        refused("NOT_FOUND", NOT_FOUND + f"Specific(affine, {2**63 - 1})"),
    ),
    recorded(
        "unknown label",
        predict(spec("affine", label("nope")) + X),
        invalid("Unrecognized servable version label: nope"),
    ),
    recorded(
        "empty label",
        predict(spec("affine", label("")) + X),
        invalid("Unrecognized servable version label: "),
    ),
    recorded(
        "label of a model without labels",
        predict(spec("many", label("stable")) + A + B),
        invalid("Unrecognized servable version label: stable"),
    ),
    recorded(
        "unknown signature",
        predict(spec("affine", signature="nope") + X),
        refused("FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    ),
    recorded(
        "no default signature",
        predict(spec("named") + X),
        refused("FAILED_PRECONDITION", 'Serving signature key "serving_default" not found.'),
    ),
    recorded(
        "a long text is cut",
        predict(spec("affine", signature="s" * 2000) + X),
        refused("FAILED_PRECONDITION", 'Serving signature key "' + "s" * 1001 + "...TRUNCATED"),
    ),
)

INPUTS = (
    recorded(
        "init op asked for as signature",
        predict(spec("affine", signature="__saved_model_init_op") + X),
        invalid(SIZES + "1!=0 len({x}) != len({}). Sent extra: {x}. Missing but required: {}."),
    ),
    recorded(
        "no inputs",
        predict(AFFINE),
        invalid(SIZES + "0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
    ),
    recorded(
        "missing input",
        predict(MANY + A),
        invalid(SIZES + "1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}."),
    ),
    recorded(
        "extra input",
        predict(MANY + A + B + X),
        invalid(
            SIZES + "3!=2 len({a,b,x}) != len({a,b}). Sent extra: {x}. Missing but required: {}."
        ),
    ),
    recorded(
        "two inputs, both of other names",
        predict(MANY + X + X.replace('"x"', '"y"')),
        invalid(
            "Signature input alias: …(feed name: serving_default_…:0) not found in request and no "
            "default value provided. Inputs expected to be in the request {x,y}, or default input "
            "alias set: "
        ),
    ),
    recorded(
        "wrong input name",
        predict(AFFINE + X.replace('"x"', '"z"')),
        invalid(
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no "
            "default value provided. Inputs expected to be in the request {z}, or default input "
            "alias set: "
        ),
    ),
    recorded(
        "the name of the graph instead of the alias",
        predict(AFFINE + X.replace('"x"', '"serving_default_x:0"')),
        invalid("Signature input alias: x(feed name: serving_default_x:0) not found in request …"),
    ),
    recorded(
        "output filter twice",
        predict(MANY + PARITY + PARITY + A + B),
        invalid("duplicate output tensor alias: parity"),
    ),
    recorded(
        "output filter unknown",
        predict(MANY + 'output_filter: "nope" ' + A + B),
        invalid(
            "output tensor alias not found in signature: nope Outputs expected to be in the set "
            "{name,parity,total}."
        ),
    ),
    recorded(
        "output filter empty",
        predict(MANY + 'output_filter: "" ' + A + B),
        invalid("output tensor alias not found in signature:  Outputs expected to be in the set …"),
    ),
    recorded(
        "a faulty tensor comes before a faulty output filter",
        predict(x(shape=dims(-1)) + 'output_filter: "nope"'),
        BAD_TENSOR,
    ),
    recorded(
        "a faulty output filter comes before a wrong dtype",
        predict(x("INT32", values="int_val: 2") + 'output_filter: "nope"'),
        invalid("output tensor alias not found in signature: nope …"),
    ),
    recorded(
        "wrong dtype int32",
        predict(x("INT32", values="int_val: 2 int_val: 4")),
        invalid(expects("int32")),
    ),
    recorded(
        "wrong dtype double",
        predict(x("DOUBLE", values="double_val: 2 double_val: 4")),
        invalid(expects("double")),
    ),
    recorded(
        "wrong dtype string",
        predict(x("STRING", values='string_val: "a" string_val: "b"')),
        invalid(expects("string")),
    ),
    recorded(
        "wrong dtype half",
        predict(x("HALF", values="half_val: 15360 half_val: 15360")),
        invalid(expects("half")),
    ),
    recorded(
        "wrong dtype bool",
        predict(x("BOOL", values="bool_val: true bool_val: true")),
        invalid(expects("bool")),
    ),
    recorded(
        "wrong dtype of the second input",
        predict(MANY + A + B.replace("INT64", "INT32").replace("int64_val", "int_val")),
        invalid("Expects arg[1] to be int64 but int32 is provided"),
    ),
)

TENSORS = (
    recorded("dtype unset", predict(x("INVALID")), BAD_TENSOR),
    own(
        "dtype resource",
        predict(x("RESOURCE", values="")),
        BAD_TENSOR,
        "TensorFlow Serving ends (SIGABRT), whatever the model: a resource that is no scalar",
        ends=True,
    ),
    recorded(
        "dtype resource, a single one",
        predict(x("RESOURCE", shape=dims(1), values="")),
        invalid("Invalid resource type hash code: 0…"),
    ),
    recorded("dtype variant", predict(x("VARIANT", values="")), invalid(expects("variant"))),
    recorded("dtype of a reference", predict(x("FLOAT_REF")), BAD_TENSOR),
    recorded("negative dimension", predict(x(shape=dims(-1))), BAD_TENSOR),
    recorded("the most negative dimension", predict(x(shape=dims(-(2**63)))), BAD_TENSOR),
    recorded("huge dimension", predict(x(shape=dims(2**40), values="")), BAD_TENSOR),
    recorded("the largest dimension", predict(x(shape=dims(2**63 - 1), values="")), BAD_TENSOR),
    recorded("overflowing dimensions", predict(x(shape=dims(2**62, 4), values="")), BAD_TENSOR),
    recorded(
        "dimensions that overflow to zero",
        predict(x(shape=dims(2**32, 2**32), values="")),
        BAD_TENSOR,
    ),
    own(
        "a rank of 65",
        predict(x(shape=dims(*[1] * 65), values="")),
        BAD_TENSOR,
        "numpy holds 64 dimensions, TensorFlow 254",
    ),
    recorded("a rank of 255", predict(x(shape=dims(*[1] * 255), values="")), BAD_TENSOR),
    recorded(
        "content too short", predict(x(values=r'tensor_content: "\000\000\000\100"')), BAD_TENSOR
    ),
    recorded(
        "content too long",
        predict(x(values=r'tensor_content: "\000\000\000\100\000\000\200\100\000\000\200\100"')),
        BAD_TENSOR,
    ),
    recorded("content of one byte", predict(x(values='tensor_content: "a"')), BAD_TENSOR),
    recorded(
        "content of a double for a float",
        predict(x(shape=dims(1), values=r'tensor_content: "\000\000\000\000\000\000\000\100"')),
        BAD_TENSOR,
    ),
    recorded(
        "guarded wrong inner size",
        predict(spec("many", signature="guarded") + A_NARROW),
        invalid(
            "Shape of tensor _arg_guarded_a_0_0 [1,2] is not compatible with expected shape [?,3]."
            "\n\t [[{{function_node __inference_guarded_241}}{{node EnsureShape}}]]"
        ),
    ),
    recorded(
        "sizes that cannot be added",
        predict(
            MANY
            + given("a", f"dtype: DT_FLOAT {dims(2, 3)} float_val: 1")
            + given("b", f"dtype: DT_INT64 {dims(3)} int64_val: 4")
        ),
        invalid("…Incompatible shapes: …"),
    ),
    recorded(
        "a vector where an axis is summed",
        predict(MANY + given("a", f"dtype: DT_FLOAT {dims(3)} float_val: 1") + B),
        invalid("…Invalid reduction dimension (1 for input with 1 dimension(s)…"),
    ),
    recorded(
        "a guarded image of a wrong rank",
        predict(image(4, 4, 1, signature="guarded")),
        invalid("Shape of tensor … [4,4,1] is not compatible with expected shape [?,4,4,1].…"),
    ),
    recorded(
        "a guarded image of a wrong size",
        predict(image(1, 5, 5, 1, signature="guarded")),
        invalid("Shape of tensor … [1,5,5,1] is not compatible with expected shape [?,4,4,1].…"),
    ),
    _of_wrong_rank("an image without its batch", 4, 4, 1),
    _of_wrong_rank("an image of rank 0"),
    _of_wrong_rank("an image of rank 1", 16),
    _of_wrong_rank("an image of rank 2", 4, 4),
    _of_wrong_rank("an image of rank 5", 1, 1, 4, 4, 1),
    _of_wrong_rank("an image of rank 6", 1, 1, 1, 4, 4, 1),
)

SUBJECT = Subject("Predict refuses", (*NAMES, *INPUTS, *TENSORS))
