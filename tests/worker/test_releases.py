"""Another release of Backtrail is at work beside this one: batches go back untouched, and nothing is written in the older form."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from backtrail import Keys, Migration, Rows
from backtrail._version import __version__
from backtrail.errors import LedgerTooNew, Retry
from ledger.campaigns import Campaign
from ledger.sql.upgrade import FORM
from tests.acceptance.eyes import eye_of
from tests.engine import Engine, migration
from worker import tasks


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody rests after refusing, and what is tried again is given up at once."""
    monkeypatch.setattr(tasks, "REFUSAL_S", (0.0, 0.0))
    monkeypatch.setattr(tasks, "PATIENCE_S", 0.0)


def sent(engine: Engine) -> tuple[type[Migration], Campaign]:
    """A migration of three users, whose one batch is sent."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "x"), (2, "x"), (3, "x"))
    cls = migration(
        lambda user: user.update(user.one("users"), {"name": "y"}),
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id),),
        writes=("users",),
    )
    campaign = engine.open(cls, "migrate")
    engine.feeder.step()
    assert engine.queue.messages == [(campaign.id, 1)]
    return cls, campaign


def notes(engine: Engine, campaign: Campaign) -> str:
    with engine.store.transaction(write=False) as tx:
        return "\n".join(engine.ledger.campaigns.notes(tx, campaign.id))


def test_a_message_of_a_newer_format(everywhere: Engine) -> None:
    """Its batch goes back with the worker's name and release, and is done by whoever knows the format; nothing of it is guessed."""
    cls, campaign = sent(everywhere)
    newer = {"v": 2, "campaign": campaign.name, "batch": 1, "more": {"a": 1}}
    assert tasks.answer(everywhere.settings, (), newer, "worker-1@host") == "back: OtherRelease"
    assert everywhere.rows("users", "name") == [("x",)] * 3 and everywhere.states(cls) == {}
    (note,) = notes(everywhere, campaign).splitlines()
    assert note == f"worker-1@host: release {__version__} does not know a message of format 2: upgrade it"
    assert tasks.answer(everywhere.settings, (), {"v": 1, "campaign": campaign.name, "batch": 1}, "worker-2@host") == "ok=3"
    assert tasks.answer(everywhere.settings, (), newer, "worker-1@host") == "done before"
    with pytest.raises(tasks.Rejected):
        tasks.answer(everywhere.settings, (), newer | {"batch": 77}, "worker-1@host")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, "c1", 1), {}),
        ((), {"v": 1, "campaign": "c1", "batch": 1, "more": 1}),
        ((), {"v": 1, "campaign": "c1"}),
        ((), {"v": 0, "campaign": "c1", "batch": 1}),
        ((), {"v": True, "campaign": "c1", "batch": 1}),
    ],
)
def test_a_message_that_says_more_or_less(on_sqlite: Engine, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """It is rejected, before anything is looked up."""
    with pytest.raises(tasks.Rejected):
        tasks.answer(on_sqlite.settings, args, kwargs, "worker-1@host")


def test_a_ledger_that_was_upgraded_meanwhile(everywhere: Engine) -> None:
    """A worker that has done batches before gives the next one back, its feeder feeds no more, and nothing else is written."""
    cls, _ = sent(everywhere)
    everywhere.work()
    assert everywhere.answers == ["ok=3"]
    second = everywhere.open(cls, "rerun", only=["1"])
    everywhere.feeder.step()
    assert everywhere.queue.messages == [(second.id, 1)]
    eye = eye_of(everywhere.url)
    eye.age()
    stood = eye.dump(but=("batches",))
    assert tasks.run(everywhere.settings, 1, second.name, 1, "worker-1@host") == "back: LedgerTooNew"
    everywhere.feeder._renewed = 0.0
    with pytest.raises(LedgerTooNew):
        everywhere.feeder.step()
    with pytest.raises(LedgerTooNew), everywhere.ledger.writing():
        raise AssertionError("it is open")
    assert eye.dump(but=("batches",)) == stood
    assert "worker-1@host: the ledger was written by a newer version" in notes(everywhere, second)


def test_a_ledger_that_is_not_there_yet(on_sqlite: Engine) -> None:
    """A message that comes before the companion has made or upgraded the ledger is no nonsense: it is tried again."""
    on_sqlite.script("CREATE TABLE users (id integer PRIMARY KEY)")
    assert tasks.run(on_sqlite.settings, 1, "c1", 1) == "back: Retry"
    on_sqlite.ledger.create()
    on_sqlite.script("UPDATE backtrail_version SET version_num = '0002'")
    with pytest.raises(Retry), on_sqlite.ledger.writing():
        raise AssertionError("it is open")


def test_an_upgrade_waits_for_whoever_writes(on_postgres: Engine) -> None:
    """While a batch is written nobody has the lock that an upgrade takes alone; two who write do not wait for each other."""
    on_postgres.ledger.create()
    asked = sa.text("SELECT pg_try_advisory_xact_lock(:lock)")
    with on_postgres.ledger.writing(), on_postgres.ledger.writing(), on_postgres.store.transaction() as other:
        assert other.connection.scalar(asked, {"lock": FORM}) is False
    with on_postgres.store.transaction() as other:
        assert other.connection.scalar(asked, {"lock": FORM}) is True
