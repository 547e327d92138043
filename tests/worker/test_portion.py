"""Transactions that hold locks for a moment only, however long a migration takes to decide."""

from __future__ import annotations

import time
from typing import Any

import pytest

from backtrail import Entity, Keys, Rows
from tests.engine import Engine, migration
from worker.portion import FIRST, Portion, TooLong

USERS = 50


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed() -> tuple[Portion, Clock]:
    clock = Clock()
    return Portion(0.4, clock), clock


def spend(portion: Portion, clock: Clock, number: int, seconds: float) -> None:
    portion.begin()
    clock.now += seconds
    portion.end(number)


def test_what_is_quick_is_soon_whole() -> None:
    """At first there are a few, and twice as many with every quick transaction, until a batch is not divided any more."""
    portion, clock = timed()
    sizes = []
    for _ in range(4):
        sizes.append(portion.of(200))
        spend(portion, clock, sizes[-1], 0.05)
    assert sizes == [FIRST, 2 * FIRST, 200, 200]
    spend(portion, clock, 200, 0.39)
    assert portion.of(200) == 200


def test_after_a_slow_transaction_the_next_has_fewer() -> None:
    """As many as would have fitted; never none."""
    portion, clock = timed()
    spend(portion, clock, 200, 1.6)
    assert portion.of(200) == 50
    spend(portion, clock, 50, 60.0)
    assert portion.of(200) == 1


def test_where_many_are_refused_there_are_fewer_others() -> None:
    """So many that about one of them is refused; all work again counts four times; and more again while nobody is."""
    portion, clock = timed()
    spend(portion, clock, 400, 0.1)
    assert portion.of(400) == 400
    for _ in range(5):
        portion.refused(whole=False)
    spend(portion, clock, 400, 0.1)
    assert portion.of(400) == 80
    portion.refused(whole=False)
    spend(portion, clock, 80, 0.1)
    assert portion.of(400) == 80
    portion.refused(whole=True)
    spend(portion, clock, 80, 0.1)
    assert portion.of(400) == 25
    sizes = []
    for _ in range(5):
        sizes.append(portion.of(400))
        spend(portion, clock, sizes[-1], 0.1)
    assert sizes == [25, 50, 100, 200, 400]


def test_it_grows_again() -> None:
    """Twice as many after each quick transaction of full size, and not after one of a few."""
    portion, clock = timed()
    spend(portion, clock, 200, 8.0)
    sizes = [portion.of(200)]
    spend(portion, clock, 3, 0.01)
    for _ in range(6):
        sizes.append(portion.of(200))
        spend(portion, clock, sizes[-1], 0.1)
    assert sizes == [10, 10, 20, 40, 80, 160, 200]


def test_deciding_ends_in_time() -> None:
    """The transaction that decides for too long is given up, and half of what it decided is tried."""
    portion, clock = timed()
    portion.demand_time(1)  # no transaction of ours
    portion.begin()
    clock.now += 0.3
    portion.demand_time(30)
    clock.now += 0.2
    with pytest.raises(TooLong):
        portion.demand_time(50)
    assert portion.of(200) == 25


def _migration(seconds: float, seen: list[Any]) -> Any:
    def migrate(user: Entity) -> None:
        row = user.one("users")
        seen.append(user.key)
        time.sleep(seconds)
        user.update(row, {"n": row["n"] + 1})

    return migration(migrate, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))


@pytest.mark.parametrize(("seconds", "parts"), [(0.0, range(1, 2)), pytest.param(0.02, range(3, 15), marks=pytest.mark.long)])
def test_a_slow_migration_commits_in_parts(on_postgres: Engine, seconds: float, parts: range) -> None:
    """A batch whose decisions take longer than locks may be held is committed in several transactions, each entity once; a quick one in one."""
    on_postgres.script("CREATE TABLE users (id int PRIMARY KEY, n int)")
    on_postgres.script(f"INSERT INTO users SELECT g, 0 FROM generate_series(1, {USERS}) g")
    seen: list[Any] = []
    slow = _migration(seconds, seen)
    assert on_postgres.migrate(slow, batch_size=USERS)["migrated"] == USERS
    assert on_postgres.query("SELECT min(n), max(n), count(*) FROM users") == [(1, 1, USERS)]
    transactions = on_postgres.query("SELECT count(DISTINCT xmin::text) FROM users")[0][0]
    assert transactions in parts
    assert len(on_postgres.answers) == 1 and on_postgres.answers[0].startswith(f"ok={USERS}")
    assert on_postgres.rollback(slow)["rolled_back"] == USERS
    assert on_postgres.query("SELECT min(n), max(n) FROM users") == [(0, 0)]


@pytest.mark.long
def test_failures_in_parts(on_postgres: Engine) -> None:
    """In parts as well, whoever fails stands alone, and the others are migrated."""
    on_postgres.script("CREATE TABLE users (id int PRIMARY KEY, n int CHECK (n <> 8))")
    on_postgres.script("INSERT INTO users SELECT g, CASE WHEN g % 10 = 3 THEN 7 ELSE 0 END FROM generate_series(1, 40) g")
    state = on_postgres.migrate(_migration(0.015, []), batch_size=40)
    assert (state["state"], state["migrated"], state["failed"]) == ("completed", 36, 4)
    assert on_postgres.query("SELECT count(*) FROM users WHERE n = 1") == [(36,)]
