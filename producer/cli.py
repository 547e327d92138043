"""The command line: parses, calls one function, prints. Exit code 0: all well; 1: it ran and found problems; 2: it could not be meant so."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from backtrail._version import __version__
from backtrail.discovery import announced, find
from backtrail.errors import BacktrailError, Quarantine, UsageError
from ledger.campaigns import UNFINISHED, Campaign
from ledger.presence import milliseconds
from ledger.verify import Verifier, cores
from producer import checkpoint as checkpoints
from producer import history as histories
from producer import show
from producer.campaign import DriftFound, Order, known_keys, last_params, mended, moved, open_campaign, whoami
from producer.context import Context, open_ledger, quiet_logs
from producer.dryrun import forecast
from producer.failures import failures
from producer.sources import Chosen
from producer.status import status as status_documents

Command = Callable[..., Any]


class Share(click.ParamType[float]):
    """A share: `1%` or `0.01`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number from 0 to 1."""
        if isinstance(value, float):
            return value
        try:
            share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = -1
        if not 0 < share <= 1:
            self.fail(f"{value!r} is no share: write it as 1% or 0.01", param, ctx)
        return share


def common(command: Command) -> Command:
    """A command with the options that all have, and with its context as first argument."""

    @click.option("--database-url", metavar="URL", help="sqlite:///file.db or postgresql://user@host/database.")
    @click.option("--broker-url", metavar="URL", help="redis://… or amqp://…; without one, an embedded broker.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
    @functools.wraps(command)
    def wrapped(database_url: str | None, broker_url: str | None, as_json: bool, **arguments: Any) -> Any:
        context = Context({"database_url": database_url, "broker_url": broker_url}, json=as_json)
        return command(context, **arguments)

    return wrapped


reason_option = click.option("--reason", metavar="TEXT", help="Why; recorded with who ran it.")
only_option = click.option("--only", multiple=True, metavar="KEY", help="These entities only; can be given several times.")
only_from_option = click.option(
    "--only-from", type=click.Path(path_type=Path), metavar="FILE", help="The entities of a file, one a line."
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(1, 5000), metavar="N", help="Entities in one message and transaction."
)
verifier_option = click.option(
    "--verifier", metavar="KEY", help="The key that signed it, or its file; default that of signing_key_file."
)
watch_option = click.option("--watch", is_flag=True, help="Stay, and show progress, until the end.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="backtrail %(version)s")
def backtrail() -> None:
    """Migrates live data user by user through a queue, with a ledger and an exact way back for each."""


# -- looking around ---------------------------------------------------------------------------------------------------


@backtrail.command()
@common
def migrations(context: Context) -> None:
    """The migrations that can be found by name."""
    found = [find(name) for name in sorted(announced())]
    if context.json:
        show.print_json(
            context, [{"name": one.name, "summary": one.summary, "requires": list(one.cls.requires)} for one in found]
        )
        return
    for one in found:
        context.out.print(f"{one.name:<24} {one.summary}", markup=False)
    context.out.print("\nyour own: path/to/file.py:Class; begin one with `backtrail new NAME`", style="dim")


@backtrail.command()
@click.argument("name")
@click.option("--documents", is_flag=True, help="One of collections; so it is where database_url is MongoDB's.")
@common
def new(context: Context, name: str, documents: bool) -> None:
    """A new migration file and its test, ready to run."""
    from producer import scaffold

    documents = documents or (context.settings.database_url or "").startswith("mongodb")
    paths = scaffold.create(name, Path.cwd(), documents=documents)
    if context.json:
        show.print_json(context, [str(path) for path in paths])
        return
    for path in paths:
        context.out.print(f"created {path.name}", markup=False)


@backtrail.command()
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
        show.print_json(context, {"migration": instance.name, "steps": lines})
        return
    for line in lines or ["nothing to do"]:
        context.out.print(line, markup=False)


# -- campaigns --------------------------------------------------------------------------------------------------------


@backtrail.command()
@click.argument("migration")
@only_option
@only_from_option
@click.option("--sample", type=Share(), metavar="1%", help="A share of the entities, the same ones every time.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many entities.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the migration.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; read only, create nothing.")
@batch_option
@watch_option
@reason_option
@common
def enqueue(context: Context, migration: str, **given: Any) -> None:
    """Opens a campaign that migrates every entity, and returns; workers do it."""
    found = context.migration(migration)
    context.check_broker()
    options = {"sample": given["sample"], "limit": given["limit"], "max_failed_share": 0.5}
    order = Order(
        "migrate",
        only=_only(given["only"], given["only_from"]),
        options={name: value for name, value in options.items() if value is not None},
        params=_params(given["params"]),
        reason=given["reason"],
        batch_size=given["batch_size"] or context.settings.batch_size,
    )
    if given["dry_run"]:
        _forecast(context, found, order)
        return
    _open(context, found, order, watch=given["watch"])


@backtrail.command()
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
    only = _only(given["only"], given["only_from"])
    if given["failed"] + given["stale"] + (only is not None) != 1:
        raise UsageError("rerun takes one of --failed, --stale and --only KEY")
    options = {"from": "streams", "failed": given["failed"], "stale": given["stale"]}
    order = Order(
        "rerun",
        only=only,
        options={name: value for name, value in options.items() if value},
        params=_params(given["params"]),
        reason=given["reason"],
        batch_size=given["batch_size"] or context.settings.batch_size,
    )
    context.check_broker()
    _open(context, context.migration(migration), order, watch=given["watch"])


@backtrail.command()
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
    only = _only(given["only"], given["only_from"])
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


def _open(context: Context, found: Any, order: Order, *, watch: bool, dry_run: bool = False) -> None:
    ledger = context.ledger
    try:
        campaign = open_campaign(ledger, found, order, dry_run=dry_run)
    except DriftFound as error:
        if context.json:
            show.print_json(context, {"campaign": None, "state": "refused", "reason": str(error), "drifted": error.drifted})
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
        show.print_json(context, document) if context.json else context.out.print(
            f"{campaign.total:,} entities would be rolled back, none has drifted"
        )
        return
    _tell(context, campaign, show.watch(context, campaign.id) if watch else None)


def _tell(context: Context, campaign: Campaign, document: dict[str, Any] | None) -> None:
    """Prints where the campaign stands, and what to do next; its end is known after it was watched."""
    ledger, watched = context.ledger, document is not None
    with ledger.store.transaction(write=False) as tx:
        document = document or status_documents(ledger, tx, [campaign])[0]
        alive = ledger.presence.alive(tx)
        others = ledger.campaigns.all(tx, states=UNFINISHED, migration=campaign.migration)
        failed = failures(ledger, tx, campaign) if document["failed"] else {"errors": {}, "failures": []}
    if context.json:
        show.print_json(context, document | failed)
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


def _forecast(context: Context, found: Any, order: Order) -> None:
    result = forecast(context.ledger, found, order)
    document = result.document(found.name)
    if context.json:
        show.print_json(context, document)
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


@backtrail.command()
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


def _mover(name: str, state: Any, summary: str) -> None:
    @backtrail.command(name, help=summary)
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


_mover("pause", "paused", "Holds a campaign, within one batch.")
_mover("resume", "running", "Lets a paused or halted campaign go on.")
_mover("cancel", "cancelled", "Ends a campaign, within one batch; what is done stays done.")


# -- what became of it ------------------------------------------------------------------------------------------------


@backtrail.command()
@click.argument("migration", required=False)
@click.option("--sample", type=Share(), metavar="1%", help="A share of the entities only.")
@only_option
@click.option("-j", "--jobs", type=click.IntRange(1), metavar="N", help="Processes; as many as there are cores.")
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="And that what it covers is still there.")
@verifier_option
@common
def verify(
    context: Context,
    migration: str | None,
    sample: float | None,
    only: Sequence[str],
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
    params = last_params(ledger, plain)
    found = plain.bound(params)
    ledger.store.check(found.cls)
    with ledger.store.transaction(write=False) as tx:
        if not ledger.exists(tx):
            raise UsageError("no campaign was ever opened in this database: there is nothing to verify")
    named = frozenset(known_keys(ledger, found, only) if only else ())
    chosen = Chosen(sample, named) if sample or named else None
    opening = functools.partial(open_ledger, context.settings)
    work = Verifier(ledger, found, chosen, jobs=jobs or cores(), opening=opening, params=params)
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
    show.print_json(context, document) if context.json else show.print_findings(context.out, document)
    sys.exit(0 if document["ok"] else 1)


@backtrail.command()
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


@backtrail.command()
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


@backtrail.group()
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


@backtrail.command()
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


@backtrail.command()
@click.argument("migration")
@click.argument("key")
@common
def history(context: Context, migration: str, key: str) -> None:
    """What happened to one entity, event by event, by whom and why."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        events = histories.history(ledger, tx, context.migration(migration).name, key)
    show.print_json(context, events) if context.json else show.print_history(context.out, events)


@backtrail.command()
@click.argument("migration")
@click.option("--conflicts", is_flag=True, help="Conflicts only.")
@click.option("--unmapped", is_flag=True, help="Unmapped fields only.")
@common
def notes(context: Context, migration: str, conflicts: bool, unmapped: bool) -> None:
    """What the migration recorded: conflicts, unmapped fields, remarks."""
    kinds = ({"conflict"} if conflicts else set()) | ({"unmapped"} if unmapped else set())
    found = histories.notes(context.ledger, context.migration(migration).name, kinds or None)
    if context.json:
        show.print_json(context, list(found))
        return
    for note in found:
        rest = ", ".join(f"{name}: {value}" for name, value in note.items() if name not in ("key", "kind"))
        context.out.print(f"{note['key']}: {note['kind']}: {rest}", markup=False)


@backtrail.command()
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
    needs = needs_of([context.migration(one) for one in migration], _params(params))
    store = context.answering() if url.startswith("postgresql") else None
    parts = granting.grants(url, needs, Roles(**names), store, update=update)
    if context.json:
        show.print_json(context, granting.document(parts))
    else:
        click.echo(granting.script(url, parts))


# -- processes --------------------------------------------------------------------------------------------------------


@backtrail.command()
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


@backtrail.command()
@click.option("--users", type=click.IntRange(10), default=2000, metavar="N", help="How many users the sample data has.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Where the demo's database is put, and stays.")
@common
def demo(context: Context, users: int, keep: Path | None) -> None:
    """The whole story on sample data: migrate, verify, roll three users back, prove it, migrate them again."""
    from producer import demo as story

    sys.exit(story.tell(context, users, keep))


@backtrail.command()
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


# -- inside -----------------------------------------------------------------------------------------------------------


def _only(keys: Sequence[str], file: Path | None) -> list[str] | None:
    if file is None:
        return list(keys) or None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--only-from {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None
    found = [*keys, *(line for line in lines if line.strip())]
    if not found:
        raise UsageError(f"--only-from {file} names no entity: write one key a line")
    return found


def _params(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise UsageError(f"--param {name!r} has no value: write --param name=value")
    return {name: value for name, _, value in pairs}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and ends the process with the command's exit code."""
    quiet_logs()
    try:
        code = backtrail.main(args=arguments, prog_name="backtrail", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "backtrail"
        click.echo(f"backtrail: {error.format_message()} (see {where} --help)", err=True)
        sys.exit(2)
    except BacktrailError as error:
        click.echo(f"backtrail: {error}", err=True)
        sys.exit(1 if isinstance(error, (DriftFound, Quarantine)) else 2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
