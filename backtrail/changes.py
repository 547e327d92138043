"""What `migrate` decided about one entity: frozen values that a store can carry out, and that two runs can compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from backtrail.row import NewRow, Record

NoteKind = Literal["conflict", "unmapped", "remark"]


@dataclass(slots=True)
class Create:
    """A new row. With a `source`, every field that is not unset, renamed or set comes from there exactly."""

    table: str
    values: dict[str, Any]
    row: NewRow
    source: Record | None = None
    unset: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Update:
    """Other values in a row that was read; dotted names are paths in documents."""

    record: Record
    set: dict[str, Any] = field(default_factory=dict)
    unset: dict[str, None] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The row's table."""
        return self.record.ref.table


@dataclass(slots=True)
class Delete:
    """A row that was read, and goes."""

    record: Record

    @property
    def table(self) -> str:
        """The row's table."""
        return self.record.ref.table


Change = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Note:
    """A conflict, unmapped fields or a remark about an entity. The data is JSON."""

    kind: NoteKind
    data: Mapping[str, Any]


@dataclass(slots=True)
class Decision:
    """All that `migrate` decided about one entity, in the order in which it was said."""

    changes: list[Change] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
