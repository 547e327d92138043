"""Steps taken back, exactly, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection

from backtrail.errors import UsageError
from backtrail.schema import catalogue
from backtrail.schema.filled import written
from backtrail.schema.inserted import Inserted
from backtrail.schema.presence import is_there
from backtrail.schema.refusal import told
from backtrail.schema.statements import check_at_once, verbatim
from backtrail.schema.step import Step


def undo(connection: Connection, steps: Sequence[Step]) -> None:
    """Takes back exactly what the steps added, the last first. What is gone already stays gone.

    Raises:
        UsageError: rows that `expand` did not insert are in the way, or something else depends on a step. Nothing is changed.
        Retry: a lock could not be had.
    """
    with connection.begin_nested():
        check_at_once(connection)
        for step in reversed(steps):
            with told(step, undoing=True):
                _take_back(connection, step)


def _take_back(connection: Connection, step: Step) -> None:
    if step.inverse is None:
        raise UsageError(f"{step}: it has no way back")
    if step.operation in ("execute", "alter_column") or is_there(connection, step):
        _INVERSES.get(step.operation, _drop_constraint)(connection, step)
    for name in step.inverse.get("types", ()):
        verbatim(connection, f"DROP TYPE IF EXISTS {name}")


def _execute(connection: Connection, step: Step) -> None:
    for statement in filter(None, step.back["statements"]):
        verbatim(connection, statement)


def _drop_table(connection: Connection, step: Step) -> None:
    _lock(connection, step)
    count = catalogue.count(connection, step)
    if count:
        raise UsageError(
            f"{step.place} holds {count} rows that expand did not insert: roll back what wrote them, or move them away, first"
        )
    _operations(connection).drop_table(str(step.table), schema=step.schema)


def _drop_column(connection: Connection, step: Step) -> None:
    _lock(connection, step)
    count = catalogue.count(connection, step, written(connection, step))
    if count:
        raise UsageError(
            f"{count} rows of {step.place} hold values in {step.name} that expand did not put there:"
            " roll back what wrote them, or set it to NULL, first"
        )
    _operations(connection).drop_column(str(step.table), str(step.name), schema=step.schema)


def _delete(connection: Connection, step: Step) -> None:
    _lock(connection, step)
    rows = Inserted(connection, step)
    changed = rows.changed()
    if changed:
        raise UsageError(
            f"{changed} rows of {step.place} that expand inserted were changed since: change them back, or delete them, first"
        )
    rows.delete()


def _alter_column(connection: Connection, step: Step) -> None:
    if not is_there(connection, step):
        raise UsageError(f"column {step.place}.{step.name} is not as expand left it: change it back, or drop it, first")
    before, after = step.back["before"], step.back["after"]
    change: dict[str, Any] = {}
    if before["nullable"] != after["nullable"]:
        change["nullable"] = before["nullable"]
    if before["default"] != after["default"]:
        change["server_default"] = None if before["default"] is None else sa.literal_column(before["default"])
    if change:
        _operations(connection).alter_column(str(step.table), str(step.name), schema=step.schema, **change)


def _drop_index(connection: Connection, step: Step) -> None:
    _operations(connection).drop_index(str(step.name), str(step.table), schema=step.schema)


def _drop_constraint(connection: Connection, step: Step) -> None:
    _operations(connection).drop_constraint(str(step.name), str(step.table), schema=step.schema)


_INVERSES: dict[str, Callable[[Connection, Step], None]] = {
    "execute": _execute,
    "insert": _delete,
    "create_table": _drop_table,
    "add_column": _drop_column,
    "alter_column": _alter_column,
    "create_index": _drop_index,
}


def _operations(connection: Connection) -> Operations:
    return Operations(MigrationContext.configure(connection))


def _lock(connection: Connection, step: Step) -> None:
    # Between the count and the drop nobody may add a row; SQLite has one writer anyway.
    if connection.dialect.name == "postgresql":
        verbatim(connection, f"LOCK TABLE {catalogue.quoted(connection, step)} IN ACCESS EXCLUSIVE MODE")
