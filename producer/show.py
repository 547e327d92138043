"""What commands print: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ledger.campaigns import UNFINISHED
from ledger.presence import Worker
from producer.context import Context
from producer.status import status

LOOK_S = 0.2


def print_json(context: Context, document: Any) -> None:
    """Prints one JSON document on standard output."""
    context.out.print(json.dumps(document, ensure_ascii=False, indent=2, default=str), markup=False)


def print_status(console: Console, documents: Sequence[dict[str, Any]]) -> None:
    """Prints a table of campaigns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("campaign", "migration", "kind", "state"):
        table.add_column(name)
    for name in ("total", "pending", "migrated", "rolled back", "skipped", "failed", "conflicts", "rate/s"):
        table.add_column(name, justify="right")
    for one in documents:
        counts = [
            one[name] for name in ("total", "pending", "migrated", "rolled_back", "skipped", "failed", "conflicts", "rate_per_s")
        ]
        table.add_row(one["campaign"], one["migration"], one["kind"], one["state"], *(f"{count:,}" for count in counts))
    console.print(table)
    for one in documents:
        if one.get("halted") and one["state"] == "halted":
            console.print(f"{one['campaign']} is halted: {one['halted']}", markup=False)
    # What a campaign of everybody found is the same for the others, so it is said once.
    nulls: dict[str, int] = next((one["nulls"] for one in reversed(documents) if one.get("nulls")), {})
    if nulls:
        console.print(ownerless(nulls), markup=False)


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


def print_workers(console: Console, workers: Sequence[Worker]) -> None:
    """Prints the workers that are alive, or how to start one."""
    console.print(
        "workers: " + (", ".join(worker.id.partition("/")[0] for worker in workers) or "none alive; start one: backtrail worker")
    )


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


def watch(context: Context, campaign: int, each: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, Any]:
    """The campaign's status at its end, after showing its progress on standard error until then.

    Args:
        context: whose database is looked at.
        campaign: its number.
        each: called with the status whenever it is looked at; it may raise, to end the watch.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(),
    )
    try:
        return _watched(context, campaign, each, columns)
    except KeyboardInterrupt:
        context.err.print(f"c{campaign} goes on: backtrail status c{campaign} --watch, or backtrail pause c{campaign}")
        raise


def _watched(
    context: Context, campaign: int, each: Callable[[dict[str, Any]], None], columns: Sequence[ProgressColumn]
) -> dict[str, Any]:
    ledger = context.ledger
    hinted = False
    since = time.monotonic()
    with Progress(*columns, console=context.err, disable=not context.err.is_terminal) as progress:
        bar = progress.add_task(f"c{campaign}", total=None, rate="")
        while True:
            with ledger.store.transaction(write=False) as tx:
                found = ledger.campaigns.get(tx, campaign)
                document = status(ledger, tx, [found])[0] if found is not None else {}
                alive = ledger.presence.alive(tx)
            done = document["total"] - document["pending"]
            progress.update(
                bar,
                completed=done,
                total=document["total"],
                rate=f"{document['rate_per_s']:,.0f}",
                description=f"c{campaign} {document['state']}",
            )
            if document["state"] not in UNFINISHED or document["state"] in ("paused", "halted"):
                return document
            each(document)
            if not alive and not hinted and time.monotonic() - since > 2:
                hinted = True
                context.err.print("no worker is alive; start one in another terminal: backtrail worker")
            time.sleep(LOOK_S)
