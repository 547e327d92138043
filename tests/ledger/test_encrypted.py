"""Campaigns in an encrypted ledger: everything goes as in an open one, and nobody reads it without the master key."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pydantic import BaseModel
from pymongo import MongoClient

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from backtrail.recall import alone
from ledger.keyring import is_token, new_master
from ledger.verify import Verifier
from tests.engine import Engine, migration
from tests.processes import ROOT
from worker import portion

USERS = {
    1: ("ann@canary.example", "Ann Canaria"),
    2: ("bob@canary.example", "Zoë Canaria"),
    3: ("eve@canary.example", "Eve Canaria"),
}
CANARIES = (
    *(text for user in USERS.values() for text in user),
    "Remarked Canaria",
    "Asked Canaria",
    "Titled Canaria",
    "Given Canaria",
)
NOT_HERE = r"the master key [0-9a-f]{8} is not here: set BACKTRAIL_MASTER_KEY_FILE"


class Params(BaseModel):
    """What a campaign is given."""

    place: str = "nowhere"


class Titles:
    """What is paid for, and how often."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, name: str) -> dict[str, str]:
        self.asked.append(name)
        return {"title": f"Titled Canaria {name}"}


def moving(engine: Engine, titles: Titles, *columns: str) -> type[Migration]:
    """A migration with all that can be personal: keys, rows that are created, updated and deleted, notes, parameters, recalls."""

    def migrate(user: Any) -> None:
        row = user.one("users")
        title = user.recall("title", titles, row["name"])
        user.create("people", {engine.id: row[engine.id], "name": title["title"]})
        user.update(row, set={"name": "moved " + row["name"]})
        user.delete(user.one("tags"))
        user.conflict("name", values=[row["name"], "?"], chosen=row["name"])
        user.remark("Remarked Canaria", of=row["email"])

    keys = Keys("users", *(columns or ("email",)))
    reads = (Rows("users", by=columns or "email"), Rows("tags", by="id", via=f"users.{engine.id}"))
    if engine.mongo:
        reads = (reads[0], Rows("tags", by="_id", via="users._id"))
    return migration(
        migrate,
        keys=keys,
        reads=reads,
        writes=("people", "users", "tags"),
        bases=(Migration,),
        __annotations__={"params": Params},
    )


def fill(engine: Engine) -> None:
    engine.table("users", id=int, email=str, team=str, name=str)
    engine.table("people", id=int, name=str)
    engine.table("tags", id=int, name=str)
    for number, (email, name) in USERS.items():
        engine.add("users", (number, email, "red" if number < 3 else "blue", name))
        engine.add("tags", (number, f"tag of {name}"))


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    """The file of a new master key."""
    path = tmp_path / "master.keys"
    path.write_text(new_master())
    path.chmod(0o600)
    return path


@pytest.fixture(params=["sqlite", "postgres", "mongo"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database of every kind in turn."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def sealed(url: str, masters: Path) -> Iterator[Engine]:
    """The engine with a master key, on users."""
    with closing(Engine(url, masters=masters)) as engine:
        fill(engine)
        yield engine


# -- the ledger past Backtrail ----------------------------------------------------------------------------------------


def raw(engine: Engine) -> bytes:
    """Every value of every table and collection of the ledger and of its keys, as plain drivers give them, one after the other."""
    cells = [value for table in tables(engine).values() for row in table for value in row]
    return b"\n".join(cell if isinstance(cell, bytes) else _text(cell).encode() for cell in cells)


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)


def tables(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table of the ledger, by the table's bare name."""
    if engine.mongo:
        return _collections(engine.url)
    if engine.postgres:
        query = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('backtrail', 'backtrail_keys')"
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'backtrail%'"
    names = [name for (name,) in engine.query(query)]
    return {name.rpartition(".")[2].removeprefix("backtrail_"): engine.query(f"SELECT * FROM {name}") for name in names}


def _collections(url: str) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    with MongoClient[dict[str, Any]](url) as client:
        ledger = f"{client.get_default_database().name}_backtrail"
        databases = [name for name in client.list_database_names() if name.startswith(ledger)]
        assert databases == [ledger, f"{ledger}_keys"], "the keys lie apart"
        for name in databases:
            for collection in client[name].list_collection_names():
                documents = client[name].get_collection(collection, codec_options=CodecOptions(document_class=RawBSONDocument))
                found[collection] = [(bytes(one.raw),) for one in documents.find()]
    return found


def readable(haystack: bytes, text: str) -> bool:
    """Whether the text is there: plain, in JSON's or hexadecimal writing, or in base64 wherever it begins."""
    needle = text.encode()
    forms = [needle, json.dumps(text)[1:-1].encode(), needle.hex().encode()]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.append(encode(b"\0" * shift + needle)[4 if shift else 0 : -4])
    return any(form in haystack for form in forms)


def found(engine: Engine) -> list[str]:
    """The canaries that anybody can read."""
    haystack = raw(engine)
    return [text for text in CANARIES if readable(haystack, text)]


def problems(engine: Engine, cls: type[Migration]) -> dict[str, list[str]]:
    """What `verify` finds; nothing where all is well."""
    document = Verifier(engine.ledger, engine.found(cls)).run()
    return {one["name"]: one["examples"] for one in document["checks"] if not one["ok"]}


def through(engine: Engine, cls: type[Migration], titles: Titles, keys: list[str]) -> None:
    """Nothing, where an entity goes there, back, there again as before, and there anew."""
    before = engine.dump("users", "people", "tags")
    order: dict[str, Any] = {"reason": "Asked Canaria", "params": {"place": "Given Canaria"}}
    assert engine.migrate(cls, only=keys, **order)["migrated"] == len(keys)
    after = engine.dump("users", "people", "tags")
    assert len({*before, *after}) > len(after), "the migration is not trivial"
    assert engine.states(cls) == dict.fromkeys(keys, "migrated")
    assert problems(engine, cls).keys() <= {"coverage"}
    back = engine.rollback(cls, reason="Asked Canaria")
    assert back["rolled_back"] == len(keys)
    assert engine.dump("users", "people", "tags") == before
    assert engine.redo(cls, back["campaign"])["migrated"] == len(keys)
    assert engine.dump("users", "people", "tags") == after
    assert engine.rerun(cls, only=keys[:1], **order)["migrated"] == 1
    assert engine.dump("users", "people", "tags") == after
    assert len(titles.asked) == len(keys), "nothing was paid twice"


# -- tests ------------------------------------------------------------------------------------------------------------


def test_the_canaries_are_seen_in_an_open_ledger(url: str) -> None:
    """Otherwise the tests below could not fail."""
    with closing(Engine(url)) as engine:
        fill(engine)
        titles = Titles()
        cls = moving(engine, titles)
        through(engine, cls, titles, [email for email, _ in USERS.values()])
        assert found(engine) == list(CANARIES)


@pytest.mark.parametrize("columns", [("email",), ("email", "team"), ("team", "email")], ids="-".join)
def test_nobody_reads_an_encrypted_ledger(sealed: Engine, columns: tuple[str, ...]) -> None:
    """Migrated, verified, rolled back, redone and run again, by keys of one value and of two: and no canary is left in any column."""
    titles = Titles()
    teams = {number: "red" if number < 3 else "blue" for number in USERS}
    values = [{"email": email, "team": teams[number]} for number, (email, _) in USERS.items()]
    pairs = [[one[column] for column in columns] for one in values]
    keys = [pair[0] if len(pair) == 1 else json.dumps(pair, separators=(",", ":")) for pair in pairs]
    cls = moving(sealed, titles, *columns)
    through(sealed, cls, titles, keys)
    rows = tables(sealed)
    assert {"events", "streams", "campaigns", "batches", "recalls", "shapes"} <= set(rows)
    assert all(rows[name] for name in ("events", "streams", "campaigns", "batches", "recalls"))
    assert found(sealed) == []
    assert problems(sealed, cls) == {}
    subjects = rows.get("subjects") or rows.get("keys") or []
    assert len(subjects) == (2 if columns[0] == "team" else 3), "a key for each person, who is named by the first column"


def titling(engine: Engine, title: Any) -> Any:
    """A migration that makes a person of each user, called by a title that is recalled."""

    def migrate(user: Any) -> None:
        row = user.one("users")
        user.create("people", {engine.id: row[engine.id], "name": user.recall("title", title, row["name"])})

    keys = Keys("users", "team", "email")
    return migration(migrate, keys=keys, reads=(Rows("users", by=("team", "email")),), writes=("people",))


def test_recalls_of_one_person_at_once_are_paid_once(sealed: Engine) -> None:
    """Each seals its result with the person's key, which neither finds yet: one of them tries again to store, and no call is made twice."""
    asked: list[str] = []
    together = threading.Barrier(2)

    def title(name: str) -> str:
        asked.append(name)
        if len(asked) <= 2:
            together.wait(10)
        return name.upper()

    cls = titling(sealed, title)
    end = sealed.migrate(cls, only=['["red","ann@canary.example"]', '["red","bob@canary.example"]'])
    assert end["migrated"] == 2
    assert not together.broken, "they were asked side by side"
    assert sorted(asked) == ["Ann Canaria", "Zoë Canaria"]
    assert found(sealed) == []
    assert len(tables(sealed)["recalls"]) == 2


def test_what_is_recalled_on_the_spot_is_sealed_too(sealed: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is stored in the transaction of the changes: the ledger shows nobody's name, and gives the result again."""
    monkeypatch.setattr(portion, "FIRST", 1)
    made: list[str] = []

    def here(name: str) -> str:
        made.append(name)
        return name.upper()

    @alone(here)
    def title(name: str) -> str:
        return name.upper()

    cls = titling(sealed, title)
    number = sealed.migrate(cls)["migrated"]
    assert 0 < len(made) < number
    assert len(tables(sealed)["recalls"]) == number
    assert found(sealed) == []
    made.clear()
    assert sealed.rerun(cls)["migrated"] == number
    assert made == []


def test_failures_are_sealed_too(sealed: Engine) -> None:
    """What a check says about somebody, and what the database refused, is read with the master key only."""

    def migrate(user: Any) -> None:
        row = user.one("users")
        user.create("people", {sealed.id: row[sealed.id], "name": row["name"]})

    def check(self: Any, user: Any) -> Any:
        yield f"Remarked Canaria {user.one('users')['name']}"

    cls = migration(migrate, check=check, keys=Keys("users", "email"), reads=(Rows("users", "email"),), writes=("people",))
    assert sealed.migrate(cls)["failed"] == 3
    assert "Remarked Canaria Ann Canaria" in json.dumps(sealed.failures(cls)["ann@canary.example"])
    assert found(sealed) == []


def test_a_process_without_the_master_key_is_refused(sealed: Engine, tmp_path: Path) -> None:
    """Whatever it wants to do: it is told which key is missing and which setting names it, and nothing was changed."""
    titles = Titles()
    cls = moving(sealed, titles)
    sealed.migrate(cls, only=["ann@canary.example"])
    sealed.open(cls, "migrate", only=["bob@canary.example"])
    other = tmp_path / "other.keys"
    other.write_text(new_master())
    other.chmod(0o600)
    before = tables(sealed)
    for masters in (None, other):
        with closing(Engine(sealed.url, masters=masters)) as stranger:
            for ask in (
                lambda: stranger.open(cls, "migrate"),
                lambda: stranger.open(cls, "rollback", only=["ann@canary.example"]),
                lambda: stranger.events(cls, "ann@canary.example"),
                lambda: stranger.states(cls),
                lambda: problems(stranger, cls),
                stranger.feeder.step,
            ):
                with pytest.raises(UsageError, match=NOT_HERE):
                    ask()
    assert tables(sealed) == before


def test_a_worker_without_the_master_key_does_no_harm(url: str, masters: Path) -> None:
    """The batch goes back untouched; a worker that has the key ends the campaign."""
    with closing(Engine(url, masters=masters)) as engine:
        fill(engine)
        cls = moving(engine, Titles())
        campaign = engine.open(cls, "migrate")
        engine.feeder.step()
        messages = list(engine.queue.messages)
        assert messages
        before = engine.dump("users", "people", "tags")
        with closing(Engine(url)) as stranger:
            stranger.queue.messages = messages
            stranger.work()
            assert [answer.partition(":")[0] for answer in stranger.answers] == ["back"] * len(messages)
        assert engine.dump("users", "people", "tags") == before
        engine.fresh_worker()
        engine.queue.messages = messages
        end = engine.run(campaign)
        assert (end["migrated"], end["failed"], end["state"]) == (3, 0, "completed")


@pytest.mark.parametrize("masters_of", ["nobody", "a stranger"])
def test_commands_say_it_in_one_line(sqlite: str, masters: Path, tmp_path: Path, masters_of: str) -> None:
    """Exit code 2, nothing on standard output, no traceback."""
    with closing(Engine(sqlite, masters=masters)) as engine:
        fill(engine)
        engine.migrate(moving(engine, Titles()))
    other = tmp_path / "other.keys"
    other.write_text(new_master())
    other.chmod(0o600)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BACKTRAIL_DATABASE_URL": sqlite}
    if masters_of != "nobody":
        environment |= {"BACKTRAIL_MASTER_KEY_FILE": str(other)}
    command = [sys.executable, "-m", "producer.cli", "status"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "set BACKTRAIL_MASTER_KEY_FILE" in done.stderr
    environment |= {"BACKTRAIL_MASTER_KEY_FILE": str(masters)}
    done = subprocess.run([*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"migrated": 3' in done.stdout


def test_a_ledger_that_is_encrypted_later_goes_on(url: str, masters: Path) -> None:
    """What was written open verifies, is rolled back, gets sealed events behind its open ones; what comes new is sealed from the start."""
    titles = Titles()
    ann, bob, eve = (email for email, _ in USERS.values())
    with closing(Engine(url)) as engine:
        fill(engine)
        before = engine.dump("users", "people", "tags")
        cls = moving(engine, titles)
        assert engine.migrate(cls, only=[ann, bob])["migrated"] == 2
        after = engine.dump("users", "people", "tags")
        hashes = {key: [event.hash for event in engine.events(cls, key)] for key in (ann, bob)}
    with closing(Engine(url, masters=masters)) as engine:
        engine.ledger.create()
        assert problems(engine, cls).keys() == {"coverage"}
        assert engine.migrate(cls, only=[eve])["migrated"] == 1
        assert problems(engine, cls) == {}
        assert not readable(raw(engine), eve)
        assert readable(raw(engine), ann), "what was open stays so"
        assert engine.rollback(cls, only=[eve])["rolled_back"] == 1
        assert engine.dump("users", "people", "tags") == after
        back = engine.rollback(cls, only=[ann, bob])
        assert back["rolled_back"] == 2
        assert engine.dump("users", "people", "tags") == before
        assert engine.redo(cls, back["campaign"])["migrated"] == 2
        assert engine.rerun(cls, only=[ann])["migrated"] == 1
        assert engine.dump("users", "people", "tags") == after
        assert titles.asked == [USERS[number][1] for number in (1, 2, 3)], "what was paid for before is found"
        assert problems(engine, cls) == {}
        for key in (ann, bob):
            events = engine.events(cls, key)
            old = len(hashes[key])
            assert [event.hash for event in events[:old]] == hashes[key]
            assert [event.body[0] for event in events] == [1] * old + [2] * (len(events) - old)
            assert len(events) > old
        assert {event.body[0] for event in engine.events(cls, eve)} == {2}


def test_who_runs_while_the_ledger_is_encrypted_seals_from_then_on(url: str, masters: Path) -> None:
    """A worker and a feeder that met the ledger open, and have the key, write nothing open once somebody has encrypted it."""
    titles = Titles()
    ann, bob, _ = (email for email, _ in USERS.values())
    with closing(Engine(url)) as engine:
        fill(engine)
        cls = moving(engine, titles)
        engine.ledger.create()
    with closing(Engine(url, masters=masters)) as running:
        for keyring in (running.ledger.keyring, running.worker_keyring):
            with running.store.transaction(write=False) as tx:
                keyring.open(tx)
            assert not keyring.sealing, "it met the ledger open"
        campaign = running.open(cls, "migrate", only=[ann])
        assert running.ledger.keyring.sealing
        assert not running.worker_keyring.sealing, "nobody told the worker"
        assert running.run(campaign)["migrated"] == 1
        assert {event.body[0] for event in running.events(cls, ann)} == {2}
        with running.store.transaction(write=False) as tx:
            running.ledger.keyring.open(tx)
        assert running.migrate(cls)["migrated"] == 2
        assert not readable(raw(running), bob)


def test_streams_are_found_by_their_token_only(sealed: Engine) -> None:
    """The row of a stream names nobody; a page gives the keys back, and says so where a row stands under another key than its own."""
    cls = moving(sealed, Titles())
    sealed.migrate(cls)
    emails = sorted(email for email, _ in USERS.values())
    with sealed.store.transaction(write=False) as tx:
        heads = sealed.ledger.journal.page(tx, cls.name, 0, 9)
        by_key = sealed.ledger.journal.heads(tx, cls.name, emails, lock=False)
    assert sorted(head.key for head in heads) == sorted(by_key) == emails
    assert all(is_token(head.place or "") and not head.misplaced for head in heads)
    one, two = heads[:2]
    assert one.place != two.place
    if sealed.mongo:
        with sealed.database() as database:
            streams = database.client[f"{database.name}_backtrail"]["streams"]
            streams.update_one({"_id": one.id}, {"$set": {"key": "~" + "a" * 22}})
    else:
        name = "backtrail.streams" if sealed.postgres else "backtrail_streams"
        sealed.execute(f"UPDATE {name} SET key = ? WHERE id = ?", "~" + "a" * 22, one.id)
    wrong = problems(sealed, cls)
    assert wrong["ledger"]
    assert "its row stands under another key than its own" in json.dumps(wrong["ledger"])


def test_what_is_sealed_is_of_use_in_its_place_only(sqlite: str, masters: Path) -> None:
    """A sealed body that was moved to another event, and one of which a bit was flipped, are named by `verify`, and refuse a rollback."""
    with closing(Engine(sqlite, masters=masters)) as engine:
        fill(engine)
        cls = moving(engine, Titles())
        engine.migrate(cls)
        with closing(sqlite3.connect(sqlite.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("DROP TRIGGER backtrail_events_no_update")
            connection.execute(
                "UPDATE backtrail_events SET body = (SELECT body FROM backtrail_events b WHERE b.stream = 1 AND b.version = 3)"
                " WHERE stream = 1 AND version = 2"
            )
            ((body,),) = connection.execute("SELECT body FROM backtrail_events WHERE stream = 2 AND version = 2")
            flipped = body[:-1] + bytes([body[-1] ^ 1])
            connection.execute("UPDATE backtrail_events SET body = ? WHERE stream = 2 AND version = 2", (flipped,))
        assert len(problems(engine, cls)["ledger"]) == 2
        end = engine.rollback(cls, options={"on_drift": "skip"})
        assert end["rolled_back"] == 1


def test_the_keys_lie_in_a_schema_of_their_own(postgres: str, masters: Path) -> None:
    """A backup of the ledger's schema has no key in it that is not wrapped, and none of a person's at all."""
    with closing(Engine(postgres, masters=masters)) as engine:
        fill(engine)
        engine.migrate(moving(engine, Titles()))
        with psycopg.connect(postgres) as connection:
            keys = connection.execute("SELECT subject, length(secret), master FROM backtrail_keys.subjects").fetchall()
            (lookup,) = connection.execute("SELECT length(secret), master FROM backtrail.lookup").fetchall()
        assert [(length, is_token(subject)) for subject, length, _ in keys] == [(60, True)] * 3
        assert {master for *_, master in keys} == {lookup[1]}
        assert lookup[0] == 60, "32 bytes wrapped"
