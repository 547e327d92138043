"""What runs until it is done or stopped: a worker, the demo, sample data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from producer import show
from producer.commands.options import common
from producer.context import Context


@click.command()
@click.option("-c", "--concurrency", type=click.IntRange(1), metavar="N", help="Processes; as many as there are cores.")
@click.option("--log-level", default="INFO", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), help="How much it says.")
@common
def worker(context: Context, concurrency: int | None, log_level: str) -> None:
    """One worker, until Ctrl-C; one of all workers feeds the queue."""
    _ = context.ledger  # a database that does not answer is told in one line, before anything starts
    context.check_broker()
    # Told to stop, it gives its messages back at once instead of waiting for them.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    context.ledger.store.close()
    from producer.processes import run_worker

    run_worker(context.settings, concurrency=concurrency, log_level=log_level)


@click.command()
@click.option("--users", type=click.IntRange(10), default=2000, metavar="N", help="How many users the sample data has.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Where the demo's database is put, and stays.")
@common
def demo(context: Context, users: int, keep: Path | None) -> None:
    """The whole story on sample data: migrate, verify, roll three users back, prove it, migrate them again."""
    from producer import demo as story

    sys.exit(story.tell(context, users, keep))


@click.command()
@click.argument("migration")
@click.option("--size", type=click.IntRange(1), default=1000, show_default=True, metavar="N", help="How many entities, roughly.")
@common
def sample(context: Context, migration: str, size: int) -> None:
    """Fills an empty database with sample data of a bundled migration, every edge case of its plan among it."""
    from producer.samples import fill

    url = context.settings.database()
    if url.startswith("sqlite:"):
        Path(url.removeprefix("sqlite:///").partition("?")[0]).touch()
    found = context.migration(migration)
    fill(context.ledger.store, found, size)
    if context.json:
        show.print_json(context, {"migration": found.name, "size": size})
    else:
        context.out.print(f"sample data of {size:,} entities; next: backtrail expand {found.name}", markup=False)
