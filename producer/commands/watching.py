"""Campaigns looked at: how far they are, once or all the time, by people and by Prometheus."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import Any

import click

from backtrail.errors import Retry, UnsuitableDatabase, UsageError
from ledger.campaigns import UNFINISHED
from ledger.ledger import Ledger
from producer.commands.options import common, watch_option
from producer.context import Context, open_ledger
from producer.crew import leader, refusals, workers
from producer.failures import failures
from producer.status import status as status_documents


@click.command()
@click.argument("campaign", required=False)
@watch_option
@common
def status(context: Context, campaign: str | None, watch: bool) -> None:
    """How far a campaign is, or all of them."""
    if watch:
        _watch(context, campaign)
    documents, crew = _looked_up(context, campaign)
    if context.json:
        context.print_json({**documents[0], **crew} if campaign is not None else {"campaigns": documents, **crew})
        return
    from producer import show  # with rich, which --json does without

    show.print_status(context.out, documents)
    if campaign is not None:
        show.print_waves(context.out, documents[0])
        show.print_failures(context.out, documents[0])
        for note in documents[0]["notes"]:
            context.out.print(note, markup=False)
    show.print_workers(context.out, crew["workers"], crew["rejected"], reasons=campaign is None)


def _watch(context: Context, campaign: str | None) -> None:
    from producer.watch import watch, watch_all

    if campaign is None:
        watch_all(context)
        return
    with context.ledger.store.transaction(write=False) as tx:
        found = context.campaign(tx, campaign)
    if found.state in UNFINISHED:
        watch(context, found.id)


def _looked_up(context: Context, campaign: str | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The documents of that campaign, or of all, and what there is to say about who works on them."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        if campaign is None and not ledger.exists(tx):
            return [], {"workers": [], "leader": None, "rejected": 0}
        chosen = ledger.campaigns.all(tx) if campaign is None else [context.campaign(tx, campaign)]
        alive = ledger.presence.alive(tx)
        documents = status_documents(ledger, tx, chosen, alive)
        if campaign is not None:
            documents[0] |= failures(ledger, tx, chosen[0]) | {
                "notes": ledger.campaigns.notes(tx, chosen[0].id) + refusals(chosen[0], alive)
            }
        crew = workers(alive)
        return documents, {"workers": crew, "leader": leader(crew), "rejected": ledger.rejections.count(tx)}


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, metavar="N", help="Where it listens.")
@click.option("--address", default="127.0.0.1", show_default=True, metavar="IP", help="Of which network.")
@common
def metrics(context: Context, port: int, address: str) -> None:
    """Metrics for Prometheus at /metrics, until Ctrl-C; read from the database, which may be away."""
    try:
        from producer.metrics import serve
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise UsageError("the metrics need prometheus_client: pip install 'backtrail[metrics]'") from None
    server = serve(_ledger(context), address, port)
    context.err.print(f"metrics at http://{address}:{port}/metrics, until Ctrl-C", markup=False)
    _until_told()
    server.shutdown()
    server.server_close()


def _ledger(context: Context) -> Ledger:
    """The ledger, also where its database is away just now: that is what somebody wants to be told of."""
    try:
        return context.ledger
    except UnsuitableDatabase as error:
        if not isinstance(error.__cause__, Retry):
            raise
        context.err.print(str(error), markup=False)
        return open_ledger(context.settings)


def _until_told() -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with suppress(KeyboardInterrupt):
        told.wait()
