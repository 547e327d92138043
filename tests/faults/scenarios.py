"""What is done to campaigns: each scenario is a trip of its own on fresh data, and what goes wrong during it."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import redis

from producer.queue import Queue
from tests import servers
from tests.acceptance.eyes import Eye, eye_of
from tests.acceptance.mongo_eye import MongoEye
from tests.acceptance.sql_eyes import SqlEye
from tests.acceptance.world import World
from tests.faults import mortal
from tests.faults.mortal import Mortal
from tests.faults.proxy import Proxy, proxy
from tests.faults.scene import PREFIX, Reference, populate, spoil
from tests.faults.staff import Staff, staff
from tests.faults.trip import NOBODY, Trip, demand
from tests.processes import Place

WORKER = {
    "worker.received": "#3-8",
    "worker.mid-transaction": "#2-5",
    "worker.after-ledger": "#2-5",
    "worker.after-commit": "#2-5",
    "worker.mid-rollback": "#2-5",
    "worker.halving": "0.3",
    "worker.recall": "0.1",
    "worker.giving-back": "0.2",
}
"""Where processes of the pool die; each does a few batches before."""

FEEDER = {
    "feeder.mid-plan": "0.4",
    "feeder.after-plan": "0.4",
    "feeder.before-publish": "0.2",
    "feeder.mid-publish": "0.01",
    "feeder.after-publish": "0.3",
    "feeder.before-gate": "0.5",
    "feeder.before-complete": "0.4",
}
"""Where the companion dies."""

WHOLE = {
    "worker.received": "#8-16!worker",
    "worker.mid-transaction": "#6-12!worker",
    "worker.after-ledger": "#6-12!worker",
    "worker.after-commit": "#6-12!worker",
    "worker.mid-rollback": "#6-12!worker",
    "feeder.after-publish": "0.2!worker",
}
"""Where a pool's process, or the companion, takes the whole worker with it."""

WAVES = ("--waves", "40%,100%", "--max-conflicts", "50%", "--max-failures", "50%")

SLOWLY = {"worker.received": "1!wait"}
"""So slow that something can happen in the midst of a campaign."""

FRUITLESS, LONGEST_REST_S = 10, 10.0
"""After so many turns between which nothing got done a disturber rests longer, and at the most for so long."""


@dataclass
class Stage:
    """All that a disturber may lay hands on."""

    world: World
    eye: Eye
    trip: Trip
    staff: Staff
    broker: Mortal
    database: Mortal | None
    proxy: Proxy | None
    figures: Counter[str]
    random: random.Random

    def until(self, number: int, share: float) -> bool:
        """Whether the campaign has come so far without ending."""
        while not self.trip.ended(number):
            if self.trip.done(number) >= self.trip.users * share:
                return True
            time.sleep(0.02)
        return False

    def going(self, number: int, rest: float) -> Iterator[None]:
        """Turns while the campaign goes on, with a rest before each: ever longer ones, where nothing has got done for many of them.

        Nobody promises that work of a second is done where everything is cut each second, as it may be on a busy machine.
        """
        fruitless, done = 0, self.trip.done(number)
        while not self.trip.ended(number):
            time.sleep(max(rest, min(rest * 2.0 ** (fruitless - FRUITLESS), LONGEST_REST_S)))
            before, done = done, self.trip.done(number)
            fruitless = 0 if done > before else fruitless + 1
            yield


Disturber = Callable[[Stage, int], None]


@dataclass(frozen=True)
class Scenario:
    """One kind of disaster."""

    name: str
    what: str
    steps: tuple[str, ...] = ("migrate", "rerun", "rollback", "redo", "rollback")
    stores: tuple[str, ...] = ("sqlite", "postgres", "mongo")
    workers: int = 2
    processes: int = 2
    batch: int = 4
    failpoints: dict[str, str] = field(default_factory=dict)
    disturb: Disturber = lambda stage, number: None
    verify: bool = True
    options: tuple[str, ...] = ()


# -- disturbers ---------------------------------------------------------------------------------------------------


def hold(stage: Stage, number: int) -> None:
    """The first campaign is paused and resumed while its messages are on their way."""
    if number == 1 and stage.until(number, 0.3):
        place = stage.world.place
        if _insisted(place, "pause", number):
            demand(_insisted(place, "resume", number), f"c{number} cannot be resumed")
            stage.figures["held"] += 1


def _insisted(place: Place, word: str, number: int) -> bool:
    """Whether the command was obeyed. What a killed worker had in hand may be in its way for a moment; that says so, and another try helps."""
    return any(place.run(word, f"c{number}", code=None).code == 0 for _ in range(3))


def kill_feeders(stage: Stage, number: int) -> None:
    """The companions are killed a moment after one of them has begun to lead, again and again."""
    fence = -1
    for _ in stage.going(number, 0.1):
        if (now := _fence(stage.eye)) > fence:
            time.sleep(stage.random.uniform(0, 1.5))
            stage.figures["feeders killed"] += stage.staff.kill_feeder()
            fence = now


def _fence(eye: Eye) -> int:
    """How many leaders there have been."""
    with suppress(Exception):
        if isinstance(eye, MongoEye):
            return max((int(one["fence"]) for one in eye.ledger["leases"].find()), default=-1)
        assert isinstance(eye, SqlEye)
        return int(eye.one(f"SELECT coalesce(max(fence), -1) FROM {eye.ledger('leases')}"))
    return -1


def kill_workers(stage: Stage, number: int) -> None:
    """A whole worker is killed whenever a tenth more was done."""
    before = -stage.trip.users
    for _ in stage.going(number, 0.3):
        if (done := stage.trip.done(number)) >= before + stage.trip.users / 10 and stage.staff.kill_worker():
            stage.figures["workers killed"] += 1
            before = done


def break_broker(stage: Stage, number: int) -> None:
    """Every campaign loses its broker in another way."""
    if not stage.until(number, 0.2):
        return
    [_broker_dies_empty, _broker_is_flushed, _broker_dies, _broker_cuts][(len(stage.trip.expected) - 1) % 4](stage, number)


def _broker_dies_empty(stage: Stage, number: int) -> None:
    stage.broker.kill()
    stage.broker.forget()
    stage.broker.start()
    stage.figures["broker killed, came back empty"] += 1


def _broker_is_flushed(stage: Stage, number: int) -> None:
    with redis.Redis.from_url(stage.broker.url) as client:
        client.flushall()
    stage.figures["broker flushed"] += 1


def _broker_dies(stage: Stage, number: int) -> None:
    stage.broker.kill()
    time.sleep(1)
    stage.broker.start()
    stage.figures["broker killed, came back with its file"] += 1


def _broker_cuts(stage: Stage, number: int) -> None:
    with redis.Redis.from_url(stage.broker.url) as client:
        for _ in stage.going(number, 0.7):
            stage.figures["broker connections cut"] += int(client.client_kill_filter(_type="normal", skipme=True))


def kill_database(stage: Stage, number: int) -> None:
    """The database is killed with signal 9 and started again on what it has on disk, twice in each campaign."""
    assert stage.database is not None
    for share in (0.2, 0.6):
        if stage.until(number, share):
            stage.database.kill()
            time.sleep(0.5)
            stage.database.start()
            stage.figures["database killed"] += 1


def cut_database(stage: Stage, number: int) -> None:
    """Every connection to the database is cut again and again."""
    if stage.proxy is not None:
        for _ in stage.going(number, 0.7):
            before = stage.proxy.cuts
            stage.proxy.cut()
            stage.figures["database connections cut"] += stage.proxy.cuts - before
        return
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'backtrail%'"
    )
    with psycopg.connect(stage.eye.url, autocommit=True) as connection:
        for _ in stage.going(number, 0.7):
            row = connection.execute(query).fetchone()
            stage.figures["database connections cut"] += int(row[0]) if row else 0


def publish_tenfold(stage: Stage, number: int) -> None:
    """Every batch's message is put into the queue ten times more."""
    queue = Queue(stage.broker.url, "backtrail")
    sent: set[int] = set()
    for _ in stage.going(number, 0.05):
        new = _batches(stage.eye, number) - sent
        for _ in range(10):
            numbers = list(new)
            stage.random.shuffle(numbers)
            queue.publish(number, numbers)
        sent |= new
        stage.figures["messages sent ten times more"] += len(new)


def _batches(eye: Eye, campaign: int) -> set[int]:
    with suppress(Exception):
        if isinstance(eye, MongoEye):
            return {int(one["_id"]["number"]) for one in eye.ledger["batches"].find({"_id.campaign": campaign}, {"_id": 1})}
        assert isinstance(eye, SqlEye)
        return {number for (number,) in eye.rows(f"SELECT number FROM {eye.ledger('batches')} WHERE campaign = {campaign}")}
    return set()


SCENARIOS = (
    Scenario(
        "processes",
        "processes of the pools die at every failpoint; the first campaign is paused and resumed meanwhile",
        failpoints=WORKER,
        disturb=hold,
    ),
    Scenario(
        "feeder",
        "the feeder dies at every failpoint, and from outside; the first campaign goes in waves",
        workers=1,
        failpoints=FEEDER,
        options=WAVES,
        disturb=kill_feeders,
    ),
    Scenario("workers", "whole workers die, at failpoints and from outside", failpoints=WHOLE, disturb=kill_workers),
    Scenario(
        "broker",
        "the broker is killed and comes back empty, is flushed, is killed and comes back with its file, and cuts its connections",
        steps=("migrate", "rollback", "redo", "rollback"),
        failpoints=SLOWLY,
        disturb=break_broker,
    ),
    Scenario(
        "database",
        "the database is killed and started again on its data, fsync on",
        steps=("migrate", "rollback", "redo"),
        stores=("postgres", "mongo"),
        failpoints=SLOWLY,
        disturb=kill_database,
    ),
    Scenario(
        "cuts",
        "every connection to the database is cut again and again",
        steps=("migrate", "rollback", "redo"),
        stores=("postgres", "mongo"),
        failpoints=SLOWLY,
        disturb=cut_database,
    ),
    Scenario(
        "tenfold",
        "16 workers, and every message eleven times",
        steps=("migrate", "rollback"),
        workers=16,
        processes=1,
        disturb=publish_tenfold,
    ),
)
"""All of them, in the order in which they are run."""


# -- running one --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a scenario has come to."""

    scenario: str
    store: str
    seconds: float
    kills: Counter[tuple[str, str]]
    figures: Counter[str]
    violation: str | None = None


@contextmanager
def _database(kind: str, server: Mortal | None, folder: Path) -> Iterator[str]:
    if server is None:
        url = f"sqlite:///{folder / 'data.db'}"
        Path(folder / "data.db").touch()
        yield url
    else:
        opened: Any = {"postgres": servers.postgres_database, "mongo": servers.mongo_database}[kind]
        with opened(server.url) as url:
            yield url


@contextmanager
def place(kind: str, server: Mortal | None, broker: str | None, batch: int | None = None) -> Iterator[Place]:
    """A folder and a fresh database of that kind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bt-faults-", ignore_cleanup_errors=True)))
        url = stack.enter_context(_database(kind, server, folder))
        yield Place(folder, url, broker, {} if batch is None else {"BACKTRAIL_BATCH_SIZE": str(batch)})


def run(
    scenario: Scenario, kind: str, server: Mortal | None, users: int, reference: Reference, seed: int, keep: Path | None = None
) -> Result:
    """What became of it; a violation is in the result, and the workers' last words with it."""
    begun = time.monotonic()
    figures: Counter[str] = Counter()
    kills: Counter[tuple[str, str]] = Counter()
    violation = None
    with ExitStack() as stack:
        broker = stack.enter_context(mortal.valkey())
        home = stack.enter_context(place(kind, server, broker.url, scenario.batch))
        log = home.folder / "killed"
        try:
            _trip(stack, scenario, home, broker, server, users, reference, seed, figures, log, keep)
        except Exception as error:  # noqa: BLE001 -- whatever it was, the others go on and this is told at the end
            violation = f"{type(error).__name__}: {error}"
        kills.update(_killed(log))
        if violation is not None:
            violation += _last_words(home.folder, keep)
    return Result(scenario.name, kind, time.monotonic() - begun, kills, figures, violation)


def _trip(
    stack: ExitStack,
    scenario: Scenario,
    home: Place,
    broker: Mortal,
    server: Mortal | None,
    users: int,
    reference: Reference,
    seed: int,
    figures: Counter[str],
    log: Path,
    keep: Path | None,
) -> None:
    world = World(home, PREFIX)
    eye = eye_of(home.database)
    populate(world, users)
    spoiled = "rerun" in scenario.steps
    if spoiled:
        spoil(world, eye, users)
    between = None
    if scenario.name == "cuts" and home.database.startswith("mongodb"):
        between = stack.enter_context(proxy(int(home.database.split("127.0.0.1:")[1].split("/")[0])))
    trip = Trip(world, eye, users, reference, spoiled, scenario.options, scenario.verify)
    variables = {
        "BACKTRAIL_FAILPOINTS": ",".join(f"{name}={how}" for name, how in scenario.failpoints.items()),
        "BACKTRAIL_FAILPOINT_LOG": str(log),
        "BACKTRAIL_FAILPOINT_SEED": str(seed),
    }
    source = random.Random(seed)
    workers_place = home if between is None else replace(home, database=_through(home.database, between.port))
    with staff(workers_place, scenario.workers, scenario.processes, variables, source) as people:
        stage = Stage(world, eye, trip, people, broker, server, between, figures, source)
        for step in scenario.steps:
            getattr(trip, step)(lambda number: scenario.disturb(stage, number))
        figures["campaigns"] += len(scenario.steps)
        figures["workers started"] += people.starts
        for code, count in people.ends.items():
            if code != -signal.SIGKILL:
                figures[f"workers ended by themselves, with {code}"] += count
                _last_words(home.folder, keep)
    if scenario.disturb is not NOBODY and scenario.name in {"broker", "database", "cuts", "tenfold"}:
        demand(set(figures) - {"campaigns", "workers started"}, "nothing was broken")


def _through(url: str, port: int) -> str:
    head, _, rest = url.partition("127.0.0.1:")
    return f"{head}127.0.0.1:{port}/{rest.partition('/')[2].partition('?')[0]}?directConnection=true"


def _killed(log: Path) -> Iterator[tuple[str, str]]:
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        name, deed, _ = line.split()
        if deed in {"process", "worker"}:
            yield name, deed


def _last_words(folder: Path, keep: Path | None) -> str:
    words = ""
    for log in sorted(folder.glob("*.log"))[:3]:
        text = log.read_text(errors="replace")
        words += f"\n--- {log.name}\n{text[-1500:]}"
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{folder.name}-{log.name}").write_text(text)
    return words
