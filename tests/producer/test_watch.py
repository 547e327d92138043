"""Campaigns watched: on a terminal and on none, to their end; what the watcher sees is a real ledger's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from rich.console import Console

from backtrail import Keys, Rows
from backtrail.errors import Retry, UnsuitableDatabase
from ledger.campaigns import GOING, UNFINISHED, Campaign
from ledger.presence import milliseconds
from ledger.rejected import Rejection
from producer import overview
from producer import watch as watching
from producer.context import Context
from producer.overview import Looker, Overview
from producer.watch import Lines, Screen, Watch, watch, watch_all
from tests.engine import Engine, migration

STEERS = re.compile(r"\x1b|[\x00-\x09\x0b-\x1f]")
"""What a terminal understands and a log does not."""


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sleeps between two looks."""
    monkeypatch.setattr(watching, "LOOK_S", 0)
    monkeypatch.setattr(watching, "LOOK_ALL_S", 0)


def users(engine: Engine, count: int = 6) -> type:
    """A migration of so many users, of whom the fifth fails, and the third has a conflict."""
    engine.table("users", id=int)
    engine.add("users", *((number,) for number in range(1, count + 1)))

    def migrate(user: Any) -> None:
        if user.key == 5:
            raise ValueError
        if user.key == 3:
            user.conflict("a", [1, 2], 1)

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),))


class Working:
    """A view that remembers what it was shown, and has the engine do some work each time."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self.works = list(works)
        self.seen: list[Overview] = []
        self.said: list[str] = []

    def show(self, overview: Overview, rates: dict[str, float | None]) -> None:
        self.seen.append(overview)
        if self.works:
            self.works.pop(0)()

    def say(self, words: str) -> None:
        self.said.append(words)

    def states(self, campaign: str) -> list[str]:
        return [one["state"] for overview in self.seen for one in overview.campaigns if one["campaign"] == campaign]


def present(engine: Engine, name: str, **info: Any) -> None:
    """A worker shows that it is alive."""
    with engine.store.transaction() as tx:
        engine.ledger.presence.show(tx, name, {"release": "1.0", "host": "h", "pid": 1, **info})


def move(engine: Engine, number: int, state: str) -> None:
    """The campaign is in that state."""
    with engine.store.transaction() as tx:
        campaign = engine.ledger.campaigns.get(tx, number)
        assert campaign is not None
        assert engine.ledger.campaigns.move(tx, campaign, state, now=milliseconds(tx))  # type: ignore[arg-type]


@contextmanager
def context_of(engine: Engine, *, terminal: bool) -> Iterator[Context]:
    """A command's surroundings, whose standard error is text."""
    context = Context({"database_url": engine.url})
    context.__dict__["ledger"] = engine.ledger
    context.__dict__["err"] = Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False)
    yield context


def finish(engine: Engine, *campaigns: Campaign) -> None:
    """All of them are over."""
    for campaign in campaigns:
        engine.run(campaign)


def test_all_campaigns_are_followed_to_their_end(on_sqlite: Engine) -> None:
    """Also one that is opened while the others are watched; who failed is told by class, and who leads by name."""
    cls = users(on_sqlite)
    first = on_sqlite.open(cls, "migrate")
    present(on_sqlite, "w1@h/ab", leads=True, held={"c1": "replication lag 12 s > 5 s"})
    present(on_sqlite, "w2@h/cd", leads=False)
    later: list[Campaign] = []
    view = Working(lambda: later.append(on_sqlite.open(cls, "migrate", only=["2"])), lambda: finish(on_sqlite, first, *later))
    last = Watch(Looker(on_sqlite.ledger), view, UNFINISHED).run()
    assert [[one["campaign"] for one in overview.campaigns] for overview in view.seen] == [["c1"], ["c1", "c2"], ["c1", "c2"]]
    assert view.seen[0].campaigns[0]["held"] == "replication lag 12 s > 5 s"
    assert [one["state"] for one in last.campaigns] == ["completed", "completed"]
    assert [one["errors"] for one in last.campaigns] == [{"MigrateFailed": 1}, {}]
    assert (last.leader, len(last.workers), last.rejected) == ("w1@h/ab", 2, 0)


def test_without_campaigns_there_is_nothing_to_wait_for(on_sqlite: Engine) -> None:
    """Neither without a ledger nor with one."""
    users(on_sqlite)
    view = Working()
    assert Watch(Looker(on_sqlite.ledger), view, UNFINISHED).run().campaigns == []
    on_sqlite.ledger.create()
    assert Watch(Looker(on_sqlite.ledger), view, UNFINISHED).run().campaigns == []
    assert view.seen == []


def test_a_held_campaign_is_waited_for_where_somebody_looks(on_sqlite: Engine) -> None:
    """A terminal stays until it is resumed and over; a script is told at once, and so is who watches that one campaign."""
    campaign = on_sqlite.open(users(on_sqlite), "migrate")
    move(on_sqlite, 1, "paused")
    script = Working()
    Watch(Looker(on_sqlite.ledger), script, GOING).run()
    assert script.states("c1") == ["paused"]
    with context_of(on_sqlite, terminal=True) as context:
        assert watch(context, 1)["state"] == "paused"
    terminal = Working(lambda: None, lambda: None, lambda: move(on_sqlite, 1, "running"), lambda: on_sqlite.run(campaign))
    Watch(Looker(on_sqlite.ledger), terminal, UNFINISHED).run()
    assert terminal.states("c1") == ["paused", "paused", "paused", "running", "completed"]


def test_a_pipe_gets_plain_lines(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for what is new, none twice, no control characters; at the end it says how it ended."""
    campaign = on_sqlite.open(users(on_sqlite), "migrate")
    present(on_sqlite, "w1@h/ab", leads=True)
    looks = 0

    def each(document: dict[str, Any]) -> None:
        nonlocal looks
        looks += 1
        if looks == 20:
            finish(on_sqlite, campaign)

    with context_of(on_sqlite, terminal=False) as context:
        assert watch(context, 1, each)["state"] == "completed"
        lines = context.err.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert looks == 20
    assert lines == ["c1 trial migrate open, 0% 0/6", "c1 trial migrate completed, 100% 6/6, 1 failed, 1 conflicts"]
    assert not any(STEERS.search(line) for line in lines)


def test_lines_are_few() -> None:
    """However often somebody looks, a state is told at once, and numbers every few seconds."""
    console = Console(file=io.StringIO(), width=80)
    lines = Lines(console)
    document = {"campaign": "c1", "migration": "m", "kind": "migrate", "state": "running", "total": 1000, "rate_per_s": 1.0}
    document |= {"failed": 0, "conflicts": 0, "unmapped": 0, "waves": [], "held": None}
    for done in range(500):
        lines.show(Overview(0, [document | {"pending": 1000 - done}], [], 0), {})
    lines.show(Overview(0, [document | {"pending": 0, "state": "completed"}], [], 0), {})
    assert 2 <= len(console.file.getvalue().splitlines()) <= 4  # type: ignore[attr-defined]


def test_a_terminal_has_a_live_view(on_sqlite: Engine) -> None:
    """Drawn over itself at each look, and gone at the end, where the command's result takes its place."""
    campaign = on_sqlite.open(users(on_sqlite), "migrate")
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=30, highlight=False)
    with Screen(console) as view:
        shows = Working(lambda: None, lambda: on_sqlite.run(campaign))
        both = [view.show, shows.show]
        view.show = lambda *seen: [show(*seen) for show in both]  # type: ignore[method-assign,assignment]
        Watch(Looker(on_sqlite.ledger), view, UNFINISHED).run()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("c1") >= 3
    assert "held: no worker is alive" in text
    assert "failed: 1 x MigrateFailed" in text
    assert text.rstrip().endswith("\x1b[2K")


def test_ctrl_c_says_how_to_go_on(on_sqlite: Engine) -> None:
    """In one line, with the campaign's name where one was watched."""
    on_sqlite.open(users(on_sqlite), "migrate")

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with context_of(on_sqlite, terminal=False) as context, pytest.raises(KeyboardInterrupt):
        watch(context, 1, interrupt)
    assert "c1 goes on: backtrail status c1 --watch, or backtrail pause c1" in context.err.file.getvalue()  # type: ignore[attr-defined]
    with context_of(on_sqlite, terminal=False) as context, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lines, "show", interrupt_shown)
        with pytest.raises(KeyboardInterrupt):
            watch_all(context)
    assert "campaigns go on: backtrail status --watch, or backtrail pause CAMPAIGN" in context.err.file.getvalue()  # type: ignore[attr-defined]


def interrupt_shown(*_: object) -> None:
    """What Ctrl-C does while something is shown."""
    raise KeyboardInterrupt


def test_a_database_that_comes_back_is_waited_for(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher says so meanwhile; where it stays away, it gives up in a line of its own."""
    campaign = on_sqlite.open(users(on_sqlite), "migrate")
    look, away = Looker.look, iter([False, True, True, False])

    def sometimes(self: Looker, *arguments: Any) -> Overview:
        if next(away, False):
            raise Retry("gone")
        return look(self, *arguments)

    monkeypatch.setattr(Looker, "look", sometimes)
    view = Working(lambda: None, lambda: on_sqlite.run(campaign))
    Watch(Looker(on_sqlite.ledger), view, UNFINISHED).run()
    assert view.said.count("the database does not answer just now") == 2
    assert view.states("c1")[-1] == "completed"
    monkeypatch.setattr(watching, "PATIENCE_S", -1)
    away = iter([True])
    with pytest.raises(UnsuitableDatabase, match="has not answered"):
        Watch(Looker(on_sqlite.ledger), Working(), UNFINISHED).run()


def test_failures_are_counted_anew_only_now_and_then(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a campaign with many failures would read them all; what was counted stands for some seconds."""
    counted: list[int] = []
    count = overview.failures

    def counting(*arguments: Any, **named: Any) -> Any:
        counted.append(1)
        return count(*arguments, **named)

    monkeypatch.setattr(overview, "failures", counting)
    looker = Looker(on_sqlite.ledger)
    on_sqlite.migrate(users(on_sqlite))
    for _ in range(3):
        assert looker.look([1]).campaigns[0]["errors"] == {"MigrateFailed": 1}
    assert counted == [1]


def see(engine: Engine) -> None:
    """A look at that ledger shows a campaign held, and then its end, failures by class, the leader and what was rejected."""
    campaign = engine.open(users(engine), "migrate")
    present(engine, "w1@h/ab", leads=True, held={"c1": "12 locks wait"})
    with engine.store.transaction() as tx:
        engine.ledger.rejections.add(tx, [Rejection(milliseconds(tx), "w1", "no JSON", 3)])
    view = Working(lambda: None, lambda: finish(engine, campaign))
    last = Watch(Looker(engine.ledger), view, UNFINISHED).run()
    assert [one["held"] for seen in view.seen for one in seen.campaigns] == ["12 locks wait", "12 locks wait", None]
    found = last.campaigns[0]
    assert (found["migrated"], found["failed"], found["conflicts"], found["errors"]) == (5, 1, 1, {"MigrateFailed": 1})
    assert (last.leader, last.rejected) == ("w1@h/ab", 3)


def test_on_postgres(on_postgres: Engine) -> None:
    """The view of a ledger there."""
    see(on_postgres)


@pytest.mark.long
def test_on_mongo(on_mongo: Engine) -> None:
    """The view of a ledger there."""
    see(on_mongo)
