"""MongoDB: a replica set of one node, from its wheel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database as Documents

from bench.database import Database, expand
from bench.workload import Shape, Workload
from tests import servers

LEDGER = "_backtrail"
OPLOG_MB = 4096.0
"""Large enough that the server never waits for room in it."""

CACHE_GB = 4
"""The data of the largest size, with its ledger, has room in it; by itself mongod takes half the memory that is more than 1 GB."""


class Mongo(Database):
    """Databases on one server; each run's is a copy of a template."""

    name = "mongodb"

    def __init__(self, server: str) -> None:
        self.server = server
        self._templates: set[str] = set()

    @contextmanager
    def fresh(self, workload: Workload, users: int) -> Iterator[str]:
        template = f"bench_{workload.name}_{users}"
        if template not in self._templates:
            workload.fill(self._url(template), users)
            self._templates.add(template)
        with MongoClient[dict[str, Any]](self.server) as client:
            self._drop(client)
            _copy(client[template], client["bench"])
            expand(self._url("bench"), workload)
            client.admin.command("fsync")
            try:
                yield self._url("bench")
            finally:
                self._drop(client)

    @staticmethod
    def _drop(client: MongoClient[dict[str, Any]]) -> None:
        for name in client.list_database_names():
            if name == "bench" or name.startswith(f"bench{LEDGER}"):
                client.drop_database(name)

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self.server)._replace(path=f"/{name}"))

    @contextmanager
    def progress(self, url: str) -> Iterator[Callable[[int], bool]]:
        with MongoClient[dict[str, Any]](url) as client:
            ledger = client[client.get_default_database().name + LEDGER]

            def done(campaign: int) -> bool:
                found = ledger["campaigns"].find_one({"_id": campaign}, {"fed": 1})
                left = {"_id.campaign": campaign, "state": {"$ne": "done"}}
                return bool(found and found["fed"]) and ledger["batches"].find_one(left, {"_id": 1}) is None

            yield done

    def values(self, url: str, table: str, column: str) -> list[Any]:
        with MongoClient[dict[str, Any]](url) as client:
            groups = client.get_default_database()[table].aggregate([{"$group": {"_id": f"${column}"}}, {"$sort": {"_id": 1}}])
            return [one["_id"] for one in groups if one["_id"] is not None]

    def count(self, url: str, table: str, where: tuple[str, Any] | None = None) -> int:
        with MongoClient[dict[str, Any]](url) as client:
            return client.get_default_database()[table].count_documents(dict([where] if where else []))

    def digest(self, url: str, shapes: Sequence[Shape], until: Any = None) -> str:
        found = hashlib.sha256()
        with MongoClient[RawBSONDocument](url, document_class=RawBSONDocument) as client:
            database = client.get_default_database()
            for shape in shapes:
                where = {} if until is None or not shape.owner else {shape.owner: {"$lte": until}}
                found.update(shape.table.encode())
                for document in database[shape.table].find(where, dict.fromkeys(shape.without, 0) or None).sort("_id", 1):
                    found.update(encode(_sorted(document)) if shape.without else document.raw)
        return found.hexdigest()

    def server_process(self, url: str) -> int | None:
        with MongoClient[dict[str, Any]](url) as client:
            return int(client.admin.command("serverStatus")["pid"])

    def settings(self, url: str) -> dict[str, str]:
        with MongoClient[dict[str, Any]](url) as client:
            concern = client.admin.command("getDefaultRWConcern")["defaultWriteConcern"]
            journal = client.admin.command("replSetGetConfig")["config"]["writeConcernMajorityJournalDefault"]
            cache = client.admin.command("serverStatus")["wiredTiger"]["cache"]["maximum bytes configured"]
            return {
                "version": str(client.server_info()["version"]),
                "w": str(concern["w"]),
                "journal": str(journal),
                "cache": f"{cache / 2**30:g} GB",
            }

    def ledger_bytes(self, url: str) -> int:
        with MongoClient[dict[str, Any]](url) as client:
            client.admin.command("fsync")
            name = client.get_default_database().name
            return sum(
                int(client[one].command("dbStats")["totalSize"])
                for one in client.list_database_names()
                if one.startswith(name + LEDGER)
            )


def _copy(source: Documents[dict[str, Any]], target: Documents[dict[str, Any]]) -> None:
    for name in source.list_collection_names():
        source[name].aggregate([{"$out": {"db": target.name, "coll": name}}])
        for index, options in source[name].index_information().items():
            if index != "_id_":
                target[name].create_index(options["key"], name=index)


def _sorted(value: Any) -> Any:
    if isinstance(value, RawBSONDocument | dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


@contextmanager
def opened() -> Iterator[Mongo]:
    """The databases of a new server."""
    with servers.mongod(cache_gb=CACHE_GB) as url:
        with MongoClient[dict[str, Any]](url) as client:
            client.admin.command({"replSetResizeOplog": 1, "size": OPLOG_MB})
        yield Mongo(url)
