"""An application that reads and writes the users' rows while they are migrated and rolled back: no write of it is lost, none waits long, none fails."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests import servers
from tests.acceptance.conftest import a_folder
from tests.live.application import KINDS, NAME
from tests.processes import Place
from tests.servers import until

BOUND_S = 1.0
"""What the product promises: nobody waits for it longer."""

LONGEST_WAIT = """
SELECT extract(epoch FROM clock_timestamp() - l.waitstart)::float, a.query, b.state, b.wait_event, b.query
FROM pg_locks l JOIN pg_stat_activity a USING (pid) LEFT JOIN pg_stat_activity b ON b.pid = ANY (pg_blocking_pids(l.pid))
WHERE NOT l.granted AND l.waitstart IS NOT NULL AND a.application_name = %s ORDER BY 1 DESC LIMIT 1
"""
"""How long somebody of the application waits just now, for what, and what whoever it waits for does."""

PEOPLE = '''
import time

from backtrail import Entity, Keys, Migration, Rows


class Split(Migration):
    """Names in two columns of the row that the application writes too, and a row of a new table."""

    name = "split"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"), Rows("messages", by="user_id"))
    writes = ("users", "people", "messages")

    def migrate(self, user: Entity) -> None:
        time.sleep(SECONDS)
        row = user.one("users")
        first, _, last = row["full_name"].partition(" ")
        user.update(row, {"first": first, "last": last})
        user.create("people", {"user_id": user.key, "first": first})
        for message in user.rows("messages"):
            user.update(message, {"text": message["text"] + "!"})
'''

TABLES = """
CREATE TABLE users (id int PRIMARY KEY, full_name text NOT NULL, first text, last text, visits int NOT NULL);
CREATE TABLE messages (id bigserial PRIMARY KEY, user_id int NOT NULL REFERENCES users, text text);
CREATE INDEX ON messages (user_id);
CREATE TABLE people (user_id int PRIMARY KEY REFERENCES users, first text);
INSERT INTO users SELECT g, 'Zoë Nr' || g, NULL, NULL, g % 7 FROM generate_series(1, {users}) g;
INSERT INTO messages (user_id, text) SELECT g, 'hi' FROM generate_series(1, {users}, 2) g;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that looks for deadlocks after a second, as servers do."""
    with servers.postgres(deadlock_timeout="1s") as url:
        yield url


@pytest.fixture
def place(server: str) -> Iterator[Place]:
    with servers.postgres_database(server) as url, a_folder() as folder:
        yield Place(folder, url)


@dataclass
class Life:
    """What an application did, and how long it had to wait, as the server says."""

    folder: Path
    waited: float = 0.0
    crowd: float = 0.0
    """Which share of the machine others had meanwhile."""
    held_by: tuple[Any, ...] = ()
    """What was waited for the longest."""
    account: dict[str, Any] = field(default_factory=dict)

    def statements(self) -> int:
        """How many statements were carried out so far."""
        file = self.folder / "statements"
        return int(file.read_text()) if file.exists() else 0

    def goes_on(self, more: int = 200) -> None:
        """Returns once so many more statements were carried out."""
        enough = self.statements() + more
        until(lambda: self.statements() >= enough, what=f"{more} statements of the application")


def _busy() -> tuple[float, float]:
    """The seconds of all processors in which something ran, and those of them in which one of ours did."""
    times, own = psutil.cpu_times(), 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            own += sum(process.cpu_times()[:4])  # its own, and of what it started and saw end
    return sum(times) - times.idle - times.iowait, own


@contextmanager
def living(place: Place, kind: str) -> Iterator[Life]:
    """An application at work; its account is there at the end."""
    life, over = Life(place.folder), threading.Event()

    def watch() -> None:
        with psycopg.connect(place.database, autocommit=True) as eye:
            while not over.wait(0.02):
                found = eye.execute(LONGEST_WAIT, (NAME,)).fetchone()
                if found is not None and found[0] > life.waited:
                    life.waited, life.held_by = found[0], found[1:]

    begun, (busy, own) = time.monotonic(), _busy()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with place.program("application", "tests.live.application", kind, str(place.folder)) as program:
            life.goes_on()
            yield life
            after = [now - then for now, then in zip(_busy(), (busy, own), strict=True)]
            life.crowd = max(0.0, after[0] - after[1]) / (time.monotonic() - begun) / psutil.cpu_count()
            assert program.end() == 0, program.text
    finally:
        over.set()
        watcher.join()
    life.account = json.loads((place.folder / "account").read_text())


def numbers(place: Place, kind: str) -> dict[Any, int]:
    """What the application counts in, by key, as a plain connection sees it."""
    with closing(psycopg.connect(place.database)) as connection:
        return dict(connection.execute(f"SELECT id, {KINDS[kind].number} FROM {KINDS[kind].table}").fetchall())  # type: ignore[arg-type]


def query(place: Place, sql: str) -> list[Any]:
    with closing(psycopg.connect(place.database)) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[arg-type]


def demand_nothing_lost(before: dict[Any, int], now: dict[Any, int], account: dict[str, Any]) -> None:
    """Fails unless every number is what it was and what the application added, and exactly those are there that should be."""
    added = Counter(dict(account["added"]))
    created, deleted = set(account["created"]), set(account["deleted"])
    assert created and deleted and deleted < created and sum(added.values()) > 100
    assert now.keys() == (before.keys() | created) - deleted
    assert {
        key: number - before.get(key, 0) - added[key] for key, number in now.items() if number - before.get(key, 0) != added[key]
    } == {}


def demand_undisturbed(life: Life) -> None:
    """Fails if the application met an error, or waited longer for a lock than anybody should."""
    told = {name: life.account[name] for name in ("statements", "longest", "p99", "errors")}
    told |= {"lock wait": round(life.waited, 3), "held by": life.held_by, "others": round(life.crowd, 2)}
    print(json.dumps(told))  # noqa: T201 -- these are the figures
    assert life.account["errors"] == {}, told
    # On a machine that others keep busy, everything takes as much longer as they leave us less of it.
    assert life.waited < BOUND_S / max(0.05, 1 - life.crowd), told


@pytest.mark.long
@pytest.mark.parametrize(("users", "seconds"), [(2000, 0.001), (200, 0.02)], ids=["quick", "slow"])
def test_an_application_that_writes_the_same_rows(place: Place, users: int, seconds: float) -> None:
    """The migration writes the rows that the application writes. Both ways nothing is lost, and what was written since is not taken back."""
    (place.folder / "split.py").write_text(PEOPLE.replace("SECONDS", str(seconds)))
    with psycopg.connect(place.database) as connection:
        connection.execute(TABLES.format(users=users))  # type: ignore[arg-type]
    before = numbers(place, "people")
    assert len(before) == users
    with living(place, "people") as life, place.worker("one"), place.worker("two"):
        there = life.statements()
        migrated = place.json("enqueue", "split.py", "--watch")
        during = life.statements() - there
        life.goes_on()
        back = place.json("rollback", "split.py", "--all", "--on-drift", "skip", "--watch")
        life.goes_on()
    assert during > 200
    assert (migrated["state"], migrated["failed"]) == ("completed", 0) and migrated["migrated"] >= users
    assert back["state"] == "completed" and back["rolled_back"] > 0 and back["skipped"] > 0
    demand_nothing_lost(before, numbers(place, "people"), life.account)
    halves = "SELECT count(*) FROM users u LEFT JOIN people p ON p.user_id = u.id WHERE (u.first IS NULL) <> (p.user_id IS NULL)"
    assert query(place, halves) == [(0,)]
    assert query(
        place,
        "SELECT count(*) FROM messages m JOIN users u ON u.id = m.user_id WHERE m.text NOT IN ('hi', 'hello', 'hi!', 'hello!')",
    ) == [(0,)]
    demand_undisturbed(life)


@pytest.mark.long
def test_an_application_beside_the_bundled_migration(place: Place) -> None:
    """`unified-profile` there and back while its sources change: nothing is lost, nothing of the new tables is left, and the ledger verifies."""
    place.run("sample", "unified-profile", "--size", "3000")
    place.run("expand", "unified-profile")
    before = numbers(place, "profiles")
    assert len(before) > 3000
    with living(place, "profiles") as life, place.worker("one"), place.worker("two"):
        there = life.statements()
        migrated = place.json("enqueue", "unified-profile", "--watch")
        during = life.statements() - there
        made = query(place, "SELECT count(*) FROM unified_profiles")[0][0]
        life.goes_on()
        back = place.json("rollback", "unified-profile", "--all", "--on-drift", "skip", "--watch")
        life.goes_on()
    assert during > 100
    assert (migrated["state"], migrated["failed"]) == ("completed", 0)
    assert made > 2500
    assert (back["state"], back["failed"]) == ("completed", 0)
    assert query(place, "SELECT (SELECT count(*) FROM unified_profiles), (SELECT count(*) FROM context_intents)") == [(0, 0)]
    demand_nothing_lost(before, numbers(place, "profiles"), life.account)
    checks = {check["name"]: check["ok"] for check in place.json("verify", "unified-profile", code=None)["checks"]}
    assert checks["ledger"] and checks["invariants"]
    demand_undisturbed(life)
