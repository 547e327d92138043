"""Medians with their spread, and the ratios that count."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.measures import Figures

NAMES = {
    "bulk": "(b) bulk script, no ledger",
    "naive": "(c) naive task per user",
    "backtrail": "(d) Backtrail, end to end",
    "encrypted": "(h) Backtrail, encrypted ledger",
    "verify": "(e) verify",
    "rollback": "(f) rollback of all",
    "again": "(g) second enqueue",
}
RATIOS = (
    ("backtrail", "bulk", "d ÷ b"),
    ("backtrail", "naive", "d ÷ c"),
    ("encrypted", "backtrail", "h ÷ d"),
    ("verify", "backtrail", "e ÷ d"),
    ("rollback", "backtrail", "f ÷ d"),
)
DETAILS = {
    "worker_us_per_user": "worker CPU, µs a user",
    "server_us_per_user": "server CPU, µs a user",
    "broker_us_per_user": "broker CPU, µs a user",
    "worker_peak_mb": "a process's peak memory, MB",
    "ledger_bytes_per_user": "ledger, bytes a user",
}


def rates(samples: Sequence[Figures]) -> list[float]:
    """Users a second of each repeat, slowest first."""
    return sorted(sample["users"] / sample["seconds"] for sample in samples)


def ratios(samples: Mapping[str, Sequence[Figures]]) -> dict[str, list[float]]:
    """The ratios within each repeat, lowest first: what disturbs the machine disturbs both sides of one."""
    found = {}
    for above, below, name in RATIOS:
        pairs = zip(samples.get(above, ()), samples.get(below, ()), strict=False)
        values = sorted((a["users"] / a["seconds"]) / (b["users"] / b["seconds"]) for a, b in pairs)
        if values:
            found[name] = values
    return found


def table(store: str, samples: Mapping[str, Sequence[Figures]]) -> str:
    """The text of one store's figures."""
    lines = [f"{store:<28}{'users':>9}{'users/s':>10}   lowest … highest"]
    for name, title in NAMES.items():
        if found := rates(samples.get(name, ())):
            users = round(samples[name][0]["users"])
            lines.append(f"{title:<28}{users:>9,}{statistics.median(found):>10,.0f}   {found[0]:,.0f} … {found[-1]:,.0f}")
    for name, found in ratios(samples).items():
        lines.append(f"{name:<28}{'':>9}{statistics.median(found):>10.3g}   {found[0]:.3g} … {found[-1]:.3g}")
    details = [("backtrail", name, title) for name, title in DETAILS.items()]
    details.append(("encrypted", "ledger_bytes_per_user", "encrypted, bytes a user"))
    for measure, name, title in details:
        if found := sorted(sample[name] for sample in samples.get(measure, ()) if name in sample):
            lines.append(f"{title:<28}{'':>9}{statistics.median(found):>10,.0f}   {found[0]:,.0f} … {found[-1]:,.0f}")
    return "\n".join(lines)
