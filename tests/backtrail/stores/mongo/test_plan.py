"""Decisions as writes of documents: what is created is whole when it is planned, and equal decisions have equal digests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from backtrail.entity import Entity
from backtrail.errors import AuthorMistake, BadValue
from backtrail.stores.base import Plan
from backtrail.stores.mongo.plan import plan
from backtrail.stores.mongo.record import MongoRecord
from tests import hard_bson as hard

SOURCE = hard.document(("_id", hard.int32(7)), ("a", hard.TRUE), ("b", hard.NULL), ("twice", hard.TRUE), ("twice", hard.FALSE))


def planned(migrate: Callable[[Entity], Any], raw: bytes = SOURCE) -> Plan:
    entity = Entity(
        1,
        migration="m",
        now=dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        rows={"old": [MongoRecord("old", raw)]},
        writes=("old", "new"),
        tables={"old": None, "new": None},
    )
    migrate(entity)
    return plan(entity.decision)


def created(migrate: Callable[[Entity], Any], raw: bytes = SOURCE) -> bytes:
    (write,) = planned(migrate, raw).writes
    (document,) = write.cells
    assert isinstance(document, bytes)
    return document


def test_a_copy_is_whole_when_it_is_planned() -> None:
    """Its bytes are the source's but for what is said, its `_id` among them."""
    document = created(lambda entity: entity.copy("new", entity.one("old"), set={"b": True, "c": None}, rename={"a": "x"}))
    assert document == hard.document(
        ("_id", hard.int32(7)),
        ("x", hard.TRUE),
        ("b", hard.TRUE),
        ("twice", hard.TRUE),
        ("twice", hard.FALSE),
        ("c", hard.NULL),
    )


def test_an_id_of_the_author_is_there_when_it_is_planned_and_another_is_not() -> None:
    """So that an `_id` made up later is no part of the digest."""
    assert created(lambda entity: entity.create("new", {"a": None, "_id": 7})) == hard.document(
        ("_id", hard.int32(7)), ("a", hard.NULL)
    )
    assert created(lambda entity: entity.create("new", {"a": None})) == hard.document(("a", hard.NULL))


def test_a_field_that_is_renamed_to_the_id_is_the_id() -> None:
    """It comes first, with its value; the old one is gone."""
    document = created(lambda entity: entity.copy("new", entity.one("old"), unset=["_id", "twice"], rename={"b": "_id"}))
    assert document == hard.document(("_id", hard.NULL), ("a", hard.TRUE))


def test_equal_decisions_have_equal_digests() -> None:
    """And others have others: by the value, its type, the name, the collection, the `_id`, or where a new row is meant."""

    def row_in(entity: Entity, which: int) -> None:
        rows = [entity.create("new", {}), entity.create("new", {})]
        entity.create("new", {"a": rows[which]})

    ways: list[Callable[[Entity], Any]] = [
        lambda entity: entity.create("new", {"a": 1}),
        lambda entity: entity.create("new", {"a": 1.0}),
        lambda entity: entity.create("new", {"b": 1}),
        lambda entity: entity.create("old", {"a": 1}),
        lambda entity: entity.create("new", {"_id": 1, "a": 1}),
        lambda entity: entity.create("new", {"a": {"b": 1}}),
        lambda entity: [entity.create("new", {"a": 1}), entity.create("new", {})],
        lambda entity: entity.copy("new", entity.one("old")),
        lambda entity: entity.copy("new", entity.one("old"), unset=["_id"]),
        lambda entity: entity.update(entity.one("old"), {"a": 1}),
        lambda entity: entity.update(entity.one("old"), unset=["a"]),
        lambda entity: row_in(entity, 0),
        lambda entity: row_in(entity, 1),
    ]
    digests = [planned(way).digest for way in ways]
    assert len(set(digests)) == len(ways)
    assert [planned(way).digest for way in ways] == digests


def test_an_update_that_changes_nothing_is_no_write() -> None:
    """The field that MongoDB reads counts, where a name is there twice."""
    assert planned(lambda entity: entity.update(entity.one("old"), {"a": True, "twice": True})).writes == []
    (write,) = planned(lambda entity: entity.update(entity.one("old"), {"a": True, "twice": False})).writes
    assert write.columns == ("twice",)


WAYS: dict[str, Callable[[Entity, str], Any]] = {
    "create": lambda entity, name: entity.create("new", {name: 1}),
    "create with a row": lambda entity, name: entity.create("new", {name: entity.create("new", {})}),
    "copy": lambda entity, name: entity.copy("new", entity.one("old"), set={name: 1}),
    "rename": lambda entity, name: entity.copy("new", entity.one("old"), rename={"a": name}),
    "update": lambda entity, name: entity.update(entity.one("old"), {name: 1}),
}


@pytest.mark.parametrize("name", ["secret\0", "secret\udc80", "secret\ud800"])
@pytest.mark.parametrize("way", WAYS)
def test_names_that_no_field_can_have(way: str, name: str) -> None:
    """NUL, and what is no UTF-8, fail the entity whose data gave the name, which is not repeated."""
    with pytest.raises(BadValue, match=r"^(new|old): .*(NUL|surrogate)") as caught:
        planned(lambda entity: WAYS[way](entity, name))
    assert "secret" not in str(caught.value)
    if way not in ("rename", "copy"):
        with pytest.raises(BadValue, match=r"^(new|old): .*(NUL|surrogate)"):
            planned(lambda entity: WAYS[way](entity, f"x.{name}.y"))


def test_a_name_that_a_document_has_though_it_is_no_text() -> None:
    """It can be set, and stays as it is in a copy."""
    raw = hard.document(("_id", hard.int32(7)), (b"\x80", hard.TRUE))
    (write,) = planned(lambda entity: entity.update(entity.one("old"), {"\udc80": None}), raw).writes
    assert write.columns == ("\udc80",)
    assert created(lambda entity: entity.copy("new", entity.one("old")), raw) == raw
    assert created(lambda entity: entity.copy("new", entity.one("old"), set={"\udc80": True}), raw) == raw


def test_a_field_is_not_renamed_to_a_path() -> None:
    """It would be a field whose name has a dot in it, which no path finds: to put it there is to set it."""
    with pytest.raises(AuthorMistake, match=r"renamed to 'b\.c'.*set"):
        planned(lambda entity: entity.copy("new", entity.one("old"), rename={"a": "b.c"}))
