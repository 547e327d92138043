"""`backtrail demo`: the whole story on sample data, told by the same functions that the commands use, with a real worker."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import sqlalchemy as sa
from rich.console import Console
from rich.text import Text

from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.schema import INTENTS, PROFILES
from backtrail.discovery import Found, find
from backtrail.errors import BacktrailError, UsageError
from backtrail.settings import Settings
from backtrail.stores.sql import SqlStore
from backtrail.urls import redact
from ledger.expansion import expansion
from ledger.verify import Verifier
from producer import history
from producer.campaign import open_campaign, whoami
from producer.context import Context
from producer.failures import failures
from producer.order import Order
from producer.processes import kept_worker
from producer.proof import digests, together
from producer.watch import watch

MIGRATION = "unified-profile"
PROCESSES = 2
WORKER_S = 60.0
"""How long the worker may take to start."""
STILL_S = 150.0
"""How long a campaign may stand still: a little longer than it takes the feeder to send a lost message again."""

_OF_CONTEXT = "(SELECT c.user_id FROM context_profiles c WHERE c.id = t.context_profile_id)"
OWNERS = {
    "users": "t.id",
    "context_profiles": "t.user_id",
    "profiles": _OF_CONTEXT,
    "chat_messages": _OF_CONTEXT,
    PROFILES: "t.user_id",
    INTENTS: "t.user_id",
}
"""Every table of the sample, and whose each of its rows is."""


class StoryFailed(Exception):
    """A part of the story did not end as it must."""


def tell(context: Context, users: int, keep: Path | None) -> int:
    """The exit code, after the story was told: 0 if it ended well, 1 with what failed and where the log is.

    Args:
        context: a database_url in its settings is used if that database is empty; without one a new SQLite file is.
        users: how many the sample has.
        keep: the folder of that file and of the log; without one a new folder.

    Raises:
        UsageError: the database is not empty, or the folder cannot be used; nothing was changed.
    """
    with ExitStack() as stack, _ended_politely():
        place = _prepare(context, keep)
        story = Story(place, Teller(context))
        stack.callback(place.close)
        try:
            story.tell(stack, users)
        except (StoryFailed, BacktrailError) as error:
            return story.failed(error)
        if context.json:
            context.print_json(story.document | {"ok": True, "next": place.commands(story.three)})
        else:
            story.print_next()
    return 0


@dataclass
class Place:
    """Where the story takes place."""

    context: Context
    url: str
    folder: Path
    own: bool
    """Whether the database is a new file in the folder, and not one that was named."""
    named: bool
    """Whether a command without options finds this database by itself."""

    @property
    def log(self) -> Path:
        """What the worker says."""
        return self.folder / "worker.log"

    @property
    def settings(self) -> Settings:
        """What the worker goes by. A broker is only taken from the command line: that of other settings may feed another database's workers."""
        settings = self.context.settings
        return settings if self.context.overrides.get("broker_url") else replace(settings, broker_url=None)

    def close(self) -> None:
        """Nothing; connections are given back."""
        self.context.ledger.store.close()

    def commands(self, keys: list[str]) -> list[str]:
        """What to type next, ready to be pasted."""
        program, variable = _program(), f"BACKTRAIL_DATABASE_URL={shlex.quote(redact(self.url))}"
        key = keys[0]
        return [
            *([] if self.named else [f"export {variable}"]),
            f"{program} status",
            f"{program} history {MIGRATION} {key}",
            f"{program} notes {MIGRATION} --conflicts",
            f"{program} verify {MIGRATION}",
            f"{program} worker --log-level ERROR &",
            f"{program} rollback {MIGRATION} --only {key} --watch --reason 'a try'",
            f"{program} rerun {MIGRATION} --only {key} --watch",
            f"{program} rollback {MIGRATION} --all --watch",
            f"{program} expand {MIGRATION} --undo",
            "kill %1",
        ]


class Teller:
    """Prints the story: short headings, short lines, 80 columns where no terminal says otherwise."""

    def __init__(self, context: Context) -> None:
        width = None if context.stdout.isatty() else 80
        self.console = Console(file=context.stdout, highlight=False, emoji=False, width=width, quiet=context.json)
        self.number = 0

    def heading(self, text: str, command: str = "") -> None:
        """Prints the next heading, and the command that does the same."""
        self.number += 1
        self.console.print(Text(f"\n{self.number}. {text}", style="bold"))
        if command:
            self.line(f"$ backtrail {command}", "dim")

    def line(self, text: str, style: str = "") -> None:
        """Prints a line below a heading."""
        for part in textwrap.wrap(text, self.console.width - 3, break_long_words=False, break_on_hyphens=False):
            self.console.print(Text(f"   {part}", style=style), soft_wrap=True)

    def command(self, text: str) -> None:
        """Prints a command, in one line however long it is, so that it can be pasted."""
        self.console.print(Text(f"   {text}"), soft_wrap=True)


@dataclass
class Story:
    """The story, part by part."""

    place: Place
    teller: Teller
    found: Found = field(default_factory=lambda: find(MIGRATION))
    document: dict[str, Any] = field(default_factory=dict)
    three: list[str] = field(default_factory=list)
    worker: subprocess.Popen[bytes] | None = None
    began: float = field(default_factory=time.monotonic)

    def tell(self, stack: ExitStack, users: int) -> None:
        """Tells all of it; the worker ends with the stack."""
        self.fill(users)
        self.expand()
        before = self.look()
        self.start_worker(stack)
        self.migrate()
        migrated = self.look()
        self.verify("Verify: the ledger, every row, and every decision once more")
        self.choose(sorted(before))
        self.roll_back()
        back = self.look()
        self.compare("Proof: they are what they were, byte by byte", before, back, migrated)
        self.rerun()
        again = self.look()
        self.compare("Proof: they are what they became the first time", migrated, again, back)
        self.verify("Verify once more")
        self.document["seconds"] = round(time.monotonic() - self.began, 1)

    # -- the parts ------------------------------------------------------------------------------------------------

    def fill(self, users: int) -> None:
        """The old tables are there, with people who never were."""
        self.teller.heading(f"A database with {users:,} users, as an application left it")
        with self.place.context.ledger.store.transaction() as tx:
            sample.create(tx.connection, users)
            counts = {name: tx.connection.scalar(_count(name)) for name in sample.old_tables.tables}
        self.document |= {"database_url": redact(self.place.url), "users": users, "rows": counts}
        self.teller.line(redact(self.place.url), "cyan")
        self.teller.line(", ".join(f"{count:,} {name}" for name, count in counts.items()))

    def expand(self) -> None:
        """The new tables are there."""
        self.teller.heading("Add the new tables", f"expand {MIGRATION}")
        steps = expansion(self.place.context.ledger, self.found.cls()).expand(by=whoami(), reason="the demo")
        self.document["expanded"] = [str(step) for step in steps]
        self.teller.line("added " + ", ".join(str(step).removeprefix("create_table ") for step in steps))

    def start_worker(self, stack: ExitStack) -> None:
        """A worker is at work, and ends with the stack."""
        self.teller.heading("Start a worker", f"worker -c {PROCESSES}")
        began = time.monotonic()
        log = stack.enter_context(self.place.log.open("ab"))
        place = self.place
        self.worker = stack.enter_context(
            kept_worker(place.settings, concurrency=PROCESSES, log=log.fileno(), folder=place.folder)
        )
        with self.place.context.err.status("starting a worker and its embedded broker"):
            while not self._alive():
                self._demand_worker()
                if time.monotonic() - began > WORKER_S:
                    raise StoryFailed(f"the worker did not start within {WORKER_S:.0f} s")
                time.sleep(0.1)
        self.teller.line(
            f"{PROCESSES} processes of Celery and a feeder, ready after {time.monotonic() - began:.1f} s; its queue is"
        )
        self.teller.line("a valkey-server on a private socket, which ends with the last command")

    def migrate(self) -> None:
        """Everybody is migrated."""
        self.teller.heading("Migrate everybody", f"enqueue {MIGRATION} --watch")
        done = self._campaign("migrated", Order("migrate", options={"max_failures": "50%"}, **self._signed()))
        self.teller.line(f"{done['campaign']}: {done['migrated']:,} users migrated, {done['rate_per_s']:,.0f} a second, 0 failed")
        self.teller.line(
            f"conflicts noted for {done['conflicts']:,} users, unmapped fields for {done['unmapped']:,}; nothing is dropped"
        )

    def verify(self, heading: str) -> None:
        """Everything is as the ledger says."""
        self.teller.heading(heading, f"verify {MIGRATION}")
        with self.place.context.err.status("verifying"):
            document = Verifier(self.place.context.ledger, self.found).run()
        self.document.setdefault("verified", []).append(document)
        for check in document["checks"]:
            ok = "ok" if check["ok"] else f"{check['problems']} problems"
            self.teller.line(f"{check['name']:<12}{check['checked']:>9,} checked   {ok}", "" if check["ok"] else "red")
            for example in check["examples"]:
                self.teller.line(f"  {example}", "red")
            if sums := {name: count for name, count in check.get("sums", {}).items() if name != "in"}:
                self.teller.line("  fields: " + ", ".join(f"{count:,} {name}" for name, count in sums.items()))
        if not document["ok"]:
            names = ", ".join(check["name"] for check in document["checks"] if not check["ok"])
            raise StoryFailed(f"verify found problems: {names}")

    def choose(self, keys: list[str]) -> None:
        """Three users are chosen: with a conflict, with an unmapped field, and any."""
        ledger = self.place.context.ledger
        noted = [next(history.notes(ledger, MIGRATION, {kind}), None) for kind in ("conflict", "unmapped")]
        wanted = [note["key"] for note in noted if note is not None]
        self.three = list(dict.fromkeys([*wanted, *keys]))[:3]
        self.document["three"] = self.three

    def roll_back(self) -> None:
        """The three are rolled back."""
        only = " ".join(f"--only {key}" for key in self.three)
        self.teller.heading("Roll back three of them", f"rollback {MIGRATION} --watch {only}")
        done = self._campaign(
            "rolled_back", Order("rollback", only=self.three, options={"on_drift": "refuse"}, **self._signed()), len(self.three)
        )
        self.teller.line(f"{done['campaign']}: {done['rolled_back']} rolled back")

    def rerun(self) -> None:
        """The three are migrated again."""
        only = " ".join(f"--only {key}" for key in self.three)
        self.teller.heading("Migrate the three again", f"rerun {MIGRATION} --watch {only}")
        done = self._campaign("migrated", Order("rerun", only=self.three, **self._signed()), len(self.three))
        self.teller.line(f"{done['campaign']}: {done['migrated']} migrated; the first run's rows come back from the ledger")

    def look(self) -> dict[str, str]:
        """The digest of each user's rows, by a dump of its own."""
        return digests(self.place.url, OWNERS)

    def compare(self, heading: str, wanted: dict[str, str], now: dict[str, str], last: dict[str, str]) -> None:
        """The three are as in `wanted` and were not so in `last`; all others are as they were in `last`."""
        self.teller.heading(heading)
        others = set(now) - set(self.three)
        pairs = [
            (f"the {len(self.three)} users", together(wanted, self.three), together(now, self.three)),
            (f"the {len(others):,} others", together(last, set(last) - set(self.three)), together(now, others)),
        ]
        names = "SHA-256 over the type and bytes of every value" if self.place.url.startswith("sqlite") else "SHA-256 over COPY"
        self.teller.line(f"{names} in all {len(OWNERS)} tables")
        for who, then, here in pairs:
            self.teller.line(f"{who:<18} then {then[:16]}…  now {here[:16]}…  {'identical' if then == here else 'DIFFERENT'}")
        self.document.setdefault("proofs", []).append([{"who": who, "then": then, "now": here} for who, then, here in pairs])
        if together(last, self.three) == together(now, self.three):
            raise StoryFailed("nothing changed for the three users, so nothing is proved")
        for who, then, here in pairs:
            if then != here:
                raise StoryFailed(f"the rows of {who} are not what they were")

    # -- the ends -------------------------------------------------------------------------------------------------

    def print_next(self) -> None:
        """Says how it ended, and what to type next."""
        self.teller.console.print(Text(f"\nAll well, in {self.document['seconds']} s. What to type next:\n", style="bold green"))
        for command in self.place.commands(self.three):
            self.teller.command(command)
        if redact(self.place.url) != self.place.url:
            self.teller.line("with the password in the place of ***")
        self.teller.console.print()
        self.teller.line(f"A migration of your own: {_program()} new split-names; README.md goes on from there.")
        if self.place.own:
            self.teller.line(f"The demo's files stay until you remove {self.place.folder}")

    def failed(self, error: Exception) -> int:
        """1, after saying what failed and where the log is."""
        context = self.place.context
        if context.json:
            context.print_json(self.document | {"ok": False, "error": str(error), "log": str(self.place.log)})
        context.err.print(f"the demo failed: {error}", style="red", markup=False)
        if self.place.log.exists():
            context.err.print(f"the worker's log: {self.place.log}", markup=False)
        return 1

    # -- inside ---------------------------------------------------------------------------------------------------

    def _signed(self) -> dict[str, Any]:
        return {"reason": "the demo", "batch_size": self.place.context.settings.batch_size}

    def _campaign(self, outcome: str, order: Order, count: int | None = None) -> dict[str, Any]:
        """The campaign's status at its end, with that outcome for everybody."""
        ledger = self.place.context.ledger
        campaign = open_campaign(ledger, self.found, order)
        document = watch(self.place.context, campaign.id, self._moving())
        self.document.setdefault("campaigns", []).append(document)
        if document["state"] != "completed":
            raise StoryFailed(f"{campaign.name} is {document['state']}: {document['halted']}")
        if document["failed"]:
            with ledger.store.transaction(write=False) as tx:
                found = failures(ledger, tx, campaign)["failures"]
            raise StoryFailed(f"{document['failed']} users failed, the first with {found[0]['error']}: {found[0]['reason']}")
        if document[outcome] != (self.document["users"] if count is None else count):
            raise StoryFailed(f"{campaign.name} ended with {document[outcome]} users {outcome}")
        return document

    def _moving(self) -> Callable[[dict[str, Any]], None]:
        seen, since = -1, time.monotonic()

        def look(document: dict[str, Any]) -> None:
            nonlocal seen, since
            self._demand_worker()
            done = document["total"] - document["pending"]
            if done != seen:
                seen, since = done, time.monotonic()
            elif time.monotonic() - since > STILL_S:
                raise StoryFailed(f"{document['campaign']} stands still at {done:,} of {document['total']:,} users")

        return look

    def _alive(self) -> bool:
        ledger = self.place.context.ledger
        with ledger.store.transaction(write=False) as tx:
            return ledger.exists(tx) and bool(ledger.presence.alive(tx))

    def _demand_worker(self) -> None:
        if self.worker is not None and self.worker.poll() is not None:
            raise StoryFailed(f"the worker ended with code {self.worker.returncode}")


# -- before it begins -------------------------------------------------------------------------------------------------


def _prepare(context: Context, keep: Path | None) -> Place:
    """A place with an empty database.

    Raises:
        UsageError: there is none to be had.
    """
    given = context.overrides.get("database_url")
    if given and keep is not None:
        raise UsageError("demo takes one of --database-url and --keep: a database that you name stays anyway")
    url = None if keep is not None else context.settings.database_url
    folder = _folder(keep)
    own = url is None
    if url is None:
        file = folder / "demo.db"
        if file.exists():
            raise UsageError(f"{file} exists already and is not touched: take another folder, or remove it")
        url = f"sqlite:///{file}"
    if url.startswith("mongodb"):
        raise UsageError(
            "the demo tells its story on SQLite or PostgreSQL: for MongoDB, `backtrail sample coaching-redesign` fills an empty"
            " database, and docs/mongodb.md goes on from there"
        )
    if url.startswith("sqlite:"):
        _make_file(Path(url.removeprefix("sqlite:///").partition("?")[0]))
    inner = replace(context, overrides={**context.overrides, "database_url": url})
    if inner.overrides.get("broker_url"):
        inner.check_broker()
    _demand_empty(inner)
    if own:
        _write_ahead(inner)
    return Place(inner, url, folder, own=own, named=not own and not given)


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="backtrail-demo-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--keep {keep} cannot be a folder: {error.strerror}") from error
    return keep.resolve()


def _make_file(file: Path) -> None:
    try:
        file.touch()
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def _demand_empty(context: Context) -> None:
    """Nothing, where the database is empty: whatever is in it is somebody's data, and the demo touches none."""
    with context.ledger.store.transaction(write=False) as tx:
        tables = sa.inspect(tx.connection).get_table_names()
        used = context.ledger.exists(tx)
    if tables or used:
        names = ", ".join(sorted(tables)[:5]) + (" …" if len(tables) > 5 else "") if tables else "Backtrail's ledger"
        raise UsageError(
            f"the demo needs an empty database, and {redact(context.settings.database())} holds {names}:"
            " name another one, or none, and it makes a file of its own"
        )


def _write_ahead(context: Context) -> None:
    # Readers and the writer do not wait for each other then; on a file of somebody else's that would be theirs to decide.
    store = context.ledger.store
    assert isinstance(store, SqlStore)  # noqa: S101 -- the demo makes a file of its own
    raw = store.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()


@contextmanager
def _ended_politely() -> Iterator[None]:
    """A context that SIGTERM and the closing of the terminal end as Ctrl-C does: with everything put away."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- words ------------------------------------------------------------------------------------------------------------


def _count(table: str) -> Any:
    return sa.select(sa.func.count()).select_from(sa.table(table))


def _program() -> str:
    """How this program is called from where the user is."""
    called = Path(sys.argv[0])
    if called.name != "backtrail":
        return f"{shlex.quote(sys.executable)} -m producer.cli"
    known = shutil.which("backtrail")
    if known is not None and Path(known).resolve() == called.resolve():
        return "backtrail"
    here = Path.cwd()
    return shlex.quote(str(called.relative_to(here) if called.is_relative_to(here) else called))
