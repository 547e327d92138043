"""Cells as tagged text: what goes in comes out, of the same class, and nothing runs into its neighbour."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail.image import join_cells, split_cells
from backtrail.stores.cells import (
    RawText,
    json_reader,
    ref_cells,
    ref_key,
    show_cell,
    tag_server_text,
    tag_stored,
    tag_stored_all,
    untag,
    untag_all,
)


def is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
STORED = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXT,
    st.binary(),
    st.binary().filter(lambda raw: not is_utf8(raw)).map(RawText),
)


def same(one: Any, other: Any) -> bool:
    return (
        type(one) is type(other)
        and one == other
        and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other))
    )


@given(st.lists(STORED, min_size=1))
def test_images_of_sqlite(cells: list[Any]) -> None:
    """Every storage class, -0.0, infinities, NUL and invalid UTF-8 survive an image."""
    back = [untag(text) for text in split_cells(join_cells([tag_stored(cell) for cell in cells]))]
    assert all(map(same, back, cells))


@given(st.lists(st.none() | TEXT.filter(lambda text: "\0" not in text), min_size=1))
def test_images_of_postgresql(cells: list[str | None]) -> None:
    """Any text of the server, and NULL, survive an image."""
    assert [untag(text) for text in split_cells(join_cells([tag_server_text(cell) for cell in cells]))] == cells


@given(st.lists(STORED))
def test_cells_all_together(cells: list[Any]) -> None:
    """Many cells are tagged and come back as they do one by one, NULL among them."""
    assert tag_stored_all(cells) == [tag_stored(cell) for cell in cells]
    assert all(map(same, untag_all(tag_stored_all(cells)), cells))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def read(cell: Any) -> Any:
    """What the reader gives, and whether it gave it without help."""
    return json_reader(lambda other: ("left", other))(cell)


@given(JSON, st.booleans(), st.sampled_from(["", " ", "\n", "\t\r"]), st.sampled_from(["", " ", "\n"]))
def test_json_is_what_the_standard_library_reads(value: Any, ascii_only: bool, before: str, after: str) -> None:
    """Value by value, huge numbers, NaN and lone surrogates included; with a space around it, it is left to others."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert repr(read(text)) == repr(json.loads(text))
    spaced = before + text + after
    assert repr(read(spaced)) == repr(("left", spaced) if before or after else json.loads(text))


@pytest.mark.parametrize(
    "cell", ["", "x", "{", '{"a": 1} {}', "[1,]", "\ufeff1", "'a'", '"\n"', "1 2", "[" * 5000, b"[]", RawText(b"\xff"), 5, 1.5]
)
def test_what_is_no_json_is_left_to_others(cell: Any) -> None:
    """Whatever is no text, no JSON, more than one value or nested too deeply."""
    assert read(cell) == ("left", cell)


@given(st.lists(STORED, min_size=1, max_size=3))
def test_references(cells: list[Any]) -> None:
    """A row's key is one text, from which its cells come back; other cells give another text."""
    key = ref_key([tag_stored(cell) for cell in cells])
    assert all(map(same, ref_cells(key), cells))


def test_nothing_looks_like_anything_else() -> None:
    """1, 1.0, '1', a blob and NULL are five different cells."""
    assert len({tag_stored(cell) for cell in (1, 1.0, "1", b"1", None, "n", "", b"", -0.0, 0.0)}) == 10


def test_shown() -> None:
    """What JSON cannot say is shown as text."""
    assert [show_cell(cell) for cell in (b"\xff", float("inf"), 1.5, None)] == ["\\xff", "inf", 1.5, None]
