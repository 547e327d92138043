"""Every wrong input that only MongoDB knows: exit code 2, one clear line without a password, and nothing created."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from tests import servers
from tests.acceptance.conftest import a_folder
from tests.acceptance.mongo_eye import MongoEye
from tests.acceptance.world import World
from tests.processes import Place

ADDRESSES = [
    ("mongodb://u:s3cret@127.0.0.1:1/", "names no database"),
    ("mongodb://u:s3cret@127.0.0.1:1/x?serverSelectionTimeoutMS=300", "does not answer"),
    ("mongodb://u:s3cret@host:port/x", "port"),
    ("mongodb://u:s3cret@host/x?replicaSte=rs0&serverSelectionTimeoutMS=300", "Did you mean one of (replicaset"),
    ("mongodb://u:s3cr@et@host/x", "database_url"),
    ("mongodb://u:s3cr@et/w@127.0.0.1:1/x", "%XX"),
    ("mongodb://127.0.0.1/x:37117", "port after the database"),
    ("mongodb://u:s3cret@127.0.0.1:1/admin", "MongoDB's own"),
    ("mongdb://u:s3cret@host/x", "did you mean mongodb"),
]


@pytest.mark.parametrize(("url", "words"), ADDRESSES)
def test_addresses(url: str, words: str) -> None:
    """An address that is none, or where nobody answers, is told without its password."""
    with a_folder() as folder:
        world = World(Place(folder, "mongodb://127.0.0.1/x"), "w")
        world.write()
        answer = replace(world.place, database=url).refused("enqueue", world.source, words=words)
        assert "s3cr" not in answer.err


@pytest.mark.long
def test_a_standalone_server() -> None:
    """A server without transactions is told with the line that starts a replica set, by every command, and nothing is written to it."""
    with servers.mongod(replica=False) as server, a_folder() as folder:
        world = World(Place(folder, server + "alone"), "w")
        world.write()
        world.populate(5)
        before = world.dump()
        wanting = replace(world.place, database=f"{server}alone?replicaSet=rs0&serverSelectionTimeoutMS=300")
        for place in (world.place, wanting):
            for command in (["enqueue", world.source], ["enqueue", world.source, "--dry-run"], ["worker"], ["status"]):
                answer = place.refused(*command, words="mongod --replSet rs0")
                assert "rs.initiate()" in answer.err
        assert world.dump() == before
        close(server)


@pytest.fixture
def guarded() -> Iterator[World]:
    """A world on a server that asks for passwords; its URL is that of the user root."""
    with servers.mongod(auth=True) as server, servers.mongo_database(server) as url, a_folder() as folder:
        world = World(Place(folder, url), "w")
        world.write()
        world.populate(5)
        yield world


@pytest.mark.long
def test_passwords_and_rights(guarded: World) -> None:
    """A wrong password, and a user who may only read, are each told in a line that does not show the password; the right one works."""
    before = guarded.dump()
    eye = guarded.eye
    assert isinstance(eye, MongoEye)
    eye.data.client.admin.command("createUser", "reader", pwd="s3cret", roles=[{"role": "read", "db": eye.data.name}])
    wrong = replace(guarded.place, database=guarded.url.replace("root:root@", "root:s3cret@"))
    reader = replace(guarded.place, database=guarded.url.replace("root:root@", "reader:s3cret@"))
    nobody = replace(guarded.place, database=guarded.url.replace("root:root@", ""))
    for place, command, words in (
        (wrong, ["enqueue", guarded.source], "password"),
        (wrong, ["worker"], "password"),
        (wrong, ["status"], "password"),
        (reader, ["enqueue", guarded.source], "may not"),
        (nobody, ["enqueue", guarded.source], "may not"),
    ):
        answer = place.refused(*command, words=words)
        assert "s3cret" not in answer.err
    assert guarded.dump() == before
    assert guarded.place.json("enqueue", guarded.source)["state"] == "open"


def close(server: str) -> None:
    """Nothing; the server is seen to be there still."""
    with MongoClient[dict[str, Any]](server) as client:
        client.admin.command("ping")


ODD = {
    "keys of mixed type": ([{"_id": 1}, {"_id": "1"}], "_id", "mixed type"),
    "keys of mixed type, ids and texts": ([{"u": ObjectId()}, {"u": "x"}], "u", "mixed type"),
    "keys that are lists": ([{"u": [1, 2]}, {"u": [3]}], "u", "list"),
    "keys that are documents": ([{"u": {"a": 1}}], "u", "documents"),
}


@pytest.mark.parametrize("case", ODD)
def test_keys_that_name_nobody(alone_mongo: World, case: str) -> None:
    """A key field whose values are of several types, or lists, is refused with the mend."""
    documents, field, words = ODD[case]
    world = alone_mongo
    assert isinstance(world.eye, MongoEye)
    world.populate(2)
    world.eye.data["odd"].insert_many([dict(one) for one in documents])
    world.write(world.code().replace(f'Keys("{world.prefix}_users", "_id")', f'Keys("odd", "{field}")'))
    before = world.dump()
    answer = world.place.refused("enqueue", world.source, words=words)
    assert "Keys(…" in answer.err
    assert world.dump() == before


def test_what_no_transaction_can_write(alone_mongo: World) -> None:
    """A view, a capped and a time-series collection among what is written, and a database that is empty, are told before the start."""
    world = alone_mongo
    eye = world.eye
    assert isinstance(eye, MongoEye)
    world.populate(2)
    eye.data.create_collection("seen", viewOn=f"{world.prefix}_users", pipeline=[])
    eye.data.create_collection("ring", capped=True, size=4096)
    eye.data.create_collection("series", timeseries={"timeField": "at"})
    before = world.dump()
    code = world.code()
    for name, words in (("seen", "view"), ("ring", "capped"), ("series", "timeseries")):
        world.write(code.replace(f'"{world.prefix}_people")', f'"{world.prefix}_people", "{name}")'))
        answer = world.place.refused("enqueue", world.source, words=words)
        assert name in answer.err
    world.write()
    elsewhere = replace(world.place, database=world.url.replace(eye.data.name, f"{eye.data.name}_not"))
    elsewhere.refused("enqueue", world.source, words=f"no collection named '{world.prefix}_users'")
    assert world.dump() == before
    assert f"{eye.data.name}_not" not in eye.data.client.list_database_names()
