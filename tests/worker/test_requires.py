"""Nothing stays migrated on what was taken back: a required migration and its dependents at once, in every order and at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from backtrail import Entity, Keys, Migration, Rows
from backtrail.errors import UsageError
from ledger.campaigns import Campaign
from tests.engine import Engine, migration
from tests.servers import until
from worker import execute, tasks

FROM_STREAMS = {"from": "streams"}


def world(engine: Engine, meddle: Callable[[], None] = lambda: None, **more: Any) -> tuple[type[Migration], type[Migration]]:
    """Three users; one migration gives each a card, and another, which requires it, a badge that says what stands in the card."""
    engine.table("users", id=int, name=str)
    engine.table("cards", id=int, user_id=int, name=str)
    engine.table("badges", id=int, user_id=int, name=str)
    engine.add("users", (1, "a"), (2, "b"), (3, "c"))

    def card(user: Entity) -> None:
        user.create("cards", {engine.id: user.key + 10, "user_id": user.key, "name": user.one("users")["name"]})

    def badge(user: Entity) -> None:
        meddle()
        for one in user.rows("cards"):
            user.create("badges", {engine.id: one["user_id"] + 20, "user_id": one["user_id"], "name": one["name"]})

    keys = Keys("users", engine.id)
    cards = migration(card, name="cards", keys=keys, reads=(Rows("users", by=engine.id),), writes=("cards",))
    reads = (Rows("cards", by="user_id", columns=("user_id", "name")),)
    badges = migration(
        badge, **{"name": "badges", "keys": keys, "reads": reads, "writes": ("badges",), "requires": ("cards",), **more}
    )
    return cards, badges


def of_names(engine: Engine, **more: Any) -> tuple[type[Migration], type[Migration]]:
    """The same, but whose badges are given by name: they require all of the cards."""
    reads = (Rows("cards", by="name", columns=("user_id", "name")),)
    return world(engine, keys=Keys("users", "name"), reads=reads, **more)


def owners(engine: Engine, table: str) -> list[int]:
    return [one for (one,) in engine.rows(table, "user_id")]


def last_first(engine: Engine) -> None:
    """Nothing; what is sent is worked on, the newest campaign before the others."""
    engine.feeder.step()
    engine.queue.messages.sort(reverse=True)
    engine.work()


def both(engine: Engine, *campaigns: Campaign) -> list[tuple[int, int, int]]:
    """How many entities each of the campaigns has migrated, rolled back and failed on in the end."""
    states = [engine.run(campaign) for campaign in campaigns]
    return [(state["migrated"], state["rolled_back"], state["failed"]) for state in states]


# -- one after the other ----------------------------------------------------------------------------------------------


def test_what_a_dependent_came_to_stand_on_stays(everywhere: Engine) -> None:
    """The dependent was migrated while the rollback was open: those entities are refused by name, the others go back; later they do too."""
    cards, badges = world(everywhere)
    assert everywhere.migrate(cards)["migrated"] == 3
    rollback = everywhere.open(cards, "rollback", options=FROM_STREAMS)
    later = everywhere.open(badges, "migrate", only=["1", "2"])
    last_first(everywhere)
    assert both(everywhere, later, rollback) == [(2, 0, 0), (0, 1, 2)]
    assert owners(everywhere, "cards") == owners(everywhere, "badges") == [1, 2]
    failures = everywhere.failures(cards)
    assert set(failures) == {"1", "2"}
    assert failures["1"]["error"] == "DependentStands"
    assert "`backtrail rollback badges`" in failures["1"]["reason"]
    assert everywhere.states(cards) == {"1": "migrated", "2": "migrated", "3": "rolled_back"}
    assert everywhere.rollback(badges)["rolled_back"] == 2
    assert everywhere.rollback(cards)["rolled_back"] == 2
    assert owners(everywhere, "cards") == owners(everywhere, "badges") == []


def test_what_drifted_may_be_left_out_and_what_is_stood_on_not(on_sqlite: Engine) -> None:
    """`--on-drift skip` speaks of rows that changed: an entity on which a dependent stands fails with it too."""
    cards, badges = world(on_sqlite)
    on_sqlite.migrate(cards)
    rollback = on_sqlite.open(cards, "rollback", options=FROM_STREAMS | {"on_drift": "skip"})
    later = on_sqlite.open(badges, "migrate", only=["2"])
    last_first(on_sqlite)
    assert both(on_sqlite, later, rollback) == [(1, 0, 0), (0, 2, 1)]


def test_a_chosen_user_goes_back_while_the_dependent_runs(everywhere: Engine) -> None:
    """A campaign of the dependent that has not come to that user yet is in nobody's way, and then finds that the requirement is missing."""
    cards, badges = world(everywhere)
    everywhere.migrate(cards)
    running = everywhere.open(badges, "migrate")
    everywhere.feeder.step()
    assert everywhere.status(running)["state"] == "running"
    messages, everywhere.queue.messages = everywhere.queue.messages, []
    assert everywhere.rollback(cards, only=["2"])["rolled_back"] == 1
    everywhere.queue.messages = messages
    assert both(everywhere, running) == [(2, 0, 1)]
    assert everywhere.failures(badges)["2"]["error"] == "RequirementMissing"
    assert owners(everywhere, "cards") == owners(everywhere, "badges") == [1, 3]


def test_a_redo_demands_what_is_required(everywhere: Engine) -> None:
    """Of a redo, too, those fail whose required migration was rolled back; the others stand again."""
    cards, badges = world(everywhere)
    everywhere.migrate(cards)
    assert everywhere.migrate(badges)["migrated"] == 3
    back = everywhere.rollback(badges)
    assert everywhere.rollback(cards, only=["1", "3"])["rolled_back"] == 2
    state = everywhere.redo(badges, back["campaign"])
    assert (state["migrated"], state["failed"]) == (1, 2)
    assert everywhere.failures(badges)["1"]["error"] == "RequirementMissing"
    assert owners(everywhere, "badges") == owners(everywhere, "cards") == [2]
    assert everywhere.states(badges) == {"1": "rolled_back", "2": "migrated", "3": "rolled_back"}
    with pytest.raises(UsageError, match="badges requires cards, and 1 entities"):
        everywhere.rollback(cards)


# -- where one requires the whole -------------------------------------------------------------------------------------


def test_a_redo_waits_for_the_whole(on_sqlite: Engine) -> None:
    """With other keys it is not even opened."""
    cards, badges = of_names(on_sqlite)
    on_sqlite.migrate(cards)
    on_sqlite.migrate(badges)
    back = on_sqlite.rollback(badges)
    assert on_sqlite.rollback(cards, only=["1"])["rolled_back"] == 1
    with pytest.raises(UsageError, match="1 of 3 entities are not migrated"):
        on_sqlite.redo(badges, back["campaign"])
    assert on_sqlite.rerun(cards, only=["1"])["migrated"] == 1
    assert on_sqlite.redo(badges, back["campaign"])["migrated"] == 3


@pytest.mark.parametrize("kind", ["migrate", "rerun", "redo"])
@pytest.mark.parametrize("chosen", [True, False], ids=["one", "all"])
def test_a_rollback_that_is_not_over_keeps_the_dependent_out(on_sqlite: Engine, kind: str, chosen: bool) -> None:
    """However far it is, and whatever the dependent would do; the line names it, and once it is cancelled all goes on."""
    cards, badges = of_names(on_sqlite)
    on_sqlite.migrate(cards)
    on_sqlite.migrate(badges)
    back = on_sqlite.rollback(badges)
    options = {"from": "campaign", "campaign": int(back["campaign"][1:])} if kind == "redo" else {}
    order = {"options": options, "only": None if kind == "redo" else ["a", "b", "c"]}
    rollback = on_sqlite.open(cards, "rollback", **({"only": ["1"]} if chosen else {"options": FROM_STREAMS}))
    with pytest.raises(UsageError) as refused:
        on_sqlite.open(badges, kind, **order)
    line = str(refused.value)
    assert rollback.name in line and f"`backtrail cancel {rollback.name}`" in line and "\n" not in line
    with on_sqlite.ledger.writing() as tx:
        on_sqlite.ledger.campaigns.demand(tx, rollback, "cancelled", now=1)
    assert on_sqlite.run(on_sqlite.open(badges, kind, **order))["migrated"] == 3


def test_a_dependent_that_is_not_over_keeps_the_rollback_out(everywhere: Engine) -> None:
    """Where it may stand on any of the entities, although none of its own is migrated yet; one that goes back is in nobody's way."""
    cards, badges = of_names(everywhere)
    everywhere.migrate(cards)
    running = everywhere.open(badges, "migrate")
    for order in ({"only": ["1"]}, {"options": FROM_STREAMS}):
        with pytest.raises(UsageError) as refused:
            everywhere.open(cards, "rollback", **order)
        line = str(refused.value)
        assert running.name in line and f"backtrail cancel {running.name}" in line and "\n" not in line
    assert everywhere.run(running)["migrated"] == 3
    with pytest.raises(UsageError, match="badges requires cards, and 3 entities"):
        everywhere.rollback(cards)
    assert everywhere.rollback(badges)["rolled_back"] == 3
    assert everywhere.rollback(cards)["rolled_back"] == 3


@pytest.mark.parametrize(("come", "line"), [("open", "requires all of cards"), ("migrate", "and 3 entities of it are migrated")])
def test_a_dependent_that_came_while_drift_was_looked_for_keeps_the_rollback_out(
    on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch, come: str, line: str
) -> None:
    """That can take minutes: it is asked once more when the rollback is written down."""
    from producer import campaign

    cards, badges = of_names(on_sqlite)
    on_sqlite.migrate(cards)
    meddle = {"open": lambda: on_sqlite.open(badges, "migrate"), "migrate": lambda: on_sqlite.migrate(badges)}
    monkeypatch.setattr(campaign, "refuse_drift", lambda *_: meddle[come]())
    with pytest.raises(UsageError, match=line):
        on_sqlite.open(cards, "rollback", options=FROM_STREAMS)


# -- at the same moment -----------------------------------------------------------------------------------------------


class Meeting:
    """A place in a worker's transaction where the first who comes by stands until the others have come as far as they can."""

    def __init__(self) -> None:
        self.here, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        if not self.here.is_set():
            self.here.set()
            assert self.go_on.wait(20)


def at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch, first: Campaign, second: Campaign) -> None:
    """Nothing; the second campaign's batch was taken in hand when the first one's was done but for the commit, and both have ended."""
    meeting = Meeting()
    monkeypatch.setattr(execute, "reach", lambda name: meeting() if name == "worker.after-ledger" else None)
    engine.feeder.step()
    messages, engine.queue.messages = engine.queue.messages, []
    own = [[one for one in messages if one[0] == campaign.id] for campaign in (first, second)]
    assert all(own)
    threads = [threading.Thread(target=work, args=(engine, some)) for some in own]
    threads[0].start()
    assert meeting.here.wait(20)
    threads[1].start()
    try:
        if engine.postgres:
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            until(lambda: engine.query(waiting), what="the second one's waiting", timeout=20)
        else:
            threads[1].join(1)  # it meets the other's document again and again
    finally:
        meeting.go_on.set()
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


def work(engine: Engine, messages: list[tuple[int, int]]) -> None:
    for campaign, batch in messages:
        engine.answers.append(tasks.run(engine.settings, 1, f"c{campaign}", batch))


@pytest.fixture(params=["postgres", pytest.param("mongo", marks=pytest.mark.long)])
def side_by_side(request: pytest.FixtureRequest) -> Any:
    """The engine on the databases on which two transactions write at once."""
    return request.getfixturevalue(f"on_{request.param}")


def test_a_dependent_that_is_being_migrated_is_waited_for(side_by_side: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has seen what it requires, and is not committed: whoever would take that back finds it standing there in the end."""
    cards, badges = world(side_by_side)
    side_by_side.migrate(cards)
    rollback = side_by_side.open(cards, "rollback", only=["2"])
    dependent = side_by_side.open(badges, "migrate")
    at_once(side_by_side, monkeypatch, dependent, rollback)
    assert both(side_by_side, dependent, rollback) == [(3, 0, 0), (0, 0, 1)]
    assert side_by_side.failures(cards)["2"]["error"] == "DependentStands"
    assert owners(side_by_side, "cards") == owners(side_by_side, "badges") == [1, 2, 3]


@pytest.mark.parametrize("kind", ["migrate", "redo"])
def test_what_is_being_taken_back_is_waited_for(side_by_side: Engine, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Nobody stands on it yet, and it is not committed: whoever requires it finds it gone in the end."""
    cards, badges = world(side_by_side)
    side_by_side.migrate(cards)
    options: dict[str, Any] = {}
    if kind == "redo":
        side_by_side.migrate(badges)
        back = side_by_side.rollback(badges)
        options = {"from": "campaign", "campaign": int(back["campaign"][1:])}
    rollback = side_by_side.open(cards, "rollback", only=["2"])
    dependent = side_by_side.open(badges, kind, options=options)
    at_once(side_by_side, monkeypatch, rollback, dependent)
    assert both(side_by_side, rollback, dependent) == [(0, 1, 0), (2, 0, 1)]
    assert side_by_side.failures(badges)["2"]["error"] == "RequirementMissing"
    assert owners(side_by_side, "cards") == owners(side_by_side, "badges") == [1, 3]


def test_on_sqlite_it_is_asked_again_under_the_lock(on_sqlite: Engine) -> None:
    """What was decided ahead of the only write lock does not count, where what it requires was taken back before that was got."""
    calls: list[dict[str, Any]] = []

    def meddle() -> None:
        if not calls:
            calls.append({})
            calls[0] = on_sqlite.rollback(cards, only=["2"])

    cards, badges = world(on_sqlite, meddle)
    on_sqlite.migrate(cards)
    state = on_sqlite.migrate(badges)
    assert calls[0]["rolled_back"] == 1
    assert (state["migrated"], state["failed"]) == (2, 1)
    assert on_sqlite.failures(badges)["2"]["error"] == "RequirementMissing"
    assert owners(on_sqlite, "cards") == owners(on_sqlite, "badges") == [1, 3]


def test_those_who_require_the_same_do_not_wait_for_each_other(on_postgres: Engine) -> None:
    """The required entity is held by several at once."""
    cards, badges = world(on_postgres)
    on_postgres.migrate(cards)
    meeting = Meeting()
    reads = (Rows("users", by="id", columns=("name",)),)
    more = {"keys": Keys("users", "id"), "reads": reads, "writes": ("badges",), "requires": ("cards",)}
    others = migration(lambda user: meeting(), name="others", **more)
    first, second = on_postgres.open(others, "migrate"), on_postgres.open(badges, "migrate")
    on_postgres.feeder.step()
    messages, on_postgres.queue.messages = on_postgres.queue.messages, []
    holder = threading.Thread(target=work, args=(on_postgres, [one for one in messages if one[0] == first.id]))
    holder.start()
    assert meeting.here.wait(20)
    try:
        work(on_postgres, [one for one in messages if one[0] == second.id])
        assert on_postgres.states(badges) == dict.fromkeys("123", "migrated")
    finally:
        meeting.go_on.set()
        holder.join(30)
    assert both(on_postgres, first, second) == [(3, 0, 0), (3, 0, 0)]
