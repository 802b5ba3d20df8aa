"""A caller's inputs: made into arrays, and checked against a version's signature.

Values without a dtype of their own (numbers, lists) take the signature's; arrays keep theirs, and
have to fit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tfs_client.answers import Metadata, Signature, TensorSpec
from tfs_client.errors import (
    DtypeError,
    EmptyBatchError,
    InputNameError,
    OutputNameError,
    RequestError,
    ShapeError,
    SignatureError,
    ValueRangeError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRING: Final = "string"
"""TensorSpec's name for the dtype of strings."""

_NUMBERS: Final = frozenset(
    "float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "bool complex64 complex128".split()
)

_DEEPEST: Final = 64
"""numpy's most dimensions; the limit is for a list that contains itself."""

_STRINGS: Final = (bytes, str, bytearray, memoryview)

_GOES_INTO: Final = {"b": "b", "i": "iufc", "u": "iufc", "f": "fc", "c": "c"}
"""Kind of a bare number (numpy's letter) → the kinds that it may be converted to."""


def as_array(value: Any, name: str, wanted: str | None = None) -> NDArray[Any]:
    """The caller's value as an array.

    Args:
        value: an array of any shape; nested lists; numbers; str (sent as UTF-8) or bytes (so are
            bytearray, and memoryview of bytes, unless numbers are wanted), alone or in lists or
            object arrays. numpy's fixed-width strings have lost trailing zero bytes
            before they get here: give file contents as bytes, a list of bytes or an object array.
        name: its name in an error.
        wanted: the dtype's name that bare numbers take ("string" for strings); None means
            numpy's own choice.

    Raises:
        ShapeError: rows of different lengths.
        DtypeError: a dtype that no tensor has, a mask, or bare numbers that cannot be converted to
            the wanted one.
        ValueRangeError: bare numbers that the wanted dtype cannot hold.
    """
    first = _first_of(value, name)
    bare = not hasattr(value, "dtype")
    if isinstance(first, (bytearray, memoryview)) and wanted not in _NUMBERS:
        value = _as_strings(value)
        first = _first_of(value, name)
    try:
        # For strings not numpy's choice, whose fixed width cuts trailing zero bytes off.
        strings = isinstance(first, (bytes, str))
        array = np.asarray(value, dtype=object if strings else None)
        if bare and array.dtype.kind in "SU":
            array = np.asarray(value, dtype=object)  # a number among strings was written out
    except ValueError as error:
        raise ShapeError(
            f"Expected {name} as a full array. Received: {error}; give rows of equal length"
        ) from error
    except Exception as error:  # of the value's own __array__: it lies on a GPU, say
        raise DtypeError(
            f"Expected {name} as something that numpy can make an array of. "
            f"Received: {type(value).__name__} ({type(error).__name__}: {error})"
        ) from error
    if bare and strings and any(isinstance(one, (list, tuple)) for one in array.flat):
        raise ShapeError(
            f"Expected {name} as a full array. Received: lists of different lengths or depths; "
            "give rows of equal length"
        )
    if bare and (wanted is None or wanted in _NUMBERS):
        array = _large_numbers(array, value, name, wanted or "uint64")
    elif bare and wanted == STRING and not array.size:
        array = array.astype(object)  # an empty list has no dtype
    kind = array.dtype.kind
    if kind == "O" and not array.ndim and not isinstance(array[()], _STRINGS):
        raise DtypeError(
            f"Expected {name} as an array, a list, a number, bytes or str. "
            f"Received: {type(array[()]).__name__}"
        )
    if kind not in "OSUT" and array.dtype.name not in _NUMBERS:
        raise DtypeError(
            f"Expected {name} as numbers, bool, bytes or str. Received: dtype={array.dtype}; "
            "convert it with .astype(…)"
        )
    if wanted is None or wanted == STRING or not bare or kind in "OSUT":
        return array
    return _converted(array, name, wanted)


def _as_strings(value: Any) -> Any:
    """Nested lists with the bytes in place of each bytearray, and of each memoryview of bytes.

    Any other memoryview is an array of numbers.
    """
    if isinstance(value, (list, tuple)):
        return [_as_strings(one) for one in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, memoryview) and value.ndim == 1 and value.format in ("B", "b", "c"):
        return bytes(value)
    return value


def _first_of(value: Any, name: str) -> Any:
    """The first element of nested lists; refuses masks, which no tensor has."""
    first = value
    for _ in range(_DEEPEST):
        if not isinstance(first, (list, tuple)) or not first:
            break
        first = first[0]
    else:
        raise ShapeError(
            f"Expected {name} in at most {_DEEPEST} dimensions. Received: lists nested deeper"
        )
    masked = sys.modules.get("numpy.ma")  # loaded if the caller has a masked array
    if masked is not None and isinstance(first, masked.MaskedArray):
        raise DtypeError(
            f"Expected {name} without a mask, which a tensor does not have. "
            f"Received: {type(first).__name__}; fill it with .filled(…)"
        )
    return first


def _large_numbers(array: NDArray[Any], value: Any, name: str, wanted: str) -> NDArray[Any]:
    """Bare numbers that int64 does not hold: numpy makes objects of them, or floats."""
    whole = _is_whole(wanted)
    if not array.size or not (array.dtype.kind == "O" or (whole and array.dtype.kind == "f")):
        return array
    numbers = np.asarray(value, dtype=object)
    if not all(
        isinstance(one, int) or (not whole and isinstance(one, float)) for one in numbers.flat
    ):
        return array
    if not whole:
        try:
            return numbers.astype(np.float64)
        except OverflowError as error:
            raise _out_of_range(name, wanted, numbers) from error
    limits = np.iinfo(wanted)
    if numbers.min() < limits.min or numbers.max() > limits.max:
        raise _out_of_range(name, wanted, numbers)
    return numbers.astype(wanted)


def _is_whole(wanted: str) -> bool:
    return wanted.lstrip("u").startswith("int")


def _out_of_range(name: str, wanted: str, array: NDArray[Any]) -> ValueRangeError:
    limits = ""
    if _is_whole(wanted):
        limits = f", {np.iinfo(wanted).min} to {np.iinfo(wanted).max}"
    return ValueRangeError(
        f"Expected {name} as {wanted}{limits}. "
        f"Received: {_short(array.min())} to {_short(array.max())}, which it cannot hold"
    )


def _short(number: Any) -> str:
    if isinstance(number, int) and number.bit_length() > 128:  # Python writes out only so many
        return f"a number of {number.bit_length()} bits"
    return str(number)


def as_bytes(element: Any, name: str) -> bytes:
    """One string of an array of strings, as it is sent.

    Raises:
        DtypeError: it is neither bytes nor str.
        ValueRangeError: a str with half a surrogate pair, which UTF-8 does not have.
    """
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError as error:
            raise ValueRangeError(
                f"Expected the elements of {name} as text that UTF-8 has, or as bytes. "
                f"Received: {error}"
            ) from error
    if isinstance(element, (bytearray, memoryview)):
        return bytes(element)
    raise DtypeError(
        f"Expected the elements of {name} as bytes or str. "
        f"Received: {type(element).__name__} in an object array; give it a number's dtype"
    )


def _converted(array: NDArray[Any], name: str, wanted: str) -> NDArray[Any]:
    """Bare numbers in the signature's dtype, if they can be converted to it."""
    if array.dtype.name == wanted or wanted not in _NUMBERS:
        return array
    dtype = _dtype(wanted, name)
    kind = "f" if wanted == "bfloat16" else dtype.kind
    if array.size and kind not in _GOES_INTO.get(array.dtype.kind, "fc"):  # else: bfloat16
        return array  # check_input refuses it, with a better message
    if kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise _out_of_range(name, wanted, array)
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if kind in "fc" and not np.array_equal(np.isinf(converted), np.isinf(array)):
        raise _out_of_range(name, wanted, array)
    return converted


def _dtype(wanted: str, name: str) -> np.dtype[Any]:
    if wanted != "bfloat16":
        return np.dtype(wanted)
    try:
        import ml_dtypes  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DtypeError(
            f"Expected {name} as bfloat16, which numpy does not know by itself. Received: bare "
            "numbers; pip install 'tfs-client[dtypes]' (ml_dtypes)"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def find_signature(metadata: Metadata, name: str) -> Signature:
    """The signature of that name.

    Raises:
        SignatureError: the version does not have it.
    """
    signature = metadata.signatures.get(name)
    if signature is None:
        raise SignatureError(
            f"Expected one of the signatures {sorted(metadata.signatures)} of version "
            f"{metadata.version} of {metadata.model}. Received: signature={name!r}"
        )
    return signature


def check_inputs(signature: Signature, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The inputs as arrays that the signature takes.

    Raises:
        InputNameError: some are missing, or are not the signature's.
        DtypeError: as check_input; so are ShapeError, ValueRangeError and EmptyBatchError.
    """
    missing = [
        name for name, spec in signature.inputs.items() if name not in inputs and not spec.optional
    ]
    unknown = [name for name in inputs if name not in signature.inputs]
    if missing or unknown:
        raise InputNameError(
            f"Expected the inputs {_all_specs(signature)} of signature {signature.name!r}. "
            f"Received: {sorted(map(str, inputs))}"
            + (f"; missing: {missing}" if missing else "")
            + (f"; unknown: {unknown}" if unknown else "")
        )
    specs = signature.inputs
    return {name: check_input(name, specs[name], value) for name, value in inputs.items()}


def check_input(name: str, spec: TensorSpec, value: Any) -> NDArray[Any]:
    """One input as an array that the signature takes.

    Raises:
        DtypeError: of another dtype.
        ShapeError: of another rank or size.
        ValueRangeError: a bare number that the dtype cannot hold.
        EmptyBatchError: no rows.
    """
    array = as_array(value, f"input {name!r}", spec.dtype)
    dtype = _dtype_name(array)
    if dtype != spec.dtype:
        raise DtypeError(
            f"Expected input {name!r} as {spec}. Received: {_received(dtype, array)}"
            + (f"; convert it with .astype({spec.dtype!r})" if spec.dtype in _NUMBERS else "")
        )
    if spec.shape is not None:
        fits = len(spec.shape) == array.ndim and all(
            size is None or size == given for size, given in zip(spec.shape, array.shape)
        )
        if not fits:
            one_row = array.shape == spec.shape[1:] and spec.shape[:1] == (None,)
            raise ShapeError(
                f"Expected input {name!r} as {spec}. Received: {_received(dtype, array)}"
                + ("; for a batch of one row, array[np.newaxis]" if one_row else "")
            )
        if array.shape[:1] == (0,) and spec.shape[0] is None:
            raise EmptyBatchError(
                f"Expected input {name!r} as {spec} with at least one row. Received: none, "
                f"shape={list(array.shape)}"
            )
    return array


def check_outputs(signature: Signature, outputs: Sequence[str]) -> None:
    """Refuses names of outputs that the signature does not have, and names given twice.

    Raises:
        OutputNameError: there is one.
    """
    unknown = [name for name in outputs if name not in signature.outputs]
    if unknown or len(set(outputs)) < len(outputs):
        raise OutputNameError(
            f"Expected outputs among {sorted(signature.outputs)} of signature {signature.name!r}, "
            f"each once. Received: outputs={list(outputs)}"
        )


def check_mapping(inputs: Any, what: str = "inputs", *, may_be_empty: bool = False) -> None:
    """Refuses inputs, or a default's outputs, that are no mapping from names.

    Raises:
        RequestError: no mapping, or an empty one, unless it may be.
        InputNameError: a name that is no str.
    """
    if not isinstance(inputs, Mapping) or not (inputs or may_be_empty):
        raise RequestError(
            f"Expected {what} as a mapping from name to array. "
            f"Received: {'none' if isinstance(inputs, Mapping) else type(inputs).__name__}"
        )
    for name in inputs:
        if not isinstance(name, str):
            raise InputNameError(f"Expected the names in {what} as str. Received: {name!r}")


def _dtype_name(array: NDArray[Any]) -> str:
    if array.dtype.kind == "O" and not all(isinstance(one, _STRINGS) for one in array.flat[:1]):
        return "object"
    return STRING if array.dtype.kind in "OSUT" else array.dtype.name


def _received(dtype: str, array: NDArray[Any]) -> str:
    return f"{dtype} {list(array.shape)}"


def _all_specs(signature: Signature) -> str:
    return "{" + ", ".join(f"{name}: {spec}" for name, spec in signature.inputs.items()) + "}"
