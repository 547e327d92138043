"""PostgreSQL's enum types: created with the first column that is of one, unless they are there already."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, ops
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.dialects.postgresql.named_types import CreateEnumType, NamedType
from sqlalchemy.engine import Connection

from backtrail.errors import AuthorMistake
from backtrail.schema import statements


def needed(connection: Connection, operation: MigrateOperation) -> list[ENUM]:
    """The types that the operation's columns are of, each once."""
    items = operation.columns if isinstance(operation, ops.CreateTableOp) else ()
    columns = [operation.column] if isinstance(operation, ops.AddColumnOp) else items
    found = [_type(connection, column) for column in columns if isinstance(column, sa.Column)]
    return list({name(connection, kind): kind for kind in found if kind is not None}.values())


def _type(connection: Connection, column: sa.Column[Any]) -> ENUM | None:
    kind: Any = getattr(column.type, "item_type", column.type)  # an array is of its items' type
    kind = kind.dialect_impl(connection.dialect)
    if not isinstance(kind, NamedType) or not kind.create_type:
        return None
    if not isinstance(kind, ENUM):
        raise AuthorMistake(f"column {column.name}: create its type by execute(…, undo=…), and give it create_type=False")
    return kind


def exists(connection: Connection, kind: ENUM) -> bool:
    """Whether a type of that name is there."""
    dialect: Any = connection.dialect
    return bool(dialect.has_type(connection, kind.name, schema=kind.schema))


def creation(connection: Connection, kind: ENUM) -> str:
    """The statement that creates the type."""
    return statements.text(connection, CreateEnumType(kind))


def name(connection: Connection, kind: ENUM) -> str:
    """The type's name as a statement has it."""
    quote = statements.plain(connection).identifier_preparer.quote
    return ".".join(quote(str(part)) for part in (kind.schema, kind.name) if part is not None)


def skip(impl: Any, kinds: list[ENUM]) -> None:
    """Nothing; Alembic will not create the types: it would do so without looking, and for a column's not at all."""
    for kind in kinds:
        impl.memo.setdefault(f"pg_{kind.__visit_name__}", set()).add((kind.schema, kind.name))
