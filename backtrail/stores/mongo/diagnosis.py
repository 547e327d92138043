"""Why no server of a URL can be used: its hosts are asked one by one, each past the set that it may belong to."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.uri_parser import parse_uri

from backtrail.errors import BacktrailError, Retry, UnsuitableDatabase

WAIT_MS = 1000
"""How long one host is waited for: the driver has waited for all of them already."""

STANDALONE = (
    "this mongod is a standalone server, which has no transactions: start it with `mongod --replSet rs0`, and run"
    " `rs.initiate()` once in mongosh; one node is enough"
)
NOT_INITIATED = "this mongod waits to be made a replica set: run `rs.initiate()` once in mongosh; one node is enough"
NO_NAME = "database_url: the name of mongodb+srv:// cannot be looked up: is the host right, and does it have SRV records?"

Host = tuple[str, int | None]


def diagnosis(url: str) -> BacktrailError:
    """What is to be said of a URL none of whose servers could be selected."""
    try:
        said = parse_uri(url)
    except ConfigurationError:
        return UnsuitableDatabase(NO_NAME)
    hosts: Sequence[Host] = said["nodelist"]
    encryption = {name: value for name, value in said["options"].items() if name.lower().startswith(("tls", "ssl"))}
    wanted = {name.lower(): value for name, value in said["options"].items()}.get("replicaset")
    for host in hosts:
        hello = _hello(host, encryption)
        if hello is not None:
            return _of_hello(hello, wanted)
    for host in hosts:
        if _open(host):
            return UnsuitableDatabase(
                f"{shown(host)} does not answer as MongoDB does: is the port right, and does it want tls=true?"
            )
    names = ", ".join(shown(host) for host in hosts)
    return UnsuitableDatabase(f"the database at {names} does not answer: is it running, and is the address right?")


def without_transactions(hello: Mapping[str, Any]) -> str | None:
    """Why this server has no transactions; None where it has."""
    if "setName" in hello or hello.get("msg") == "isdbgrid":
        return None
    return NOT_INITIATED if hello.get("isreplicaset") else STANDALONE


def shown(host: Host) -> str:
    """The host and its port as they stand in a URL."""
    name, port = host
    if port is None:
        return name
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _of_hello(hello: Mapping[str, Any], wanted: str | None) -> BacktrailError:
    lacking = without_transactions(hello)
    if lacking is not None:
        return UnsuitableDatabase(lacking)
    if hello.get("msg") == "isdbgrid":
        return UnsuitableDatabase("database_url names a mongos, which is in no replica set: leave replicaSet= out")
    if wanted is not None and hello["setName"] != wanted:
        return UnsuitableDatabase(
            f"its replica set is called {hello['setName']}, and database_url says {wanted}: correct replicaSet="
        )
    hidden = [name for name in hello.get("hosts", ()) if not _open(_host(name))]
    if hidden and hello.get("primary", hidden[0]) in hidden:
        return UnsuitableDatabase(
            f"the replica set calls its members {', '.join(hidden)}, which cannot be reached from here: give them names that can be,"
            " or, if the set has one node, add directConnection=true to database_url"
        )
    return Retry("the replica set has no primary just now")


def _hello(host: Host, encryption: Mapping[str, Any]) -> dict[str, Any] | None:
    limits: dict[str, Any] = {"serverSelectionTimeoutMS": WAIT_MS, "connectTimeoutMS": WAIT_MS, "socketTimeoutMS": WAIT_MS}
    try:
        # Nobody logs in: every server says what it is, and no password is sent to the wrong one.
        with MongoClient[dict[str, Any]](shown(host), directConnection=True, **limits, **encryption) as client:
            return client.admin.command("hello")
    except PyMongoError:
        return None


def _open(host: Host) -> bool:
    """Whether anybody listens there."""
    name, port = host
    if port is None:
        return False  # a socket of this machine: the driver has tried it
    try:
        socket.create_connection((name, port), WAIT_MS / 1000).close()
    except OSError:
        return False
    return True


def _host(text: str) -> Host:
    name, _, port = text.rpartition(":")
    return name.strip("[]"), int(port)
