"""Before and after a campaign: a rehearsal that leaves nothing, and a dry run's prediction compared with what was done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from producer import show
from producer.commands.options import MOST, Share, batch_option, chosen_keys, common, only_from_option, only_option, parameters
from producer.compare import STATES, Comparison, Predicted
from producer.compare import compare as comparison
from producer.context import Context
from producer.order import Order
from producer.rehearse import Rehearsed
from producer.rehearse import rehearse as rehearsal

SHOWN = 20


@click.command()
@click.argument("migration")
@only_option
@only_from_option
@click.option("--sample", type=Share(), metavar="1%", help="A share of the entities, the same ones every time.")
@click.option("--limit", type=click.IntRange(1, MOST), metavar="N", help="At most so many entities.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the migration.")
@batch_option
@common
def rehearse(context: Context, migration: str, **given: Any) -> None:
    """Migrates, checks, rolls back and compares entities in transactions that never commit."""
    found = context.migration(migration)
    options = {"sample": given["sample"], "limit": given["limit"]}
    order = Order(
        "migrate",
        only=chosen_keys(given["only"], given["only_from"]),
        options={name: value for name, value in options.items() if value is not None},
        params=parameters(given["params"]),
        batch_size=given["batch_size"] or context.settings.batch_size,
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=context.err, transient=True, disable=not context.err.is_terminal) as progress:
        task = progress.add_task(f"rehearsal of {found.name}", total=None)
        result = rehearsal(
            context.ledger,
            context.settings,
            found,
            order,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    if context.json:
        context.print_json(result.document())
    else:
        _print(context.out, result)
    if not result.ok:
        sys.exit(1)


@click.command()
@click.argument("campaign")
@click.argument("file", type=click.Path(path_type=Path))
@common
def compare(context: Context, campaign: str, file: Path) -> None:
    """Compares what a dry run predicted (enqueue M --dry-run --events FILE) with what a campaign did."""
    predicted = Predicted(file)
    with context.ledger.store.transaction(write=False) as tx:
        result = comparison(context.ledger, tx, context.campaign(tx, campaign), predicted)
    if context.json:
        context.print_json(result.document())
    else:
        _print_comparison(context.out, result)
    if not result.ok:
        sys.exit(1)


def _print_comparison(out: Console, result: Comparison) -> None:
    for state, examples in result.examples.items():
        for one in examples[:SHOWN]:
            tables = "; ".join(f"{table}: {', '.join(columns) or 'rows'}" for table, columns in one.get("tables", {}).items())
            out.print(f"{one['key']}: {STATES[state]}{f' ({tables})' if tables else ''}", markup=False)
        if examples:
            _print_hidden(out, result.counts[state])
    for state, words in STATES.items():
        if result.counts[state] or state == "as_predicted":
            out.print(f"{result.counts[state]:,} {words}", markup=False)
    if result.rolled_back:
        out.print(f"{result.rolled_back:,} of them were rolled back since: compared is what {result.campaign} did", markup=False)
    if not result.same_code:
        out.print("the dry run and the campaign had different code of the migration", markup=False)


def _print(out: Console, result: Rehearsed) -> None:
    for failure in result.failures[:SHOWN]:
        out.print(f"{failure['key']}: would fail on {failure['on']}: {failure['error']}: {failure['reason']}", markup=False)
    _print_hidden(out, len(result.failures))
    for one in result.differences[:SHOWN]:
        columns = f" ({', '.join(one['columns'])})" if one["columns"] else ""
        out.print(f"{one['key']}: after the way back a row of {one['table']} {one['what']}{columns}", markup=False)
    _print_hidden(out, len(result.differences))
    if result.halted:
        out.print(f"the campaign would halt: {result.halted}", markup=False)
    counts = result.counts
    writes = ", ".join(f"{count:,} x {what}" for what, count in result.writes.items()) or "nothing"
    out.print(
        f"rehearsal of {result.migration}: {counts['migrated']:,} of {counts['total']:,} entities were migrated and rolled back,"
        f" {counts['skipped']:,} skipped, {counts['failed']:,} failed; conflicts in {counts['conflicts']:,}, unmapped fields in"
        f" {counts['unmapped']:,}; written: {writes}",
        markup=False,
    )
    if counts["recalls"]:
        out.print(
            f"{counts['recalls']:,} more recall something that is not known yet, which a rehearsal does not ask for", markup=False
        )
    if result.nulls:
        out.print(show.ownerless(result.nulls), markup=False)
    same = "all are what they were" if not result.differences else f"{len(result.differences):,} are not what they were"
    out.print(f"{counts['compared']:,} rows compared: {same}; nothing was committed ({result.seconds:.1f} s)", markup=False)


def _print_hidden(out: Console, number: int) -> None:
    if number > SHOWN:
        out.print(f"  … and {number - SHOWN:,} more; --json has them all")
