"""SQL statements as text: the same that is shown, recorded and run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from backtrail.schema.step import Step


def plain(connection: Connection) -> sa.Dialect:
    """The connection's dialect for text that people read and a driver takes without parameters: no % is doubled."""
    kind: Any = type(connection.dialect)
    dialect: Any = kind(paramstyle="named")
    if connection.dialect.name == "postgresql":
        dialect._backslash_escapes = connection.dialect._backslash_escapes  # type: ignore[attr-defined]
    return dialect  # type: ignore[no-any-return]


def text(connection: Connection, statement: str | sa.Executable | sa.schema.ExecutableDDLElement) -> str:
    """The statement with its values in it."""
    if isinstance(statement, str):
        return statement
    options = {} if isinstance(statement, sa.schema.ExecutableDDLElement) else {"compile_kwargs": {"literal_binds": True}}
    clause: Any = statement
    return str(clause.compile(dialect=plain(connection), **options)).strip()


def on_one_line(statement: str) -> str:
    """The statement, however it was laid out."""
    return " ".join(statement.split())


def verbatim(connection: Connection, statement: str) -> None:
    """Nothing; the statement was run. Without parameters the driver leaves % and : alone, which a person's SQL may hold."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


_AT_ONCE = {"sqlite": "PRAGMA defer_foreign_keys = OFF", "postgresql": "SET CONSTRAINTS ALL IMMEDIATE"}


def check_at_once(connection: Connection) -> None:
    """Nothing; constraints are checked with each statement from now on, so that a refusal names its step."""
    verbatim(connection, _AT_ONCE[connection.dialect.name])


def insertion(connection: Connection, step: Step, row: Mapping[str, Any]) -> str:
    """The statement that inserts the row into the step's table, to be shown."""
    columns = [sa.column(name, sa.literal(value).type) for name, value in row.items()]
    statement = sa.insert(sa.table(str(step.table), *columns, schema=step.schema)).values(dict(row))
    try:
        return text(connection, statement)
    except (SQLAlchemyError, NotImplementedError):
        # A value that has no literal form (bytes, JSON): its place is shown.
        return str(statement.compile(dialect=plain(connection)))
