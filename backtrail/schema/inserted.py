"""Rows that `expand` inserts: each remembered exactly, so that undo finds it, and sees whether somebody changed it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.errors import AuthorMistake, UnknownName
from backtrail.schema import catalogue
from backtrail.schema.exact import Exact
from backtrail.schema.step import Step


def insert(connection: Connection, step: Step, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What finding the rows again takes, after they were inserted."""
    for name in named(rows):
        if name not in table.c:
            raise UnknownName(f"column of {step.place}", name, [column.name for column in table.c])
    key = catalogue.primary_key(connection, step)
    if not key:
        raise AuthorMistake(f"{step}: the table has no primary key, so undo could not find the rows again")
    exact, names = Exact(connection, step), list(catalogue.columns(connection, step))
    # Read back: defaults, triggers and type modifiers change what was sent.
    back = [exact.text(sa.column(name)) for name in names]
    inserted = [list(connection.execute(sa.insert(table).values(dict(row)).returning(*back)).one()) for row in rows]
    return {"key": key, "columns": names, "rows": inserted}


def named(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that the rows name, in their order."""
    return list(dict.fromkeys(column for row in rows for column in row))


class Inserted:
    """The rows that a step inserted, in the database as it is now."""

    def __init__(self, connection: Connection, step: Step) -> None:
        self._connection, self._step = connection, step
        self._exact = Exact(connection, step)
        # A column that is gone since cannot have been changed; its own step says that it is missing.
        self._present = catalogue.columns(connection, step)

    def __len__(self) -> int:
        """How many of them are there, whatever became of them."""
        return sum(catalogue.count(self._connection, self._step, self._is(row)) for row in self._rows())

    def changed(self) -> int:
        """How many of them are not what they were."""
        return len(self) - sum(catalogue.count(self._connection, self._step, self._is_intact(row)) for row in self._rows())

    def delete(self) -> None:
        """Nothing; the rows are gone, the last first."""
        for row in reversed(self._rows()):
            self._connection.execute(sa.delete(catalogue.table(self._step)).where(self._is_intact(row)))

    def _rows(self) -> list[dict[str, str | None]]:
        return [dict(zip(self._step.back["columns"], row, strict=True)) for row in self._step.back["rows"]]

    def _is(self, row: Mapping[str, str | None]) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._exact.is_key(name, row[name]) for name in self._step.back["key"]))

    def _is_intact(self, row: Mapping[str, str | None]) -> sa.ColumnElement[bool]:
        same = [self._exact.is_same(name, text) for name, text in row.items() if name in self._present]
        return sa.and_(self._is(row), *same)
