"""What differs between two images of an SQL row: by column, with what became of the column itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from backtrail.image import Image, Shape
from backtrail.stores import Store, open_store
from backtrail.stores.base import Difference

COLUMNS = (("id", "integer"), ("name", "text"), ("age", ""))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of a file that is never opened: images are compared without the database."""
    return open_store(f"sqlite:///{tmp_path / 'none.db'}", lock_timeout_ms=1)


def image(data: bytes, *columns: tuple[str, str]) -> Image:
    return Image(Shape("users", columns or COLUMNS), data)


ANN = image(b"i1\0tAnn\0i30")


def test_what_is_the_same_does_not_differ(store: Store) -> None:
    """Byte for byte, or both not there."""
    assert store.differences(ANN, image(b"i1\0tAnn\0i30")) == []
    assert store.differences(None, None) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"i1\0tBob\0i30", [("name", "Ann", "Bob", "")]),
        (b"i1\0tBob\0n", [("name", "Ann", "Bob", ""), ("age", 30, None, "")]),
        (b"i1\0tAnn\0t30", [("age", 30, "30", "")]),
        (b"i1\0tAnn\0r30.0", [("age", 30, 30.0, "")]),
        (b"i1\0b416e6e\0i30", [("name", "Ann", "\\x416e6e", "")]),
    ],
)
def test_columns_that_differ_are_told_in_their_order(store: Store, data: bytes, said: list[tuple[object, ...]]) -> None:
    """Each with both values; another storage class is a difference, also where Python finds the values equal."""
    found = store.differences(ANN, image(data))
    assert [(*one, type(one.found)) for one in found] == [(*one, type(one[2])) for one in said]


def test_a_row_that_is_not_there_differs_as_a_whole(store: Store) -> None:
    """What there is is named by its table, and no value of it is shown."""
    assert store.differences(ANN, None) == [Difference("(row)", "a row of users", None)]
    assert store.differences(None, ANN) == [Difference("(row)", None, "a row of users")]


def test_a_column_that_was_added_is_no_difference(store: Store) -> None:
    """The application may add columns; what the image knows of is compared."""
    wider = image(b"tx\0i1\0tAnn\0i30", ("new", "text"), *COLUMNS)
    assert store.differences(ANN, wider) == []
    changed = image(b"tx\0i1\0tBob\0i30", ("new", "text"), *COLUMNS)
    assert [one.column for one in store.differences(ANN, changed)] == ["name"]


@pytest.mark.parametrize(
    ("columns", "data", "wanted"),
    [
        (
            (("id", "integer"), ("age", "")),
            b"i1\0i30",
            Difference("name", "Ann", "(column dropped)", "was text and is gone"),
        ),
        (
            (("id", "integer"), ("name", "varchar(9)"), ("age", "")),
            b"i1\0tAnn\0i30",
            Difference("name", "Ann", "(now of type varchar(9))", "was text and is varchar(9)"),
        ),
        (
            (("id", "integer"), ("name", "text"), ("age", "integer")),
            b"i1\0tAnn\0i30",
            Difference("age", 30, "(now of type integer)", "was without a type and is integer"),
        ),
        (
            (("id", "integer"), ("name", "text")),
            b"i1\0tAnn",
            Difference("age", 30, "(column dropped)", "was without a type and is gone"),
        ),
    ],
)
def test_a_column_that_is_not_what_it_was_is_told(
    store: Store, columns: tuple[tuple[str, str], ...], data: bytes, wanted: Difference
) -> None:
    """Gone or of another type: both types are named, and what it held."""
    assert store.differences(ANN, image(data, *columns)) == [wanted]


def test_a_column_that_lost_its_type_is_told(store: Store) -> None:
    """SQLite's columns need none, and then that is said."""
    (found,) = store.differences(ANN, image(b"i1\0tAnn\0i30", ("id", "integer"), ("name", ""), ("age", "")))
    assert (found.column, found.schema) == ("name", "was text and is without a type")


@pytest.mark.parametrize("data", [b"i1\0tAnn", b"i1\0tAnn\0i30\0n"])
def test_an_image_that_does_not_fit_its_columns_is_refused(store: Store, data: bytes) -> None:
    """With a cell too few or too many nobody knows which belongs to which column: nothing is guessed."""
    for pair in ((ANN, image(data)), (image(data), ANN)):
        with pytest.raises(ValueError, match="zip"):
            store.differences(*pair)
