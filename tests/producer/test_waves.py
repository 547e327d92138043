"""Waves: how many entities each takes, what lets the next one begin, and what becomes of one that may not go on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail import Entity, Keys, Rows
from backtrail.errors import BacktrailError, Retry, UnsuitableDatabase, UsageError
from ledger.progress import Progress, Tally, progress_of
from producer import feeder
from producer.waves import Limit, bounds, cut, shares
from tests.engine import Engine, migration

WAVES = {"waves": [0.01, 0.1, 1.0], "max_failures": "5%", "max_conflicts": "5%"}


@pytest.mark.parametrize(
    ("text", "meant"), [("1%,10%,100%", [0.01, 0.1, 1.0]), ("0.5, 1", [0.5, 1.0]), ("100%", [1.0]), ("29%,100%", [0.29, 1.0])]
)
def test_shares_are_read(text, meant):
    """As people write them."""
    assert shares(text) == pytest.approx(meant)


@pytest.mark.parametrize(
    "text", ["", "10%", "10%,1%,100%", "0%,100%", "1%,1%,100%", "a", "1%,200%", "100%,", "-1%,100%", "nan,100%"]
)
def test_what_are_no_waves_is_refused(text):
    """With an example of some that are."""
    with pytest.raises(UsageError, match="1%,10%,100%"):
        shares(text)


def test_no_wave_is_larger_than_its_share():
    """Not by one, also where a share has no exact binary form; but one entity it has at least."""
    assert bounds([0.01, 0.1, 1.0], 1000) == [10, 100]
    assert bounds([0.29, 1.0], 100) == [29]
    assert bounds([0.01, 0.1, 1.0], 199) == [1, 19]
    assert bounds([0.01, 1.0], 7) == [1]
    assert bounds([1.0], 7) == []


@given(st.integers(0, 300), st.integers(0, 100), st.lists(st.integers(1, 300), unique=True, max_size=4), st.integers(1, 50))
def test_a_batch_is_of_one_wave(number, taken, of, size):
    """All keys are in batches, in their order, and each in the wave that its place says."""
    of.sort()
    keys = [str(key) for key in range(number)]
    batches, waves = cut(keys, taken, of, size)
    assert [key for batch in batches for key in batch] == keys
    assert all(0 < len(batch) <= size for batch in batches)
    at = taken
    for batch, wave in zip(batches, waves, strict=True):
        for _ in batch:
            assert (wave == len(of) or at < of[wave]) and (wave == 0 or at >= of[wave - 1])
            at += 1


@pytest.mark.parametrize(
    ("text", "just", "over"),
    [("5%", (5, 100), (6, 100)), ("0%", (0, 100), (1, 100)), ("3", (3, 4), (4, 4)), ("0", (0, 9), (1, 9))],
)
def test_a_limit_is_a_number_or_a_share(text, just, over):
    """What it names may be reached, and no more."""
    assert not Limit.parse(text).exceeded(*just)
    assert Limit.parse(text).exceeded(*over)


@pytest.mark.parametrize("text", ["", "-1", "x%", "101%", "-5%", "1.5", "nan%"])
def test_what_is_no_limit_is_refused(text):
    """With an example of one that is."""
    with pytest.raises(UsageError, match="5%"):
        Limit.parse(text)


def test_progress_is_the_same_from_sums_and_from_batches():
    """What stands with a campaign and what is counted anew come to one."""
    one = progress_of({"to": 3, "sums": [[0, 2, 20, 15, 0, 1, 4, 2, 0], [1, 1, 10, 10, 0, 0, 0, 0, 0]]}, ())
    assert (one.planned, one.done, one.unfinished) == (30, 3, 0)
    assert one.tally == Tally(migrated=25, skipped=1, failed=4, conflicts=2)
    assert one.waves[0].tally == Tally(migrated=15, skipped=1, failed=4, conflicts=2)
    assert progress_of({"sums": one.sums()}, ()).sums() == one.sums()
    assert progress_of({}, ()) == Progress()


# -- campaigns --------------------------------------------------------------------------------------------------------


def greet(user: Entity) -> None:
    """Greets the user."""
    row = user.one("users")
    if "bad" in row["name"]:
        raise ValueError("no")
    if "two" in row["name"]:
        user.conflict("name", values=["a", "b"], chosen="a")
    user.update(row, {"name": "Dear " + row["name"]})


def users(engine: Engine, number: int, name: str = "a") -> type[Any]:
    """A migration that greets so many users."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text);"
        + f"INSERT INTO users VALUES {', '.join(f'({key}, {name!r})' for key in range(number))}"
    )
    return migration(greet, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))


def touched(engine: Engine) -> int:
    """How many users are greeted."""
    return int(engine.query("SELECT count(*) FROM users WHERE name LIKE 'Dear %'")[0][0])


def test_all_waves_pass(engine):
    """One after the other, each verified, and at the end everybody is done."""
    cls = users(engine, 400)
    campaign = engine.open(cls, "migrate", options=WAVES, batch_size=7)
    seen = set()
    while (state := engine.status(campaign))["state"] in ("open", "running"):
        engine.feeder.step()
        engine.work()
        seen.add(touched(engine))
    assert state["state"] == "completed"
    assert {4, 40, 400} <= seen
    assert all(count <= 4 or 4 < count <= 40 or count > 40 for count in seen)
    with engine.store.transaction(write=False) as tx:
        gates = engine.ledger.campaigns.get(tx, campaign.id).cursor["gates"]
    assert [(gate["wave"], gate["passed"], gate["verify"], gate["checked"]) for gate in gates] == [
        (0, True, "ok", 4),
        (1, True, "ok", 36),
    ]


@pytest.mark.parametrize(("name", "words"), [("bad", "failed"), ("two", "conflicts")])
def test_a_broken_migration_touches_no_more_than_its_first_wave(engine, name, words):
    """It halts, says why, and goes back by the command that it prints; to take it back is to end it."""
    cls = users(engine, 300, name)
    before = engine.query("SELECT * FROM users ORDER BY id")
    state = engine.migrate(cls, options=WAVES)
    assert state["state"] == "halted"
    assert words in state["halted"] and "wave 1 of 3 (1%)" in state["halted"] and "5%" in state["halted"]
    assert f"`backtrail rollback {cls.name} --campaign c1`" in state["halted"]
    assert len(engine.states(cls)) == 3
    assert touched(engine) == (3 if name == "two" else 0)
    back = engine.run(engine.open(cls, "rollback", options={"from": "campaign", "campaign": 1}))
    assert back["state"] == "completed"
    assert engine.query("SELECT * FROM users ORDER BY id") == before
    with engine.store.transaction(write=False) as tx:
        ended = engine.ledger.campaigns.get(tx, 1)
    assert ended.state == "cancelled" and "wave 1 of 3" in ended.halted


def test_whoever_lets_it_go_on_has_seen_what_failed(engine):
    """After a resume only more failures count; the next wave has a gate of its own."""
    cls = users(engine, 300)
    engine.execute("UPDATE users SET name = 'bad' WHERE id IN (0, 1)")
    campaign = engine.open(cls, "migrate", options=WAVES, batch_size=10)
    assert engine.run(campaign)["state"] == "halted"
    assert len(engine.states(cls)) == 3
    go_on(engine, campaign)
    end = engine.run(campaign)
    assert (end["state"], end["failed"], end["migrated"]) == ("completed", 2, 298)


def test_a_wave_that_fails_goes_back_by_itself(engine):
    """Where somebody wants it so: only the wave that failed, and the campaign is over."""
    cls = users(engine, 300)
    engine.execute("UPDATE users SET name = 'two' WHERE id BETWEEN 10 AND 20")
    before = engine.query("SELECT * FROM users WHERE id >= 3 ORDER BY id")
    campaign = engine.open(cls, "migrate", options=WAVES | {"if_wave_fails": "rollback"}, batch_size=10)
    assert engine.run(campaign)["state"] == "cancelled"
    with engine.store.transaction(write=False) as tx:
        back = engine.ledger.campaigns.get(tx, 2)
    assert back.kind == "rollback" and "have conflicts" in back.reason
    assert engine.run(back)["rolled_back"] == 27
    assert engine.query("SELECT * FROM users WHERE id >= 3 ORDER BY id") == before
    assert touched(engine) == 3


def failing_first(engine: Engine, monkeypatch: pytest.MonkeyPatch, errors: list[BacktrailError]) -> Any:
    """A campaign whose first wave is to go back by itself, once opening a campaign has failed with these errors."""
    cls = users(engine, 300, "two")
    opens = feeder.open_campaign

    def open_campaign(*args: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return opens(*args)

    monkeypatch.setattr(feeder, "open_campaign", open_campaign)
    campaign = engine.open(cls, "migrate", options=WAVES | {"if_wave_fails": "rollback"})
    assert engine.run(campaign)["state"] == "halted"
    return campaign


def kinds(engine: Engine) -> list[tuple[str, str]]:
    """The kind and state of each campaign."""
    with engine.store.transaction(write=False) as tx:
        return [(one.kind, one.state) for one in engine.ledger.campaigns.all(tx)]


def test_it_goes_back_as_soon_as_that_can_be(on_sqlite, monkeypatch):
    """Somebody held a lock, a database was away: it is tried again, not all the time, and by whoever leads then."""
    engine = on_sqlite
    campaign = failing_first(engine, monkeypatch, [Retry("locked"), UnsuitableDatabase("away"), Retry("locked")])
    for _ in range(9):
        engine.feeder.step()
    assert kinds(engine) == [("migrate", "halted")]
    monkeypatch.setattr(feeder, "TAKE_BACK_S", 0.0)
    with engine.store.transaction() as tx:
        engine.ledger.presence.leave(tx, engine.feeder.owner)
    engine.feeder = feeder.Feeder(engine.ledger, engine.queue, "another")
    for _ in range(3):
        engine.feeder.step()
    assert kinds(engine) == [("migrate", "cancelled"), ("rollback", "open")]
    with engine.store.transaction(write=False) as tx:
        back = engine.ledger.campaigns.get(tx, 2)
    assert back.reason == engine.status(campaign)["halted"]
    assert engine.run(back)["rolled_back"] == 3
    assert touched(engine) == 0


def test_what_cannot_be_taken_back_by_itself_is_left_to_people(on_sqlite, monkeypatch, caplog):
    """Something stands on it, say: that is told once, and the campaign stays as it is."""
    engine = on_sqlite
    monkeypatch.setattr(feeder, "TAKE_BACK_S", 0.0)
    failing_first(engine, monkeypatch, [UsageError("orders requires it")])
    for _ in range(3):
        engine.feeder.step()
    assert kinds(engine) == [("migrate", "halted")]
    assert caplog.text.count("c1 is not taken back by itself: orders requires it") == 1


def test_it_does_not_go_back_once_somebody_lets_it_go_on(on_sqlite, monkeypatch):
    """Nor where it halts later for something else."""
    engine = on_sqlite
    campaign = failing_first(engine, monkeypatch, [Retry("locked")])
    monkeypatch.setattr(feeder, "TAKE_BACK_S", 0.0)
    engine.feeder._take_back_at = 0.0
    go_on(engine, campaign)
    with engine.store.transaction() as tx:
        engine.ledger.campaigns.move(tx, campaign, "halted", now=1, halted="SchemaChanged: another table")
    engine.feeder.step()
    assert kinds(engine) == [("migrate", "halted")]


def test_named_entities_come_in_waves_too(engine):
    """Their list is cut as the keys of a source are."""
    cls = users(engine, 60)
    engine.execute("UPDATE users SET name = 'bad' WHERE id = 7")
    options = {"waves": [0.1, 1.0], "max_failures": "0", "max_conflicts": "5%"}
    state = engine.migrate(cls, only=[str(key) for key in range(7, 47)], options=options)
    assert state["state"] == "halted"
    assert len(engine.states(cls)) == 4


def test_damage_closes_the_gate(on_sqlite):
    """What verify finds in the wave's own ledger halts the campaign before the next wave begins, and names the check."""
    engine = on_sqlite
    cls = users(engine, 300)
    campaign = engine.open(cls, "migrate", options=WAVES)
    engine.feeder.step()
    engine.work()
    assert touched(engine) == 3
    engine.execute("UPDATE backtrail_streams SET version = version + 1 WHERE key = '1'")
    state = engine.run(campaign)
    assert state["state"] == "halted"
    assert "verify found 1 problems in ledger" in state["halted"]
    assert touched(engine) == 3


def test_a_live_application_does_not_close_it(on_sqlite):
    """A row that was written since is no damage while it is one of many."""
    engine = on_sqlite
    cls = users(engine, 300)
    campaign = engine.open(cls, "migrate", options={**WAVES, "waves": [0.1, 1.0]})
    engine.feeder.step()
    engine.work()
    engine.execute("UPDATE users SET name = 'else' WHERE id = 1")
    assert engine.run(campaign)["state"] == "completed"
    assert touched(engine) == 299


def test_whoever_lets_it_go_on_has_seen_what_verify_found(on_sqlite):
    """Once it is let go on, only what is found besides closes the gate again."""
    engine = on_sqlite
    cls = users(engine, 40)
    campaign = engine.open(cls, "migrate", options={**WAVES, "waves": [0.5, 1.0]})
    engine.feeder.step()
    engine.work()
    engine.execute("UPDATE users SET name = 'else' WHERE id < 4")
    engine.execute("UPDATE backtrail_streams SET version = version + 1 WHERE key = '9'")
    state = engine.run(campaign)
    assert state["state"] == "halted"
    assert "1 problems in ledger; verify found 4 problems in drift" in state["halted"]
    engine.execute("UPDATE users SET name = 'else' WHERE id IN (4, 5)")
    go_on(engine, campaign)
    state = engine.run(campaign)
    assert "wave 1 of 2 (50%): verify found 6 problems in drift: " in state["halted"]
    go_on(engine, campaign)
    assert engine.run(campaign)["state"] == "completed"
    assert touched(engine) == 34


def go_on(engine: Engine, campaign: Any) -> None:
    """Somebody lets the campaign go on."""
    with engine.store.transaction() as tx:
        assert engine.ledger.campaigns.move(tx, campaign, "running", now=1)


def test_too_many_failures_halt_without_waves_too(engine, monkeypatch):
    """A number or a share of all, whichever was said; what is in the queue by then is done."""
    monkeypatch.setattr(feeder, "HIGH", 3)
    cls = users(engine, 60, "bad")
    state = engine.migrate(cls, options={"max_failures": "10"}, batch_size=5)
    assert state["state"] == "halted"
    assert "--max-failures is 10" in state["halted"]
    assert 10 < len(engine.states(cls)) < 60
