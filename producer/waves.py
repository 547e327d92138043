"""Waves of a campaign: how many entities each takes, and how many of them may fail or conflict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backtrail.errors import Halt, UsageError
from ledger.campaigns import Campaign
from ledger.progress import Progress, Tally

FIRST = 100
"""A share is one of so many entities at least: of the first three, one that fails says nothing yet."""


class Limit(NamedTuple):
    """How many entities at the most: a number, or a share of those that were looked at."""

    number: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Limit:
        """The limit that `5%` or `100` means.

        Raises:
            UsageError: it means none.
        """
        try:
            limit = cls(share=float(text[:-1]) / 100) if text.endswith("%") else cls(number=int(text))
        except ValueError:
            limit = cls(number=-1)
        if (limit.number is not None and limit.number < 0) or (limit.share is not None and not 0 <= limit.share <= 1):
            raise UsageError(f"{text!r} is no limit: write a number such as 100, or a share such as 5%")
        return limit

    def exceeded(self, count: int, of: int) -> bool:
        """Whether so many of so many are too many."""
        return count > self.number if self.number is not None else count > (self.share or 0) * of


class OverLimit(Halt):
    """More entities failed or conflicted than somebody allowed."""

    def __init__(self, text: str, wave: int, tally: Tally, seen: Mapping[str, Any] = {}) -> None:
        super().__init__(text)
        self.gate = gate_of(wave, tally, passed=False, **seen)
        counted = {"failed": tally.failed, "conflicts": tally.conflicts, "done": tally.done}
        self.forgiven: dict[str, Any] = {"wave": wave, **counted, "problems": seen.get("problems", {})}
        """What was counted by then: whoever lets the campaign go on knows of it, and only more counts against it."""


def gate_of(wave: int, tally: Tally, *, passed: bool, **seen: Any) -> dict[str, Any]:
    """What a campaign remembers of the gate of one of its waves."""
    return {"wave": wave, "passed": passed, "failed": tally.failed, "conflicts": tally.conflicts, **seen}


def with_gate(campaign: Campaign, gate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it remembers of all its gates, with that one; nothing where it has no waves."""
    if not campaign.options.get("waves"):
        return []
    return [*(one for one in campaign.cursor.get("gates", ()) if one["wave"] != gate["wave"]), dict(gate)]


def shares(text: str) -> list[float]:
    """The shares that `1%,10%,100%` means.

    Raises:
        UsageError: they do not grow, or end below everybody.
    """
    try:
        found = [float(part.strip().removesuffix("%")) / (100 if part.strip().endswith("%") else 1) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or found != sorted(set(found)) or not all(0 < share <= 1 for share in found) or found[-1] != 1:
        raise UsageError(f"--waves {text} are no waves: write growing shares that end with everybody, such as 1%,10%,100%")
    return found


def bounds(of: Sequence[float], total: int) -> list[int]:
    """How many entities are let through up to the end of each wave but the last, which takes all that there are: never more than its share, and one at least."""
    return [max(1, int(share * total + 1e-9)) for share in of[:-1]]


def wave_of(campaign: Campaign) -> int:
    """The wave under way, from 0."""
    return int(campaign.cursor.get("wave", 0))


def is_last(campaign: Campaign) -> bool:
    """Whether the wave under way is the last one."""
    return wave_of(campaign) >= len(campaign.options.get("bounds", ()))


def is_planned(campaign: Campaign) -> bool:
    """Whether all entities of the wave under way are in batches."""
    return campaign.fed or (not is_last(campaign) and _taken(campaign) >= campaign.options["bounds"][wave_of(campaign)])


def _taken(campaign: Campaign) -> int:
    return int(campaign.cursor.get("taken", 0))


def cut(keys: Sequence[str], taken: int, of: Sequence[int], size: int) -> tuple[list[Sequence[str]], list[int]]:
    """The keys in batches, and the wave of each: none holds keys of two waves.

    Args:
        keys: the next keys.
        taken: how many were taken before them.
        of: the bounds of the waves.
        size: of a batch, at the most.
    """
    batches: list[Sequence[str]] = []
    waves: list[int] = []
    at, end = 0, len(keys)
    while at < end:
        wave = sum(taken + at >= bound for bound in of)
        left = of[wave] - taken - at if wave < len(of) else end
        until = min(end, at + size, at + left)
        batches.append(keys[at:until])
        waves.append(wave)
        at = until
    return batches, waves


def name_of(campaign: Campaign) -> str:
    """The wave under way as people call it; the campaign where it has none."""
    of = campaign.options.get("waves")
    return f"wave {wave_of(campaign) + 1} of {len(of)} ({of[wave_of(campaign)] * 100:g}%)" if of else campaign.name


def forgiven(campaign: Campaign) -> Mapping[str, Any]:
    """What was counted of the wave under way when somebody let the campaign go on; nothing where it was not halted there."""
    found: Mapping[str, Any] = campaign.cursor.get("forgiven", {})
    return found if found.get("wave") == wave_of(campaign) else {}


def demand_limits(campaign: Campaign, progress: Progress) -> None:
    """Nothing, while no more entities of the wave under way have failed or conflicted than may.

    Raises:
        OverLimit: more have.
    """
    wave = wave_of(campaign)
    own = progress.waves.get(wave, Progress())
    known = forgiven(campaign)
    of = max(own.tally.done - known.get("done", 0), min(FIRST, own.planned))
    for what, option in (("failed", "max_failures"), ("conflicts", "max_conflicts")):
        limit = campaign.options.get(option)
        count = getattr(own.tally, what)
        if limit is not None and Limit.parse(limit).exceeded(count - known.get(what, 0), of):
            words = "failed" if what == "failed" else "have conflicts"
            raise OverLimit(
                f"{name_of(campaign)}: {count:,} of {own.tally.done:,} entities {words}, and --{option.replace('_', '-')} is {limit}: "
                + campaign.ways,
                wave,
                own.tally,
            )
