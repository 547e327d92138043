"""Medians with their spread, and the ratios that count beside what is wanted of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Figures = Mapping[str, float]
Samples = dict[str, list[Any]]
"""Of one store: the figures of each repeat, by measure."""

NAMES = {
    "set_based": "(a) the database alone, no ledger",
    "bulk": "(b) bulk script, no ledger",
    "naive": "(c) naive task per user",
    "naive_more": "(c) naive, more users",
    "backtrail": "(d) Backtrail, end to end",
    "facts": "(e) verify --no-code",
    "verify": "(e) verify with re-decision",
    "rollback": "(f) rollback of all",
    "again": "(g) second enqueue",
    "encrypted": "(h) Backtrail, encrypted ledger",
    "bad": "(i) Backtrail, 1 % bad users",
    "small": "(j) Backtrail, few users",
    "large": "(j) Backtrail, many users",
    "giant": "(k) one large entity among small",
    "giant_back": "(k) its rollback",
}


class Spread(NamedTuple):
    """What several repeats gave."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Ratio:
    """One measure as a part of another, within one repeat: what disturbs the machine disturbs both sides of it."""

    title: str
    above: str
    below: str
    figure: str = "rate"
    wanted: Mapping[str, float] | None = None
    """By store; as a limit from above where the figure is no rate."""

    def of(self, samples: Samples) -> Spread | None:
        """The ratio, if both were measured."""
        pairs = zip(samples.get(self.above, ()), samples.get(self.below, ()), strict=False)
        values = [(_value(above, self.figure), _value(below, self.figure)) for above, below in pairs]
        return spread([above / below for above, below in values if below])

    def reached(self, store: str, value: float) -> bool | None:
        """Whether it is what is wanted; None where nothing is."""
        if self.wanted is None:
            return None
        return value >= self.wanted[store] if self.figure == "rate" else value <= self.wanted[store]

    def wish(self, store: str) -> str:
        """What is wanted, in words."""
        return "" if self.wanted is None else f"{'≥' if self.figure == 'rate' else '≤'} {self.wanted[store]:g}"


def _each(postgresql: float, sqlite: float, mongodb: float) -> dict[str, float]:
    return {"postgresql": postgresql, "sqlite": sqlite, "mongodb": mongodb}


RATIOS = (
    Ratio("(d) Backtrail ÷ (b) bulk script", "backtrail", "bulk", wanted=_each(0.5, 0.4, 0.5)),
    Ratio("(d) Backtrail ÷ (c) naive task per user", "backtrail", "naive", wanted=_each(25, 25, 20)),
    Ratio("(d) Backtrail ÷ (c) naive, more users", "backtrail", "naive_more", wanted=_each(25, 25, 20)),
    Ratio("(e) verify --no-code ÷ (d)", "facts", "backtrail", wanted=_each(4, 4, 4)),
    Ratio("(e) verify with re-decision ÷ (d)", "verify", "backtrail", wanted=_each(0.8, 0.8, 0.8)),
    Ratio("(f) rollback ÷ (d)", "rollback", "backtrail", wanted=_each(0.8, 0.8, 0.8)),
    Ratio("(j) time per user, many ÷ few", "large", "small", "time", _each(1.2, 1.2, 1.2)),
    Ratio("(i) 1 % bad users ÷ (d)", "bad", "backtrail", wanted=_each(0.5, 0.5, 0.4)),
    Ratio("(j) worker's peak memory, many ÷ few", "large", "small", "worker_peak_mb", _each(1.1, 1.1, 1.1)),
    Ratio("(j) processor time per user, many ÷ few", "large", "small", "cpu_us_per_user"),
    Ratio("(b) bulk script ÷ (a) the database alone", "bulk", "set_based", wanted=_each(0.45, 0.7, 0.35)),
    Ratio("(h) encrypted ÷ (d)", "encrypted", "backtrail"),
)

DETAILS = (
    ("backtrail", "client_us_per_user", "(d) worker's CPU, µs a user"),
    ("backtrail", "server_us_per_user", "(d) server's CPU, µs a user"),
    ("backtrail", "broker_us_per_user", "(d) broker's CPU, µs a user"),
    ("backtrail", "worker_peak_mb", "(d) a process's peak memory, MB"),
    ("backtrail", "ledger_bytes_per_user", "(d) ledger, bytes a user"),
    ("encrypted", "ledger_bytes_per_user", "(h) encrypted ledger, bytes a user"),
    ("bulk", "client_us_per_user", "(b) script's CPU, µs a user"),
    ("bulk", "server_us_per_user", "(b) server's CPU, µs a user"),
    ("set_based", "server_us_per_user", "(a) server's CPU, µs a user"),
    ("small", "worker_peak_mb", "(j) peak memory, few users, MB"),
    ("large", "worker_peak_mb", "(j) peak memory, many users, MB"),
    ("giant", "rows", "(k) rows of the large entity"),
    ("giant", "neighbours_before", "(k) neighbours done before it"),
    ("giant", "worker_peak_mb", "(k) a process's peak memory, MB"),
)
"""Figures that are no rates: of which measure, by which name, and what they are called."""


def spread(values: Sequence[float]) -> Spread | None:
    """Median and extremes; None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def rate(samples: Samples, measure: str) -> Spread | None:
    """Users a second."""
    return spread([_value(one, "rate") for one in samples.get(measure, ())])


def detail(samples: Samples, measure: str, name: str) -> Spread | None:
    """A figure that is no rate."""
    return spread([one[name] for one in samples.get(measure, ()) if name in one])


def _value(figures: Figures, name: str) -> float:
    if name == "rate":
        return figures["users"] / figures["seconds"]
    return figures["seconds"] / figures["users"] if name == "time" else figures.get(name, 0.0)


def text(document: Mapping[str, Any]) -> str:
    """All figures for a terminal."""
    lines = [", ".join(f"{name} {value}" for name, value in document["machine"].items())]
    for name, store in document["stores"].items():
        settings = ", ".join(f"{key} {value}" for key, value in store["settings"].items())
        lines += ["", f"{name}, {store['workload']}, {store['users']:,} users: {settings}", *_table(name, store["samples"])]
    lines += ["", f"Medians, lowest … highest, in {document['seconds']} s."]
    return "\n".join([*lines, *(f"FAILED: {failure}" for failure in document["failures"])])


def _table(store: str, samples: Samples) -> list[str]:
    lines = [f"{'':<46}{'users':>9}{'users/s':>10}"]
    for measure, title in NAMES.items():
        if found := rate(samples, measure):
            lines.append(
                f"{title:<46}{round(samples[measure][0]['users']):>9,}{found.median:>10,.0f}   {_extremes(found, ',.0f')}"
            )
    for ratio in RATIOS:
        if found := ratio.of(samples):
            wish = ratio.wish(store)
            missed = "  MISSED" if ratio.reached(store, found.median) is False else ""
            lines.append(f"{ratio.title:<46}{wish:>9}{found.median:>10.3g}   {_extremes(found, '.3g')}{missed}")
    for measure, name, title in DETAILS:
        if found := detail(samples, measure, name):
            lines.append(f"{title:<46}{'':>9}{found.median:>10,.0f}   {_extremes(found, ',.0f')}")
    return lines


def _extremes(found: Spread, form: str) -> str:
    return f"{found.lowest:{form}} … {found.highest:{form}}"
