"""What was paid for is kept, or the campaign stops: nothing is paid for over and over."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import DatabaseFault, Retry
from backtrail.recall import alone
from tests.engine import Engine, migration
from tests.servers import until
from worker import isolate, portion, runtime, tasks


def titled(engine: Engine, asked: list[str]) -> type[Migration]:
    """A migration of one user, whose title is paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "Ann"))

    def title(name: str) -> str:
        asked.append(name)
        return name.upper()

    def migrate(user: Any) -> None:
        row = user.one("users")
        user.update(row, set={"name": user.recall("title", title, "Ann")})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def storing(monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> None:
    """The worker's storing of a result fails with these errors, one after the other, and then goes well."""
    journal = runtime._runtimes[os.getpid()].ledger.journal
    store = journal.store_recalls

    def failing(*args: Any) -> None:
        if errors:
            raise errors.pop(0)
        store(*args)

    monkeypatch.setattr(journal, "store_recalls", failing)


def test_a_result_is_stored_again_where_another_was_first(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that keeps it is tried again, and not the call."""
    asked: list[str] = []
    cls, errors = titled(on_sqlite, asked), [Retry("first"), Retry("second")]
    storing(monkeypatch, errors)
    assert on_sqlite.migrate(cls)["migrated"] == 1
    assert errors == []
    assert asked == ["Ann"]
    assert on_sqlite.rows("users", "name") == [("ANN",)]


def test_a_result_that_cannot_be_stored_halts_the_campaign(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paid for once, and is not asked for again until somebody has mended what is wrong."""
    asked: list[str] = []
    cls = titled(on_sqlite, asked)
    storing(monkeypatch, [DatabaseFault("the disk is full")])
    end = on_sqlite.migrate(cls)
    assert (end["state"], end["migrated"]) == ("halted", 0)
    assert asked == ["Ann"]
    assert on_sqlite.rows("users", "name") == [("Ann",)]


def test_a_call_that_goes_on_failing_is_shown(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the campaign sees which, where and on what worker, and nothing of what it was called with or has said."""
    monkeypatch.setattr(tasks, "PATIENCE_S", 0.1)
    on_sqlite.table("users", id=int, name=str)
    on_sqlite.add("users", (1, "Ann"))

    def title(name: str) -> str:
        raise PermissionError(f"no right to read of {name}")

    def migrate(user: Any) -> None:
        user.update(user.one("users"), set={"name": user.recall("title", title, user.one("users")["name"])})

    reads = (Rows("users", on_sqlite.id),)
    opened = on_sqlite.open(migration(migrate, keys=Keys("users", on_sqlite.id), reads=reads, writes=("users",)), "migrate")
    on_sqlite.feeder.step()
    on_sqlite.work()
    assert on_sqlite.answers == ["back: RecallFailed"]
    with on_sqlite.store.transaction(write=False) as tx:
        [note] = on_sqlite.ledger.campaigns.notes(tx, opened.id)
    assert note.startswith("this worker: recall 'title' failed: PermissionError at test_recalls.py:")
    assert "Ann" not in note
    assert on_sqlite.status(opened)["failed"] == 0


@pytest.mark.parametrize("argument", [lambda user: user.now.isoformat(), lambda user: random.random()], ids=["time", "chance"])
def test_other_arguments_at_every_try_halt_the_campaign(engine: Engine, argument: Callable[[Any], Any]) -> None:
    """Nothing is called: it would be paid for at every try, and there would be no end of tries."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "Ann"), (2, "Bob"))
    asked: list[Any] = []

    def migrate(user: Any) -> None:
        known = user.recall("greeting", str, user.key)  # which is the same at every try
        user.update(user.one("users"), set={"name": user.recall("title", asked.append, argument(user)) or known})

    end = engine.migrate(migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",)))
    assert (end["state"], end["migrated"], asked) == ("halted", 0, [])
    assert "what recall 'title' is called with differs" in end["halted"]


def many(engine: Engine, number: int, asked: list[str]) -> type[Migration]:
    """So many users, whose titles are paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", *((at, f"n{at}") for at in range(number)))

    def title(name: str) -> str:
        asked.append(name)
        return name.upper()

    def migrate(user: Any) -> None:
        row = user.one("users")
        # What it is asked for must not change with the answer.
        user.update(row, set={"name": user.recall("title", title, f"n{user.key}")})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def test_results_that_came_meanwhile_are_stored_together(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is stored, the others are called: they need no transaction each."""
    asked: list[str] = []
    kept: list[int] = []
    store = isolate._keep

    def keep(work: Any, results: Any) -> None:
        if not kept:
            until(lambda: len(asked) == 40, what="the other calls")
        kept.append(len(results))
        store(work, results)

    monkeypatch.setattr(isolate, "_keep", keep)
    assert on_sqlite.migrate(many(on_sqlite, 40, asked))["migrated"] == 40
    assert sum(kept) == len(asked) == 40
    # The first may be alone, and those of the last threads have yet to be handed over.
    assert len(kept) <= 2 + isolate.SIDE_BY_SIDE


def test_one_result_that_cannot_be_stored_loses_no_other(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign halts, and when it goes on, only that one is paid for again."""
    asked: list[str] = []
    store = isolate._keep

    def keep(work: Any, results: Any) -> None:
        if any(key == "7" for key, _, _ in results):
            raise DatabaseFault("no")
        store(work, results)

    cls = many(on_sqlite, 20, asked)
    monkeypatch.setattr(isolate, "_keep", keep)
    assert on_sqlite.migrate(cls)["state"] == "halted"
    assert len(asked) == 20
    with on_sqlite.store.transaction(write=False) as tx:
        known = on_sqlite.ledger.journal.recalls(tx, cls.name, {str(at): str(at) for at in range(20)})
    assert known.keys() == {str(at) for at in range(20)} - {"7"}


def offline(
    engine: Engine,
    number: int,
    asked: list[str],
    made: list[str],
    *,
    paid: Collection[str] = (),
    errors: list[Exception] | None = None,
) -> type[Migration]:
    """So many users, whose names are made on the spot but for those that are paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", *((at, f"n{at}") for at in range(number)))

    def here(name: str) -> list[str] | None:
        if errors:
            raise errors.pop()
        made.append(name)
        return None if name in paid else [name, "made"]

    @alone(here)
    def title(name: str) -> list[str]:
        asked.append(name)
        return [name, "paid"]

    def migrate(user: Any) -> None:
        row = user.one("users")
        user.update(row, set={"name": " ".join(user.recall("title", title, f"n{user.key}"))})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def calls(engine: Engine, cls: type[Migration], number: int = 1) -> dict[str, dict[tuple[str, str], Any]]:
    """The results that the ledger has, by the user's key, label and digest."""
    with engine.store.transaction(write=False) as tx:
        return engine.ledger.journal.recalls(tx, cls.name, {str(at): str(at) for at in range(number)})


def known(engine: Engine, cls: type[Migration], number: int) -> dict[str, Any]:
    """The one result of each user's."""
    return {key: result for key, own in calls(engine, cls, number).items() for result in own.values()}


@pytest.fixture
def few_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process learns from ten entities whether a migration recalls anything: until then nobody knows what the ledger has."""
    monkeypatch.setattr(portion, "FIRST", 10)


def test_what_needs_nobody_is_made_on_the_spot_and_stored(everywhere: Engine, few_at_first: None) -> None:
    """Nobody is called for it; it is kept, and later runs are given it and make nothing."""
    asked: list[str] = []
    made: list[str] = []
    cls = offline(everywhere, 30, asked, made)
    assert everywhere.migrate(cls)["migrated"] == 30
    spot = {f"n{at}" for at in range(30)} - {*asked}
    assert len(asked) == 10
    assert spot <= {*made}
    names = {f"n{at} {'paid' if f'n{at}' in asked else 'made'}" for at in range(30)}
    assert {name for (name,) in everywhere.rows("users", "name")} == names
    assert {" ".join(result) for result in known(everywhere, cls, 30).values()} == names
    before = len(made)
    assert everywhere.rerun(cls)["migrated"] == 30
    assert len(made) == before


def test_what_takes_others_after_all_is_called(on_sqlite: Engine, few_at_first: None) -> None:
    """Of one batch, some are made on the spot and some paid for, once each."""
    asked: list[str] = []
    made: list[str] = []
    cls = offline(on_sqlite, 30, asked, made, paid={"n20", "n25"})
    assert on_sqlite.migrate(cls)["migrated"] == 30
    assert sorted(asked[10:]) == ["n20", "n25"]
    results = known(on_sqlite, cls, 30)
    assert (results["20"], results["21"]) == (["n20", "paid"], ["n21", "made"])


def test_another_that_was_first_with_a_result_counts(everywhere: Engine) -> None:
    """A result that somebody has stored meanwhile is not written over, and the transaction with another one is made anew."""
    cls = offline(everywhere, 1, [], [])
    assert everywhere.migrate(cls)["migrated"] == 1
    [((label, digest), result)] = calls(everywhere, cls)["0"].items()
    journal = everywhere.ledger.journal
    with pytest.raises(Retry), everywhere.ledger.writing() as tx:
        journal.store_recalls(tx, cls.name, [("0", "0", (label, digest), ["other"])], new=True)
    assert calls(everywhere, cls)["0"] == {(label, digest): result}


def test_a_function_that_fails_on_the_spot_is_tried_again(
    on_sqlite: Engine, few_at_first: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As where others are called: no user is blamed for it, and its own words stay behind."""
    errors = [OSError("secret"), OSError("secret")]
    made: list[str] = []
    cls = offline(on_sqlite, 20, [], made, errors=errors)
    assert on_sqlite.migrate(cls)["migrated"] == 20
    assert errors == []
    assert len(made) >= 10
    assert "secret" not in caplog.text
