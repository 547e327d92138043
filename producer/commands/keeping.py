"""The ledger kept: sealed by checkpoints, proved, and a person's data in it erased."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backtrail._version import __version__
from backtrail.errors import UsageError
from producer import checkpoint as checkpoints
from producer.commands.options import common, reason_option, verifier_option
from producer.context import Context


@click.command()
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", help="Where it is written; what stands there must go before it."
)
@click.option(
    "--consistent-with", type=click.Path(path_type=Path), metavar="FILE", help="An older one, with which this one must begin."
)
@click.option("--new-key", type=click.Path(path_type=Path), metavar="FILE", help="Make a key instead, in a new file.")
@click.option("--name", metavar="NAME", help="With --new-key: what the ledger is called, such as ledger.example.com/app.")
@reason_option
@common
def checkpoint(context: Context, new_key: Path | None, name: str | None, **given: Any) -> None:
    """A signed root over everything committed so far, to keep outside the database."""
    if new_key is not None:
        sys.exit(checkpoints.new_key(context, new_key, name))
    if name is not None:
        raise UsageError("--name goes with --new-key: a key has its name for good")
    sys.exit(checkpoints.checkpoint(context, **given))


@click.command()
@click.argument("subject")
@click.option(
    "--migration", "migrations", multiple=True, metavar="M", help="From what this one recorded only; can be given several times."
)
@click.option("--vacuum/--no-vacuum", default=None, help="Rewrite the database's files; default: if they are below a gigabyte.")
@reason_option
@common
def erase(context: Context, subject: str, migrations: Sequence[str], vacuum: bool | None, reason: str | None) -> None:
    """Makes a person's data in the ledger unreadable for good."""
    from producer import erase as erasing

    sys.exit(erasing.erase(context, subject, migrations=migrations, vacuum=vacuum, reason=reason))


@click.command()
@common
def upgrade(context: Context) -> None:
    """Gives a ledger of an older version the form of this one; workers of older versions then stand back."""
    _, found = context.look(upgrade=True)
    if context.json:
        context.print_json({"ledger": found, "release": __version__})
    else:
        context.out.print(f"the ledger has the form of {__version__}" if found else "there is no ledger yet: nothing to do")


@click.group()
def keys() -> None:
    """Master keys of an encrypted ledger."""


@keys.command("new")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", help="Put it first in this file; without one it is printed."
)
@common
def new_master_key(context: Context, to: Path | None) -> None:
    """A new master key."""
    from producer import erase as erasing

    sys.exit(erasing.new_key(context, to))


@keys.command()
@common
def rotate(context: Context) -> None:
    """Wraps everything by the first master key of the file."""
    from producer import erase as erasing

    sys.exit(erasing.rotate(context))


@click.command()
@click.argument("migration")
@click.argument("key")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="Under which one; default the database's last."
)
@verifier_option
@common
def prove(context: Context, migration: str, key: str, checkpoint: Path | None, verifier: str | None) -> None:
    """A proof, as JSON, that an entity's events are under the root of a checkpoint."""
    sys.exit(checkpoints.prove(context, migration, key, checkpoint, verifier))
