"""What comes before a campaign: finding or writing a migration, its tables, and the roles that may use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from backtrail.discovery import announced, find
from producer.campaign import whoami
from producer.commands.options import common, parameters, reason_option
from producer.context import Context


@click.command()
@common
def migrations(context: Context) -> None:
    """The migrations that can be found by name."""
    found = [find(name) for name in sorted(announced())]
    if context.json:
        context.print_json([{"name": one.name, "summary": one.summary, "requires": list(one.cls.requires)} for one in found])
        return
    for one in found:
        context.out.print(f"{one.name:<24} {one.summary}", markup=False)
    context.out.print("\nyour own: path/to/file.py:Class; begin one with `backtrail new NAME`", style="dim")


@click.command()
@click.argument("name")
@click.option("--documents", is_flag=True, help="One of collections; so it is where database_url is MongoDB's.")
@common
def new(context: Context, name: str, documents: bool) -> None:
    """A new migration file and its test, ready to run."""
    from producer import scaffold

    documents = documents or (context.settings.database_url or "").startswith("mongodb")
    paths = scaffold.create(name, Path.cwd(), documents=documents)
    if context.json:
        context.print_json([str(path) for path in paths])
        return
    for path in paths:
        context.out.print(f"created {path.name}", markup=False)


@click.command()
@click.argument("migration")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--undo", is_flag=True, help="Remove exactly what was added.")
@reason_option
@common
def expand(context: Context, migration: str, dry_run: bool, undo: bool, reason: str | None) -> None:
    """Adds the tables, columns and indexes that a migration needs."""
    from ledger.expansion import expansion  # Alembic takes as long to load as all the rest, and no other command needs it

    instance = context.migration(migration).cls()
    one = expansion(context.ledger, instance)
    if dry_run and undo:
        lines = [f"would remove {step}" for step in one.standing()]
    elif dry_run:
        lines = [statement if context.json else f"{statement};" for statement in one.script()]
    elif undo:
        lines = [f"removed {step}" for step in one.retract(by=whoami(), reason=reason)]
    else:
        lines = [f"added {step}" for step in one.expand(by=whoami(), reason=reason)]
    if context.json:
        context.print_json({"migration": instance.name, "steps": lines})
        return
    for line in lines or ["nothing to do"]:
        context.out.print(line, markup=False)


@click.command()
@click.argument("migration", nargs=-1, required=True)
@click.option("--owner", default="backtrail_owner", show_default=True, metavar="NAME", help="Owns the ledger, runs expand.")
@click.option("--worker", default="backtrail_worker", show_default=True, metavar="NAME", help="Runs workers and commands.")
@click.option("--application", default="application", show_default=True, metavar="NAME", help="Reads the flag.")
@click.option("--reader", metavar="NAME", help="Looks on only: status, verify, history, notes.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter that names a table.")
@click.option("--update", is_flag=True, help="The roles are there already.")
@common
def grants(context: Context, migration: Sequence[str], params: Sequence[str], update: bool, **names: Any) -> None:
    """Prints what to run so that workers can only add to the ledger, and the application only read its flag."""
    from producer import grants as granting
    from producer.needs import Roles, needs_of

    url = context.settings.database()
    needs = needs_of([context.migration(one) for one in migration], parameters(params))
    store = context.answering() if url.startswith("postgresql") else None
    parts = granting.grants(url, needs, Roles(**names), store, update=update)
    if context.json:
        context.print_json(granting.document(parts))
    else:
        context.write(granting.script(url, parts))
