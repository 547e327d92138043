"""Campaigns under way: held, let go on, ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from backtrail.errors import Retry
from ledger.campaigns import Campaign, State
from ledger.ledger import Ledger
from ledger.presence import milliseconds
from producer import show
from producer.campaign import mended, moved
from producer.commands.options import common, reason_option
from producer.context import Context
from producer.status import status as status_documents
from producer.throttle import parse_rate

PATIENCE_S = 75.0
"""How long a command waits for batches that are being done just now; on MongoDB a killed worker can hold one for a minute."""


@click.command()
@click.argument("campaign")
@reason_option
@common
def pause(context: Context, campaign: str, reason: str | None) -> None:
    """Holds a campaign, within one batch."""
    _move(context, campaign, "paused", reason)


@click.command()
@click.argument("campaign")
@click.option("--rate", metavar="N/s", help="At most so many entities a second from now on; `none` for no limit.")
@reason_option
@common
def resume(context: Context, campaign: str, rate: str | None, reason: str | None) -> None:
    """Lets a paused or halted campaign go on; or one that is under way, at another rate."""
    options = {} if rate is None else {"rate": None if rate == "none" else parse_rate(rate)}
    _move(context, campaign, "running", reason, options)


@click.command()
@click.argument("campaign")
@reason_option
@common
def cancel(context: Context, campaign: str, reason: str | None) -> None:
    """Ends a campaign, within one batch; what is done stays done."""
    _move(context, campaign, "cancelled", reason)


def _move(context: Context, name: str, state: State, reason: str | None, options: dict[str, Any] | None = None) -> None:
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        found = context.campaign(tx, name)
    # Whoever lets it go on says with it that the code as it is now is meant: after a mistake was mended, say.
    code = mended(ledger, found) if state == "running" else None

    def moving() -> None:
        with ledger.writing() as tx:
            found = context.campaign(tx, name)
            ledger.campaigns.demand(tx, found, state, now=milliseconds(tx))
            changed = replace(found, options=found.options | (options or {}))
            ledger.campaigns.record_move(tx, changed, moved(state, milliseconds(tx), reason, found.fingerprint, code), code)
            if state == "running":
                ledger.campaigns.recall_sent(tx, found.id)

    _persist(moving)
    if state == "cancelled":
        _persist(lambda: _settled(ledger, found))
    with ledger.store.transaction(write=False) as tx:
        document = status_documents(ledger, tx, [context.campaign(tx, name)])[0]
    context.print_json(document) if context.json else show.print_status(context.out, [document])


def _settled(ledger: Ledger, campaign: Campaign) -> None:
    """Nothing; every batch that a worker had in hand is done or given back: whoever takes back what was done finds all of it."""
    with ledger.writing() as tx:
        ledger.campaigns.recall_sent(tx, campaign.id)


def _persist(work: Callable[[], None]) -> None:
    for attempt in Retrying(
        retry=retry_if_exception_type(Retry),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_delay(PATIENCE_S),
        reraise=True,
    ):
        with attempt:
            work()
