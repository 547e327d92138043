"""How far a campaign is: what became of its entities, by wave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COUNTS = ("migrated", "rolled_back", "skipped", "failed", "conflicts", "unmapped")
"""What a batch counts: entities by outcome, those with conflicts, and those with unmapped fields."""


@dataclass(slots=True)
class Tally:
    """What became of the entities of a batch or campaign; conflicts and unmapped count entities that have some."""

    migrated: int = 0
    rolled_back: int = 0
    skipped: int = 0
    failed: int = 0
    conflicts: int = 0
    unmapped: int = 0

    def add(self, outcome: str, notes: Mapping[str, int] = {}) -> None:
        """Counts one entity with that outcome and those numbers of notes."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.conflicts += notes.get("conflict", 0) > 0
        self.unmapped += notes.get("unmapped", 0) > 0

    @property
    def done(self) -> int:
        """How many entities are counted."""
        return self.migrated + self.rolled_back + self.skipped + self.failed

    def values(self) -> dict[str, int]:
        """The counts by their names."""
        return {name: getattr(self, name) for name in COUNTS}

    def __str__(self) -> str:
        shown = {"ok": self.migrated + self.rolled_back, "skipped": self.skipped, "failed": self.failed}
        return " ".join(f"{name}={count}" for name, count in shown.items() if count or name == "ok")


class Sum(NamedTuple):
    """What batches of one wave and state come to: how many they are, their entities, and their counts in the order of COUNTS."""

    wave: int
    state: str
    batches: int
    entities: int
    counts: tuple[int, ...]


@dataclass(slots=True)
class Progress:
    """How far a campaign, or one of its waves, is."""

    tally: Tally = field(default_factory=Tally)
    planned: int = 0
    """How many entities are in batches by now."""
    ready: int = 0
    sent: int = 0
    done: int = 0
    under_way: int = 0
    """How many entities are in batches that were sent and are not done."""
    waves: dict[int, Progress] = field(default_factory=dict)
    """The same of each wave; empty for a wave itself."""

    unsettled: int = 0
    """How many batches were looked at one by one for it."""

    @property
    def unfinished(self) -> int:
        """How many batches are not done."""
        return self.ready + self.sent

    def add(self, one: Sum) -> None:
        """Counts batches in."""
        self.planned += one.entities
        setattr(self, one.state, getattr(self, one.state) + one.batches)
        self.under_way += one.entities if one.state == "sent" else 0
        for name, count in zip(COUNTS, one.counts, strict=True):
            setattr(self.tally, name, getattr(self.tally, name) + count)

    def sums(self) -> list[list[Any]]:
        """What its waves' batches, which are all done, come to, as JSON keeps it."""
        return [[wave, one.done, one.planned, *one.tally.values().values()] for wave, one in sorted(self.waves.items())]


def progress_of(settled: Mapping[str, Any], rows: Iterable[Sum]) -> Progress:
    """A campaign's progress from what stands with it and from what its other batches come to."""
    kept = [Sum(wave, "done", batches, entities, tuple(counts)) for wave, batches, entities, *counts in settled.get("sums", ())]
    progress = Progress()
    for one in (*kept, *rows):
        progress.add(one)
        progress.waves.setdefault(one.wave, Progress()).add(one)
    progress.unsettled = progress.done + progress.unfinished - sum(one.batches for one in kept)
    return progress
