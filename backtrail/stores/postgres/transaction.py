"""One transaction on a PostgreSQL database: settings pinned, whole batches through COPY and unnest."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, cast

import psycopg
from psycopg.postgres import types as registry
from psycopg.types.string import TextLoader
from sqlalchemy.engine import Connection

from backtrail.errors import AuthorMistake, BadValue, Quarantine
from backtrail.image import Image
from backtrail.stores.base import Write
from backtrail.stores.cells import ref_key
from backtrail.stores.postgres.lines import image_key, image_of_line
from backtrail.stores.postgres.marked import MARKED, Sent, SentDumper, parameter
from backtrail.stores.postgres.past_triggers import past_triggers
from backtrail.stores.postgres.taken import taken
from backtrail.stores.postgres.values import array
from backtrail.stores.postgres.watch import PostgresWatch
from backtrail.stores.rows import Cells
from backtrail.stores.sql import SqlStore
from backtrail.stores.tables import Column, Table
from backtrail.stores.watch import Action, Watch
from backtrail.stores.writing import SqlTransaction

PINNED = (
    "SELECT set_config('DateStyle', 'ISO, MDY', true), set_config('IntervalStyle', 'postgres', true), set_config('TimeZone', 'UTC', true),"
    " set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '3', true), set_config('lc_monetary', 'C', true),"
    " set_config('array_nulls', 'on', true), set_config('quote_all_identifiers', 'off', true), set_config('standard_conforming_strings', 'on', true),"
    " set_config('xmloption', 'content', true), set_config('lock_timeout', %s, true), set_config('search_path', current_setting('search_path'), true),"
    " set_config('row_security', 'off', true), set_config('random_page_cost', least(current_setting('random_page_cost')::float8, 1.1)::text, true),"
    " (extract(epoch FROM date_trunc('milliseconds', clock_timestamp())) * 1000)::bigint"
)
"""Settings under which text in and text out are exact (shared by every transaction), and the time.

Where row-level security would hide rows, the server refuses the statement: what is not seen is not asked about, and a cascade sees it.
Random pages cost little because keys come in order: at the default of 4, all of a table of some ten thousand rows would be read for each batch.
"""


TOO_LONG = (
    "a key is longer than the ledger can hold on PostgreSQL, which is 2,600 bytes or somewhat more: name the entities by a shorter column,"
    " or leave those rows out with Keys(…, where=)"
)


class PostgresTransaction(SqlTransaction):
    """A transaction on PostgreSQL, read committed, with pinned settings."""

    same = "IS NOT DISTINCT FROM"
    join = "JOIN"
    lock_clause = "FOR NO KEY UPDATE OF t"
    nulls_first = False
    keep_clause = "FOR UPDATE OF t"
    duplicate = psycopg.errors.UniqueViolation
    of_one_row = (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation, psycopg.DataError)
    clashes = (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)

    def __init__(self, store: SqlStore, connection: Connection) -> None:
        super().__init__(store, connection)
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)  # noqa: S101 -- this store makes no other
        self.raw = raw
        # psycopg takes parameters for a statement with marks only; the pinned settings are the transaction's first round trip.
        epoch = self.raw.execute(PINNED, (f"{store.lock_timeout_ms}ms",)).fetchone()
        assert epoch is not None  # noqa: S101 -- a SELECT without FROM has one row
        self._now = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=epoch[-1])

    @property
    def now(self) -> dt.datetime:
        return self._now

    @cached_property
    def text_cursor(self) -> psycopg.Cursor[Any]:
        """A cursor that gives every column as the server's text; kept with its connection, since it takes long to make."""
        kept = self.connection.info
        if "text_cursor" in kept:
            return cast("psycopg.Cursor[Any]", kept["text_cursor"])
        cursor = kept["text_cursor"] = self.raw.cursor()
        cursor.adapters.register_dumper(Sent, SentDumper)
        for info in registry:
            cursor.adapters.register_loader(info.oid, TextLoader)
            if info.array_oid:
                cursor.adapters.register_loader(info.array_oid, TextLoader)
        return cursor

    def rows_of(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.text_cursor.execute(sql, parameters).fetchall()

    def images(self, table: Table, pairs: Sequence[Cells], *, lock: bool) -> Iterator[tuple[int, str, Image]]:
        # As lines of COPY: each is nearly an image already, and no cell of it becomes an object of its own.
        if not pairs:
            return
        by = table.key_columns
        values, parameters = self.values(self.unmarked(by, pairs))
        # One by one, by the key's index: without statistics, as of tables that a migration fills, all of the table would be read for each batch.
        sql = f"{values} CROSS JOIN LATERAL (SELECT * FROM {table.sql} r WHERE {self.equal(by, pairs, 'r')} OFFSET 0) t"
        columns = ", ".join(column.read(f"t.{self.quote(column.name)}") for column in table.columns)
        clause = f" {self.lock_clause}" if lock and table.lockable else ""
        shape, key = table.shape, image_key(table)
        with self.raw.cursor().copy(f"COPY (SELECT k.column1, {columns} FROM {sql}{clause}) TO STDOUT", parameters) as copy:
            for line in copy:
                at, _, cells = bytes(line).partition(b"\t")
                data = image_of_line(cells)
                yield int(at), key(data), Image(shape, data)

    def verbatim(self, sql: str) -> str:
        return sql.replace("%", "%%")

    def values(self, rows: Sequence[Cells]) -> tuple[str, list[Any]]:
        columns: list[Any] = [array(column) for column in zip(*rows, strict=True)]
        marks = ["%s::int[]"] + ["%s::text[]"] * (len(columns) - 1)
        names = ", ".join(f"column{at + 1}" for at in range(len(columns)))
        return f"unnest({', '.join(marks)}) AS k({names})", columns

    def cast(self, expression: str, column: Column) -> str:
        if column.cast == "regclass":
            # The cast from text takes names alone; what reads text takes numbers too.
            expression = f"regclassin(textout({expression}))"
        return f"{expression}::{column.cast}"

    def binary(self, expression: str) -> str:
        return f'{expression}::text COLLATE "C"'

    def insert(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> None:
        if not columns:
            for _ in rows:
                self.raw.execute(f"INSERT INTO {table.sql} DEFAULT VALUES", ())
            self._own(table, "insert", len(rows))
            return
        if self._any_marked([table.by_name[name] for name in columns], rows):
            for row in rows:
                self.insert_one(table, columns, row)
            return
        names = ", ".join(map(self.quote, columns))
        if self.watch is not None:
            values, parameters = self.values([(at, *row) for at, row in enumerate(rows)])
            cells = ", ".join(self.cast(f"k.column{at + 2}", table.by_name[name]) for at, name in enumerate(columns))
            sql = f"INSERT INTO {table.sql} AS t ({names}) OVERRIDING SYSTEM VALUE SELECT {cells} FROM {values}"
            self._execute(table, "insert", sql, parameters, len(rows))
            return
        with self.raw.cursor().copy(f"COPY {table.sql} ({names}) FROM STDIN".replace("%%", "%")) as copy:
            for row in rows:
                copy.write_row(row)

    def insert_one(self, table: Table, columns: Sequence[str], row: Cells) -> list[Any]:
        names = ", ".join(map(self.quote, columns))
        marks = ", ".join(f"%s::{table.by_name[name].cast}" for name in columns)
        body = f"({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})" if columns else "DEFAULT VALUES"
        key = ", ".join(column.read(self.quote(column.name)) for column in table.key_columns)
        sql = f"INSERT INTO {table.sql} {body} RETURNING {key or 1}"
        found = self.rows_of(sql, [parameter(table.by_name[name], cell) for name, cell in zip(columns, row, strict=True)])
        self._own(table, "insert", len(found))
        if not found:
            raise BadValue(f"a row of {table.name} was written and is not there: a trigger took it away")
        return list(found[0])

    def update(self, table: Table, columns: Sequence[str], rows: Sequence[tuple[Cells, Cells]]) -> None:
        written = [table.by_name[name] for name in columns]
        if self._any_marked(written, [cells for _, cells in rows]):
            for key, cells in rows:
                self._update_one(table, written, key, cells)
            return
        flat = [(at, *key, *cells) for at, (key, cells) in enumerate(rows)]
        values, parameters = self.values(self.unmarked(table.key_columns, flat))
        first = len(table.key) + 2
        sets = ", ".join(
            f"{self.quote(name)} = {self.cast(f'k.column{first + at}', table.by_name[name])}" for at, name in enumerate(columns)
        )
        sql = f"UPDATE {table.sql} t SET {sets} FROM {values} WHERE {self._key(table)}"
        self._execute(table, "update", sql, parameters, len(rows))

    def _update_one(self, table: Table, columns: Sequence[Column], key: Cells, cells: Cells) -> None:
        values, parameters = self.values(self.unmarked(table.key_columns, [(0, *key)]))
        sets = ", ".join(f"{self.quote(column.name)} = %s::{column.cast}" for column in columns)
        sent = [parameter(column, cell) for column, cell in zip(columns, cells, strict=True)]
        sql = f"UPDATE {table.sql} t SET {sets} FROM {values} WHERE {self._key(table)}"
        number = self.text_cursor.execute(sql, [*sent, *parameters]).rowcount
        _demand_no_more(table, number, 1)
        self._own(table, "update", number)

    def _any_marked(self, columns: Sequence[Column], rows: Sequence[Cells]) -> bool:
        """Whether a value must be sent in binary form, which only a parameter can have."""
        places = [at for at, column in enumerate(columns) if column.marked]
        return any(type(row[at]) is str and MARKED.search(row[at]) for row in rows for at in places)

    def unmarked(self, columns: Sequence[Column], rows: Sequence[Cells]) -> Sequence[Cells]:
        for at, column in enumerate(columns, 1):
            if column.marked:
                rows = [(*row[:at], None if row[at] is None else MARKED.sub("", row[at]), *row[at + 1 :]) for row in rows]
        return rows

    def delete(self, table: Table, keys: Sequence[Cells]) -> None:
        values, parameters = self.values(self.unmarked(table.key_columns, [(at, *key) for at, key in enumerate(keys)]))
        sql = f"DELETE FROM {table.sql} t USING {values} WHERE {self._key(table)}"
        self._execute(table, "delete", sql, parameters, len(keys))

    def _execute(self, table: Table, action: Action, sql: str, parameters: Sequence[Any], asked: int) -> None:
        """Nothing; the statement wrote the rows that were asked for, and whoever watches was told which these were and when.

        Raises:
            BadValue: it wrote more.
        """
        if self.watch is None:
            _demand_no_more(table, self.raw.execute(sql, parameters).rowcount, asked)
            return
        keys = ", ".join(column.read(f"t.{self.quote(column.name)}") for column in table.key_columns)
        # Of a row in a partition, the server cannot return when it was written.
        stamped = action != "delete" and not table.parted
        rows = self.rows_of(f"{sql} RETURNING {'t.cmin' if stamped else 'NULL'}, {keys}", parameters)
        _demand_no_more(table, len(rows), asked)
        stamps = {} if not stamped else {ref_key([table.tag(cell) for cell in key]): stamp for stamp, *key in rows}
        self._own(table, action, len(rows), stamps)

    def _key(self, table: Table) -> str:
        return " AND ".join(
            f"t.{self.quote(column.name)} = {self.cast(f'k.column{at + 2}', column)}"
            for at, column in enumerate(table.key_columns)
        )

    def watcher(self, tables: Sequence[Table]) -> Watch:
        return PostgresWatch(self, tables)

    def quietly(self, table: Table, columns: Collection[str]) -> AbstractContextManager[None]:
        return past_triggers(self, table, columns)

    def taken(self, error: Exception, writes: Sequence[Write]) -> Quarantine | None:
        return taken(self, error, writes)

    def refused_at(self, table: Table, error: Exception) -> int | None:
        # The context says so in the server's language.
        bare = table.name.rpartition(".")[2]
        context = error.diag.context if isinstance(error, psycopg.Error) else None
        line = re.search(rf"COPY {re.escape(bare)}, \D{{1,20}}(\d+)", context or "")
        return None if line is None else int(line[1]) - 1

    def spare(self, column: Column, number: int) -> Any:
        if column.key_type in {"date", "datetime"}:
            return (dt.date(1, 1, 1) + dt.timedelta(days=number)).isoformat()
        if column.key_type == "bytes":
            return "\\x" + uuid.uuid4().hex
        return str(number - 2**15) if column.key_type in {"int", "decimal", "number"} else str(uuid.uuid4())

    def defer(self) -> None:
        self.raw.execute("SET CONSTRAINTS ALL DEFERRED")

    def normal(self, table: Table, columns: Sequence[str], rows: Sequence[Cells]) -> Sequence[Cells]:
        written = [table.by_name[name] for name in columns]
        if self._any_marked(written, rows):
            return rows if len(rows) == 1 else [self.normal(table, columns, [row])[0] for row in rows]
        values, parameters = self.values([(at, *row) for at, row in enumerate(rows)])
        cells = (
            column.read(f"{self.cast(f'k.column{at}', column)}::{self.verbatim(column.type)}")
            for at, column in enumerate(written, 2)
        )
        try:
            with self.connection.begin_nested():
                return self.rows_of(f"SELECT {', '.join(cells)} FROM {values} ORDER BY k.column1", parameters)
        except (psycopg.DataError, psycopg.IntegrityError):
            return rows if len(rows) == 1 else [self.normal(table, columns, [row])[0] for row in rows]

    def settle(self) -> None:
        # Once this is undone, whatever waits for the commit goes on waiting.
        self.raw.execute("SAVEPOINT settled")
        self.raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self.raw.execute("ROLLBACK TO SAVEPOINT settled")
        self.raw.execute("RELEASE SAVEPOINT settled")

    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        drawn = [table.by_name[name] for name in columns]
        if any(column.default is None for column in drawn):
            return None
        # The expressions are the catalogue's own text of the columns' defaults; a column may round what they give.
        given = ", ".join(f"({column.default})::{column.type}" for column in drawn)
        sql = f"SELECT {self.verbatim(given)} FROM generate_series(1, {int(number)})"
        return [list(row) for row in self.rows_of(sql)]

    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names, types = ", ".join(map(self.quote, columns)), self._types(table, columns)
        try:
            with self.raw.cursor().copy(f"COPY {self._in_ledger(table)} ({names}) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
        except psycopg.errors.ProgramLimitExceeded as error:
            raise AuthorMistake(TOO_LONG) from error  # no other text of the ledger is in an index

    def _types(self, table: str, columns: Sequence[str]) -> list[int]:
        """The types' numbers of a ledger's columns; kept with the connection."""
        known = self.connection.info.setdefault("types", {})
        if table not in known:
            sql = "SELECT attname, atttypid::int FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            known[table] = dict(self.raw.execute(sql, (self._in_ledger(table),)).fetchall())
        return [known[table][name] for name in columns]

    def _in_ledger(self, table: str) -> str:
        schema, _, name = table.rpartition(".")
        return f"{schema or 'backtrail'}.{self.quote(name)}"


def _demand_no_more(table: Table, written: int, asked: int) -> None:
    """Nothing, where no row was written beside those that were asked for.

    Raises:
        BadValue: several rows answer to one key.
    """
    if written > asked:
        raise BadValue(f"several rows of {table.name} have one key, so that they cannot be told apart")
