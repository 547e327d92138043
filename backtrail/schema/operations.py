"""Alembic's operations as Backtrail knows them: what they are called, which have an inverse, and what they are about."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops

from backtrail.errors import AuthorMistake
from backtrail.schema.step import Step

ADDING: dict[type[MigrateOperation], str] = {
    ops.CreateTableOp: "create_table",
    ops.AddColumnOp: "add_column",
    ops.CreateIndexOp: "create_index",
    ops.CreateUniqueConstraintOp: "create_unique_constraint",
    ops.CreateCheckConstraintOp: "create_check_constraint",
    ops.CreateForeignKeyOp: "create_foreign_key",
    ops.AlterColumnOp: "alter_column",
}
"""Those that `expand` can take back."""

DROPPING: dict[type[MigrateOperation], str] = {
    ops.DropTableOp: "drop_table",
    ops.DropColumnOp: "drop_column",
    ops.DropIndexOp: "drop_index",
    ops.DropConstraintOp: "drop_constraint",
    ops.RenameTableOp: "rename_table",
}
"""Those that only `contract` may do."""

OWN_VALUES = "its default gives each row a value of its own, which undo could not tell from data; let migrate fill it"


def name_of(operation: MigrateOperation) -> str:
    """What Alembic's method is called.

    Raises:
        AuthorMistake: it is none that is recorded.
    """
    name = ADDING.get(type(operation)) or DROPPING.get(type(operation))
    if name is None:
        raise AuthorMistake(f"{type(operation).__name__.removesuffix('Op')} is not recorded: use execute(statement, undo=…)")
    return name


def step_of(operation: Any) -> Step:
    """The step that carrying out the operation would be."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        table, schema = operation.source_table, operation.kw.get("source_schema")
    else:
        table, schema = operation.table_name, operation.schema
    return Step(name_of(operation), table, schema, _subject(operation))


def _subject(operation: Any) -> str | None:
    if isinstance(operation, ops.AddColumnOp):
        return str(operation.column.name)
    for attribute in ("column_name", "index_name", "constraint_name", "new_table_name"):
        name = getattr(operation, attribute, None)
        if name is not None:
            return str(name)
    return None


def split(table: str, schema: str | None) -> tuple[str, str | None]:
    """The table and its schema, where `schema.table` was written."""
    if schema is None and "." in table:
        schema, _, table = table.rpartition(".")
    return table, schema


def split_names(operation: Any) -> Any:
    """The operation with `schema.table` as two names, as Alembic wants them."""
    if isinstance(operation, ops.CreateForeignKeyOp):
        operation.source_table, operation.kw["source_schema"] = split(operation.source_table, operation.kw.get("source_schema"))
        operation.referent_table, operation.kw["referent_schema"] = split(
            operation.referent_table, operation.kw.get("referent_schema")
        )
    else:
        operation.table_name, operation.schema = split(operation.table_name, operation.schema)
    return operation


def demand_inverse(operation: Any) -> None:
    """Nothing, where the operation can be taken back exactly.

    Raises:
        AuthorMistake: it cannot, so it has no place in `expand`.
    """
    name = name_of(operation)
    if type(operation) in DROPPING:
        raise AuthorMistake(f"{name} has no inverse: it belongs in contract(self, schema), not in expand")
    if isinstance(operation, (ops.AddConstraintOp, ops.CreateIndexOp)) and not _subject(operation):
        raise AuthorMistake(f"{name} needs a name, so that undo can find it again")
    if getattr(operation, "if_not_exists", None):
        raise AuthorMistake(f"{name} with if_not_exists could not tell whether it is ours: leave it out")
    if isinstance(operation, ops.CreateIndexOp) and operation.kw.get("postgresql_concurrently"):
        raise AuthorMistake("create_index with postgresql_concurrently cannot run in expand's transaction: leave it out")
    if isinstance(operation, ops.AlterColumnOp):
        _demand_known_state(operation)
    if isinstance(operation, ops.AddColumnOp):
        _demand_plain(operation.column)


def _demand_known_state(operation: ops.AlterColumnOp) -> None:
    if operation.modify_type is not None or operation.modify_name is not None or operation.modify_comment is not False:
        raise AuthorMistake("alter_column in expand changes nullable and server_default only: add a new column instead")


def _demand_plain(column: sa.Column[Any]) -> None:
    if column.unique or column.index or column.primary_key:
        raise AuthorMistake(f"add_column {column.name}: write unique=, index= and primary_key= as steps of their own")
    if column.identity is not None:
        raise AuthorMistake(f"add_column {column.name}: {OWN_VALUES}")
    if column.table is not None and column.foreign_keys:
        # Its copy would silently be without them.
        raise AuthorMistake(f"column {column.name} belongs to a Table, which keeps its foreign keys: write it as a new Column")
