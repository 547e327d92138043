"""What runs until it is done or stopped: a worker, Flower, both together, the demo, sample data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from backtrail.discovery import find
from producer.commands.options import MOST, Command, common
from producer.context import Context
from producer.probes import demand_runnable

concurrency_option = click.option(
    "-c", "--concurrency", type=click.IntRange(1), metavar="N", help="Processes; as many as there are cores."
)
port_option = click.option(
    "--port", type=click.IntRange(1, 65535), default=5555, show_default=True, metavar="N", help="Where Flower listens."
)


def log_level_option(default: str) -> Callable[[Command], Command]:
    """`--log-level`, with that default."""
    return click.option(
        "--log-level", default=default, type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), help="How much it says."
    )


@click.command()
@concurrency_option
@log_level_option("INFO")
@common
def worker(context: Context, concurrency: int | None, log_level: str) -> None:
    """One worker, until Ctrl-C; one of all workers feeds the queue."""
    _check(context)
    from producer.processes import run_worker

    run_worker(context.settings, concurrency=concurrency, log_level=log_level)


@click.command()
@port_option
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    metavar="IP",
    help="Of which network; any but the loopback needs a password of yours.",
)
@common
def flower(context: Context, port: int, address: str) -> None:
    """Flower for this queue, until Ctrl-C: behind a password, and unable to change anything."""
    from producer import flower as page

    place = page.access(context.settings, address=address, port=port, variables=os.environ)
    _check(context, database=context.settings.broker_url is None)
    context.err.print(str(place), markup=False)
    page.run_flower(context.settings, place)


@click.command()
@concurrency_option
@port_option
@log_level_option("WARNING")
@common
def up(context: Context, concurrency: int | None, port: int, log_level: str) -> None:
    """Broker, worker and Flower in this terminal, until Ctrl-C."""
    from producer import up as together

    _check(context)
    sys.exit(together.run(context, concurrency=concurrency, port=port, log_level=log_level))


def _check(context: Context, *, database: bool = True) -> None:
    """Nothing; a database or broker that does not answer is told in one line, before anything starts."""
    if database:
        demand_runnable(context.settings)
        context.look(upgrade=True)[0].store.close()
    context.check_broker()


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
@click.option(
    "--size", type=click.IntRange(1, MOST), default=1000, show_default=True, metavar="N", help="How many entities, roughly."
)
@common
def sample(context: Context, migration: str, size: int) -> None:
    """Fills an empty database with sample data of a bundled migration, every edge case of its plan among it."""
    from producer.samples import fill, with_file

    found = find(migration)
    with with_file(context.settings.database()):
        fill(context.ledger.store, found, size)
    if context.json:
        context.print_json({"migration": found.name, "size": size})
    else:
        context.out.print(f"sample data of {size:,} entities; next: backtrail expand {found.name}", markup=False)
