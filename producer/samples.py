"""Sample data of the bundled migrations: people who never were, in any number, with every edge case of the plan."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backtrail.discovery import Found
from backtrail.errors import UsageError
from backtrail.stores.base import Store

CATALOG = "backtrail.catalog."


def fill(store: Store, found: Found, size: int) -> None:
    """Nothing; the database, which was empty, holds sample data of so many entities.

    Raises:
        UsageError: the migration has no sample data for this kind of database, or the database is not empty: what is in it is
            somebody's data, and none of it is touched.
    """
    module = _module(found)
    if store.kind == "mongodb":
        _demand_kind(found, module, documents=True)
        from backtrail.stores.mongo.store import MongoStore

        assert isinstance(store, MongoStore)  # noqa: S101 -- as its kind says
        _demand_empty(sorted(store.collections()))
        module.create(store.database, size)
    else:
        _demand_kind(found, module, documents=False)
        import sqlalchemy as sa

        with store.transaction() as tx:
            _demand_empty(sa.inspect(tx.connection).get_table_names())
            module.create(tx.connection, size)
    store.forget()


@contextmanager
def with_file(url: str) -> Iterator[None]:
    """In the block, the file of an address of SQLite is there; one that was made for it goes again where the block fails with it empty.

    Raises:
        OSError: it cannot be made.
    """
    file = Path(url.removeprefix("sqlite:///").partition("?")[0]) if url.startswith("sqlite:") else None
    made = file is not None and not file.exists()
    if file is not None:
        file.touch()
    try:
        yield
    except BaseException:
        if file is not None and made and not file.stat().st_size:
            file.unlink()
        raise


def _module(found: Found) -> Any:
    package = found.cls.__module__.rpartition(".")[0]
    if not package.startswith(CATALOG) or importlib.util.find_spec(f"{package}.sample") is None:
        raise UsageError(f"{found.name} has no sample data: bundled migrations do; `backtrail migrations` lists them")
    return importlib.import_module(f"{package}.sample")


def _demand_kind(found: Found, module: Any, *, documents: bool) -> None:
    if documents == hasattr(module, "old_tables"):
        wanted = "MongoDB" if not documents else "PostgreSQL or SQLite"
        raise UsageError(f"{found.name} is a migration of {wanted}: name such a database in database_url")


def _demand_empty(names: list[str]) -> None:
    if names:
        more = " …" if len(names) > 5 else ""
        raise UsageError(f"sample data goes into an empty database only, and this one holds {', '.join(names[:5])}{more}")
