"""The parts that a verification is cut into. None needs another, so that each can be done in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from ledger import completeness
from ledger.examine import PAGE, Scope, examine, examine_expansion
from ledger.finding import Findings
from ledger.streams import FIRST, expansion_of, heads_of, rows_after

R_co = TypeVar("R_co", covariant=True)


class Part(Protocol[R_co]):
    """One part of what is looked at; it can be pickled, and so can what it finds."""

    def find(self, scope: Scope) -> R_co:
        """What is wrong in this part."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The streams whose ids are above `after` and not above `until`: so many of them when they were counted."""

    after: int
    until: int
    count: int

    def find(self, scope: Scope) -> Findings:
        """What is wrong with the entities of these streams; each page is read in a transaction of its own."""
        findings, after = Findings(), self.after
        ledger, migration = scope.ledger, scope.cls.name
        while after < self.until:
            with ledger.store.transaction(write=False) as tx:
                rows = rows_after(ledger.journal, tx, migration, after, PAGE)
                if rows is None:
                    break
                findings.add(examine(scope, tx, [head for head in rows.heads if (head.id or 0) <= self.until]))
                for number in rows.unreadable:
                    if number <= self.until:
                        findings["ledger"].problem(f"(stream {number}): its row cannot even be read")
            after = rows.last
        return findings


@dataclass(frozen=True, slots=True)
class Expanded:
    """The stream of what the migration's `expand` did."""

    def find(self, scope: Scope) -> Findings:
        """What is wrong with it: `expand --undo` does what it says."""
        findings, ledger, name = Findings(), scope.ledger, expansion_of(scope.cls.name)
        with ledger.store.transaction(write=False) as tx:
            rows = rows_after(ledger.journal, tx, name, FIRST, PAGE)
            if rows is not None:
                findings.add(examine_expansion(scope, tx, rows.heads))
                for number in rows.unreadable:
                    findings["ledger"].problem(f"(stream {number}): its row cannot even be read")
            elif heads_of(ledger.journal, tx, name, [""])[1]:
                findings["ledger"].problem(f"{name}: its row cannot even be read")
        return findings


@dataclass(frozen=True, slots=True)
class Coverage:
    """The keys of one of the migration's sources."""

    source: int

    def find(self, scope: Scope) -> Findings:
        """The keys that are not migrated."""
        return completeness.coverage(scope, self.source)


@dataclass(frozen=True, slots=True)
class Lost:
    """What is left of streams that are gone."""

    def find(self, scope: Scope) -> Findings:
        """The streams that are gone."""
        return completeness.lost(scope)


@dataclass(frozen=True, slots=True)
class Asked:
    """One of the migration's invariants."""

    number: int

    def find(self, scope: Scope) -> Findings:
        """The rows that should not be there."""
        return completeness.invariant(scope, self.number)
