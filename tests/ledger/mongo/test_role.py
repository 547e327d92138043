"""The roles that `backtrail grants` prints: workers do all their work with theirs, and nobody can change what the ledger says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from backtrail import is_migrated
from backtrail.catalog.coaching_redesign import sample
from backtrail.discovery import find
from backtrail.errors import BacktrailError, UsageError
from backtrail.image import Image, Written
from backtrail.migration import Invariant
from backtrail.stores import open_store
from backtrail.stores.mongo.examined import demand_sound
from backtrail.stores.mongo.store import MongoStore
from ledger.campaigns import Campaign
from ledger.entry import Entry, Fact, Head
from ledger.erase import Erasure
from ledger.expansion import expansion
from ledger.integrity import flaw
from ledger.keyring import new_master, read_masters
from ledger.ledger import Ledger
from ledger.progress import Tally
from producer.cli import backtrail
from producer.grants import grants
from producer.needs import Needs, Roles, needs_of
from tests import servers
from tests.engine import Engine
from tests.ledger.mongo.helpers import FACTS, REF, SHAPE, append, events, head, opened
from tests.ledger.mongo.test_expansion import STEPS, WHOLE, back, run
from tests.roles import PASSWORD, documents

APPEND_ONLY = ["events", "chunks", "shapes"]
LARGE = Fact("updated", written=Written(REF, Image(SHAPE, os.urandom(2_000_000)), Image(SHAPE, b"i2")))


ROLES = Roles("owner", "worker", "application", "reader")
NEEDS = Needs(("m",), read={"people"}, written={"users"})


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """A server that asks for a password."""
    with servers.mongod(auth=True) as url:
        yield url


@contextmanager
def users(client: MongoClient[dict[str, Any]], needs: Needs) -> Iterator[None]:
    """Every user has what is printed; the application's is there before."""
    name = client.get_default_database().name
    client.admin.command({"createUser": "application", "pwd": PASSWORD, "roles": []})
    for command in documents(grants(f"mongodb://h/{name}", needs, ROLES, None)):
        client.admin.command(dict(command))
    try:
        yield
    finally:
        for user in ("owner", "worker", "application", "reader"):
            client.admin.command("dropUser", user)
        for role in ("owner", "worker", "worker_erasing", "application_flag", "reader"):
            client.admin.command("dropRole", role)


@pytest.fixture
def root(guarded: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """The administrator, on a fresh database with people in it, where every user is there."""
    with servers.mongo_database(guarded) as url, MongoClient[dict[str, Any]](url) as client:
        client.get_default_database().people.insert_many([{"_id": 1, "age": 36}])
        with users(client, NEEDS):
            yield client


def url_of(root: MongoClient[dict[str, Any]], user: str) -> str:
    host, port = root.address or ("", 0)
    return f"mongodb://{user}:{PASSWORD}@{host}:{port}/{root.get_default_database().name}?replicaSet=rs0&authSource=admin"


@pytest.fixture
def worker(root: MongoClient[dict[str, Any]]) -> Iterator[Ledger]:
    """A ledger that the owner's user has created, with one large event in it that the worker's has written."""
    owner = opened(url_of(root, "owner"))
    with closing(owner.store):
        owner.create()
    ledger = opened(url_of(root, "worker"))
    with closing(ledger.store):
        append(ledger, Entry(Head("m", "1"), "migrated", [FACTS[0], LARGE, FACTS[2]]))
        yield ledger


def test_a_whole_append_goes_through(worker: Ledger) -> None:
    """And all else that a worker and its companion do."""
    append(worker, Entry(head(worker), "migrated", FACTS), campaign=2)
    assert flaw(head(worker), events(worker)) is None
    blank = Campaign(0, "m", "m", "migrate", "open", {}, {}, ("int",), "f", 0, 0, "me", None, None, {}, fed=False, opened_at=1)
    campaigns = worker.campaigns
    with worker.store.transaction() as tx:
        campaign = campaigns.open(tx, blank)
        campaigns.add_batches(tx, campaign, 1, [["1"], ["2"]])
    with worker.store.transaction() as tx:
        campaigns.sent(tx, campaign.id, campaigns.unfinished(tx, campaign.id, ("ready",), 9), now=5)
        campaigns.move(tx, campaign, "running", now=5)
    with worker.store.transaction() as tx:
        batch = campaigns.claim(tx, campaign.id, 1)
        assert batch is not None
        campaigns.finish(tx, batch, Tally(migrated=1), now=6)
    with worker.store.transaction() as tx:
        campaigns.give_back(tx, campaign.id, 2)
        campaigns.recall_sent(tx, campaign.id)
        campaigns.advance(tx, campaign, {}, fed=True)
        worker.journal.store_recall(tx, "m", "1", "1", ("title", "d"), "x")
        worker.presence.show(tx, "w", {})
        assert worker.presence.lead(tx, "feeder", "w") == 1
        worker.presence.leave(tx, "w")
    with worker.store.transaction(write=False) as tx:
        assert campaigns.progress(tx, [campaign.id])[campaign.id].done == 1
        assert worker.journal.strays(tx, 9) == []


ATTACKS = {
    "update": lambda database, name: database[name].update_many({}, {"$set": {"kind": "other"}}),
    "replace": lambda database, name: database[name].replace_one({}, {"kind": "other"}),
    "find and modify": lambda database, name: database[name].find_one_and_update({}, {"$unset": {"hash": ""}}),
    "upsert": lambda database, name: database[name].update_one({"_id": 1}, {"$set": {"kind": "other"}}, upsert=True),
    "delete": lambda database, name: database[name].delete_many({}),
    "drop": lambda database, name: database.command("drop", name),
    "drop the database": lambda database, name: database.command("dropDatabase"),
    "rename": lambda database, name: database.client.admin.command(
        "renameCollection", f"{database.name}.{name}", to=f"{database.name}.x"
    ),
    "change": lambda database, name: database.command("collMod", name, validator={"x": 1}),
    "cap": lambda database, name: database.command("convertToCapped", name, size=4096),
    "merge": lambda database, name: list(database.streams.aggregate([{"$merge": {"into": name}}])),
    "out": lambda database, name: list(database.streams.aggregate([{"$out": name}])),
}


@pytest.mark.parametrize("user", ["worker", "owner", "application", "reader"])
def test_what_is_written_cannot_be_changed(root: MongoClient[dict[str, Any]], worker: Ledger, user: str) -> None:
    """Whatever a user tries is refused, and leaves everything as it was: the owner's too can only add."""
    database = root[f"{root.get_default_database().name}_backtrail"]
    before = {name: list(database[name].find()) for name in APPEND_ONLY}
    assert all(before.values())
    with MongoClient[dict[str, Any]](url_of(root, user)) as client:
        for name, attack in itertools.product(APPEND_ONLY, ATTACKS):
            with pytest.raises(OperationFailure) as refusal:
                ATTACKS[attack](client[database.name], name)
            assert refusal.value.code == 13, (name, attack)
    assert {name: list(database[name].find()) for name in APPEND_ONLY} == before


LIMITS = {
    "worker": [
        "remove from streams",
        "remove from campaigns",
        "update version",
        "new collection",
        "index",
        "write a source",
        "roles",
    ],
    "application": ["read events", "write streams", "read keys", "new collection"],
    "reader": ["write streams", "add an event", "write a source", "new collection"],
}

DEEDS: dict[str, Callable[[Any, Any], Any]] = {
    "remove from streams": lambda ledger, data: ledger.streams.delete_many({}),
    "remove from campaigns": lambda ledger, data: ledger.campaigns.delete_many({}),
    "update version": lambda ledger, data: ledger.version.update_one({}, {"$set": {"step": 0}}),
    "new collection": lambda ledger, data: ledger.mine.insert_one({}),
    "index": lambda ledger, data: ledger.events.create_index("kind", unique=True),
    "write a source": lambda ledger, data: data.people.update_one({}, {"$set": {"age": 1}}),
    "roles": lambda ledger, data: ledger.client.admin.command({"grantRolesToUser": "worker", "roles": ["root"]}),
    "read events": lambda ledger, data: ledger.events.find_one(),
    "read keys": lambda ledger, data: ledger.client[f"{data.name}_backtrail_keys"].subjects.find_one(),
    "write streams": lambda ledger, data: ledger.streams.update_one({}, {"$set": {"state": "migrated"}}),
    "add an event": lambda ledger, data: ledger.events.insert_one({}),
}


@pytest.mark.parametrize(("user", "deed"), [(user, deed) for user, deeds in LIMITS.items() for deed in deeds])
def test_nobody_may_more_than_is_needed(root: MongoClient[dict[str, Any]], user: str, deed: str) -> None:
    """Of everything that a user has no business with, some of each kind."""
    with MongoClient[dict[str, Any]](url_of(root, user)) as client, pytest.raises(OperationFailure) as refusal:
        data = client.get_default_database()
        DEEDS[deed](client[f"{data.name}_backtrail"], data)
    assert refusal.value.code == 13


def test_a_whole_campaign_runs_with_every_user_apart(guarded: str) -> None:
    """The bundled migration: the owner expands, workers migrate, roll back and redo, the application reads the flag, a reader verifies."""
    found = find("coaching-redesign")
    with servers.mongo_database(guarded) as url, MongoClient[dict[str, Any]](url) as client, users(client, needs_of([found], {})):
        data = client.get_default_database()
        sample.create(data, 40)
        with closing(opened(url_of(client, "owner")).store) as store:
            assert expansion(Ledger(store), found.cls()).expand(by="me", reason=None)
        before = dict(data.command("dbHash")["collections"])
        with closing(Engine(url_of(client, "worker"))) as engine:
            done = engine.migrate(found.cls)
            assert (done["state"], done["failed"]) == ("completed", 0)
            assert done["migrated"] >= 40
            key = str(data.entries.find_one()["client_user_id"])  # type: ignore[index] # the sample has sessions
            with MongoClient[dict[str, Any]](url_of(client, "application")) as application:
                assert is_migrated(application, found.name, key)
            for user in ("worker", "reader"):
                for command in (["verify", found.name], ["status"], ["history", found.name, key], ["notes", found.name]):
                    result = CliRunner().invoke(backtrail, [*command, "--json", "--database-url", url_of(client, user)])
                    assert result.exit_code == 0, result.output
            back = engine.rollback(found.cls)
            assert (back["state"], back["rolled_back"]) == ("completed", done["migrated"])
            assert data.command("dbHash")["collections"] == before
            assert engine.redo(found.cls, back["campaign"])["migrated"] == done["migrated"]


def test_expand_needs_to_administer_the_data_only(root: MongoClient[dict[str, Any]], worker: Ledger) -> None:
    """The user of workers is told that it may not; the owner's may, and can take back."""
    data = root.get_default_database()
    with pytest.raises(BacktrailError, match="expand: the database user may not do this"):
        run(WHOLE(worker))
    assert data.list_collection_names() == ["people"]
    ledger = opened(url_of(root, "owner"))
    with closing(ledger.store):
        try:
            assert run(WHOLE(ledger)) == STEPS
        except UsageError as error:
            raise AssertionError(str(error)) from error
        assert sorted(data.list_collection_names()) == ["by_hand", "people", "quotes"]
        assert len(back(WHOLE(ledger))) == len(STEPS)
    assert data.list_collection_names() == ["people"]


@pytest.mark.parametrize("query", [[{"$match": {"age": None}}], [{"$indexStats": {}}], [{"$unionWith": "people"}]], ids=str)
def test_invariants_are_examined(worker: Ledger, query: list[dict[str, Any]]) -> None:
    """With the worker's role: what it may not ask is not held against the invariant, and what is wrong is refused all the same."""
    store = worker.store
    assert isinstance(store, MongoStore)
    demand_sound(store.database, Invariant("rule", query, "people"), store.collections(), "m")
    with pytest.raises(UsageError, match="mtch"):
        demand_sound(store.database, Invariant("rule", [{"$mtch": {}}], "people"), store.collections(), "m")


@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_who_may_erase(root: MongoClient[dict[str, Any]], tmp_path: Path, sealed: bool) -> None:
    """The worker's user does where nothing lies open; else it needs the role that is printed besides, for as long as that takes."""
    masters = tmp_path / "master.keys"
    masters.write_text(new_master())
    masters.chmod(0o600)
    given = read_masters(masters) if sealed else ()
    with closing(open_store(url_of(root, "owner"))) as store:
        Ledger(store, given).create()
    with closing(open_store(url_of(root, "worker"))) as store:
        ledger = Ledger(store, given)
        with store.transaction() as tx:
            blank = Campaign(
                0, "m", "m", "migrate", "completed", {}, {}, ("int",), "f", 0, 0, "me", None, None, {}, fed=True, opened_at=1
            )
            campaign = ledger.campaigns.open(tx, blank)
            ledger.campaigns.add_batches(tx, campaign, 1, [["1"], ["2"]])
            ledger.journal.store_recall(tx, "m", "1", "1", ("title", "d"), "x")
        append(ledger, Entry(Head("m", "1", subject="1"), "migrated", [FACTS[0], LARGE, FACTS[2]]))
        assert len(list(ledger_of(root)["chunks"].find())) > 0
        if not sealed:
            with pytest.raises(BacktrailError, match="may not do this"):
                Erasure(ledger, "1").run(by="me", reason=None)
            assert flaw(head(ledger), events(ledger)) is None
            root.admin.command({"grantRolesToUser": "worker", "roles": ["worker_erasing"]})
        done = Erasure(ledger, "1").run(by="me", reason=None)
        assert (done.streams, done.redacted, done.keys, done.lists) == (1, 0 if sealed else 3, int(sealed), 1)
        assert [len(list(ledger_of(root)[name].find())) for name in ("chunks", "recalls")] == [1 if sealed else 0, 0]
        assert head(ledger).erased
        assert flaw(head(ledger), events(ledger)) is None


def ledger_of(root: MongoClient[dict[str, Any]]) -> Any:
    return root[f"{root.get_default_database().name}_backtrail"]
