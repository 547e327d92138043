"""A client for the database of a URL, once it is known that the server can do what is needed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError

from backtrail.errors import UnsuitableDatabase

Client = MongoClient[dict[str, Any]]

OLDEST = 13
"""The wire version of MongoDB 5.0, the first in which a session without a transaction can read a snapshot."""

OPTIONS: dict[str, Any] = {"serverSelectionTimeoutMS": 5000, "connectTimeoutMS": 5000, "appname": "backtrail"}
"""What holds where the URL says nothing else."""


def connected(url: str) -> tuple[Client, str]:
    """A client, and the name of the database that the URL names.

    Raises:
        UnsuitableDatabase: it names none, one of its options does not exist, or the server has no transactions or is too old.
    """
    client = _client(url)
    try:
        name = _name(client)
        _demand_transactions(client.admin.command("hello"))
    except BaseException:
        client.close()
        raise
    return client, name


def _client(url: str) -> Client:
    said = url.partition("?")[2].lower()
    options = {name: value for name, value in OPTIONS.items() if f"{name.lower()}=" not in said}
    with warnings.catch_warnings():
        # Of an option that it does not take the driver only warns, and goes on without it.
        warnings.simplefilter("error", UserWarning)
        try:
            return MongoClient(url, **options)
        except UserWarning as warning:
            text = str(warning)
            # Other warnings quote the value.
            known = text.startswith("Unknown option")
            what = (
                f"u{text[1:].partition(' or maybe')[0]}?"
                if known
                else "an option has a value that MongoDB's driver does not take"
            )
            raise UnsuitableDatabase(f"database_url: {what}") from None


def _name(client: Client) -> str:
    try:
        return client.get_default_database().name
    except ConfigurationError:
        raise UnsuitableDatabase("database_url names no database: write mongodb://host:27017/database?replicaSet=name") from None


def _demand_transactions(hello: Mapping[str, Any]) -> None:
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise UnsuitableDatabase(
            "this mongod is a standalone server, which has no transactions: start it with `mongod --replSet rs0`, and run"
            " `rs.initiate()` once in mongosh; one node is enough"
        )
    if hello.get("maxWireVersion", 0) < OLDEST:
        raise UnsuitableDatabase("this MongoDB is too old: 5.0 is the first that can be used")
