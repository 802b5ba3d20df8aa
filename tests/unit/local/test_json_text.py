"""JSON of any depth and size, RapidJSON's numbers, and how much of a value an error quotes."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from serving.local.errors import ServingError
from serving.local.rest import json_text, rapidjson
from serving.local.rest.doubles import double


def nested(bracket: str, depth: int) -> bytes:
    """`{"instances": 1, "a": …}` with so many lists or objects in each other."""
    opened, closed = {"[": ("[", "]"), "{": ('{"k": ', "}")}[bracket]
    return f'{{"instances": 1, "a": {opened * depth}1{closed * depth}}}'.encode()


@pytest.mark.parametrize("bracket", ["[", "{"])
@pytest.mark.parametrize("depth", [300, 3_000, 100_000])
def test_a_document_of_any_depth_is_read_and_quoted_in_little_time(
    bracket: str, depth: int
) -> None:
    began = time.process_time()

    document = json_text.loads(nested(bracket, depth))
    text = json_text.quote(document)

    assert time.process_time() - began < 4
    assert text.startswith('{\n    "instances": 1,\n    "a": ')
    assert len(text) == 256


def test_lists_too_deep_to_be_held_are_refused() -> None:
    with pytest.raises(ServingError, match="JSON Parse error: Terminate parsing due to Handler"):
        json_text.loads(nested("[", 1_000_000))


def test_a_deep_list_without_an_end_is_told_where_it_ends() -> None:
    with pytest.raises(ServingError, match=r"Invalid value\. at offset: 100014$"):
        json_text.loads(b'{"instances": ' + b"[" * 100_000)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, "b", None, True, {}, []]}, None),
        (["ä" * 200], '["' + "ä" * 127),  # 256 bytes would end in the middle of one
        ({"b" * 300: 1}, '{\n    "' + "b" * 249),
        ([list(range(1000))], "[[" + ", ".join(map(str, range(1000)))[:254]),
    ],
)
def test_a_quoted_value_is_cut_after_256_bytes(value: Any, text: str | None) -> None:
    assert json_text.quote(value) == (json_text.dumps(value) if text is None else text)


@pytest.mark.parametrize("more", [b" {}", b"]", b" nonsense", b"\xff", b"1"])
def test_what_follows_the_document_is_not_looked_at(more: bytes) -> None:
    assert json_text.loads(b' {"a": [1]}' + more) == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1', "Missing a comma or '}' after an object member. at offset: 7"),
        ('{"a": [1 2]}', "Missing a comma or ']' after an array element. at offset: 9"),
        ('{"a": 1e0000000000400}', "Number too big to be stored in double. at offset: 6"),
        ('{"a": 1.5e310}', "Number too big to be stored in double. at offset: 6"),
        (f'{{"a": {"9" * 5000}}}', "Number too big to be stored in double. at offset: 6"),
        (f'{{"a": {"9" * 5000}.5}}', "Number too big to be stored in double. at offset: 6"),
        ("1.x", "Miss fraction part in number. at offset: 2"),
        ("trap", "Invalid value. at offset: 2"),
    ],
)
@pytest.mark.parametrize("doubles", [False, True])
def test_a_fault_is_named_in_rapidjsons_words(text: str, words: str, doubles: bool) -> None:
    with pytest.raises(ServingError) as refused:
        json_text.loads(text.encode(), doubles)

    assert refused.value.text == f"JSON Parse error: {words}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.12345678901234567", 0.12345678901234568),  # a real 2.19.1 answers so
        ("0.1", 0.1),
        ("1e300", 1e300),
        ("-2.5e-3", -0.0025),
        ("5e-324", 5e-324),
        ("1.5e309", float("inf")),  # the exponent alone is compared with the largest
        ("1e-400", 0.0),
        ("1e-99999999999999999999", 0.0),
        ("0." + "0" * 100_000 + "1", 0.0),
        ("18446744073709551616.5", 1.8446744073709552e19),
    ],
)
def test_doubles_are_those_of_rapidjson(text: str, value: float) -> None:
    assert double(text) == value
    assert json_text.loads(f'{{"a": {text}}}'.encode(), doubles=True) == {"a": value}


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_double_is_missed_by_two_units_at_most(value: float) -> None:
    text = repr(value)

    found = double(text)

    places = [struct.unpack("<q", struct.pack("<d", abs(number)))[0] for number in (value, found)]
    assert abs(places[0] - places[1]) <= 2
    if len(text.strip("-0").replace(".", "")) <= 15 and "e" not in text:
        assert found == value


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1]))
def test_the_slow_reader_reads_what_the_fast_one_reads(value: Any, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=indent)

    assert rapidjson.loads(text) == value
