"""Ledgers of stores of their own, and the database past them: a plain client, with no code of the ledger."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

from backtrail.image import Image, Ref, Shape, Written
from backtrail.stores.mongo.store import MongoStore
from ledger.entry import Entry, Fact, Head
from ledger.ledger import Ledger

SHAPE = Shape("users")
REF = Ref("users", "i1")
FACTS = [
    Fact("begin", '{"job":"migrate"}'),
    Fact("updated", written=Written(REF, Image(SHAPE, b"i1"), Image(SHAPE, b"i2"))),
    Fact("end", '{"state":"migrated"}'),
]


def opened(url: str) -> Ledger:
    """A ledger with connections of its own."""
    return Ledger(MongoStore(url, 1000))


@contextmanager
def plain(ledger: Ledger):
    """The ledger's database and the data's, as any client sees them."""
    with MongoClient[dict[str, Any]](ledger.store.url) as client:
        data = client.get_default_database()
        yield client[f"{data.name}_backtrail"], data


def append(ledger: Ledger, *entries: Entry, campaign: int = 1) -> None:
    ledger.journal.remember(ledger.store, [SHAPE])
    with ledger.store.transaction() as tx:
        ledger.journal.append(tx, campaign, 1000, entries)


def head(ledger: Ledger, key: str = "1", migration: str = "m") -> Head:
    with ledger.store.transaction(write=False) as tx:
        return ledger.journal.heads(tx, migration, [key], lock=False)[key]


def events(ledger: Ledger, key: str = "1") -> list[Any]:
    number = head(ledger, key).id or 0
    with ledger.store.transaction(write=False) as tx:
        return ledger.journal.events(tx, [number])[number]


def explained(database: Any, command: dict[str, Any]) -> tuple[set[str], dict[str, Any]]:
    """The stages of the plan by which the database answers the command, and what the answer cost."""
    answer = database.command({"explain": command, "verbosity": "executionStats"})
    stages: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            stages.update([part["stage"]] if isinstance(part.get("stage"), str) else [])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(answer["queryPlanner"]["winningPlan"])
    return stages, answer["executionStats"]
