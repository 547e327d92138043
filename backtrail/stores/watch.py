"""What a database writes beyond what it was asked to, by triggers, rules and cascades: found out while a batch is written.

Only tables with triggers or rules are watched; elsewhere nothing of this runs. Cascades are refused before they happen (references.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from backtrail.errors import SideEffects
from backtrail.image import Ref
from backtrail.stores.tables import Table

Action = Literal["insert", "update", "delete"]


class Watch(ABC):
    """Looks after one batch of writes; everything written is counted for or against them."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables

    @abstractmethod
    def restart(self) -> None:
        """Nothing; what was written so far counts no more: it was looked at, or undone by a savepoint."""

    @abstractmethod
    def own(self, table: Table, action: Action, number: int, stamps: Mapping[str, str]) -> None:
        """Nothing; so many rows were written because they were asked for.

        Args:
            table: where.
            action: what was done to them.
            number: how many.
            stamps: of which moment they are, by the rows' keys, where the database says so.
        """

    @abstractmethod
    def settle(self) -> None:
        """Nothing; what triggers would write at the commit, they have written."""

    @abstractmethod
    def demand(self, refs: Collection[Ref]) -> None:
        """Nothing, where no other rows than these were written since the start.

        Raises:
            SideEffects: some were.
        """

    @abstractmethod
    def close(self) -> None:
        """Nothing; nothing is watched any more."""

    def refusal(self, written: Mapping[str, int]) -> SideEffects:
        """What to say about so many strange rows of each table."""
        rows = ", ".join(f"{number} row(s) of {name}" for name, number in sorted(written.items()))
        triggers = ", ".join(f"{name} on {table.name}" for table in self.tables for name in table.triggers)
        return SideEffects(
            f"{rows} would be written by triggers or rules ({triggers}), and the ledger would not hold that: let them leave this"
            " database user out, or disable them while this runs"
        )
