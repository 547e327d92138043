"""Campaigns opened: entities migrated, migrated again, taken back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from backtrail.errors import UsageError
from ledger.campaigns import UNFINISHED, Campaign
from ledger.processes import cores
from producer import show
from producer.campaign import open_campaign
from producer.commands.options import (
    MOST,
    Share,
    batch_option,
    chosen_keys,
    common,
    only_from_option,
    only_option,
    parameters,
    reason_option,
    watch_option,
)
from producer.context import Context
from producer.drift import DriftFound
from producer.dryrun import forecast
from producer.failures import failures
from producer.order import Order
from producer.probes import demand_runnable
from producer.status import status as status_documents
from producer.throttle import parse_rate
from producer.watch import watch as watch_one
from producer.waves import Limit, shares


@click.command()
@click.argument("migration")
@only_option
@only_from_option
@click.option("--sample", type=Share(), metavar="1%", help="A share of the entities, the same ones every time.")
@click.option("--limit", type=click.IntRange(1, MOST), metavar="N", help="At most so many entities.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the migration.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; read only, create nothing.")
@click.option("--events", type=click.Path(path_type=Path), metavar="FILE", help="A dry run's predicted events, for `compare`.")
@batch_option
@click.option("--rate", metavar="N/s", help="At most so many entities a second; also N/min and N/h.")
@click.option("--waves", metavar="1%,10%,100%", help="So many at first; the others as soon as those are verified.")
@click.option("--max-failures", metavar="X", help="Halt once more fail: a number or a share; default 50%, in waves 5%.")
@click.option("--max-conflicts", metavar="X", help="Halt once more have conflicts; default none, in waves 5%.")
@click.option(
    "--if-wave-fails", type=click.Choice(["halt", "rollback"]), default="halt", help="What becomes of a wave that may not go on."
)
@watch_option
@reason_option
@common
def enqueue(context: Context, migration: str, **given: Any) -> None:
    """Opens a campaign that migrates every entity, and returns; workers do it."""
    found = context.migration(migration)
    demand_runnable(context.settings)
    context.check_broker()
    options = {"sample": given["sample"], "limit": given["limit"], **control(given)}
    order = Order(
        "migrate",
        only=chosen_keys(given["only"], given["only_from"]),
        options={name: value for name, value in options.items() if value is not None},
        params=parameters(given["params"]),
        reason=given["reason"],
        batch_size=given["batch_size"] or context.settings.batch_size,
    )
    if given["events"] and not given["dry_run"]:
        raise UsageError("--events is what a dry run predicts: add --dry-run")
    if given["dry_run"]:
        _forecast(context, found, order, given["events"])
        return
    _open(context, found, order, watch=given["watch"])


@click.command()
@click.argument("migration")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--stale", is_flag=True, help="Those for which migrate would now decide otherwise.")
@only_option
@only_from_option
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the migration.")
@batch_option
@watch_option
@reason_option
@common
def rerun(context: Context, migration: str, **given: Any) -> None:
    """Migrates chosen entities again: failed ones, stale ones, or by key."""
    only = chosen_keys(given["only"], given["only_from"])
    if given["failed"] + given["stale"] + (only is not None) != 1:
        raise UsageError("rerun takes one of --failed, --stale and --only KEY")
    options = {"from": "streams", "failed": given["failed"], "stale": given["stale"]}
    order = Order(
        "rerun",
        only=only,
        options={name: value for name, value in options.items() if value},
        params=parameters(given["params"]),
        reason=given["reason"],
        batch_size=given["batch_size"] or context.settings.batch_size,
    )
    context.check_broker()
    _open(context, context.migration(migration), order, watch=given["watch"])


@click.command()
@click.argument("migration")
@only_option
@only_from_option
@click.option("--campaign", metavar="CAMPAIGN", help="Those that this campaign did; a rollback's are brought again.")
@click.option("--all", "everybody", is_flag=True, help="All that are migrated.")
@click.option("--on-drift", type=click.Choice(["refuse", "skip"]), default="refuse", help="What to do where rows changed since.")
@click.option("--resurrect", is_flag=True, help="Bring back also what the application deleted since.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@batch_option
@watch_option
@reason_option
@common
def rollback(context: Context, migration: str, **given: Any) -> None:
    """Takes migrated entities back to exactly what they were."""
    found = context.migration(migration)
    only = chosen_keys(given["only"], given["only_from"])
    if (only is not None) + (given["campaign"] is not None) + given["everybody"] != 1:
        raise UsageError("rollback takes one of --only KEY, --campaign CAMPAIGN and --all")
    options: dict[str, Any] = {"on_drift": given["on_drift"], **({"resurrect": True} if given["resurrect"] else {})}
    kind: Any = "rollback"
    if given["campaign"] is not None:
        with context.ledger.store.transaction(write=False) as tx:
            other = context.campaign(tx, given["campaign"])
        if other.migration != found.name:
            raise UsageError(f"{other.name} is a campaign of {other.migration}, not of {found.name}")
        kind = "redo" if other.kind == "rollback" else "rollback"
        options |= {"from": "campaign", "campaign": other.id}
    elif only is None:
        options |= {"from": "streams", "state": "migrated"}
    order = Order(
        kind, only=only, options=options, reason=given["reason"], batch_size=given["batch_size"] or context.settings.batch_size
    )
    context.check_broker()
    _open(context, found, order, watch=given["watch"], dry_run=given["dry_run"])


def control(given: Mapping[str, Any]) -> dict[str, Any]:
    """What lets a campaign loose slowly, and what stops it.

    Raises:
        UsageError: it cannot be meant so.
    """
    waves = None if given["waves"] is None else shares(given["waves"])
    limits = {
        "max_failures": given["max_failures"] or ("5%" if waves else "50%"),
        "max_conflicts": given["max_conflicts"] or ("5%" if waves else None),
    }
    for limit in filter(None, limits.values()):
        Limit.parse(limit)
    if given["if_wave_fails"] != "halt" and waves is None:
        raise UsageError("--if-wave-fails goes with --waves")
    rate = None if given["rate"] is None else parse_rate(given["rate"])
    return {"waves": waves, "rate": rate, "if_wave_fails": given["if_wave_fails"] if waves else None, **limits}


def _open(context: Context, found: Any, order: Order, *, watch: bool, dry_run: bool = False) -> None:
    ledger = context.ledger
    try:
        campaign = open_campaign(ledger, found, order, dry_run=dry_run, jobs=cores())
    except DriftFound as error:
        if context.json:
            context.print_json({"campaign": None, "state": "refused", "reason": str(error), "drifted": error.drifted})
        else:
            for key, lines in error.drifted.items():
                for line in lines:
                    context.out.print(f"{key}: {line}", markup=False)
        raise
    if dry_run:
        document = {
            "campaign": None,
            "migration": found.name,
            "kind": order.kind,
            "state": "dry run",
            "dry_run": True,
            "total": campaign.total,
        }
        context.print_json(document) if context.json else context.out.print(
            f"{campaign.total:,} entities would be rolled back, none has drifted"
        )
        return
    _tell(context, campaign, watch_one(context, campaign.id) if watch else None)


def _tell(context: Context, campaign: Campaign, document: dict[str, Any] | None) -> None:
    """Prints where the campaign stands, and what to do next; its end is known after it was watched."""
    ledger, watched = context.ledger, document is not None
    with ledger.store.transaction(write=False) as tx:
        document = document or status_documents(ledger, tx, [campaign])[0]
        alive = ledger.presence.alive(tx)
        others = ledger.campaigns.all(tx, states=UNFINISHED, migration=campaign.migration)
        failed = failures(ledger, tx, campaign) if document["failed"] else {"errors": {}, "failures": []}
    if context.json:
        context.print_json(document | failed)
    else:
        show.print_status(context.out, [document])
        show.print_failures(context.out, failed)
        for other in others:
            if other.id < campaign.id:
                context.err.print(f"{other.name} ({other.kind}) is {other.state} too: each entity is done by one of them")
        if not watched:
            follow = f"follow it: backtrail status {campaign.name} --watch"
            context.err.print(follow if alive else f"no worker is alive; start one: backtrail worker\n{follow}")
    if document["failed"] or document["state"] in ("halted", "cancelled"):
        sys.exit(1)


def _forecast(context: Context, found: Any, order: Order, events: Path | None) -> None:
    result = forecast(context.ledger, found, order, events)
    document = result.document(found.name)
    if context.json:
        context.print_json(document)
    else:
        for note in document["notes"]:
            if note["kind"] != "remark":
                rest = ", ".join(f"{name}: {value}" for name, value in note.items() if name not in ("key", "kind"))
                context.out.print(f"{note['key']}: {note['kind']}: {rest}", markup=False)
        for failure in document["failures"]:
            context.out.print(f"{failure['key']}: would fail: {failure['error']}: {failure['reason']}", markup=False)
        writes = ", ".join(f"{count:,} x {what}" for what, count in document["writes"].items()) or "nothing"
        context.out.print(
            f"dry run of {found.name}: {result.migrated:,} of {result.total:,} entities would be migrated, {result.skipped:,} skipped,"
            f" {result.failed:,} fail; conflicts in {result.conflicts:,}, unmapped fields in {result.unmapped:,}; writes: {writes}",
            markup=False,
        )
        if result.recalls:
            context.out.print(
                f"{result.recalls:,} of them recall something that is not known yet, which a dry run does not ask for: they were not"
                " decided, and conflicts, unmapped fields and writes are those of the others",
                markup=False,
            )
        if result.nulls:
            context.out.print(show.ownerless(result.nulls), markup=False)
    if result.failed:
        sys.exit(1)
