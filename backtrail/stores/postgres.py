"""PostgreSQL: every value as the server's own text, under settings pinned for the transaction; whole batches through COPY and unnest."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, ClassVar, cast

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.adapt import Dumper, PyFormat, Transformer
from psycopg.postgres import types as registry
from psycopg.types.string import TextLoader
from sqlalchemy.engine import Connection, Engine

from backtrail.errors import (
    BacktrailError,
    BadValue,
    ConstraintFailed,
    DatabaseFault,
    PermissionMissing,
    Quarantine,
    Retry,
    SchemaChanged,
    StorageFull,
    UnsuitableDatabase,
    UsageError,
    clash,
)
from backtrail.migration import Keys, Migration
from backtrail.stores.base import Write
from backtrail.stores.cells import ref_key, tag_server_text, tag_server_texts
from backtrail.stores.past_triggers import past_triggers
from backtrail.stores.rows import Cells
from backtrail.stores.sql import SqlStore
from backtrail.stores.tables import Column, ForeignKey, Table
from backtrail.stores.taken_postgres import taken
from backtrail.stores.watch import Action, Watch
from backtrail.stores.watch_postgres import PostgresWatch
from backtrail.stores.writing import SqlTransaction
from backtrail.values import Opaque

PINNED = (
    "SELECT set_config('DateStyle', 'ISO, MDY', true), set_config('IntervalStyle', 'postgres', true), set_config('TimeZone', 'UTC', true),"
    " set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '3', true), set_config('lc_monetary', 'C', true),"
    " set_config('xmloption', 'content', true), set_config('lock_timeout', %s, true), set_config('search_path', current_setting('search_path'), true),"
    " (extract(epoch FROM date_trunc('milliseconds', clock_timestamp())) * 1000)::bigint"
)
"""Settings under which text in and text out are exact (shared by every transaction), and the time."""

JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
JSON_OIDS = {114, 3802}
TEXT_OIDS = {18, 19, 25, 1042, 1043}
KEY_TYPES = {
    20: "int",
    21: "int",
    23: "int",
    26: "int",
    2950: "uuid",
    16: "bool",
    17: "bytes",
    1082: "date",
    1114: "datetime",
    1184: "datetime",
    1700: "decimal",
    700: "number",
    701: "number",
} | dict.fromkeys(TEXT_OIDS, "text")
NUMBERS = {20, 21, 23, 26, 700, 701, 1700}
INTERVAL, TIMESTAMP = 1186, 1114
TIMESTAMPS, INTERVALS = 1115, 1187
"""Arrays of them."""
JSON_ARRAY_OIDS = {199, 3807}
UNEQUAL_OIDS = {700, 701, 1042, 1186, 1700, 3802}
"""Types of which, without a length, different values are equal: -0 and 0, 1.0 and 1.00, 30 days and a month."""

NAMED_OIDS = {24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191}
NAMED_ARRAYS = {1008, 2207, 2208, 2209, 2210, 2211, 3735, 3770, 4090, 4097, 4192}
"""regproc, regclass and the like: they print a name, which several things can have, and which changes when the thing is renamed."""
XML, XMLS, BOXES = 142, 143, 1020
EXACT = {
    **dict.fromkeys(NAMED_OIDS, "{}::oid"),
    **dict.fromkeys(NAMED_ARRAYS, "{}::oid[]"),
    XML: "{}::text",  # xml is printed without its declaration, and kept with it
    XMLS: "{}::text[]",
}
"""What reads columns whose types print less than they hold."""
FLOAT_OIDS = {700, 701, 600, 601, 602, 603, 604, 628, 718}
"""Numbers, and points and what is made of them: a NaN has a sign and a payload, which no text shows."""
SENT = "encode(record_send(ROW({})), 'hex')"
MARK = "\x02"
MARKED = re.compile(MARK + r"([0-9a-f]+)\Z")
"""What stands behind a text that does not give its value again: a row of the value alone in binary form, in hexadecimal digits."""


# -- values -----------------------------------------------------------------------------------------------------------


def decoder(oid: int) -> Callable[[str], Any]:
    """What turns the server's text of a value of that type into a Python value; `Opaque` where Python has none."""
    if oid in TEXT_OIDS:
        return str
    if oid in {20, 21, 23, 26} or oid in NAMED_OIDS:
        return int
    if oid in JSON_OIDS:
        return _or_opaque(json.loads)
    if oid == INTERVAL:
        # psycopg makes 30 days of a month, and a day of 24 hours, which are other values.
        load = _loaded(oid)
        return lambda text: value if interval_text(value := load(text)) == text else Opaque(text)
    if oid in {TIMESTAMP, TIMESTAMPS}:
        load = _loaded(oid)
        return lambda text: _aware(load(text))
    info = registry.get(oid)
    if info is None:
        return str
    return Opaque if oid == INTERVALS or info.name.endswith(("range", "multirange")) else _loaded(oid)


def interval_text(value: Any) -> str:
    """The server's text of the interval that has these days and this time, both of one sign; empty for what is none."""
    if not isinstance(value, dt.timedelta):
        return ""
    sign, value = ("-", -value) if value < dt.timedelta() else ("", value)
    seconds, fraction = value.seconds, f".{value.microseconds:06d}".rstrip("0").rstrip(".")
    time = f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
    days = f"{sign}{value.days} day{'' if (sign, value.days) == ('', 1) else 's'}" if value.days else ""
    return f"{days} {time}" if days and value - dt.timedelta(value.days) else days or time


def marked_decoder(decode: Callable[[str], Any]) -> Callable[[str], Any]:
    """The decoder for texts of which some have the binary form behind them."""
    return lambda text: Opaque(text[: found.start()], text) if (found := MARKED.search(text)) else decode(text)


class Sent:
    """A value in the binary form of its type."""

    def __init__(self, row: str) -> None:
        # A row of one column: how many columns, and its type, its length and its bytes.
        data = bytes.fromhex(row)
        self.oid, self.data = int.from_bytes(data[4:8]), data[12:]


class SentDumper(Dumper):
    """Sends it as what it is."""

    format = pq.Format.BINARY

    def get_key(self, obj: Any, format: PyFormat) -> Any:
        return self.cls, obj.oid

    def upgrade(self, obj: Any, format: PyFormat) -> SentDumper:
        dumper = SentDumper(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Any) -> bytes:
        return bytes(obj.data)


def parameter(column: Column, cell: Any) -> Any:
    """The cell as a parameter: its text, or its binary form where it has one."""
    found = MARKED.search(cell) if column.marked and cell is not None else None
    return Sent(found[1]) if found else cell


def _aware(value: Any) -> Any:
    # A timestamp without zone is taken as UTC: authors never meet a naive time.
    if isinstance(value, list):
        return [_aware(item) for item in value]
    return value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value


def _loaded(oid: int) -> Callable[[str], Any]:
    loader = Transformer(None).get_loader(oid, pq.Format.TEXT)
    # An array that does not begin at 1 says so before its elements; a list does not.
    return _or_opaque(lambda text: Opaque(text) if text.startswith("[") and "]={" in text else loader.load(text.encode()))


def _or_opaque(load: Callable[[str], Any]) -> Callable[[str], Any]:
    def decode(text: str) -> Any:
        try:
            return load(text)
        except (psycopg.DataError, ValueError, OverflowError, ArithmeticError, RecursionError):
            return Opaque(text)

    return decode


def encoder(table: str, name: str, oid: int) -> Callable[[Any], str]:
    """What turns Python values into text that the server reads as a value of that type."""
    is_json = oid in JSON_OIDS

    def encode(value: Any) -> str:
        if isinstance(value, Opaque):
            return str(value.exact)
        try:
            text = JSON.encode(value) if is_json else value if type(value) is str else server_text(value, oid)
            text.encode()  # a lone surrogate is a ValueError
        except (TypeError, ValueError) as error:
            raise BadValue(f"{table}.{name} cannot hold a value of type {type(value).__name__}") from error
        if "\0" in text:
            raise BadValue(f"{table}.{name} cannot hold text with a NUL character")
        return text

    return encode


def server_text(value: Any, oid: int = 0) -> str:
    """The value as text for the server's input functions.

    Raises:
        TypeError: no type of PostgreSQL takes it.
    """
    match value:
        case enum.Enum():
            return server_text(value.value, oid)
        case str():
            return str(value)
        case bool():
            return "t" if value else "f"
        case int() | decimal.Decimal() | uuid.UUID():
            return str(value)
        case float():
            return repr(value).replace("inf", "Infinity").replace("nan", "NaN")
        case dt.datetime():
            # A timestamp without zone drops the offset of its text, so the time goes there as UTC.
            return str(value.astimezone(dt.UTC).replace(tzinfo=None)) if value.tzinfo and oid == TIMESTAMP else value.isoformat()
        case dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return interval_text(value)
        case bytes() | bytearray() | memoryview():
            return "\\x" + bytes(value).hex()
        case list() | tuple():
            return "{" + (";" if oid == BOXES else ",").join(_element(item, oid) for item in value) + "}"
        case dict() | set() | frozenset():
            raise TypeError
    if type(value).__module__ not in {"ipaddress", "fractions"}:
        raise TypeError  # the text of an unknown object is its address, or worse, looks like a value
    return str(value)


def _array(column: Sequence[Any]) -> str:
    """An array of texts or numbers as the server reads it; psycopg's own takes as long as finding the rows."""
    if str in map(type, column):
        texts = ["NULL" if cell is None else '"' + cell.replace("\\", "\\\\").replace('"', '\\"') + '"' for cell in column]
    else:
        texts = ["NULL" if cell is None else str(cell) for cell in column]
    return "{" + ",".join(texts) + "}"


def _element(value: Any, oid: int) -> str:
    if value is None:
        return "NULL"
    as_json = oid in JSON_ARRAY_OIDS
    if isinstance(value, (list, tuple)) and not as_json:
        return server_text(value, oid)
    text = (
        json.dumps(value, ensure_ascii=False, allow_nan=False)
        if as_json
        else server_text(value, TIMESTAMP if oid == TIMESTAMPS else 0)
    )
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- the transaction --------------------------------------------------------------------------------------------------


class PostgresTransaction(SqlTransaction):
    """A transaction on PostgreSQL, read committed, with pinned settings."""

    same = "IS NOT DISTINCT FROM"
    join = "JOIN"
    lock_clause = "FOR NO KEY UPDATE OF t"
    nulls_first = False
    keep_clause = "FOR UPDATE OF t"
    duplicate = psycopg.errors.UniqueViolation
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

    def verbatim(self, sql: str) -> str:
        return sql.replace("%", "%%")

    def values(self, rows: Sequence[Cells]) -> tuple[str, list[Any]]:
        columns: list[Any] = [_array(column) for column in zip(*rows, strict=True)]
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
            self._execute(table, "insert", sql, parameters)
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
        self._execute(table, "update", f"UPDATE {table.sql} t SET {sets} FROM {values} WHERE {self._key(table)}", parameters)

    def _update_one(self, table: Table, columns: Sequence[Column], key: Cells, cells: Cells) -> None:
        values, parameters = self.values(self.unmarked(table.key_columns, [(0, *key)]))
        sets = ", ".join(f"{self.quote(column.name)} = %s::{column.cast}" for column in columns)
        sent = [parameter(column, cell) for column, cell in zip(columns, cells, strict=True)]
        sql = f"UPDATE {table.sql} t SET {sets} FROM {values} WHERE {self._key(table)}"
        self._own(table, "update", self.text_cursor.execute(sql, [*sent, *parameters]).rowcount)

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
        self._execute(table, "delete", f"DELETE FROM {table.sql} t USING {values} WHERE {self._key(table)}", parameters)

    def _execute(self, table: Table, action: Action, sql: str, parameters: Sequence[Any]) -> None:
        """Nothing; the statement was carried out, and whoever watches was told which rows it wrote and when."""
        if self.watch is None:
            self.raw.execute(sql, parameters)
            return
        keys = ", ".join(column.read(f"t.{self.quote(column.name)}") for column in table.key_columns)
        # Of a row in a partition, the server cannot return when it was written.
        stamped = action != "delete" and not table.parted
        rows = self.rows_of(f"{sql} RETURNING {'t.cmin' if stamped else 'NULL'}, {keys}", parameters)
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

    def spare(self, column: Column, number: int) -> Any:
        if column.key_type in {"date", "datetime"}:
            return (dt.date(1, 1, 1) + dt.timedelta(days=number)).isoformat()
        if column.key_type == "bytes":
            return "\\x" + uuid.uuid4().hex
        return str(number - 2**15) if column.key_type in {"int", "decimal", "number"} else str(uuid.uuid4())

    def defer(self) -> None:
        self.raw.execute("SET CONSTRAINTS ALL DEFERRED")

    def draw_keys(self, table: Table, columns: Sequence[str], number: int) -> list[Cells] | None:
        defaults = [table.by_name[name].default for name in columns]
        if None in defaults:
            return None
        # The expressions are the catalogue's own text of the columns' defaults.
        sql = f"SELECT {self.verbatim(', '.join(map(str, defaults)))} FROM generate_series(1, {int(number)})"
        return [list(row) for row in self.rows_of(sql)]

    def bulk(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names, types = ", ".join(map(self.quote, columns)), self._types(table, columns)
        with self.raw.cursor().copy(f"COPY {self._in_ledger(table)} ({names}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

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


# -- the store --------------------------------------------------------------------------------------------------------

COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, a.attgenerated <> '', a.attidentity <> '',
       pg_get_expr(d.adbin, d.adrelid), format_type(a.atttypid, -1),
       (WITH RECURSIVE base(oid) AS (SELECT t.oid UNION ALL SELECT d.typbasetype FROM base JOIN pg_type d USING (oid) WHERE d.typtype = 'd')
        SELECT b.oid FROM base b JOIN pg_type p USING (oid) WHERE p.typtype <> 'd')::int, t.typname = 'citext' OR coalesce(NOT c.collisdeterministic, false),
       pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(r.relname), a.attname),
       (WITH RECURSIVE part(oid) AS (
          SELECT t.oid UNION
          SELECT x.oid FROM part JOIN pg_type i USING (oid) CROSS JOIN LATERAL (
            SELECT i.typbasetype WHERE i.typtype = 'd' UNION ALL SELECT i.typelem WHERE i.typcategory = 'A'
            UNION ALL SELECT rngsubtype FROM pg_range WHERE i.typtype IN ('r', 'm') AND i.oid IN (rngtypid, rngmultitypid)
            UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE i.typtype = 'c' AND f.attrelid = i.typrelid AND f.attnum > 0 AND NOT f.attisdropped
          ) x(oid))
        SELECT array_agg(CASE WHEN i.typsend = 0 THEN 0 ELSE i.oid END::bigint) FROM part JOIN pg_type i USING (oid))
FROM pg_attribute a
JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

UNIQUE = """
SELECT i.indisprimary, array_agg(a.attname ORDER BY k.ord)
FROM pg_index i CROSS JOIN unnest(i.indkey::int[]) WITH ORDINALITY k(num, ord)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC
"""

FOREIGN = """
SELECT c.conrelid::int, c.confrelid::int,
       (SELECT array_agg(a.attname ORDER BY k.ord) FROM unnest(c.conkey) WITH ORDINALITY k(num, ord)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
       (SELECT array_agg(a.attname ORDER BY k.ord) FROM unnest(c.confkey) WITH ORDINALITY k(num, ord)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num),
       CASE WHEN pg_table_is_visible(o.oid) THEN o.relname ELSE n.nspname || '.' || o.relname END,
       c.condeferrable, c.confupdtype NOT IN ('a', 'r')
FROM pg_constraint c JOIN pg_class o ON o.oid = CASE WHEN c.conrelid = %s THEN c.confrelid ELSE c.conrelid END
JOIN pg_namespace n ON n.oid = o.relnamespace
WHERE c.contype = 'f' AND c.conparentid = 0 AND (c.conrelid = %s OR c.confrelid = %s)
"""

TRIGGERS = """
WITH part AS (SELECT %s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%s::oid::regclass))
SELECT tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM part) AND NOT tgisinternal AND tgenabled <> 'D'
UNION SELECT rulename FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM part) AND ev_type <> '1' AND ev_enabled <> 'D' ORDER BY 1
"""
"""Those of a table and its partitions."""

CLASHING = """
SELECT DISTINCT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary AND (
    a.attnum = ANY (i.indkey::int[]) OR EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
"""
"""The columns of unique and exclusion indexes, also those of their expressions and conditions."""


class PostgresStore(SqlStore):
    """A PostgreSQL database."""

    kind = "postgres"
    driver_errors: ClassVar[tuple[type[Exception], ...]] = (psycopg.Error,)

    def _make_engine(self) -> Engine:
        url = sa.make_url(self.url).set(drivername="postgresql+psycopg")
        # No prepared statements and no session settings: both break behind a pooler in transaction mode.
        arguments = {"prepare_threshold": None, "connect_timeout": 10, "application_name": "backtrail", "client_encoding": "utf8"}
        # Native hstore would come back as dicts, whatever a cursor of ours registers.
        return sa.create_engine(
            url, pool_size=2, max_overflow=2, pool_pre_ping=True, use_native_hstore=False, connect_args=arguments
        )

    def _options(self, write: bool) -> dict[str, Any]:
        return {} if write else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def _transaction(self, connection: Connection) -> PostgresTransaction:
        return PostgresTransaction(self, connection)

    def _is_dead(self, connection: Connection) -> bool:
        raw = connection.connection.driver_connection
        return bool(raw.closed or raw.broken) if isinstance(raw, psycopg.Connection) else True

    def mark(self, column: Column) -> str:
        return f"%s::{column.cast}"

    def _table_names(self, connection: Connection) -> list[str]:
        sql = (
            "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN relname ELSE nspname || '.' || relname END FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND nspname NOT IN ('pg_catalog', 'information_schema', 'backtrail') AND nspname NOT LIKE 'pg_%%'"
        )
        return [name for (name,) in connection.exec_driver_sql(sql, ())]

    def _reflect(self, connection: Connection, name: str) -> Table | None:
        schema, _, bare = name.rpartition(".")
        found = connection.exec_driver_sql(
            "SELECT c.oid::int, n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.relname = %s AND pg_table_is_visible(c.oid) OR c.relname = %s AND n.nspname = %s)",
            (name, bare, schema),
        ).first()
        if found is None:
            return None
        oid, schema, bare, kind = found
        columns = tuple(_column(name, row) for row in connection.exec_driver_sql(COLUMNS, (oid,)))
        nullable = {column.name for column in columns if column.nullable}
        unique = [(primary, tuple(names)) for primary, names in connection.exec_driver_sql(UNIQUE, (oid,))]
        key = next((names for primary, names in unique if primary or not set(names) & nullable), ())
        targets, incoming, outgoing = set(), [], []
        for source, target, names, others, other, deferrable, follows in connection.exec_driver_sql(FOREIGN, (oid, oid, oid)):
            if source == oid:
                targets.add(name if target == oid else other)
                outgoing.append(
                    ForeignKey(name, tuple(names), name if target == oid else other, tuple(others), deferrable, follows)
                )
            if target == oid:
                incoming.append(
                    ForeignKey(name if source == oid else other, tuple(names), name, tuple(others), deferrable, follows)
                )
        return Table(
            name=name,
            sql=f"{self.quote(schema)}.{self.quote(bare)}",
            columns=columns,
            tag=tag_server_text,
            tag_all=tag_server_texts,
            key=key,
            unique=frozenset(frozenset(names) for _, names in unique),
            targets=frozenset(targets),
            incoming=tuple(incoming),
            outgoing=tuple(outgoing),
            clashing=frozenset(row[0] for row in connection.exec_driver_sql(CLASHING, (oid,))) - set(key),
            triggers=tuple(row[0] for row in connection.exec_driver_sql(TRIGGERS, (oid, oid))),
            parted=kind == "p",
            lockable=kind in ("r", "p"),
        )

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
            names = (
                {rows.table for rows in migration.reads} | set(migration.writes) | {keys.table for keys in migration.all_keys()}
            )
            for name in sorted(names):
                sql = "SELECT row_security_active(%s::regclass)"
                if tx.rows_of(sql, [self.table(name).sql.replace("%%", "%")])[0][0] == "t":
                    raise UnsuitableDatabase(
                        f"row-level security would hide rows of {name} from this user: run as its owner, or as a user with BYPASSRLS"
                    )

    def translate(self, error: Exception) -> BacktrailError:
        if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, Exception):
            return self.translate(error.orig)
        if isinstance(error, sa.exc.TimeoutError):
            return Retry("no free connection to the database")
        if not isinstance(error, psycopg.Error):
            return DatabaseFault(type(error).__name__)
        return _translated(error)


def _column(table: str, row: Any) -> Column:
    name, kind, nullable, generated, _identity, default, cast, oid, folds, sequence, parts = row
    cast = cast.replace("%", "%%")
    exact, marked = _exact(oid, cast, set(parts))
    decode = decoder(oid)
    if sequence is not None:
        default = "nextval('" + sequence.replace("'", "''") + "'::regclass)"
    number = oid in NUMBERS
    return Column(
        name=name,
        type=kind,
        nullable=nullable,
        decode=marked_decoder(decode) if marked else decode,
        encode=encoder(table, name, oid),
        order=_by_value if number and oid not in {20, 21, 23, 26} else int if number else str,
        cast=cast,
        key_type=KEY_TYPES.get(oid, "other"),
        key=decoder(oid) if oid in KEY_TYPES else str,
        generated=generated,
        default=default,
        folds=folds or (oid in UNEQUAL_OIDS and kind.replace("%", "%%") == cast),
        exact=exact,
        marked=marked,
    )


def _by_value(cell: str) -> tuple[bool, decimal.Decimal]:
    """What sorts numbers as the server does: NaN, which Python refuses to compare, comes last."""
    value = decimal.Decimal(MARKED.sub("", cell))
    return value.is_nan(), decimal.Decimal() if value.is_nan() else value


def _exact(oid: int, cast: str, parts: set[int]) -> tuple[str, bool]:
    """What reads a column of that type, made of those parts, exactly, and whether that may be marked with the binary form."""
    if oid in EXACT or 0 in parts:  # 0 is a part that has no binary form
        return EXACT.get(oid, "{}"), False
    text = f"{{}}::text || chr({ord(MARK)}) || {SENT}"
    if parts & NAMED_OIDS:
        return text, True
    if parts & FLOAT_OIDS:
        again = SENT.replace("{}", f"{{}}::text::{cast}")
        return f"CASE WHEN position('NaN' IN {{}}::text) > 0 AND {SENT} <> {again} THEN {text} ELSE {{}}::text END", True
    return "{}", False


REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "is not permitted to log in",
)
"""What a server says to whom it does not let in; libpq passes its words on, and no code."""

REFUSED = "the database refuses this user, or does not exist: check the user, password and name of the database in database_url"


def _translated(error: psycopg.Error) -> BacktrailError:
    """One of ours, by the error's SQLSTATE (PostgreSQL's documentation, appendix A).

    Only names go into the message: the server's own text quotes values of the user's columns.
    """
    diag, state = error.diag, error.sqlstate
    name = type(error).__name__
    if state is None:
        # No answer from the server: the connection was not made, or was lost.
        if isinstance(error, psycopg.OperationalError):
            if any(words in str(error) for words in REFUSALS):
                return UnsuitableDatabase(REFUSED)
            return Retry("the connection to the database was lost or refused")
        return (
            BadValue(f"a value cannot be sent to the database ({name})")
            if isinstance(error, psycopg.DataError)
            else DatabaseFault(name)
        )
    where = ".".join(part for part in (diag.table_name, diag.column_name) if part)
    function = re.search(r"function (\S+?)\(", diag.context or "")
    what = name + "".join(
        f"{word}{part}"
        for word, part in (
            (" on ", where),
            (", constraint ", diag.constraint_name),
            (", in the function ", function and function[1]),
        )
        if part
    )
    if state in {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "53300", "25P03", "57P05"} or state.startswith(
        "08"
    ):
        return Retry(what)
    if state.startswith("28") or state == "3D000":
        return UnsuitableDatabase(f"the database refuses this user or does not exist ({name}): check database_url")
    if state in {"42501", "25006"}:
        return PermissionMissing(f"{diag.message_primary}: the database user may not do what the migration does")
    if state.startswith(("53", "58")):
        return StorageFull(f"{what}: the server has no room or cannot write its files")
    if state == "0A000" and "cached plan" in str(error):
        return Retry(what)
    if state in {"23505", "23P01"}:
        return clash(what)
    if state.startswith(("22", "23", "P0", "44", "27", "54", "21", "09", "2F", "38", "39")):
        return ConstraintFailed(what)
    if state.startswith("42"):
        # The statements are ours and right for the schema that was reflected, so it is another now.
        return SchemaChanged(f"{what}: {diag.message_primary}" if state in {"42P01", "42703"} else what)
    return DatabaseFault(f"{what} ({state})")
