"""What commands print: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from producer.live import OUTCOMES, refusals, wave_words, worker_words

WIDE = 1000
"""A width in which every table finds room."""


def print_status(console: Console, documents: Sequence[dict[str, Any]]) -> None:
    """Prints campaigns as a table, or two lines each where the console is too narrow for it."""
    table = _table(documents)
    wanted = Measurement.get(console, console.options.update(max_width=WIDE), table).maximum
    if wanted <= console.width:
        console.print(table)
    else:
        for one in documents:
            _print_two_lines(console, one)
    for one in documents:
        if one.get("halted") and one["state"] == "halted":
            console.print(f"{one['campaign']} is halted: {one['halted']}", markup=False)
        elif one.get("held") and one["state"] == "running":
            console.print(f"{one['campaign']} is held: {one['held']}", markup=False)
        if one.get("later"):
            console.print(
                f"{one['campaign']}: {one['later']:,} entities came while the others were paged, and are among them", markup=False
            )
    # What a campaign of everybody found is the same for the others, so it is said once.
    nulls: dict[str, int] = next((one["nulls"] for one in reversed(documents) if one.get("nulls")), {})
    if nulls:
        console.print(ownerless(nulls), markup=False)


def _table(documents: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("campaign", "migration", "kind", "state"):
        table.add_column(name, no_wrap=True)
    # What nobody has is no column: half of them are zero for most campaigns.
    counts = ["total", "pending", "migrated"]
    counts += [name for name in ("rolled_back", "skipped", "failed", "conflicts") if any(one[name] for one in documents)]
    for name in (*counts, "rate/s"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for one in documents:
        shown = (f"{one[name]:,}" for name in (*counts, "rate_per_s"))
        table.add_row(one["campaign"], one["migration"], one["kind"], one["state"], *shown)
    return table


def _print_two_lines(console: Console, one: dict[str, Any]) -> None:
    console.print(f"{one['campaign']}  {one['migration']}  {one['kind']}  {one['state']}", style="bold", markup=False)
    found = [f"{one[name]:,} {words}" for name, words in OUTCOMES.items() if one[name]]
    found += [f"{one['pending']:,} pending"] if one["pending"] else []
    found += [f"{one['rate_per_s']:,}/s"] if one["rate_per_s"] else []
    console.print(f"    {one['total']:,}: {', '.join(found)}", markup=False, soft_wrap=False)


def print_waves(console: Console, document: dict[str, Any]) -> None:
    """Prints how far each wave of a campaign is, and what its gate said."""
    for wave in document["waves"]:
        found = ", ".join(f"{wave[name]:,} {words}" for name, words in OUTCOMES.items() if wave[name])
        console.print(f"wave {wave_words(wave)}" + (f": {found}" if found else ""), markup=False)


def ownerless(nulls: Mapping[str, int]) -> str:
    """A line about rows that have no key, by table."""
    return "no key, so nobody's, and left alone: " + ", ".join(f"{count:,} in {table}" for table, count in nulls.items())


def print_failures(console: Console, document: dict[str, Any]) -> None:
    """Prints who failed in a campaign, and why."""
    if not document["errors"]:
        return
    console.print("\nfailed: " + ", ".join(f"{count} x {name}" for name, count in document["errors"].items()), markup=False)
    for one in document["failures"]:
        console.print(f"  {one['key']}: {one['error']}: {one['reason']}", markup=False)
    hidden = sum(document["errors"].values()) - len(document["failures"])
    if hidden > 0:
        console.print(f"  … and {hidden} more", markup=False)


def print_workers(console: Console, alive: Sequence[dict[str, Any]], rejected: int = 0, *, reasons: bool = True) -> None:
    """Prints the workers that are alive, or how to start one; what they cannot do, where that was not said; and how many messages made no sense."""
    console.print(f"workers: {_names(alive) or 'none alive; start one: backtrail worker'}", markup=False)
    for worker in alive if reasons else ():
        for words in refusals(worker):
            console.print(words, markup=False)
    if rejected:
        console.print(f"messages that made no sense: {rejected:,}")


def _names(alive: Sequence[dict[str, Any]]) -> str:
    # Release and host are said where they differ: of many workers that are alike, names are enough.
    alike = len({(one.get("release"), one.get("host")) for one in alive}) < 2
    return ", ".join(one["id"].partition("/")[0] if alike else worker_words(one) for one in alive)


def print_findings(console: Console, document: dict[str, Any]) -> None:
    """Prints what `verify` found."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check")
    table.add_column("checked", justify="right")
    table.add_column("problems", justify="right")
    table.add_column("")
    for one in document["checks"]:
        sums = ", ".join(f"{name} {count:,}" for name, count in one.get("sums", {}).items())
        table.add_row(one["name"], f"{one['checked']:,}", f"{one['problems']:,}", one.get("note") or sums)
    console.print(table)
    for one in document["checks"]:
        for example in one["examples"]:
            console.print(f"  {one['name']}: {example}", markup=False)
    console.print("all well" if document["ok"] else "problems were found", style="green" if document["ok"] else "red")


def print_history(console: Console, events: Sequence[dict[str, Any]]) -> None:
    """Prints the events of an entity."""
    for event in events:
        where = "" if event["table"] is None else f" {event['table']} {event['key']}"
        console.print(f"{event['version']:>4}  {event['at']}  {event['campaign']:<5} {event['kind']}{where}", markup=False)
        before, after = event["before"] or {}, event["after"] or {}
        for name in dict.fromkeys([*before, *after]):
            if event["before"] is not None and event["after"] is not None:
                old, new = _shown(before, name), _shown(after, name)
                if old != new:
                    console.print(f"        {name}: {old} → {new}", markup=False)
            elif (value := (after or before)[name]) is not None:
                console.print(f"        {name}: {value!r}", markup=False)
        if event["data"] and event["kind"] not in ("begin", "end"):
            console.print(f"        {json.dumps(event['data'], ensure_ascii=False)}", markup=False)


def _shown(row: Mapping[str, Any], name: str) -> str:
    """A value of a row; documents may lack it."""
    return repr(row[name]) if name in row else "(absent)"
