"""What is said of a database that cannot be used: which host, what it is instead, and the mend; never the password."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from backtrail.errors import BacktrailError, DatabaseFault, Retry, UnsuitableDatabase
from backtrail.stores.mongo import diagnosis
from backtrail.stores.mongo.errors import translate
from backtrail.stores.mongo.store import MongoStore
from tests import servers

SOON = "serverSelectionTimeoutMS=300"


def refusal(url: str) -> str:
    """What the store says of the URL when it is first used."""
    with closing(MongoStore(url, 1000)) as store, pytest.raises(UnsuitableDatabase) as caught, store.transaction(write=False):
        pass
    message = str(caught.value)
    assert "\n" not in message
    assert "s3cret" not in message
    return message


@pytest.mark.parametrize("options", [f"replicaSet=rs0&{SOON}", SOON, "directConnection=true"])
def test_what_was_not_initiated(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits for rs.initiate() is not called standalone, however it is asked."""
    monkeypatch.setattr(servers, "_initiate", lambda *_, **__: None)
    port = servers.free_port()
    with servers.mongod(port=port):
        message = refusal(f"mongodb://127.0.0.1:{port}/x?{options}")
    assert "run `rs.initiate()` once" in message
    assert "standalone" not in message


def test_a_standalone_server() -> None:
    """It is called so, though the URL asks for a replica set; the password is sent to nobody."""
    with servers.mongod(replica=False) as base:
        message = refusal(base.replace("//", "//u:s3cret@") + f"x?replicaSet=rs0&{SOON}")
    assert "standalone" in message
    assert "mongod --replSet rs0" in message


def test_another_set(mongo: str) -> None:
    """The name that the set has is told, and the one that the URL says."""
    assert "replicaSet=rs0" in mongo
    message = refusal(mongo.replace("replicaSet=rs0", f"replicaSet=rs1&{SOON}"))
    assert message.startswith("its replica set is called rs0, and database_url says rs1")


def test_nobody_there() -> None:
    """The hosts are named, all of them."""
    message = refusal(f"mongodb://u:s3cret@127.0.0.1:1,127.0.0.1:2/x?{SOON}")
    assert message == "the database at 127.0.0.1:1, 127.0.0.1:2 does not answer: is it running, and is the address right?"


def test_another_program() -> None:
    """A host that takes connections and does not speak as MongoDB does is told from one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        host = f"127.0.0.1:{other.getsockname()[1]}"
        assert refusal(f"mongodb://{host}/x?{SOON}").startswith(f"{host} does not answer as MongoDB does")


HELLOS: list[tuple[dict[str, Any], type[BacktrailError], str]] = [
    (
        {"setName": "rs0", "hosts": ["box.invalid:27017"], "primary": "box.invalid:27017"},
        UnsuitableDatabase,
        "calls its members box.invalid:27017, .*directConnection=true",
    ),
    ({"setName": "rs0", "hosts": ["HERE", "box.invalid:1"], "primary": "HERE"}, Retry, "no primary"),
    ({"setName": "rs0", "hosts": ["HERE"]}, Retry, "no primary"),
    ({"msg": "isdbgrid"}, UnsuitableDatabase, "mongos"),
]


@pytest.mark.parametrize(("hello", "kind", "words"), HELLOS)
def test_sets_that_answer(hello: dict[str, Any], kind: type[BacktrailError], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that cannot be reached from here are named; a set that only lacks a primary is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as here:
        name = f"127.0.0.1:{here.getsockname()[1]}"
        real = {
            key: [name if one == "HERE" else one for one in value] if key == "hosts" else value for key, value in hello.items()
        }
        real |= {"primary": name} if hello.get("primary") == "HERE" else {}
        monkeypatch.setattr(diagnosis, "_hello", lambda *_: real)
        with pytest.raises(kind, match=words):
            raise diagnosis.diagnosis(f"mongodb://{name}/x?replicaSet=rs0")


@pytest.mark.parametrize(
    ("name", "words"), [("admin", "MongoDB's own"), ("local", "own"), ("config", "own"), ("x" * 54, "too long")]
)
def test_names_that_cannot_be(name: str, words: str) -> None:
    """They are refused before any server is asked."""
    assert words in refusal(f"mongodb://127.0.0.1:1/{name}?{SOON}")


@pytest.fixture
def filled(mongo: str) -> Iterator[str]:
    """The name of a database that exists."""
    with MongoClient[dict[str, Any]](mongo) as client:
        data = client.get_default_database()
        data.people.insert_one({"_id": 1})
        yield data.name


def test_case(mongo: str, filled: str) -> None:
    """A name that differs only by case is told with the right one; the right one works."""
    assert filled != filled.upper()
    message = refusal(mongo.replace(filled, filled.upper()))
    assert f"the database is called {filled}:" in message
    with closing(MongoStore(mongo, 1000)) as store:
        assert "people" in store.collections()


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names what is to be installed."""
    for name in ("dns", "dns.resolver"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'pymongo[srv]'" in refusal("mongodb+srv://u:s3cret@nohost.invalid/x")


@pytest.mark.parametrize(
    ("details", "name"), [({"codeName": "Odd"}, "Odd"), ({}, "Location16755")], ids=["the server's", "the one of all others"]
)
def test_codes_have_names(details: dict[str, Any], name: str) -> None:
    """Whatever is not known ends as a fault with the code and its name, and nothing of the server's sentence."""
    own = translate(OperationFailure("secret", 16755, {"errmsg": "secret", **details}))
    assert type(own) is DatabaseFault
    assert str(own) == f"MongoDB refused it: code 16755, {name}"


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"])
def test_a_file_of_tls_that_is_not_there(option: str) -> None:
    """It is said to be a file of TLS, and what is wrong with it."""
    message = refusal(f"mongodb://u:s3cret@127.0.0.1:1/x?{SOON}&tls=true&{option}=/nowhere/s3cret.pem")
    assert message.startswith("database_url: ")
    assert "No such file or directory" in message
