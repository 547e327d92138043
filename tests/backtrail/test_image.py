"""Exact images: every value goes in and comes out, and no two values have one image."""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backtrail.image import Shape, join_cells, jsonable, split_cells
from backtrail.stores.cells import (
    RawText,
    ref_cells,
    ref_key,
    show_cell,
    tag_server_text,
    tag_server_texts,
    tag_stored,
    tag_stored_all,
    untag,
    untag_all,
)

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
invalid = st.binary(min_size=1).map(lambda raw: RawText(b"\xff" + raw))
stored = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    text,
    st.binary(),
    invalid,
    st.just("a\0b"),
    st.just(-0.0),
)
server = st.one_of(st.none(), st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")))


def bits(cell: Any) -> Any:
    """The cell so that it is equal only to itself, made by other means than the image."""
    return (type(cell).__name__, struct.pack(">d", cell) if isinstance(cell, float) else cell)


@given(st.lists(stored, min_size=1))
@example([None, "", b"", 0, 0.0, -0.0, "n", "0", "\0", "a\0n"])
def test_rows_of_sqlite_come_back_exactly(row: list[Any]) -> None:
    """Storage class and bytes of every cell survive, also NUL and text that is no UTF-8."""
    image = join_cells([tag_stored(cell) for cell in row])
    assert [bits(untag(cell)) for cell in split_cells(image)] == [bits(cell) for cell in row]


@given(st.lists(server, min_size=1))
@example([None, "", "n", "v", "\\N"])
def test_rows_of_postgres_come_back_exactly(row: list[Any]) -> None:
    """The server's text survives, and NULL is not the empty text."""
    image = join_cells([tag_server_text(cell) for cell in row])
    assert [untag(cell) for cell in split_cells(image)] == row


@given(st.lists(stored, min_size=2, max_size=2), st.lists(stored, min_size=2, max_size=2))
def test_different_rows_have_different_images(left: list[Any], right: list[Any]) -> None:
    """1 is not 1.0, 0.0 is not -0.0, text is not a blob: equal images mean identical rows."""
    images = [join_cells([tag_stored(cell) for cell in row]) for row in (left, right)]
    assert (images[0] == images[1]) == (list(map(bits, left)) == list(map(bits, right)))


@given(st.lists(stored.filter(lambda cell: cell is not None), min_size=1, max_size=3))
def test_primary_keys_come_back_exactly(key: list[Any]) -> None:
    """The text of a reference gives back the cells of the key, of one column or several."""
    assert [bits(cell) for cell in ref_cells(ref_key([tag_stored(cell) for cell in key]))] == [bits(cell) for cell in key]


@given(text, st.lists(st.tuples(text, text), max_size=3))
def test_shapes_come_back(table: str, columns: list[tuple[str, str]]) -> None:
    """A shape is what its text says, and its digest follows from it."""
    shape = Shape(table, tuple(columns))
    again = Shape.load(shape.dump())
    assert again == shape
    assert again.digest == shape.digest
    assert again.names == tuple(name for name, _ in columns)
    assert json.loads(shape.dump()) == [table, [list(column) for column in columns]]


def test_a_shape_is_kept_as_the_same_text_for_ever() -> None:
    """Its digest is in every event's hash, so that not one byte of the text may change from one version to the next."""
    shape = Shape("tä", (("id", "integer"), ("n", "")))
    assert shape.dump() == '["tä",[["id","integer"],["n",""]]]'
    assert shape.digest == hashlib.sha256('["tä",[["id","integer"],["n",""]]]'.encode()).digest()
    assert Shape("documents").dump() == '["documents",[]]'


STORED = [
    (None, "n"),
    (5, "i5"),
    (-(2**63), "i-9223372036854775808"),
    (0.1, "r0.1"),
    (-0.0, "r-0.0"),
    (float("inf"), "rinf"),
    ("", "t"),
    ("Zoë", "tZoë"),
    ("n", "tn"),
    ("a\0ë", "x6100c3ab"),
    (RawText(b"\xff"), "xff"),
    (b"", "b"),
    (b"\x00\xff", "b00ff"),
]
"""Cells of SQLite, and the text that the module's docstring says."""


def test_images_of_sqlite_are_written_as_described() -> None:
    """Ledgers of earlier versions hold these texts: one by one and in one go they are the same, and are read as what they were."""
    cells, texts = [cell for cell, _ in STORED], [text for _, text in STORED]
    assert [tag_stored(cell) for cell in cells] == texts
    assert tag_stored_all(cells) == texts
    assert [bits(cell) for cell in untag_all(texts)] == [bits(cell) for cell in cells]
    assert [bits(untag(text)) for text in texts] == [bits(cell) for cell in cells]


def test_images_of_postgresql_are_written_as_described() -> None:
    """The server's text after a `v`, and `n` for NULL; one by one and in one go."""
    cells = [None, "", "n", "Zoë", "\\N"]
    texts = ["n", "v", "vn", "vZoë", "v\\N"]
    assert [tag_server_text(cell) for cell in cells] == texts
    assert tag_server_texts(cells) == texts
    assert untag_all(texts) == cells
    assert join_cells(texts) == b"n\0v\0vn\0vZo\xc3\xab\0v\\N"


def test_references_are_written_as_described() -> None:
    """Rows are found by these texts in ledgers of earlier versions."""
    assert ref_key(["tZoë"]) == "tZoë"
    assert ref_key(["i1", "tZoë"]) == '["i1","tZoë"]'
    assert ref_key(["t[1]"]) == "t[1]"
    assert ref_cells('["i1","tZoë"]') == [1, "Zoë"]


@pytest.mark.parametrize("text", ["q1", "?", "T1", "X1"])
def test_images_of_another_make_are_refused(text: str) -> None:
    """A tag that nobody knows is named, not guessed."""
    with pytest.raises(ValueError, match=f"unknown tag '{text[0]}'".replace("?", "\\?")):
        untag(text)
    with pytest.raises(ValueError, match="unknown tag"):
        untag_all([text])


def test_cells_are_shown_as_json_can() -> None:
    """Bytes as hex, what is no number in JSON by its name, all else as it is."""
    assert [show_cell(cell) for cell in (b"\x01\xff", float("inf"), float("-inf"), 1.5, 3, "x", None)] == [
        "\\x01ff",
        "inf",
        "-inf",
        1.5,
        3,
        "x",
        None,
    ]


NOTED: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (7, 7),
    (1.5, 1.5),
    (float("inf"), "inf"),
    (float("nan"), "nan"),
    ("Zoë", "Zoë"),
    ("a\ud800", "a\\ud800"),
    (b"\x01\xff", "\\x01ff"),
    (bytearray(b"\x02"), "\\x02"),
    (memoryview(b"\x03"), "\\x03"),
    ((1, b"\x04"), [1, "\\x04"]),
    ([b"\x05"], ["\\x05"]),
    ({1: b"\x06", "\udfff": None}, {"1": "\\x06", "\\udfff": None}),
    ({b"\x02", b"\x01"}, ["\\x01", "\\x02"]),
    (frozenset({10, 9}), [10, 9]),
    ({1, "a"}, ["a", 1]),
    (Decimal("1.10"), "1.10"),
    (date(2020, 1, 2), "2020-01-02"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
]


@pytest.mark.parametrize(("value", "noted"), NOTED, ids=[str(at) for at in range(len(NOTED))])
def test_values_are_noted_as_what_they_are(value: Any, noted: Any) -> None:
    """Itself where JSON has the type, and a text that a person knows it by where not; so inside of others, too."""
    found = jsonable(value)
    assert (found, type(found)) == (noted, type(noted))
    assert jsonable([{"in": value}]) == [{"in": noted}]


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.uuids(), st.decimals(), st.dates()
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner), st.tuples(inner)),
    max_leaves=8,
)


@given(anything)
@example("\ud800")
@example({"\udfff": ["\ud800"]})
def test_anything_can_be_noted(value: Any) -> None:
    """Whatever an author notes becomes JSON that every database takes: no NaN, no lone surrogates."""
    body = json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)
    body.encode()
    assert jsonable(json.loads(body)) == json.loads(body)


def test_sets_are_noted_in_one_order() -> None:
    """A set has another order in every process, and its note has not."""
    assert jsonable({"b", "a", "c"}) == ["a", "b", "c"]
