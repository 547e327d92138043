"""Campaigns under way: how far they are, held, let go on, ended."""

from __future__ import annotations

from typing import Any

import click

from ledger.campaigns import UNFINISHED
from ledger.presence import milliseconds
from producer import show
from producer.campaign import mended, moved
from producer.commands.options import common, reason_option, watch_option
from producer.context import Context
from producer.failures import failures
from producer.status import status as status_documents


@click.command()
@click.argument("campaign", required=False)
@watch_option
@common
def status(context: Context, campaign: str | None, watch: bool) -> None:
    """How far a campaign is, or all of them."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        exists = ledger.exists(tx)
        every = ledger.campaigns.all(tx) if exists and campaign is None else []
        chosen = every if campaign is None else [context.campaign(tx, campaign)]
    if watch:
        for one in [one for one in chosen if one.state in UNFINISHED] or chosen[-1:]:
            show.watch(context, one.id)
    with ledger.store.transaction(write=False) as tx:
        if not exists:
            documents, alive = [], []
        else:
            chosen = [one for one in (ledger.campaigns.get(tx, one.id) for one in chosen) if one is not None]
            documents, alive = status_documents(ledger, tx, chosen), ledger.presence.alive(tx)
        if campaign is not None:
            documents[0] |= failures(ledger, tx, chosen[0]) | {"notes": ledger.campaigns.notes(tx, chosen[0].id)}
    if context.json:
        workers = [{"id": worker.id, **worker.info} for worker in alive]
        show.print_json(
            context, documents[0] | {"workers": workers} if campaign is not None else {"campaigns": documents, "workers": workers}
        )
        return
    show.print_status(context.out, documents)
    if campaign is not None:
        show.print_failures(context.out, documents[0])
        for note in documents[0]["notes"]:
            context.out.print(note, markup=False)
    show.print_workers(context.out, alive)


def _mover(name: str, state: Any, summary: str) -> click.Command:
    @click.command(name, help=summary)
    @click.argument("campaign")
    @reason_option
    @common
    def move(context: Context, campaign: str, reason: str | None) -> None:
        ledger = context.ledger
        with ledger.store.transaction(write=False) as tx:
            found = context.campaign(tx, campaign)
        # Whoever lets it go on says with it that the code as it is now is meant: after a mistake was mended, say.
        code = mended(ledger, found) if state == "running" else None
        with ledger.store.transaction() as tx:
            found = context.campaign(tx, campaign)
            ledger.campaigns.demand(tx, found, state, now=milliseconds(tx))
            ledger.campaigns.record_move(tx, found, moved(state, milliseconds(tx), reason, found.fingerprint, code), code)
            if state == "running":
                ledger.campaigns.recall_sent(tx, found.id)
        with ledger.store.transaction(write=False) as tx:
            document = status_documents(ledger, tx, [context.campaign(tx, campaign)])[0]
        show.print_json(context, document) if context.json else show.print_status(context.out, [document])

    return move


pause = _mover("pause", "paused", "Holds a campaign, within one batch.")
resume = _mover("resume", "running", "Lets a paused or halted campaign go on.")
cancel = _mover("cancel", "cancelled", "Ends a campaign, within one batch; what is done stays done.")
