"""Messages that made no sense to a worker: how many, why, and the latest of them for a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from ledger.rejected import Rejection
from producer.commands.options import MOST, common
from producer.context import Context
from producer.crew import iso

SHOWN = 160
"""How many characters of a message are printed; `--json` has all that was kept."""


@click.command()
@click.option("--clear", is_flag=True, help="Forget them, and count from nought.")
@click.option(
    "--limit", type=click.IntRange(0, MOST), default=20, show_default=True, metavar="N", help="How many of the latest are shown."
)
@common
def rejected(context: Context, clear: bool, limit: int) -> None:
    """The messages that workers rejected: how many, why, and the latest for a look. They may hold anything, personal data too."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        exists = ledger.exists(tx)
        faults = ledger.rejections.by_fault(tx) if exists else {}
        latest = ledger.rejections.all(tx, limit) if exists else []
    cleared = None
    if clear:
        cleared = 0
        if exists:
            with ledger.writing() as tx:
                cleared = ledger.rejections.clear(tx)
    document = {"rejected": sum(faults.values()), "faults": faults, "latest": [_document(one) for one in latest]}
    if clear:
        document["cleared"] = cleared
    context.print_json(document) if context.json else _print(context.out, document)


def _document(one: Rejection) -> dict[str, Any]:
    return {**asdict(one), "at": iso(one.at), "fault": plain(one.fault)}


def _print(console: Console, document: dict[str, Any]) -> None:
    console.print(f"{document['rejected']:,} messages were rejected", markup=False)
    for fault, count in document["faults"].items():
        console.print(f"{count:>9,}  {plain(fault)}", markup=False)
    latest: Sequence[dict[str, Any]] = document["latest"]
    if latest:
        console.print("\nthe latest:")
    for one in latest:
        many = f" ({one['count']:,} of them)" if one["count"] != 1 else ""
        size = "" if one["size"] is None else f", {one['size']:,} characters"
        console.print(f"{one['at']}  {plain(one['worker'])}: {one['fault']}{many}{size}", markup=False)
        if one["sample"]:
            console.print(f"    {plain(one['sample'], SHOWN)}", markup=False)
    if "cleared" in document:
        console.print(f"{document['cleared']:,} were cleared", markup=False)


def plain(text: str, most: int | None = None) -> str:
    """The text in one line that does nothing to a terminal, cut where it is too long."""
    shown = text if most is None or len(text) <= most else text[:most] + "…"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in shown)
