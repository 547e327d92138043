"""How campaigns look while they are watched: some lines each on a terminal, one plain line each where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ledger.campaigns import UNFINISHED
from producer.overview import Overview
from producer.pace import duration, time_left

STYLES = {
    "running": "green",
    "open": "cyan",
    "paused": "yellow",
    "halted": "bold red",
    "completed": "green",
    "cancelled": "yellow",
}
OUTCOMES = {
    "migrated": "migrated",
    "rolled_back": "rolled back",
    "skipped": "skipped",
    "failed": "failed",
    "conflicts": "conflicts",
    "unmapped": "unmapped",
}
BAD = {"failed": "red", "conflicts": "yellow", "unmapped": "yellow"}
CLASSES = 5
"""How many classes of failures are named."""
WORKERS = 8
"""How many workers have a line of their own."""

Rates = Mapping[str, float | None]
"""How many entities a second each campaign does just now, by its name; None where that is not known yet."""


def screen(overview: Overview, rates: Rates, hint: str | None = None) -> RenderableType:
    """All campaigns and workers, as a terminal of any width shows them."""
    parts: list[RenderableType] = []
    for document in overview.campaigns:
        parts += [*_campaign(document, rates.get(document["campaign"])), Text()]
    parts += _workers(overview)
    if overview.rejected:
        parts.append(Text(f"messages that made no sense: {overview.rejected:,}", style="yellow"))
    if hint:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def line(document: Mapping[str, Any], rate: float | None) -> str:
    """A campaign in one plain line."""
    total, pending = document["total"], document["pending"]
    parts = [f"{document['campaign']} {document['migration']} {document['kind']} {document['state']}"]
    parts.append(f"{percent(total - pending, total)} {total - pending:,}/{total:,}")
    if document["state"] == "running":
        parts.append(speed(document, rate))
    parts += [f"{document[name]:,} {words}" for name, words in OUTCOMES.items() if name in BAD and document[name]]
    parts += [wave for wave in [present_wave(document["waves"])] if wave and document["state"] in UNFINISHED]
    if document["held"]:
        parts.append(f"held: {document['held']}")
    return ", ".join(parts)


def percent(done: int, total: int) -> str:
    """How much of it is done; 100 % only where all is."""
    if not total:
        return "100%"
    return f"{done * 100 // total}%"


def speed(document: Mapping[str, Any], rate: float | None) -> str:
    """How fast the campaign is just now, or has been so far, and what time is left at that."""
    per_s = document["rate_per_s"] if rate is None else rate
    left = duration(time_left(document["pending"], per_s))
    return f"{per_s:,.0f}/s" + ("" if left == "?" else f", {left} left")


def classes(errors: Mapping[str, int], named: int = CLASSES) -> str:
    """Failures by class, the most frequent first."""
    counts = sorted(errors.items(), key=lambda one: (-one[1], one[0]))
    shown = [f"{count:,} x {name}" for name, count in counts[:named]]
    return ", ".join(shown) + (f", … {len(counts) - named} more classes" if len(counts) > named else "")


def present_wave(waves: Sequence[Mapping[str, Any]]) -> str | None:
    """Which wave is under way, and up to where it goes; None where there are no waves."""
    for number, wave in enumerate(waves, 1):
        if wave["state"] in ("running", "failed"):
            return f"wave {number} of {len(waves)}, up to {wave['bound']:,}" + (
                ": gate closed" if wave["state"] == "failed" else ""
            )
    return None


def wave_words(wave: Mapping[str, Any]) -> str:
    """A wave with what became of it, and what its gate said."""
    gate: Mapping[str, Any] = wave["gate"] or {}
    found = [f"{gate[name]:,} {name}" for name in ("failed", "conflicts") if gate.get(name)]
    found += [f"verify: {gate['verify']}"] if gate.get("verify") else []
    words = {"passed": "passed", "failed": "gate closed", "running": f"under way, up to {wave['bound']:,}", "ahead": "ahead"}
    return f"{wave['share'] * 100:g}% {words[wave['state']]}" + (f" ({', '.join(found)})" if found else "")


def _campaign(document: Mapping[str, Any], rate: float | None) -> list[RenderableType]:
    total, done = document["total"], document["total"] - document["pending"]
    style = STYLES.get(document["state"], "")
    head = Text.assemble(
        (document["campaign"], "bold"), f" {document['migration']} · {document['kind']} · ", (document["state"], style)
    )
    found: list[RenderableType] = [head, _bar(done, total, style)]
    counts = [Text(speed(document, rate))] if document["state"] == "running" else []
    counts += [Text(f"{document[name]:,} {words}", style=BAD.get(name, "")) for name, words in OUTCOMES.items() if document[name]]
    if counts:
        found.append(_indented(Text(" · ").join(counts)))
    if document["waves"] and document["state"] in UNFINISHED:
        found.append(_indented(Text("waves: " + " · ".join(wave_words(wave) for wave in document["waves"]))))
    if document.get("errors"):
        found.append(_indented(Text(f"failed: {classes(document['errors'])}", style="red")))
    found += [_indented(Text(f"not taken: {reason}", style="yellow")) for reason in document.get("refused", ())]
    if document["held"]:
        found.append(_indented(Text(f"held: {document['held']}", style="yellow")))
    return found


def _bar(done: int, total: int, style: str) -> RenderableType:
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=max(total, 1), completed=done if total else 1, complete_style=style, finished_style=style)
    row.add_row(bar, f"{percent(done, total):>4}  {done:,} of {total:,}")
    return _indented(row)


def _indented(part: RenderableType) -> RenderableType:
    row = Table.grid(expand=True)
    row.add_column(width=2)
    row.add_column(ratio=1, overflow="fold")
    row.add_row("", part)
    return row


def _workers(overview: Overview) -> list[RenderableType]:
    alive = overview.workers
    if not alive:
        return [Text("no worker is alive; start one in another terminal: backtrail worker", style="yellow")]
    found: list[RenderableType] = [Text(f"{len(alive)} worker{'s' if len(alive) > 1 else ''} alive")]
    # The one that leads is always among those that are shown.
    shown = sorted(alive, key=lambda one: not one["leads"])[:WORKERS]
    found += [_indented(Text(worker_words(worker))) for worker in shown]
    if len(alive) > len(shown):
        found.append(_indented(Text(f"… and {len(alive) - len(shown)} more")))
    return found + [_indented(Text(words, style="yellow")) for worker in alive for words in refusals(worker)][:WORKERS]


def refusals(worker: Mapping[str, Any]) -> list[str]:
    """What a worker cannot do, and why."""
    reasons: Mapping[str, str] = worker.get("refuses") or {}
    name = worker["id"].partition("/")[0]
    return [f"{name} cannot do {'any' if subject == '*' else subject}: {reason}" for subject, reason in reasons.items()]


def worker_words(worker: Mapping[str, Any]) -> str:
    """A worker by its name, with release and host."""
    name = worker["id"].partition("/")[0]
    host = worker.get("host")
    parts = [f"release {worker['release']}"] if worker.get("release") else []
    parts += [f"on {host}"] if host and not name.endswith(f"@{host}") else []
    parts += ["feeds the queue"] if worker["leads"] else []
    return ", ".join([name, *parts])
