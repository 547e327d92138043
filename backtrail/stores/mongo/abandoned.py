"""Transactions whose process is gone, ended before their time.

A server ends no transaction because its connection closes: what a worker had written when it was killed would stay in nobody's hand for a
minute (`transactionLifetimeLimitSeconds`), and its entities with it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from backtrail.errors import BacktrailError, Retry

REST_S = 2.0
"""How long one does not look again."""

IDLE_US = 1_000_000
"""How long a transaction has done nothing that may be taken for abandoned: connections that were just made are not listed at once."""

OPERATIONS: list[dict[str, Any]] = [
    {"$currentOp": {"allUsers": False, "idleConnections": True, "idleSessions": True}},
    {"$project": {"type": 1, "appName": 1, "connectionId": 1, "lsid": 1, "transaction.timeInactiveMicros": 1}},
]


class Abandoned:
    """Who looks for such transactions, now and then."""

    def __init__(self) -> None:
        self._looked = -REST_S

    def after(self, error: BacktrailError, client: MongoClient[dict[str, Any]] | None) -> None:
        """Nothing; if something was in the way, which may be such a transaction, those of ours are ended."""
        if client is None or not isinstance(error, Retry) or time.monotonic() - self._looked < REST_S:
            return
        self._looked = time.monotonic()
        # It is only an acceleration: a server that does not let us look ends them by itself.
        with suppress(PyMongoError):
            sessions = abandoned(client)
            if sessions:
                client.admin.command("killSessions", sessions)


def abandoned(client: MongoClient[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sessions with an open transaction of ours whose connection does not exist any more."""
    operations = list(client.admin.aggregate(OPERATIONS))
    ours = client.options.pool_options.appname
    connections = {one.get("connectionId") for one in operations if one["type"] != "idleSession"}
    return [
        {"id": one["lsid"]["id"]}
        for one in operations
        if one["type"] == "idleSession"
        and one.get("appName") == ours
        and one.get("connectionId") not in connections
        and one.get("transaction", {}).get("timeInactiveMicros", 0) > IDLE_US
    ]
