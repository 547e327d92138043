"""One database as Backtrail sees it, behind one interface; each folder in this one knows one kind, and alone imports its driver."""

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
        from backtrail.stores.sqlite.store import SqliteStore

        return SqliteStore(url, lock_timeout_ms)
    if scheme in {"postgresql", "postgres"}:
        try:
            from backtrail.stores.postgres.store import PostgresStore
        except ImportError as error:
            raise _lacking(error, "psycopg", "postgres") from error
        return PostgresStore(url, lock_timeout_ms)
    if scheme == "mongodb":
        try:
            from backtrail.stores.mongo.store import MongoStore
        except ImportError as error:
            raise _lacking(error, "pymongo", "mongo") from error
        return MongoStore(url, lock_timeout_ms)
    raise UnsuitableDatabase(
        f"no store for {scheme!r}: write sqlite:///file.db, postgresql://user@host/database or mongodb://host/database"
    )


def _lacking(error: ImportError, package: str, extra: str) -> ImportError | UnsuitableDatabase:
    """What to say where a driver is not installed; any other module that is missing is a fault of ours, and says so itself."""
    if (error.name or "").partition(".")[0] in {package, "bson"}:
        return UnsuitableDatabase(INSTALL.format(package=package, extra=extra))
    return error


__all__ = ["Store", "open_store"]
