"""The hash chain, recomputed by an oracle that knows only what the module's docstring says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail import Keys, Rows
from backtrail.image import Ref, Shape
from ledger.event import Event, digest, genesis, index_of, ref_number
from tests.engine import Engine, migration

SHAPE = Shape("users", (("id", "integer"), ("name", "text")))
EVENT = Event(3, "updated", 7, 1_700_000_000_123, Ref("users", "i5"), SHAPE, b"i5\0tAnn", b"i5\0tBob", '{"a":1}')


def netstring(data: bytes | None) -> bytes:
    return b"-" if data is None else str(len(data)).encode() + b":" + data + b","


def chained(migration_name: str, key: str, rows: list[dict[str, Any]], shapes: dict[int, str]) -> list[bytes]:
    """The hashes that the raw rows of one stream should have, by the words of ledger/event.py's docstring."""
    previous = hashlib.sha256(b"backtrail-ledger-1" + netstring(migration_name.encode()) + netstring(key.encode())).digest()
    hashes = []
    for row in rows:
        shape = None if row["shape"] is None else hashlib.sha256(shapes[row["shape"]].encode()).digest()
        texts = [row["version"], row["kind"], row["campaign"], row["at"]]
        parts = [previous, *(str(text).encode() for text in texts), shape]
        parts += [None if row["key"] is None else row["key"].encode(), row["before"], row["after"]]
        parts.append(None if row["data"] is None else row["data"].encode())
        previous = hashlib.sha256(b"".join(netstring(part) for part in parts)).digest()
        hashes.append(previous)
    return hashes


def test_an_independent_reader_recomputes_every_hash_from_the_raw_rows(database: str) -> None:
    """The chain of every stream follows from the rows in the database and the description alone, for all kinds of events."""
    engine = Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE people (id integer PRIMARY KEY, name text);"
        "INSERT INTO users VALUES (1, 'Ann'), (2, NULL), (3, 'Zoë 😀'); INSERT INTO people VALUES (2, 'old')"
    )

    def move(user: Any) -> None:
        row = user.one("users")
        old = user.one_or_none("people")
        if row["name"] is None:
            user.delete(old)
        else:
            user.create("people", {"id": user.key, "name": row["name"]})
            user.update(row, set={"name": "moved"})
        user.conflict("name", values=[1, 2], chosen="é")

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", "id"), Rows("people", "id")), writes=("people", "users"))
    engine.migrate(cls)
    engine.rollback(cls)
    engine.rerun(cls, only=["1", "2"])
    prefix = "backtrail." if engine.postgres else "backtrail_"
    names = ("stream", "version", "kind", "campaign", "at", "shape", "key", "before", "after", "data", "hash")
    quoted = ", ".join(f'"{name}"' for name in names)
    rows = [dict(zip(names, row, strict=True)) for row in engine.query(f"SELECT {quoted} FROM {prefix}events ORDER BY 1, 2")]
    shapes = dict(engine.query(f"SELECT id, body FROM {prefix}shapes"))
    streams = engine.query(f"SELECT id, key, version, head FROM {prefix}streams")
    kinds = {row["kind"] for row in rows}
    assert kinds == {"begin", "created", "updated", "deleted", "compensated", "conflict", "end"}, "the fixture is not trivial"
    for stream, key, version, head in streams:
        own = [row for row in rows if row["stream"] == stream]
        assert [row["version"] for row in own] == list(range(1, version + 1)), "versions have no gaps"
        hashes = chained("trial", key, own, shapes)
        assert [bytes(row["hash"]) for row in own] == hashes
        assert bytes(head) == hashes[-1]
    engine.close()


CHANGES: list[dict[str, Any]] = [
    {"version": 4},
    {"kind": "created"},
    {"campaign": 8},
    {"at": EVENT.at + 1},
    {"ref": Ref("users", "i6")},
    {"shape": Shape("people", SHAPE.columns)},
    {"shape": Shape("users", (("id", "integer"), ("name", "varchar")))},
    {"shape": Shape("users", (("id", "integer"), ("Name", "text")))},
    {"shape": None},
    {"before": b"i5\0tAnm"},
    {"before": None},
    {"before": b""},
    {"after": b"i5\0tBob\0n"},
    {"after": None},
    {"data": '{"a":2}'},
    {"data": None},
    {"data": ""},
]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{at}-{next(iter(change))}" for at, change in enumerate(CHANGES)])
def test_no_field_can_change_without_another_hash(change: dict[str, Any]) -> None:
    """Every field of an event, and the one before it, is in the hash."""
    previous = genesis("m", "1")
    assert digest(previous, replace(EVENT, **change)) != digest(previous, EVENT)
    assert digest(genesis("m", "2"), EVENT) != digest(previous, EVENT)


def test_every_field_of_an_event_is_among_those_that_were_changed() -> None:
    """A field that somebody adds later must be put into the hash, or be named here."""
    changed = {name for change in CHANGES for name in change}
    assert changed == set(Event.__dataclass_fields__) - {"hash", "index"}


parts = st.one_of(st.none(), st.binary(max_size=6), st.sampled_from([b"-", b"1:a,", b"0:,", b","]))


@given(st.tuples(parts, parts, parts), st.tuples(parts, parts, parts))
def test_bytes_cannot_wander_from_one_field_to_the_next(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    """Two events have one hash only if they are equal, however their fields are cut."""

    def event(before: bytes | None, after: bytes | None, data: bytes | None) -> Event:
        return replace(EVENT, before=before, after=after, data=None if data is None else data.decode("latin-1"))

    same = digest(b"p" * 32, event(*left)) == digest(b"p" * 32, event(*right))
    assert same == (left == right)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_streams_have_beginnings_of_their_own(one: str, key: str, other: str, other_key: str) -> None:
    """No two pairs of migration and key start a chain alike, however the texts are cut."""
    assume = (one.isprintable(), key.isprintable(), other.isprintable(), other_key.isprintable())
    if all(assume):
        assert (genesis(one, key) == genesis(other, other_key)) == ((one, key) == (other, other_key))


def test_rows_are_indexed_only_where_others_could_have_had_them() -> None:
    """A row that the event created has no number; any other has one of 63 bits, told by table and key."""
    assert index_of(EVENT.ref, None) is None
    assert index_of(None, b"x") is None
    numbers = {ref_number(Ref(table, key)) for table in ("a", "b") for key in ("i1", "i2", "t1")}
    assert len(numbers) == 6
    assert all(0 <= number < 2**63 for number in numbers)


def test_images_of_an_event_carry_its_shape() -> None:
    """What a row was is an image of the event's shape, and None where there was no row."""
    assert EVENT.before_image is not None
    assert EVENT.before_image.shape == SHAPE
    assert replace(EVENT, after=None).after_image is None
    assert replace(EVENT, data=None).facts == {}
    assert EVENT.facts == json.loads('{"a": 1}')
