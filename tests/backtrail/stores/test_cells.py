"""Cells as tagged text: what goes in comes out, of the same class, and nothing runs into its neighbour."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backtrail.image import join_cells, split_cells
from backtrail.stores.cells import RawText, ref_cells, ref_key, show_cell, tag_server_text, tag_stored, untag


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
