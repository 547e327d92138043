"""A PostgreSQL database: its connections, and what it must be like."""

from __future__ import annotations

from typing import Any, ClassVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from backtrail.errors import BacktrailError, DatabaseFault, Retry, UnknownName, UnsuitableDatabase, UsageError
from backtrail.migration import Keys, Migration
from backtrail.stores.base import Transaction
from backtrail.stores.health import Health, Trail
from backtrail.stores.postgres.catalog import reflect, table_names
from backtrail.stores.postgres.errors import translated
from backtrail.stores.postgres.health import health
from backtrail.stores.postgres.transaction import PostgresTransaction
from backtrail.stores.sql import SqlStore
from backtrail.stores.tables import Column, Table
from backtrail.stores.writing import SqlTransaction

APPLICATION = "backtrail"
"""What our sessions are called on the server."""


class PostgresStore(SqlStore):
    """A PostgreSQL database."""

    kind = "postgres"
    driver_errors: ClassVar[tuple[type[Exception], ...]] = (psycopg.Error,)

    def __init__(self, url: str, lock_timeout_ms: int) -> None:
        super().__init__(url, lock_timeout_ms)
        self._trail = Trail()

    def _make_engine(self) -> Engine:
        url = sa.make_url(self.url).set(drivername="postgresql+psycopg")
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
        for name in url.query:
            if name not in known:
                raise UnknownName("option of a PostgreSQL address", name, known)
        # No prepared statements and no session settings: both break behind a pooler in transaction mode.
        arguments = {"prepare_threshold": None, "connect_timeout": 10, "application_name": APPLICATION, "client_encoding": "utf8"}
        # Native hstore would come back as dicts, whatever a cursor of ours registers.
        return sa.create_engine(
            url,
            pool_size=2,
            max_overflow=2,
            pool_pre_ping=True,
            use_native_hstore=False,
            connect_args=arguments,
            # Whoever has waited for a lock must see what was committed meanwhile, whatever the database's own default is.
            isolation_level="READ COMMITTED",
        )

    def _options(self, write: bool, small: bool) -> dict[str, Any]:
        return {} if write else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def _transaction(self, connection: Connection) -> PostgresTransaction:
        return PostgresTransaction(self, connection)

    def _is_dead(self, connection: Connection) -> bool:
        raw = connection.connection.driver_connection
        return bool(raw.closed or raw.broken) if isinstance(raw, psycopg.Connection) else True

    def mark(self, column: Column) -> str:
        return f"%s::{column.cast}"

    def _table_names(self, connection: Connection) -> list[str]:
        return table_names(connection)

    def _reflect(self, connection: Connection, name: str) -> Table | None:
        return reflect(connection, name, self.quote)

    def _key_types(self, tx: SqlTransaction, keys: Keys, table: Table) -> tuple[str, ...]:
        for name in keys.columns:
            try:
                tx.rows_of(f"SELECT 1 FROM {table.sql} t ORDER BY t.{self.quote(name)} LIMIT 0")
            except psycopg.errors.UndefinedFunction:
                kind = table.by_name[name].type
                raise UsageError(
                    f"{keys.table}.{name} is {kind}, which has no order, so it cannot name entities: take another column"
                ) from None
        return tuple(table.by_name[name].key_type for name in keys.columns)

    def check(self, migration: type[Migration]) -> None:
        super().check(migration)
        with self.transaction(write=False) as tx:
            recovering, read_only = tx.rows_of("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')")[0]
            if recovering == "t":
                raise UnsuitableDatabase("the database is a read-only replica: give the address of its primary")
            if read_only == "on":
                raise UnsuitableDatabase("the database is read-only for this user (default_transaction_read_only): let it write")
            names = {rows.table for rows in migration.reads} | {keys.table for keys in migration.all_keys()}
            # Foreign keys act on all rows that refer to what is written, whoever may see them.
            referring = {key.table for name in migration.writes for key in self.table(name).incoming}
            for name in sorted({*names, *migration.writes, *referring}):
                sql = "SELECT row_security_active(%s::regclass)"
                if tx.rows_of(sql, [self.table(name).sql.replace("%%", "%")])[0][0] == "t":
                    raise UnsuitableDatabase(
                        f"row-level security would hide rows of {name} from this user: run as its owner, or as a user with BYPASSRLS"
                    )

    def health(self, tx: Transaction) -> Health:
        assert isinstance(tx, PostgresTransaction)  # noqa: S101 -- transactions of this store come from this store
        return health(tx, self._trail, APPLICATION)

    def translate(self, error: Exception) -> BacktrailError:
        if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, Exception):
            return self.translate(error.orig)
        if isinstance(error, sa.exc.TimeoutError):
            return Retry("no free connection to the database")
        if not isinstance(error, psycopg.Error):
            return DatabaseFault(type(error).__name__)
        return translated(error)
