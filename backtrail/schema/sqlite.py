"""Alembic's operations as SQLite can do them: it adds columns and indexes to a table, and changes nothing else about it."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, ops

from backtrail.errors import UsageError
from backtrail.schema.operations import step_of

NO_ALTER = (
    "SQLite cannot change constraints of a table that exists: declare it in create_table, or use a unique index,"
    " or a trigger by execute(…, undo=…)"
)


def adapted(operation: MigrateOperation) -> MigrateOperation:
    """The operation as SQLite can do it.

    Raises:
        UsageError: it cannot.
    """
    if isinstance(operation, ops.CreateUniqueConstraintOp) and not operation.kw:
        columns: Any = list(operation.columns)
        return ops.CreateIndexOp(str(operation.constraint_name), operation.table_name, columns, unique=True)
    if isinstance(operation, (ops.AddConstraintOp, ops.DropConstraintOp, ops.AlterColumnOp)):
        raise UsageError(f"{step_of(operation)}: {NO_ALTER}")
    if isinstance(operation, ops.AddColumnOp):
        operation.inline_references = True  # the only way in which SQLite gives a new column a foreign key
    return operation
