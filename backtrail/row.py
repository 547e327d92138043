"""Rows as authors see them: what a store read, decoded field by field, and rows that are yet to be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from backtrail.changes import Create
from backtrail.errors import UnknownField, UnknownName
from backtrail.image import Image, Ref


class Record(ABC):
    """One row as a store read it: exact inside, and its Python values on demand."""

    __slots__ = ()

    ref: Ref
    whole: bool
    """Whether all columns were read (and the row locked), so that it can be changed."""

    @property
    def table_name(self) -> str:
        """The name of the row's table."""
        return self.ref.table

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the row's fields, in their order."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether the row has the field."""

    @abstractmethod
    def value(self, name: str) -> Any:
        """The Python value of a field, made anew, `Opaque` where Python has none.

        Raises:
            KeyError: the row has no such field.
        """

    def get(self, name: str, default: Any) -> Any:
        """The Python value of a field, or the default where there is no such field."""
        return self.value(name) if self.has(name) else default

    @abstractmethod
    def image(self) -> Image:
        """The exact image of what was read."""

    def same(self, other: Record) -> bool:
        """Whether the other holds the same, byte by byte."""
        return self.image() == other.image()

    def alike(self, name: str, other: Record, theirs: str) -> bool:
        """Whether it is plain from their bytes that a field of the other holds the same as this one's."""
        return False


class UnknownColumn(UnknownField, KeyError):
    """`migrate` asked a row for a column that it does not have; also what a mapping raises, so that `.get()` works."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class Row(Mapping[str, Any]):
    """A row that was read: a frozen mapping from its field names to Python values."""

    __slots__ = ("_record", "_values", "columns", "name")

    def __init__(self, record: Record, name: str, columns: Collection[str] | None = None) -> None:
        """A row.

        Args:
            record: the exact row.
            name: the read that gave it.
            columns: all columns of its table; None where any name goes.
        """
        self.columns = columns
        self._record = record
        self._values: dict[str, Any] = {}
        self.name = name

    @property
    def record(self) -> Record:
        """The exact row behind the values."""
        return self._record

    def __getitem__(self, name: str) -> Any:
        values = self._values
        if name in values:
            return values[name]
        try:
            value = values[name] = self._record.value(name)
        except KeyError:
            if self.columns is None or self._record.has(name):
                raise  # documents lack fields rightly
            raise self.unknown(name) from None
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value, or the default where there is no such field."""
        # A mapping's own raises an error and catches it where a question does.
        values = self._values
        if name in values:
            return values[name]
        value = self._record.get(name, default)
        if value is not default:
            values[name] = value
        return value

    def alike(self, name: str, other: Row, theirs: str) -> bool:
        """Whether it is plain, without a look at the values, that a field of the other row holds the same as this one's."""
        return self._record.alike(name, other.record, theirs)

    def unknown(self, name: str) -> UnknownColumn:
        """The answer to a name that is no column of this row."""
        if name in (self.columns or ()):
            return UnknownColumn(f"column {name!r} of {self.name} is not read: add it to columns=")
        return UnknownColumn(str(UnknownName(f"column of {self.name}", name, self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._record.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._record.names())

    def __len__(self) -> int:
        return len(self._record.names())

    def __repr__(self) -> str:
        # Values are people's data and a repr ends up in logs: the names alone.
        return f"<Row of {self._record.table_name}: {', '.join(self)}>"


NOTHING: dict[str, str] = {}
"""The fields that a new row has from another one, where it is no copy: never filled."""


class NewRow(Mapping[str, Any]):
    """A row that this entity creates. Used as a value, it stands for its primary key, which the database may still have to give."""

    __slots__ = ("_copied", "_source", "_values", "change", "number", "table")

    def __init__(self, table: str, values: dict[str, Any], number: int) -> None:
        self.table = table
        self._values = values
        self._source: Mapping[str, Any] = NOTHING
        self._copied = NOTHING
        self.number = number
        self.change: Create | None = None

    def copied(self, source: Row, names: dict[str, str]) -> None:
        """Nothing; the row has these fields of another one, by their new names, where nothing else is said of them."""
        # Read when asked for: most are not.
        self._source, self._copied = source, names

    def set(self, name: str, value: Any) -> None:
        """Nothing; the field has that value."""
        self._values[name] = value

    def unset(self, name: str) -> None:
        """Nothing; the field is gone."""
        self._values.pop(name, None)
        self._copied.pop(name, None)

    def __getitem__(self, name: str) -> Any:
        return self._values[name] if name in self._values or name not in self._copied else self._source[self._copied[name]]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._copied, **self._values})

    def __len__(self) -> int:
        return len(self._copied.keys() | self._values.keys())

    def __repr__(self) -> str:
        return f"<new row {self.number} of {self.table}>"
