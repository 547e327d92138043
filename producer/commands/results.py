"""What became of it: verified, told entity by entity, and the notes that were left."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from backtrail.errors import UsageError
from ledger.processes import cores
from ledger.verify import Verifier
from producer import checkpoint as checkpoints
from producer import history as histories
from producer import show
from producer.campaign import known_keys, last_params
from producer.commands.options import Share, common, only_option, verifier_option
from producer.context import Context, open_ledger
from producer.sources import Chosen


@click.command()
@click.argument("migration", required=False)
@click.option("--sample", type=Share(), metavar="1%", help="A share of the entities only.")
@only_option
@click.option("--no-code", is_flag=True, help="Ledger, rows, coverage and invariants alone; the migration's code is not asked.")
@click.option("-j", "--jobs", type=click.IntRange(1), metavar="N", help="Processes; as many as there are cores.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="And that what it covers is still there.")
@verifier_option
@common
def verify(
    context: Context,
    migration: str | None,
    sample: float | None,
    only: Sequence[str],
    no_code: bool,
    jobs: int | None,
    checkpoint: Path | None,
    verifier: str | None,
) -> None:
    """Recomputes the ledger, compares every row, asks migrate again; exit code 1 if anything is wrong."""
    if migration is None:
        if checkpoint is None or sample or only:
            raise UsageError("verify takes a migration; without one, --checkpoint FILE alone compares the whole ledger")
        sys.exit(checkpoints.verify_all(context, checkpoint, verifier))
    ledger = context.ledger
    plain = context.migration(migration)
    params = last_params(ledger, plain, readable=True)
    found = plain.bound(params)
    ledger.store.check(found.cls)
    with ledger.store.transaction(write=False) as tx:
        if not ledger.exists(tx):
            raise UsageError("no campaign was ever opened in this database: there is nothing to verify")
    named = frozenset(known_keys(ledger, found, only) if only else ())
    chosen = Chosen(sample, named) if sample or named else None
    opening = functools.partial(open_ledger, context.settings)
    work = Verifier(ledger, found, chosen, jobs=jobs or cores(), opening=opening, params=params, code=not no_code)
    sealed = None if checkpoint is None else checkpoints.comparison(context, checkpoint, verifier, found.name)
    with context.err.status("verifying") as spinner:
        seen = 0

        def progress(count: int) -> None:
            nonlocal seen
            seen += count
            spinner.update(f"verifying: {seen:,} entities")

        document = work.run(progress)
        if sealed is not None:
            document = checkpoints.with_finding(document, sealed.check(progress))
    context.print_json(document) if context.json else show.print_findings(context.out, document)
    sys.exit(0 if document["ok"] else 1)


@click.command()
@click.argument("migration")
@click.argument("key")
@common
def history(context: Context, migration: str, key: str) -> None:
    """What happened to one entity, event by event, by whom and why."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        events = histories.history(ledger, tx, context.migration(migration).name, key)
    context.print_json(events) if context.json else show.print_history(context.out, events)


@click.command()
@click.argument("migration")
@click.option("--conflicts", is_flag=True, help="Conflicts only.")
@click.option("--unmapped", is_flag=True, help="Unmapped fields only.")
@common
def notes(context: Context, migration: str, conflicts: bool, unmapped: bool) -> None:
    """What the migration recorded: conflicts, unmapped fields, remarks."""
    kinds = ({"conflict"} if conflicts else set()) | ({"unmapped"} if unmapped else set())
    found = histories.notes(context.ledger, context.migration(migration).name, kinds or None)
    if context.json:
        context.print_json(list(found))
        return
    for note in found:
        rest = ", ".join(f"{name}: {value}" for name, value in note.items() if name not in ("key", "kind"))
        context.out.print(f"{note['key']}: {note['kind']}: {rest}", markup=False)
