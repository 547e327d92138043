"""A batch over which processes die: its entities are done one by one, and whoever kills them is quarantined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backtrail import Entity, Keys, Migration, Rows
from backtrail.errors import Retry
from ledger.campaigns import Campaign
from tests.engine import Engine
from tests.processes import Place
from worker import alone, tasks
from worker.alone import FIRST, LOADING, SUSPECT, TRIES, WHOLE, Steps

USERS = 6


def a_migration(engine: Engine) -> type[Migration]:
    class Count(Migration):
        name = "count"
        keys = Keys("users", engine.id)
        reads = (Rows("users", by=engine.id),)
        writes = ("users",)

        def migrate(self, user: Entity) -> None:
            user.update(user.one("users"), {"score": 1})

    return Count


@pytest.fixture
def opened(everywhere: Engine) -> tuple[Engine, type[Migration], Campaign]:
    """One batch of all users, sent and not yet worked on."""
    everywhere.table("users", id=int, score=int)
    everywhere.add("users", *((number, 0) for number in range(1, USERS + 1)))
    cls = a_migration(everywhere)
    campaign = everywhere.open(cls, "migrate")
    everywhere.feeder.step()
    assert everywhere.queue.messages == [(campaign.id, 1)]
    return everywhere, cls, campaign


def noted(engine: Engine, campaign: Campaign) -> str | None:
    with engine.store.transaction(write=False) as tx:
        batch = engine.ledger.campaigns.peek(tx, campaign.id, 1)
    assert batch is not None
    return batch.note


def note(engine: Engine, campaign: Campaign, step: int, tries: int) -> None:
    """What is left by processes that died at a step."""
    with engine.store.transaction() as tx:
        engine.ledger.campaigns.remark(tx, campaign.id, 1, f"begun {tries} times without an end: step {step}")


def work(engine: Engine, campaign: Campaign, *, again: bool = True) -> str:
    return tasks.run(engine.settings, 1, campaign.name, 1, again=again)


def scores(engine: Engine) -> list[Any]:
    return [score for _, score in sorted(engine.rows("users", "id", "score"))]


def test_the_first_delivery(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """A batch that was never in anybody's hand is done whole, and nothing is written down."""
    engine, _, campaign = opened
    assert work(engine, campaign, again=False) == f"ok={USERS}"
    assert noted(engine, campaign) is None


def test_few_deaths_change_nothing(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """A process dies of many things: the first times, the batch is done whole, and only counted."""
    engine, _, campaign = opened
    note(engine, campaign, WHOLE, SUSPECT - 1)
    assert work(engine, campaign) == f"ok={USERS}"
    assert noted(engine, campaign) == f"begun {SUSPECT} times without an end: step {WHOLE}"


def test_many_deaths_of_an_innocent_batch(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """A batch over which processes died for another reason is done one by one, and everybody in it is migrated and counted."""
    engine, cls, campaign = opened
    note(engine, campaign, WHOLE, SUSPECT)
    assert work(engine, campaign) == f"ok={USERS}"
    assert scores(engine) == [1] * USERS
    assert noted(engine, campaign) == f"begun 1 times without an end: step {FIRST + USERS - 1}"
    assert set(engine.states(cls).values()) == {"migrated"}


def test_who_kills_every_process_is_quarantined(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """The entity at which one process after the other died is quarantined with that reason; the others are migrated."""
    engine, cls, campaign = opened
    note(engine, campaign, FIRST + 2, TRIES)
    assert work(engine, campaign) == f"ok={USERS - 1} failed=1"
    assert scores(engine) == [1, 1, 0, 1, 1, 1]
    failures = engine.failures(cls)
    assert list(failures) == ["3"]
    assert failures["3"]["error"] == "WorkerDied"
    assert engine.run(campaign)["state"] == "completed"


def test_one_more_try(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """Who was in hand when a few processes died gets its other tries."""
    engine, cls, campaign = opened
    note(engine, campaign, FIRST + 2, TRIES - 1)
    assert work(engine, campaign) == f"ok={USERS}"
    assert not engine.failures(cls)


def test_a_try_that_fails_is_no_death(opened: tuple[Engine, type[Migration], Campaign], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised while an entity is tried, a lost connection say, is not taken for the death of a process."""
    engine, _, campaign = opened
    with engine.store.transaction(write=False) as tx:
        batch = engine.ledger.campaigns.peek(tx, campaign.id, 1)
    assert batch is not None
    steps = Steps(engine.ledger, batch)
    with pytest.raises(Retry), steps.trying(2):
        assert noted(engine, campaign) == "begun 1 times without an end: step 2"
        raise Retry("the connection was lost")
    assert noted(engine, campaign) == "begun 0 times without an end: step 2"


def test_code_that_kills_whoever_loads_it(opened: tuple[Engine, type[Migration], Campaign]) -> None:
    """A process that dies before any entity was begun died of the migration's code: the campaign halts, and nobody is quarantined."""
    engine, cls, campaign = opened
    note(engine, campaign, LOADING, TRIES)
    assert work(engine, campaign) == "halted: AuthorMistake"
    assert not engine.failures(cls)


def test_code_that_kills_for_everybody(opened: tuple[Engine, type[Migration], Campaign], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every entity kills its process it is the author's mistake: the campaign halts after a few."""
    engine, cls, campaign = opened
    monkeypatch.setattr(alone.Steps, "tries", lambda _, step: TRIES if step != LOADING else 0)
    assert work(engine, campaign) == "halted: AuthorMistake"
    assert len(engine.failures(cls)) == alone.KILLERS


KILLS = '''
import os
import signal

from backtrail import Entity, Keys, Migration, Rows


class Kills(Migration):
    """Whoever takes user 7 in hand dies."""

    name = "kills"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"),)
    writes = ("users",)

    def migrate(self, user: Entity) -> None:
        if user.key == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        user.update(user.one("users"), {"score": 1})
'''


@pytest.mark.long
def test_a_real_worker(tmp_path: Path, sqlite: str, broker: str) -> None:
    """A user over whom every process dies is quarantined by a real worker, and the campaign comes to its end with all others migrated."""
    from tests.acceptance.sql_eyes import sql_eye

    eye = sql_eye(sqlite)
    eye.execute("CREATE TABLE users (id integer PRIMARY KEY, score integer)", "PRAGMA journal_mode = WAL")
    eye.execute(f"INSERT INTO users VALUES {', '.join(f'({number}, 0)' for number in range(1, 41))}")
    (tmp_path / "kills.py").write_text(KILLS)
    place = Place(tmp_path, sqlite, broker)
    with place.worker():
        ended = place.json("enqueue", "kills.py", "--batch-size", "10", "--watch", code=None)
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 39, 1)
    assert eye.rows("SELECT id FROM users WHERE score = 0") == [(7,)]
