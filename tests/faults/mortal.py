"""Servers that can be killed with signal 9 and started again, on what they had on disk or on nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import psycopg
import redis
from pymongo import MongoClient

from tests import servers
from tests.processes import gone, killed
from tests.servers import until

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on"}
"""A PostgreSQL that keeps what it has said it keeps."""


class Mortal:
    """One server on one port, which may die and come back."""

    def __init__(
        self,
        url: str,
        start: Callable[[], AbstractContextManager[Popen[bytes]]],
        answers: Callable[[], object],
        files: Path | None = None,
    ) -> None:
        self.url, self.files = url, files
        self._start, self._answers = start, answers
        self._held: AbstractContextManager[Popen[bytes]] | None = None
        self._keeper: Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        self._held = self._start()
        self._keeper = self._held.__enter__()
        until(self._ready, what=f"an answer of {self.url}", timeout=60)

    def _ready(self) -> bool:
        with suppress(Exception):
            self._answers()
            return True
        return False

    def kill(self) -> None:
        """Signal 9 for all of its processes; it has said goodbye to nobody."""
        assert self._keeper is not None and self._held is not None
        family = psutil.Process(self._keeper.pid).children(recursive=True)
        assert family, "the server was dead before"
        killed(family)
        until(lambda: gone(family), what="the end of the server", timeout=20)
        self.end()

    def forget(self) -> None:
        """Nothing; while it is dead, all that it had on disk goes too."""
        assert self.files is not None and self._held is None
        shutil.rmtree(self.files, ignore_errors=True)

    def end(self) -> None:
        """Nothing; it is stopped, if it is still there."""
        if self._held is not None:
            self._held.__exit__(None, None, None)
            self._held = self._keeper = None


def _kept(command: list[str], user: str | None = None) -> AbstractContextManager[Popen[bytes]]:
    folder = Path(tempfile.mkdtemp(prefix="bt-keeper-"))
    return servers.kept(command, folder, user=user)


@contextmanager
def _mortal(one: Mortal, folder: Path) -> Iterator[Mortal]:
    try:
        one.start()
        yield one
    finally:
        one.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[Mortal]:
    """A PostgreSQL server with a data folder that outlives it, and fsync on."""
    folder = Path(tempfile.mkdtemp(prefix="bt-mortal-pg-"))
    command, url, user = servers.postgres_command(folder, **DURABLE)
    with _mortal(
        Mortal(url, lambda: _kept(command, user), lambda: psycopg.connect(url, connect_timeout=5).close()), folder
    ) as one:
        yield one


@contextmanager
def mongod() -> Iterator[Mortal]:
    """A MongoDB server, a replica set of one, with a data folder that outlives it."""
    folder = Path(tempfile.mkdtemp(prefix="bt-mortal-mongo-"))
    port = servers.free_port()
    command = [str(servers._mongod()), "--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(folder), "--nounixsocket"]
    command += ["--quiet", "--wiredTigerCacheSizeGB", "0.5", "--replSet", "rs0", "--oplogSize", "64"]
    url = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"

    def primary() -> None:
        with MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=500
        ) as client:
            servers._initiate(client, port, durable=True)

    with _mortal(Mortal(url, lambda: _kept(command), primary), folder) as one:
        yield one


@contextmanager
def valkey() -> Iterator[Mortal]:
    """A Valkey server with an append-only file."""
    folder = Path(tempfile.mkdtemp(prefix="bt-mortal-valkey-"))
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command = servers.valkey_command(folder, port, "--appendonly", "yes", "--appendfsync", "everysec")
    with _mortal(Mortal(url, lambda: _kept(command), lambda: _ping(url), folder / "appendonlydir"), folder) as one:
        yield one


def _ping(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.ping()
