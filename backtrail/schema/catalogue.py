"""What the database's catalogue says about a step's table."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError

from backtrail.errors import UnknownName
from backtrail.schema.statements import plain
from backtrail.schema.step import Step

_ATTACHED = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = :name COLLATE NOCASE",
    "postgresql": (
        "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:name)"
        " UNION SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = to_regclass(:name)"
    ),
}


@contextmanager
def _quiet() -> Iterator[None]:
    # A column of a type that SQLAlchemy does not know is there all the same, and nothing more is asked here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        yield


def table(step: Step) -> sa.TableClause:
    """The step's table, to be named in a statement."""
    return sa.table(str(step.table), schema=step.schema)


def quoted(connection: Connection, step: Step) -> str:
    """The step's table as a statement names it."""
    return plain(connection).identifier_preparer.format_table(table(step))


def has_table(connection: Connection, step: Step) -> bool:
    """Whether the step's table is there."""
    return sa.inspect(connection).has_table(str(step.table), schema=step.schema)


def demand_table(connection: Connection, step: Step) -> None:
    """Nothing, where the step's table is there.

    Raises:
        UnknownName: it is not; with the nearest that is.
    """
    if not has_table(connection, step):
        names = sa.inspect(connection).get_table_names(schema=step.schema)
        raise UnknownName("table", step.place, [f"{step.schema}.{name}" if step.schema else name for name in names])


def columns(connection: Connection, step: Step) -> dict[str, Mapping[str, Any]]:
    """The columns of the step's table by name; none where there is no table."""
    try:
        with _quiet():
            found = sa.inspect(connection).get_columns(str(step.table), schema=step.schema)
    except NoSuchTableError:
        return {}
    return {column["name"]: column for column in found}


def state(connection: Connection, step: Step) -> dict[str, Any] | None:
    """What `alter_column` can change about the step's column; None where there is no such column."""
    column = columns(connection, step).get(str(step.name))
    return None if column is None else {"nullable": column["nullable"], "default": column["default"]}


def attached(connection: Connection, step: Step) -> set[str]:
    """The names of the indexes and constraints of the step's table."""
    dialect = connection.dialect.name
    name = step.table if dialect == "sqlite" else quoted(connection, step)
    return set(connection.execute(sa.text(_ATTACHED[dialect]), {"name": name}).scalars())


def reflected(connection: Connection, step: Step) -> sa.Table:
    """The step's table with the types of its columns."""
    with _quiet():
        return sa.Table(str(step.table), sa.MetaData(), schema=step.schema, autoload_with=connection, resolve_fks=False)


def primary_key(connection: Connection, step: Step) -> list[str]:
    """The columns of the primary key of the step's table."""
    return sa.inspect(connection).get_pk_constraint(str(step.table), schema=step.schema)["constrained_columns"]


def count(connection: Connection, step: Step, condition: sa.ColumnElement[bool] | None = None) -> int:
    """How many rows of the step's table meet the condition."""
    query = sa.select(sa.func.count()).select_from(table(step))
    return int(connection.execute(query if condition is None else query.where(condition)).scalar_one())
