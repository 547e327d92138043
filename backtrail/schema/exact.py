"""The values of a table as text that says exactly what they are, whatever the session's settings."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backtrail.schema.catalogue import quoted
from backtrail.schema.step import Step

_TYPES = sa.text(
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND NOT attisdropped"
)


class Exact:
    """The columns of a step's table: PostgreSQL casts them to text, SQLite gives their literals."""

    def __init__(self, connection: Connection, step: Step) -> None:
        self._sqlite = connection.dialect.name == "sqlite"
        self._types: dict[str, str] = {}
        if not self._sqlite:
            rows = connection.execute(_TYPES, {"name": quoted(connection, step)})
            self._types = {row.attname: row.format_type for row in rows}

    def text(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        """The value as text."""
        return sa.func.quote(value) if self._sqlite else sa.cast(value, sa.Text)

    def value(self, column: str, text: str | None) -> sa.ColumnElement[Any]:
        """The value that `text` said, of the column's own type."""
        if self._sqlite:
            return sa.literal_column(str(text))
        return self.typed(column, sa.literal(text, sa.Text))

    def typed(self, column: str, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A value as PostgreSQL puts it into the column."""
        return value.op("::")(sa.literal_column(self._types[column]))

    def is_key(self, column: str, text: str | None) -> sa.ColumnElement[bool]:
        """Whether the column equals what `text` said, by the table's index."""
        return sa.column(column) == self.value(column, text)

    def is_same(self, column: str, text: str | None) -> sa.ColumnElement[bool]:
        """Whether the column holds exactly what `text` said."""
        # A text of another time zone or number format is first made a value again.
        return self.text(sa.column(column)).is_not_distinct_from(self.text(self.value(column, text)))
