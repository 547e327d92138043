"""MongoDB's part of the exactness matrix: every BSON type in every place, as `_id`, and documents of every shape and size.

What a migration is to make of each document is built here byte by byte; Backtrail has no hand in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import NamedTuple

from backtrail import Entity, Keys, Migration, Row, Rows
from tests import hard_bson as hard
from tests.engine import Engine, migration
from tests.exactness import mongo_values as values
from tests.exactness.matrix import Cell
from tests.exactness.mongo_oracle import Seen, insert, look
from tests.exactness.trip import Trip, Verdict, cells_of, trip

HOWS = {
    "created": "created",
    "copied": "copied",
    "beside": "updated",
    "from": "updated",
    "to": "updated",
    "deleted": "deleted",
    "untouched": "untouched",
}
"""How a document takes part, with the case of the matrix: an update changes another field, the value itself, or something else into it."""

WHOLE = ("copied", "beside", "deleted", "untouched")
"""How documents take part of which nothing is said value by value."""


class Trial(NamedTuple):
    """One value in one case: the document before, and what a migration is to make of it."""

    kind: str
    how: str
    label: str
    at: int
    """The number of its entity."""
    key: bytes
    held: bytes
    after: bytes | None
    """What becomes of the document; None where it goes."""
    made: bytes | None = None
    """The new document beside it."""
    source: bytes | None = None
    """Another document, which is only read."""
    places: int = 1
    """How often the document holds the value."""


Change = Callable[[Entity, Row, str, str], None]
"""What a migration does to the entity's document in one case, with the collection of new ones."""


class Journey(NamedTuple):
    """Trials that go in one migration."""

    name: str
    trials: list[Trial]
    change: Change

    def collection(self, name: str) -> str:
        """The full name of a collection."""
        return f"{self.name}_{name}"

    @property
    def collections(self) -> list[str]:
        """The full names of all of them."""
        return [self.collection(name) for name in ("owners", "held", "twin", "source")]

    def before(self, trial: Trial) -> list[tuple[str, bytes]]:
        """The trial's documents as they were."""
        return self._named(held=trial.held, source=trial.source)

    def after(self, trial: Trial) -> list[tuple[str, bytes]]:
        """The trial's documents as they are to be."""
        return self._named(held=trial.after, twin=trial.made, source=trial.source)

    def verdicts(self, seen: Trip[Seen]) -> Iterator[Verdict]:
        """What became of every trial, and of what no trial knows."""
        # The server has taken the documents as they are.
        assert all(seen.before[one] == 1 for trial in self.trials for one in self.before(trial))
        for trial in self.trials:
            wrong = ", ".join(
                f"not exact {stop}" for stop, found, of in self._stops(seen) if any(found[one] != 1 for one in of(trial))
            )
            for _ in range(trial.places):
                yield Verdict(trial.kind, HOWS[trial.how], f"{trial.label} ({trial.how}): {wrong}" if wrong else "")
        yield from self._strays(seen)

    def _strays(self, seen: Trip[Seen]) -> Iterator[Verdict]:
        """A verdict for each stop of the trip that has documents which no trial knows, or lacks one of the owners."""
        owners = {one for one in seen.before if one[0] == self.collection("owners")}
        for stop, found, of in self._stops(seen):
            strange = found.keys() - owners - {one for trial in self.trials for one in of(trial)}
            if strange or not owners <= found.keys():
                names = sorted({name for name, _ in strange})
                yield Verdict("documents that nobody asked for", "untouched", f"{stop}: {len(strange)} in {names}")

    def _stops(self, seen: Trip[Seen]) -> Iterator[tuple[str, Seen, Callable[[Trial], list[tuple[str, bytes]]]]]:
        """The stops of the trip, what was seen there, and what tells the documents of a trial that should have been."""
        for stop, found in seen._asdict().items():
            yield stop, found, self.after if stop in ("after", "again") else self.before

    def _named(self, **documents: bytes | None) -> list[tuple[str, bytes]]:
        return [(self.collection(name), raw) for name, raw in documents.items() if raw is not None]


def cells(url: str) -> Iterator[Cell]:
    """The matrix's cells of an empty MongoDB database."""
    yield from cells_of("mongodb", (verdict for journey in journeys() for verdict in judged(url, journey)))


def journeys() -> Iterator[Journey]:
    """Everything that is tried."""
    yield Journey("values", list(_value_trials()), _change_value)
    for how in ("created", *WHOLE):
        yield Journey(f"ids_{how}", list(_id_trials(how)), _change_whole)
    yield Journey("shapes", list(_shape_trials()), _change_whole)
    for name, size in values.LARGE.items():
        yield Journey(f"large_{size}", list(_large_trials(name, size)), _change_large)


def judged(url: str, journey: Journey) -> Iterator[Verdict]:
    """What became of every trial."""
    _populate(url, journey)
    entities = sum(trial.how != "untouched" for trial in journey.trials)
    with closing(Engine(url)) as engine:
        once = journey.name.startswith("large")
        seen = trip(engine, _migration(journey), partial(look, url, *journey.collections), entities=entities, once=once)
    yield from journey.verdicts(seen)


def _populate(url: str, journey: Journey) -> None:
    owners = [
        (hard.int32(one.at), hard.document(("_id", hard.int32(one.at)), ("how", hard.text(one.how)))) for one in journey.trials
    ]
    sources = [(hard.int32(one.at), one.source) for one in journey.trials if one.source is not None]
    contents = {"owners": owners, "held": [(one.key, one.held) for one in journey.trials], "source": sources, "twin": []}
    for name, documents in contents.items():
        insert(url, journey.collection(name), documents, index="owner")


def _migration(journey: Journey) -> type[Migration]:
    owners, held, twin, source = journey.collections

    def migrate(entity: Entity) -> None:
        journey.change(entity, entity.one(held), entity.one(owners)["how"], twin)

    hows = sorted({trial.how for trial in journey.trials} - {"untouched"})
    return migration(
        migrate,
        name="exact-" + journey.name.replace("_", "-"),
        keys=Keys(owners, "_id", where={"how": hows}),
        reads=(Rows(owners, by="_id"), Rows(held, by="owner"), Rows(source, by="owner", name="source")),
        writes=(held, twin),
    )


def _raw(at: int, fields: bytes, key: bytes | None = None) -> bytes:
    """A document of these fields after its `_id` and the number of its owner."""
    body = hard.document(("_id", key or hard.int32(at)), ("owner", hard.int32(at)))[4:-1] + fields
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _fields(*fields: hard.Pair) -> bytes:
    return hard.document(*fields)[4:-1]


# -- values in every place -----------------------------------------------------------------------------------------


OTHER = hard.text("other")
LAST = ("last", hard.int32(1))


def _value_trials() -> Iterator[Trial]:
    at = 0
    for kind, of_type in values.by_type(values.VALUES).items():
        for label, value in of_type.items():
            for how in HOWS:
                at += 1
                yield _value_trial(kind, label, value, how, at)


def _value_trial(kind: str, label: str, value: bytes, how: str, at: int) -> Trial:
    before = values.before(label) if how == "to" else value
    held = _raw(at, _three(before, before, before, before))
    after: bytes | None = held
    made = source = None
    match how:
        case "created":
            made = _raw(at, _three(value, value, value, value))
        case "copied":
            made = _raw(at, _three(value, value, value, value, ("last", hard.NULL)))
        case "beside":
            after = _raw(at, _three(value, value, value, value, ("last", OTHER)))
        case "from":
            after = _raw(at, _three(OTHER, None, OTHER, value))
        case "to":
            after, source = _raw(at, _three(value, value, value, before)), _raw(at, _fields(("value", value)))
        case "deleted":
            after = None
    return Trial(kind, how, label, at, hard.int32(at), held, after, made, source, places=3)


def _three(top: bytes, inside: bytes | None, first: bytes, second: bytes, last: hard.Pair = LAST) -> bytes:
    """The fields of a document with a value at the top, in a document and in a list."""
    nested = hard.sub() if inside is None else hard.sub(("value", inside))
    return _fields(("value", top), ("in", nested), ("list", hard.array(first, second)), last)


def _change_value(entity: Entity, row: Row, how: str, twin: str) -> None:
    match how:
        case "created":
            entity.create(twin, {"_id": row["_id"], **{name: row[name] for name in ("owner", "value", "in", "list", "last")}})
        case "copied":
            entity.copy(twin, row, set={"last": None})
        case "beside":
            entity.update(row, {"last": "other"})
        case "from":
            entity.update(row, {"value": "other", "list.0": "other"}, unset=("in.value",))
        case "to":
            value = entity.one("source")["value"]
            entity.update(row, {"value": value, "in.value": value, "list.0": value})
        case "deleted":
            entity.delete(row)


# -- primary keys and whole documents ------------------------------------------------------------------------------


def _id_trials(how: str) -> Iterator[Trial]:
    numbered = enumerate(pair for of_type in values.by_type(values.IDS).values() for pair in of_type.items())
    for at, (label, key) in numbered:
        yield _whole(f"{values.TYPES[key[0]]} as _id", how, label, at, _fields(("value", hard.NULL)), key)


def _shape_trials() -> Iterator[Trial]:
    at = 0
    for kind, labels in values.SHAPES.items():
        for label in labels:
            for how in HOWS if kind == values.ABSENT else WHOLE:
                at += 1
                yield _whole(kind, how, label, at, values.FIELDS[label])


def _whole(kind: str, how: str, label: str, at: int, fields: bytes, key: bytes | None = None) -> Trial:
    held = _raw(at, fields, key)
    after: bytes | None = held
    match how:
        case "beside":
            after = _raw(at, fields + _fields(LAST), key)
        case "from":
            after = _raw(at, b"", key)
        case "to":
            after = _raw(at, _fields(("value", hard.NULL)), key)
        case "deleted":
            after = None
    return Trial(kind, how, label, at, key or hard.int32(at), held, after, held if how in ("created", "copied") else None)


def _change_whole(entity: Entity, row: Row, how: str, twin: str) -> None:
    match how:
        case "created":
            entity.create(twin, {name: row[name] for name in ("_id", "owner", "value") if name in row})
        case "copied":
            entity.copy(twin, row)
        case "beside":
            entity.update(row, {"last": 1})
        case "from":
            entity.update(row, unset=("value",))
        case "to":
            entity.update(row, {"value": None})
        case "deleted":
            entity.delete(row)


# -- large documents -----------------------------------------------------------------------------------------------


def _large_trials(name: str, size: int) -> Iterator[Trial]:
    fields, body = values.large(size)
    for at, how in enumerate(("created", *WHOLE)):
        trial = _whole(f"document of {name}", how, name, at, fields)
        yield trial._replace(made=_raw(at, _fields(("body", body)))) if how == "created" else trial


def _change_large(entity: Entity, row: Row, how: str, twin: str) -> None:
    if how == "created":
        entity.create(twin, {name: row[name] for name in ("_id", "owner", "body")})
    else:
        _change_whole(entity, row, how, twin)
