"""PostgreSQL: a server of its own, from its wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg

from bench.database import expand
from bench.sql import SqlDatabase
from bench.workload import Workload
from tests import servers

# Durable: every commit is on the disk before it is answered. The rest keeps checkpoints out of the seconds that are measured.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
}


class Postgres(SqlDatabase):
    """Databases on one server; each run's is a copy of a template."""

    name, ledger, mark = "postgresql", "backtrail.", "%s"

    def __init__(self, server: str) -> None:
        self.server = server
        self._templates: set[str] = set()

    @contextmanager
    def fresh(self, workload: Workload, users: int) -> Iterator[str]:
        template = f"bench_{workload.name}_{users}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            if template not in self._templates:
                self._make(connection, template, workload, users)
            connection.execute('DROP DATABASE IF EXISTS "bench" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "bench" TEMPLATE "{template}"')
            connection.execute("CHECKPOINT")
            try:
                yield self._url("bench")
            finally:
                connection.execute('DROP DATABASE IF EXISTS "bench" WITH (FORCE)')

    def _make(self, connection: psycopg.Connection[Any], template: str, workload: Workload, users: int) -> None:
        connection.execute(f'DROP DATABASE IF EXISTS "{template}"')
        connection.execute(f'CREATE DATABASE "{template}" TEMPLATE template0')
        workload.fill(self._url(template), users)
        expand(self._url(template), workload)
        with psycopg.connect(self._url(template), autocommit=True) as filled:
            filled.execute("VACUUM ANALYZE")
        self._templates.add(template)

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self.server)._replace(path=f"/{name}"))

    def connect(self, url: str) -> Any:
        return psycopg.connect(url, autocommit=True)

    def server_process(self, url: str) -> int | None:
        with psycopg.connect(url) as connection:
            return int(psutil.Process(connection.info.backend_pid).ppid())

    def settings(self, url: str) -> dict[str, str]:
        with psycopg.connect(url) as connection:
            version = connection.info.parameter_status("server_version") or ""
            return {"version": version} | {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in SETTINGS}  # type: ignore[index]

    def ledger_bytes(self, url: str) -> int:
        sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text LIKE 'backtrail%'"
        return int(next(self.rows(url, sql))[0])


@contextmanager
def opened() -> Iterator[Postgres]:
    """The databases of a new server."""
    with servers.postgres(**SETTINGS) as url:
        yield Postgres(url)
