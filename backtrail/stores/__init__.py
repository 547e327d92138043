"""One database as Backtrail sees it, behind one interface; each module of this folder knows one kind, and alone imports its driver."""

from __future__ import annotations

from backtrail.errors import UnsuitableDatabase
from backtrail.stores.base import Store

INSTALL = "{package} is not installed: pip install 'backtrail[{extra}]'"


def open_store(url: str, *, lock_timeout_ms: int = 1000) -> Store:
    """The store of a database URL; it connects when first used, and again in every process.

    Raises:
        UnsuitableDatabase: no store for this URL, or its driver is not installed.
    """
    scheme = url.split(":", 1)[0].split("+", maxsplit=1)[0]
    if scheme == "sqlite":
        from backtrail.stores.sqlite import SqliteStore

        return SqliteStore(url, lock_timeout_ms)
    if scheme in {"postgresql", "postgres"}:
        try:
            from backtrail.stores.postgres import PostgresStore
        except ImportError as error:
            raise UnsuitableDatabase(INSTALL.format(package="psycopg", extra="postgres")) from error
        return PostgresStore(url, lock_timeout_ms)
    if scheme == "mongodb":
        try:
            from backtrail.stores.mongo.store import MongoStore
        except ImportError as error:
            raise UnsuitableDatabase(INSTALL.format(package="pymongo", extra="mongo")) from error
        return MongoStore(url, lock_timeout_ms)
    raise UnsuitableDatabase(
        f"no store for {scheme!r}: write sqlite:///file.db, postgresql://user@host/database or mongodb://host/database"
    )


__all__ = ["Store", "open_store"]
