"""Appending to streams, and the rules by which the database itself keeps events as they are."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from backtrail.errors import Retry
from backtrail.image import Image, Ref, Shape, Written
from ledger.entry import Entry, Fact, Head
from ledger.event import KEPT
from ledger.journal import Journal
from ledger.ledger import Ledger
from tests.engine import Engine
from tests.servers import until

SHAPE = Shape("users", (("id", "integer"),))
REF = Ref("users", "i1")
FACTS = [
    Fact("begin", '{"job":"migrate"}'),
    Fact("updated", written=Written(REF, Image(SHAPE, b"i1"), Image(SHAPE, b"i2"))),
    Fact("end", '{"state":"migrated"}'),
]


def ready(engine: Engine) -> Journal:
    engine.ledger.create()
    engine.ledger.journal.remember(engine.store, [SHAPE])
    return engine.ledger.journal


def append(engine: Engine, *entries: Entry, campaign: int = 1) -> None:
    with engine.store.transaction() as tx:
        engine.ledger.journal.append(tx, campaign, 1000, entries)


def head(engine: Engine, key: str = "1") -> Head:
    with engine.store.transaction(write=False) as tx:
        return engine.ledger.journal.heads(tx, "m", [key], lock=False)[key]


def test_versions_go_on_where_they_ended(engine: Engine) -> None:
    """Three jobs on one stream give versions 1 to 9, and the row says where the stream stands."""
    journal = ready(engine)
    append(engine, Entry(Head("m", "1"), "migrated", FACTS), Entry(Head("m", "2"), "failed", FACTS[:1], failed=True))
    for campaign in (2, 3):
        append(engine, Entry(head(engine), "rolled_back", FACTS), campaign=campaign)
    now = head(engine)
    assert (now.version, now.state, now.failed, now.campaign) == (9, "rolled_back", False, 3)
    assert head(engine, "2").failed
    with engine.store.transaction(write=False) as tx:
        events = journal.events(tx, [now.id or 0])[now.id or 0]
        last = journal.last_events(tx, [now])
        assert journal.count(tx, "m") == {"rolled_back": 1, "failed": 1}
    assert [event.version for event in events] == list(range(1, 10))
    assert last["1"].hash == now.hash[:KEPT] == events[-1].hash
    assert len(now.hash) == 32
    assert events[1].ref == REF
    assert events[1].before_image == Image(SHAPE, b"i1")


def test_a_page_visits_every_stream_once(engine: Engine) -> None:
    """Pages of streams are in the order of their ids, and end."""
    journal = ready(engine)
    append(engine, *(Entry(Head("m", str(at)), "migrated", FACTS[:1]) for at in range(7)), Entry(Head("n", "1"), "x", FACTS[:1]))
    keys, after = [], 0
    with engine.store.transaction(write=False) as tx:
        while page := journal.page(tx, "m", after, 3):
            keys += [one.key for one in page]
            after = page[-1].id or 0
    assert keys == [str(at) for at in range(7)]


def test_pages_are_full_whatever_stands_between(engine: Engine) -> None:
    """Whoever takes a short page for the last one is right, also where many streams of others have ids in between."""
    journal = ready(engine)
    for run, (name, number) in enumerate((("m", 4), ("n", 25), ("m", 5), ("n", 1), ("m", 1), ("n", 9))):
        append(engine, *(Entry(Head(name, f"{run}-{at}"), "migrated", FACTS[:1]) for at in range(number)))
    pages, ids, after = [], [], 0
    with engine.store.transaction(write=False) as tx:
        while page := journal.page(tx, "m", after, 3):
            pages.append([one.key for one in page])
            ids.append([one.id for one in page])
            assert journal.ids(tx, "m", after, 3) == ids[-1]
            after = page[-1].id or 0
        assert journal.ids(tx, "m", after, 3) == []
    assert pages == [["0-0", "0-1", "0-2"], ["0-3", "2-0", "2-1"], ["2-2", "2-3", "2-4"], ["4-0"]]


@pytest.mark.parametrize("known", [False, True], ids=["new stream", "known stream"])
def test_of_two_that_append_at_once_one_must_try_again(postgres: str, known: bool) -> None:
    """Two connections that have seen the same head cannot both append: the second is told to retry, and nothing of it stays."""
    engine = Engine(postgres)
    ready(engine)
    if known:
        append(engine, Entry(Head("m", "1"), "migrated", FACTS))
    seen = head(engine) if known else Head("m", "1")
    first_wrote, second_waits = threading.Event(), threading.Event()
    ends: list[str] = []

    def second() -> None:
        first_wrote.wait(10)
        try:
            append(engine, Entry(seen, "migrated", FACTS), campaign=3)
        except Retry:
            ends.append("retry")

    thread = threading.Thread(target=second)
    thread.start()
    with engine.store.transaction() as tx:
        engine.ledger.journal.append(tx, 2, 1000, [Entry(seen, "migrated", FACTS)])
        first_wrote.set()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        until(lambda: engine.query(waiting), what="the second one's waiting")
        second_waits.set()
    thread.join(10)
    assert ends == ["retry"]
    assert (head(engine).version, head(engine).campaign) == (seen.version + 3, 2)
    engine.close()


def test_on_sqlite_the_second_finds_the_first_ones_head(sqlite: str) -> None:
    """A head that is out of date is refused there too, by the key of the events."""
    engine = Engine(sqlite)
    ready(engine)
    append(engine, Entry(Head("m", "1"), "migrated", FACTS))
    old = head(engine)
    append(engine, Entry(old, "migrated", FACTS), campaign=2)
    with pytest.raises(Retry):
        append(engine, Entry(old, "migrated", FACTS), campaign=3)
    with pytest.raises(Retry):
        append(engine, Entry(Head("m", "1"), "migrated", FACTS), campaign=3)
    assert head(engine).version == 6
    engine.close()


TABLES = {"events": "stream", "shapes": "id"}
ATTACKS = {
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "upsert": "INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT {target} DO UPDATE SET {column} = excluded.{column}",
}


def refused(engine: Engine, sql: str, before: Callable[[Any], None] = lambda connection: None) -> None:
    """Nothing, where a plain connection to the database is refused that statement, by our rule and no other."""
    if engine.postgres:
        with psycopg.connect(engine.url) as connection:
            before(connection)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="the ledger is append-only"):
                connection.execute(sql)  # type: ignore[arg-type]
        return
    connection = engine.sqlite()
    before(connection)
    with pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only"):
        connection.execute(sql)
    connection.close()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_database_refuses_to_change_what_is_written(engine: Engine, table: str, attack: str) -> None:
    """UPDATE, DELETE and upserts of events and shapes fail for whoever tries, and leave everything as it was."""
    ready(engine)
    append(engine, Entry(Head("m", "1"), "migrated", FACTS))
    name = f"backtrail.{table}" if engine.postgres else f"backtrail_{table}"
    target = "(stream, version)" if table == "events" else "(id)"
    before = engine.query(f"SELECT * FROM {name}")
    assert before
    refused(engine, ATTACKS[attack].format(table=name, column=TABLES[table], target=target))
    assert engine.query(f"SELECT * FROM {name}") == before


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("attack", ["UPDATE {t} SET {c} = {c}", "DELETE FROM {t}", "TRUNCATE {t}", "TRUNCATE {t} CASCADE"])
@pytest.mark.parametrize("role", ["origin", "replica"])
def test_replicas_and_truncate_are_refused_too(postgres: str, table: str, attack: str, role: str) -> None:
    """Neither session_replication_role nor TRUNCATE gets round the rule."""
    engine = Engine(postgres)
    ready(engine)
    append(engine, Entry(Head("m", "1"), "migrated", FACTS))
    sql = attack.format(t=f"backtrail.{table}", c=TABLES[table])
    refused(engine, sql, lambda connection: connection.execute(f"SET session_replication_role = {role}"))
    engine.close()


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR REPLACE INTO backtrail_events SELECT * FROM backtrail_events LIMIT 1",
        "REPLACE INTO backtrail_events SELECT * FROM backtrail_events",
        "INSERT OR REPLACE INTO backtrail_shapes SELECT * FROM backtrail_shapes",
        "INSERT OR REPLACE INTO backtrail_shapes SELECT id + 100, body FROM backtrail_shapes",
        "INSERT OR IGNORE INTO backtrail_shapes SELECT id + 100, body FROM backtrail_shapes",
        "UPDATE OR REPLACE backtrail_events SET version = 1",
    ],
)
def test_replace_is_refused(sqlite: str, sql: str) -> None:
    """SQLite's REPLACE deletes without firing the delete trigger; by whichever unique key, it is refused on its way in."""
    engine = Engine(sqlite)
    ready(engine)
    append(engine, Entry(Head("m", "1"), "migrated", FACTS))
    refused(engine, sql)
    assert engine.query("SELECT count(*) FROM backtrail_events") == [(3,)]
    engine.close()


def test_a_shape_is_kept_once_whoever_meets_it(engine: Engine) -> None:
    """Another process finds the number that the first one's shape has."""
    ready(engine)
    other = Ledger(engine.store).journal
    other.remember(engine.store, [SHAPE, Shape("users")])
    table = "backtrail.shapes" if engine.postgres else "backtrail_shapes"
    assert engine.query(f"SELECT count(*) FROM {table}") == [(2,)]


def test_the_first_result_of_a_recall_is_the_one_that_counts(engine: Engine) -> None:
    """What was paid for first stays, per entity, label and arguments."""
    journal = ready(engine)
    for result in ({"title": "é\ud83d\ude00"}, "second"):
        with engine.store.transaction() as tx:
            journal.store_recall(tx, "m", "1", "ann", ("title", "d1"), result if isinstance(result, str) else {"title": "é😀"})
    with engine.store.transaction() as tx:
        journal.store_recall(tx, "m", "1", "ann", ("title", "d2"), None)
    with engine.store.transaction(write=False) as tx:
        assert journal.recalls(tx, "m", {"1": "ann", "2": "bob"}) == {
            "1": {("title", "d1"): {"title": "é😀"}, ("title", "d2"): None}
        }
