"""A client for the database of a URL, once it is known that the server can do what is needed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, ServerSelectionTimeoutError

from backtrail.errors import UnsuitableDatabase
from backtrail.flag import LEDGER
from backtrail.stores.mongo.diagnosis import NO_NAME, diagnosis, without_transactions

Client = MongoClient[dict[str, Any]]

OLDEST = 13
"""The wire version of MongoDB 5.0, the first in which a session without a transaction can read a snapshot."""

OPTIONS: dict[str, Any] = {"serverSelectionTimeoutMS": 5000, "connectTimeoutMS": 5000, "appname": "backtrail"}
"""What holds where the URL says nothing else."""

LONGEST = 63
"""How many bytes the name of a database may have."""


def connected(url: str) -> tuple[Client, str]:
    """A client, and the name of the database that the URL names.

    Raises:
        UnsuitableDatabase: it names none that can be, one of its options does not exist, nobody answers, or the server has no
            transactions or is too old.
        Retry: the replica set has no primary just now.
    """
    client = _client(url)
    try:
        name = _name(client)
        _demand_transactions(_hello(client, url))
        _demand_no_other(client, name)
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
        except OSError as error:
            raise UnsuitableDatabase(
                f"database_url: a file that one of its tls options names cannot be used: {error.strerror or type(error).__name__}"
            ) from None
        except ConfigurationError as error:
            if "dnspython" in str(error):
                raise UnsuitableDatabase("mongodb+srv:// needs dnspython, which is missing: pip install 'pymongo[srv]'") from None
            if "DNS" in str(error):
                raise UnsuitableDatabase(NO_NAME) from None
            raise


def _hello(client: Client, url: str) -> Mapping[str, Any]:
    try:
        return client.admin.command("hello")
    except ServerSelectionTimeoutError as error:
        raise diagnosis(url) from error
    except ConfigurationError as error:
        if url.startswith("mongodb+srv:"):
            raise UnsuitableDatabase(NO_NAME) from error
        raise


def _name(client: Client) -> str:
    try:
        name = client.get_default_database().name
    except ConfigurationError:
        raise UnsuitableDatabase("database_url names no database: write mongodb://host:27017/database?replicaSet=name") from None
    if name in {"admin", "local", "config"}:
        raise UnsuitableDatabase(f"{name} is a database of MongoDB's own: name the application's in database_url")
    if len(f"{name}{LEDGER}".encode()) > LONGEST:
        raise UnsuitableDatabase(f"the name of the database is too long: {name}{LEDGER} would have more than {LONGEST} bytes")
    return name


def _demand_no_other(client: Client, name: str) -> None:
    """Refuses a name that differs only by case from an existing database's: MongoDB creates no second one beside it."""
    alike = {"$regex": f"^{re.escape(name)}$", "$options": "i"}
    try:
        answer = client.admin.command({"listDatabases": 1, "nameOnly": True, "filter": {"name": alike}})
    except OperationFailure:
        return  # who may not look is told by what comes next
    names = [one["name"] for one in answer["databases"]]
    if names and name not in names:
        raise UnsuitableDatabase(f"database_url names {name}, and the database is called {names[0]}: upper and lower case matter")


def _demand_transactions(hello: Mapping[str, Any]) -> None:
    lacking = without_transactions(hello)
    if lacking is not None:
        raise UnsuitableDatabase(lacking)
    if hello.get("maxWireVersion", 0) < OLDEST:
        raise UnsuitableDatabase("this MongoDB is too old: 5.0 is the first that can be used")
