"""Cases of tampering, made from the rows of a ledger: every column edited, every blob's bits flipped, events and streams gone, moved, doubled, forged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.tampering import forge
from tests.tampering.dump import Dump, Row, Text

Edit = Callable[[Dump], None]


@dataclass(frozen=True)
class Case:
    """One edit of a ledger."""

    name: str
    edit: Edit
    sealed: bool = False
    """Whether only a checkpoint can show it: what is left is a ledger that could have come about, and fits together."""
    concerns: frozenset[str] = frozenset()
    """The entities that must be named, where they cannot be seen from the streams."""
    anyone: bool = False
    """Whether it is enough that the checkpoint does not fit: nothing says any more whose events they were."""
    refusal: bool = False
    """Whether it is enough that `verify` refuses, saying why: nothing can be read any more."""


EXEMPT = {
    "campaigns": "who opened a campaign, when, why and how far it is: nothing in an entity's stream depends on it but the number",
    "batches": "how far a campaign is; what it says is done must have a stream (a case of its own), its counts are for `status`",
    "nodes": "what is kept of the tree, so that proofs are made fast; the root is computed from the leaves",
    "checkpoints": "for looking up; the one that counts lies outside the database",
    "workers": "who is alive just now",
    "leases": "who feeds just now",
    "counters": "the next numbers; one that is set back makes the next insert fail",
    "version": "the form of the ledger, asked before anything else",
    "alembic_version": "the form of the ledger, asked before anything else",
    "alembic": "the form of the ledger, asked before anything else",
    "steps": "what expand added: it has its own record, which `contract` and `expand --undo` compare with the schema",
    "expansions": "what expand added: it has its own record, which `contract` and `expand --undo` compare with the schema",
}
"""Tables that are not attacked, and why."""

UNSEEN: dict[tuple[str, str], str] = {
    ("recalls", "id"): "MongoDB's own number of the document, which nobody looks at",
    ("lookup", "id"): "the table has one row, which is read whatever its number",
}
"""Columns in which an edit need not be found, and why."""


def cases(dump: Dump, *, dynamic: bool, seed: int = 1) -> list[Case]:
    """All cases.

    Args:
        dump: the ledger as it is.
        dynamic: whether the database takes values of another type.
        seed: which bits are flipped, and whatever else is not worth trying everywhere.
    """
    chance = random.Random(seed)
    found = [*_columns(dump, dynamic, chance), *_bits(dump, chance), *_events(dump), *_streams(dump), *_forged(dump)]
    assert len({case.name for case in found}) == len(found)
    return found


def evenly(every: list[Case], most: int, seed: int = 1) -> list[Case]:
    """So many of the cases, as many from each part of them as from any other."""
    if len(every) <= most:
        return every
    chance, step = random.Random(seed), len(every) / most
    return [every[int(at * step + chance.random() * step)] for at in range(most)]


# -- columns ----------------------------------------------------------------------------------------------------------


def _columns(dump: Dump, dynamic: bool, chance: random.Random) -> Iterator[Case]:
    for table, rows in dump.items():
        if table in EXEMPT:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for column in columns:
            if (table, column) in UNSEEN:
                continue
            for at in _some(dump, table, rows, column, chance):
                for what, value in _values(rows, column, rows[at].get(column), dynamic):
                    if column == "stream" and value == 1.5:
                        continue  # on MongoDB it stands between the events of streams 1 and 2, and stream 1 is named too
                    name = f"{table} {at}: {column} {what}"
                    yield Case(name, partial(_set, table, at, column, value), **_judged(dump, table, rows[at], column, value))


def _some(dump: Dump, table: str, rows: list[Row], column: str, chance: random.Random) -> list[int]:
    """The rows that are worth it: one of each kind of event, or all where there are few."""
    if table == "recalls":
        # What an entity that is not migrated once recalled is nothing that stands: it is asked for anew when somebody takes it again.
        migrated = {row["key"] for row in dump["streams"] if row["state"] == "migrated"}
        return [at for at, row in enumerate(rows) if row["key"] in migrated][:2]
    if table == "streams":
        entities = [at for at, row in enumerate(rows) if row["key"]]
        return sorted([*chance.sample(entities, min(len(entities), 3)), *(at for at in range(len(rows)) if at not in entities)])
    if table != "events":
        return sorted(chance.sample(range(len(rows)), min(len(rows), 3)))
    kinds: dict[tuple[Any, bool], list[int]] = {}
    for at, row in enumerate(rows):
        kinds.setdefault((row["kind"], row.get(column) is None), []).append(at)
    return sorted(chance.choice(places) for places in kinds.values())


def _judged(dump: Dump, table: str, row: Row, column: str, value: Any = None) -> dict[str, Any]:
    """How to judge an edit of the row, in a table beside the streams; where the streams themselves tell, nothing."""
    if table == "streams" and column == "migration" and not row["key"]:
        # What `expand` did is in no source and no batch: nothing tells of it, unless it poses as an entity.
        return {"sealed": value not in [one["migration"] for one in dump["streams"]]}
    if table == "recalls":
        return {"concerns": frozenset({row["key"]})}
    if table == "lookup":
        # The numbers by which events are found by their rows are made with it.
        numbered = {event["stream"] for event in dump["events"] if event.get("ref") is not None}
        return {"concerns": frozenset(one["key"] for one in dump["streams"] if one["id"] in numbered), "refusal": True}
    return {"sealed": True, "anyone": True, "refusal": True} if table == "leaves" else {}


def _values(rows: list[Row], column: str, value: Any, dynamic: bool) -> Iterator[tuple[str, Any]]:
    """Other values for the column, each with a word for it."""
    if value is not None:
        yield "NULL", None
    others = [row[column] for row in rows if row.get(column) is not None and row[column] != value]
    if others:
        yield "of another row", others[0]
    elif value is None:
        # A column that is empty everywhere: the database says which of them it takes.
        yield "some bytes", b"x"
        yield "some text", "x"
    yield from _near(value, others)
    if dynamic:
        yield from _garbage(value)


def _near(value: Any, others: list[Any]) -> Iterator[tuple[str, Any]]:
    match value if value is not None else next(iter(others), None):
        case bool():
            yield "turned", not value
        case int():
            kind = int if value is None else type(value)
            yield "+ 1", kind((value or 0) + 1)
            yield "- 1", kind((value or 0) - 1)
        case str():
            yield "longer", f"{value or ''}x"
            yield "empty", ""
        case bytes():
            yield "longer", (value or b"") + b"\0"
            yield "empty", b""


def _garbage(value: Any) -> Iterator[tuple[str, Any]]:
    for what, other in (("a text", "no such thing"), ("a blob", b"\xff\xfe"), ("a float", 1.5), ("no UTF-8", Text(b"\xff\xfe"))):
        if type(other) is not type(value) and other != value:
            yield what, other


def _set(table: str, at: int, column: str, value: Any, dump: Dump) -> None:
    dump[table][at][column] = value


# -- bits -------------------------------------------------------------------------------------------------------------


def _bits(dump: Dump, chance: random.Random) -> Iterator[Case]:
    for table in ("events", "streams", "chunks", "lookup", "leaves"):
        for at, row in enumerate(dump.get(table, ())):
            for column, value in row.items():
                if isinstance(value, bytes) and value and (table, column) not in UNSEEN:
                    ends = {0, 8 * len(value) - 1} if table != "events" or at % 8 == 0 else set()
                    for bit in sorted({chance.randrange(8 * len(value)), *ends}):
                        yield Case(
                            f"{table} {at}: bit {bit} of {column}",
                            partial(_flip, table, at, column, bit),
                            **_judged(dump, table, row, column),
                        )


def _flip(table: str, at: int, column: str, bit: int, dump: Dump) -> None:
    data = bytearray(dump[table][at][column])
    data[bit // 8] ^= 1 << bit % 8
    dump[table][at][column] = bytes(data)


# -- events -----------------------------------------------------------------------------------------------------------


def _events(dump: Dump) -> Iterator[Case]:
    for stream in dump["streams"]:
        key, number = _label(stream), stream["id"]
        last = max(event["version"] for event in dump["events"] if event["stream"] == number)
        for version in sorted({1, 2, 1 + last // 2, last - 1, last}):
            yield Case(f"{key}: event {version} of {last} deleted", partial(_without, number, version, version))
            if version < last:
                yield Case(f"{key}: events {version} and {version + 1} swapped", partial(_swap, number, version, version + 1))
                yield Case(f"{key}: event {version} deleted, the rest closes up", partial(_close_up, number, version))
            yield Case(f"{key}: event {version} once more at the end", partial(_double, number, version, number, last + 1))
        yield Case(f"{key}: first and last swapped", partial(_swap, number, 1, last))
        yield Case(f"{key}: two from the tail cut", partial(_without, number, last - 1, last))
        yield Case(f"{key}: all events gone", partial(_without, number, 1, last))
        yield Case(f"{key}: an event before the first", partial(_double, number, 1, number, 0))
        for other in dump["streams"][:2]:
            if other is not stream:
                end = max(event["version"] for event in dump["events"] if event["stream"] == other["id"])
                yield Case(f"{key}: last event moved to {_label(other)}", partial(_move, number, last, other["id"], end + 1))
                yield Case(f"{key}: a copy of event 2 in {other['key']}", partial(_double, number, 2, other["id"], end + 1))
                yield Case(f"{key}: event 2 exchanged with {other['key']}'s", partial(_exchange, number, other["id"], 2))
        yield Case(f"{key}: a copy of event 1 where no stream is", partial(_double, number, 1, 7_000_000, 1))


def _label(stream: Row) -> str:
    """What the stream is called; that of `expand` has no key."""
    return str(stream["key"] or stream["migration"])


def _of(dump: Dump, stream: int, version: int) -> Row:
    return next(event for event in dump["events"] if (event["stream"], event["version"]) == (stream, version))


def _without(stream: int, first: int, last: int, dump: Dump) -> None:
    dump["events"] = [row for row in dump["events"] if row["stream"] != stream or not first <= row["version"] <= last]


def _close_up(stream: int, version: int, dump: Dump) -> None:
    _without(stream, version, version, dump)
    for row in dump["events"]:
        if row["stream"] == stream and row["version"] > version:
            row["version"] -= 1


def _swap(stream: int, one: int, other: int, dump: Dump) -> None:
    first, second = _of(dump, stream, one), _of(dump, stream, other)
    first["version"], second["version"] = other, one


def _double(stream: int, version: int, to: int, at: int, dump: Dump) -> None:
    dump["events"].append({**_of(dump, stream, version), "stream": to, "version": at})


def _move(stream: int, version: int, to: int, at: int, dump: Dump) -> None:
    _of(dump, stream, version).update(stream=to, version=at)


def _exchange(stream: int, other: int, version: int, dump: Dump) -> None:
    first, second = _of(dump, stream, version), _of(dump, other, version)
    first["stream"], second["stream"] = other, stream


# -- streams ----------------------------------------------------------------------------------------------------------


def _streams(dump: Dump) -> Iterator[Case]:
    for at, stream in enumerate(dump["streams"]):
        key, number = _label(stream), stream["id"]
        yield Case(f"{key}: its row gone", partial(_remove, at, events=False))
        # What `expand` did is in no source and no batch.
        yield Case(f"{key}: its row and its events gone", partial(_remove, at, events=True), sealed=not stream["key"])
        for state in ("migrated", "rolled_back", "failed", "vanished", "erased"):
            if state != stream["state"]:
                yield Case(f"{key}: the flag says {state}", partial(_set, "streams", at, "state", state))
        for other in range(at + 1, min(at + 3, len(dump["streams"]))):
            for column in ("id", "key"):
                name = f"{key}: exchanges its {column} with {_label(dump['streams'][other])}"
                yield Case(name, partial(_trade, at, other, (column,)))
            yield Case(
                f"{key}: exchanges all but its key with {_label(dump['streams'][other])}",
                partial(_trade, at, other, tuple(set(stream) - {"key", "id"})),
            )
        yield Case(f"{key}: another stream's row without events", partial(_row_alone, at, number))
    yield Case(
        "every stream is gone", _nothing_left, concerns=frozenset(stream["key"] for stream in dump["streams"] if stream["key"])
    )
    yield Case("every event is gone", lambda dump: dump["events"].clear())
    yield Case("a batch did a key that has no stream", _unknown_key, concerns=frozenset({"777"}))


def _remove(at: int, dump: Dump, *, events: bool) -> None:
    stream = dump["streams"].pop(at)
    if events:
        dump["events"] = [row for row in dump["events"] if row["stream"] != stream["id"]]


def _trade(one: int, other: int, columns: tuple[str, ...], dump: Dump) -> None:
    first, second = dump["streams"][one], dump["streams"][other]
    for column in columns:
        first[column], second[column] = second.get(column), first.get(column)


def _row_alone(at: int, number: int, dump: Dump) -> None:
    dump["streams"].append({**dump["streams"][at], "id": type(number)(8_000_000), "key": "888"})


def _nothing_left(dump: Dump) -> None:
    dump["streams"].clear()
    dump["events"].clear()


def _unknown_key(dump: Dump) -> None:
    batch = next(row for row in dump["batches"] if "1" in row["keys"])
    batch["keys"] = batch["keys"].replace('"1"', '"1", "777"')


# -- forged -----------------------------------------------------------------------------------------------------------


def _forged(dump: Dump) -> Iterator[Case]:
    for at, stream in enumerate(dump["streams"]):
        key = _label(stream)
        ends = [event["version"] for event in forge.events_of(dump, stream) if forge.kind_of(event) in ("end", "failed")]
        for version in ends[:-1]:
            yield Case(f"{key}: cut after version {version}, and its row set back", partial(_cut, at, version), sealed=True)
        yield Case(f"{key}: written anew with other images", partial(_falsify, at), sealed=True)
        yield Case(f"{key}: written anew at another time", partial(_backdate, at), sealed=True)
        yield Case(f"{key}: gone from streams, events and batches", partial(_forget, at), sealed=True)
    yield Case("the whole ledger written anew with other images", partial(_all, _falsify), sealed=True)
    yield Case("the whole ledger and its leaves written anew", _with_leaves, sealed=True, anyone=True)
    yield Case("the last leaf gone", lambda dump: dump["leaves"].pop() and None, sealed=True, anyone=True)
    yield Case("every leaf gone", lambda dump: dump["leaves"].clear(), sealed=True, anyone=True)
    yield Case("the whole ledger written anew at another time", partial(_all, _backdate), sealed=True)


def _with_leaves(dump: Dump) -> None:
    """Everything that the database holds fits together: only what was signed and lies elsewhere does not."""
    _all(_falsify, dump)
    heads = {stream["id"]: forge.hashes(dump, stream) for stream in dump["streams"]}
    for leaf in dump["leaves"]:
        leaf["head"] = heads[leaf["stream"]][leaf["version"] - 1][: len(leaf["head"])]


def _cut(at: int, version: int, dump: Dump) -> None:
    stream = dump["streams"][at]
    dump["events"] = [row for row in dump["events"] if row["stream"] != stream["id"] or row["version"] <= version]
    dump["chunks"] = [row for row in dump.get("chunks", ()) if row["id"]["s"] != stream["id"] or row["id"]["v"] <= version]
    if not dump["chunks"]:
        del dump["chunks"]
    forge.agree(dump, stream)


def _falsify(at: int, dump: Dump) -> None:
    """What the rows held before is changed: a rollback would bring something that never was."""
    stream = dump["streams"][at]
    for event in forge.events_of(dump, stream):
        if isinstance(event["body"], bytes):
            fields = forge.fields_of(event["body"])
            if fields[1] is not None and fields[2] is not None:
                fields[1] = fields[1].replace(b"o", b"0").replace(b"a", b"4").replace(b"A", b"4")
            if fields[3] is not None:
                fields[3] = fields[3].replace(b'"moved"', b'"m0ved"').replace(b'"job"', b'"j0b"')
            event["body"] = forge.body_of(fields)
    forge.rechain(dump, stream)


def _backdate(at: int, dump: Dump) -> None:
    stream = dump["streams"][at]
    for event in forge.events_of(dump, stream):
        event["at"] = type(event["at"])(event["at"] - 86_400_000)
    forge.rechain(dump, stream)


def _forget(at: int, dump: Dump) -> None:
    key = dump["streams"][at]["key"]
    _remove(at, dump, events=True)
    for batch in dump["batches"]:
        batch["keys"] = batch["keys"].replace(f'"{key}", ', "").replace(f', "{key}"', "").replace(f'"{key}"', "")


def _all(edit: Callable[[int, Dump], None], dump: Dump) -> None:
    for at in range(len(dump["streams"])):
        edit(at, dump)
