"""What `verify` says: one finding for each check, and how those of several processes become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CHECKS = ("ledger", "drift", "coverage", "checks", "invariants", "decisions", "accounting")
"""The checks by name, in the order in which they are shown."""

ASKED = ("checks", "decisions", "accounting")
"""Those that ask the author's code."""

EXAMPLES = 10
"""How many examples a check keeps; it counts all."""


@dataclass
class Finding:
    """One check: how much was checked, how many problems there are, and some of them."""

    name: str
    checked: int = 0
    problems: int = 0
    examples: list[str] = field(default_factory=list)
    note: str | None = None
    sums: dict[str, int] = field(default_factory=dict)

    def problem(self, example: str) -> None:
        """Counts a problem, and keeps it if there is room."""
        self.problems += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)

    def sum(self, counts: Mapping[str, int]) -> None:
        """Adds counts to the sums of the same names."""
        for name, count in counts.items():
            self.sums[name] = self.sums.get(name, 0) + count

    def add(self, other: Finding) -> None:
        """Adds what another part of the same check found, whose examples come after these."""
        self.checked += other.checked
        self.problems += other.problems
        self.examples += other.examples[: EXAMPLES - len(self.examples)]
        self.note = self.note or other.note
        self.sum(other.sums)

    def document(self) -> dict[str, Any]:
        """The check as JSON shows it."""
        shown: dict[str, Any] = {
            "name": self.name,
            "ok": self.problems == 0,
            "checked": self.checked,
            "problems": self.problems,
            "examples": self.examples,
        }
        if self.note:
            shown["note"] = self.note
        if self.sums:
            shown["sums"] = self.sums
        return shown


class Findings(dict[str, Finding]):
    """The findings by the names of their checks; one that is not there yet is made when it is asked for."""

    def __missing__(self, name: str) -> Finding:
        return self.setdefault(name, Finding(name))

    def add(self, other: Mapping[str, Finding]) -> None:
        """Adds what another part of the work found."""
        for name, finding in other.items():
            self[name].add(finding)

    def document(self, names: Iterable[str] = CHECKS) -> dict[str, Any]:
        """The verification document, with the checks of those names."""
        documents = [self[name].document() for name in names]
        return {"ok": all(one["ok"] for one in documents), "checks": documents}
