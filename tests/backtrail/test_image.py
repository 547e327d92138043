"""Exact images: every value goes in and comes out, and no two values have one image."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from backtrail.image import Shape, join_cells, jsonable, split_cells
from backtrail.stores.cells import RawText, ref_cells, ref_key, tag_server_text, tag_stored, untag

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
