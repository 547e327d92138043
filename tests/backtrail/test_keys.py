"""Keys as text: what is printed is accepted back, with its type."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail.errors import UsageError
from backtrail.keys import key_text, parse_key, type_of

PARTS: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(),
    "number": st.floats(allow_nan=False),
    "decimal": st.decimals(allow_nan=False),
    "text": st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    "uuid": st.uuids(),
    "bytes": st.binary(),
    "bool": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes(timezones=st.just(dt.UTC)),
}
typed = st.sampled_from(list(PARTS)).flatmap(lambda name: st.tuples(st.just(name), PARTS[name]))


def same(left: Any, right: Any) -> bool:
    if isinstance(right, float):
        return bool(left == right)  # a whole number is an int, as databases find 2.0 and 2 equal
    return type(left) is type(right) and left == right


@given(typed)
def test_one_value_comes_back_from_its_plain_text(value: tuple[str, Any]) -> None:
    """Every value is printed as plain text, without quotes, and read back equal and of its type."""
    name, part = value
    assert same(parse_key(key_text(part), [name]), part)
    assert type_of(part) == name


@given(st.lists(st.one_of(typed, st.just(("int", None))), min_size=2, max_size=4))
def test_several_values_come_back_from_a_json_array(values: list[tuple[str, Any]]) -> None:
    """Several values print as one JSON array on one line; NULL is null, and all types come back."""
    key = tuple(part for _, part in values)
    text = key_text(key)
    assert len(json.loads(text)) == len(key)
    back = parse_key(text, [name for name, _ in values])
    assert all(map(same, back, key))
    assert key_text(list(key)) == text


@pytest.mark.parametrize(("number", "text"), [(2.0, "2"), (-0.0, "0"), (2.5, "2.5"), (1e300, "1e+300"), (float("inf"), "inf")])
def test_numbers_that_databases_find_equal_have_one_text(number: float, text: str) -> None:
    """A double that is whole is printed as the integer, alone and in an array, whoever hands it in."""
    assert key_text(number) == text
    assert key_text((number, "a")) == key_text((parse_key(text, ["number"]), "a"))
    assert key_text(parse_key(str(number), ["number"])) == text


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=2, max_size=2, unique=True))
def test_different_keys_print_differently(keys: list[tuple[str, str]]) -> None:
    """The text is the name of the stream, so it tells any two keys apart."""
    assert key_text(keys[0]) != key_text(keys[1])


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("x", ["int"]),
        ("", ["int"]),
        ("1_000", ["int"]),
        (" 7", ["int"]),
        ("٣", ["int"]),
        ("²", ["number"]),
        ("1.5", ["int"]),
        ("7", ["uuid"]),
        ("7", ["bytes"]),
        ("\\xzz", ["bytes"]),
        ("True", ["bool"]),
        ("yesterday", ["date"]),
        ("1,2", ["int", "int"]),
        ("[1]", ["int", "int"]),
        ("[1, 2, 3]", ["int", "int"]),
        ('{"a": 1}', ["int", "int"]),
        ('[1, "x"]', ["int", "int"]),
        ("[" * 100_000, ["int", "int"]),
        ("no decimal", ["decimal"]),
    ],
)
def test_text_that_is_no_key_is_refused(text: str, types: list[str]) -> None:
    """The error names the text and what it should be, in one line."""
    with pytest.raises(UsageError, match="is no key of this migration: it takes") as error:
        parse_key(text, types)
    assert "\n" not in str(error.value)


def test_known_texts() -> None:
    """The form is part of the contract: it names streams in ledgers that exist."""
    number = uuid.UUID("12345678-1234-5678-1234-567812345678")
    assert key_text(5) == "5"
    assert key_text("a b") == "a b"
    assert key_text((True, False)) == "[true,false]"
    assert key_text(b"\x01\xff") == "\\x01ff"
    assert key_text(number) == str(number)
    assert key_text(("é", 1, None, number)) == f'["é",1,null,"{number}"]'
    assert key_text(decimal.Decimal("1.10")) == "1.10"
