"""One step of the schema: what was asked for, and what it takes to undo it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One thing that `expand` or `contract` did; JSON by `dump`.

    Attributes:
        operation: the name of Alembic's operation, or `insert` or `execute`.
        table: the table that it is about; None for `execute`.
        schema: the table's schema, None for the default one.
        name: the column, index or constraint.
        call: what the author asked for, so that a later run can tell whether it is still the same.
        inverse: what undoing it takes; None where there is no way back.
    """

    operation: str
    table: str | None = None
    schema: str | None = None
    name: str | None = None
    call: str = ""
    inverse: Mapping[str, Any] | None = field(default=None, compare=False)

    def dump(self) -> dict[str, Any]:
        """The step as JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Step:
        """The step that `dump` gave."""
        return cls(**data)

    @property
    def place(self) -> str:
        """The table with its schema, as messages show it."""
        return f"{self.schema}.{self.table}" if self.schema else str(self.table)

    @property
    def back(self) -> Mapping[str, Any]:
        """The inverse of a step that has one."""
        return self.inverse or {}

    def __str__(self) -> str:
        names = [*([self.name] if self.name else []), *([self.place] if self.table else [])]
        return " ".join([self.operation, " on ".join(names)]).strip()
