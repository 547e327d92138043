"""A feeder whose code is not the campaign's pages no keys by it, and lets another lead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.discovery import Found, find
from backtrail.errors import OtherCode, UsageError
from producer import code
from producer.feeder import Feeder
from tests.engine import Engine, migration


def test_by_other_code_nothing_is_fed(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key is paged and it says why; another feeder leads and ends the campaign; alone, it goes on leading for the other campaigns."""
    engine = on_sqlite
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    cls = migration(
        lambda user: user.update(user.one("users"), {"name": "c"}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    campaign = engine.open(cls, "migrate")
    looked: list[str] = []

    def other(source: str, **how: Any) -> Found:
        looked.append(source)
        return replace(find(source, **how), fingerprint="another")

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(code, "find", other)
        for _ in range(5):
            engine.feeder.step()
        assert looked == [campaign.source], "it is not looked at again and again"
        assert list(engine.feeder.refuses) == [campaign.name] and "not the campaign's" in engine.feeder.refuses[campaign.name]
        assert engine.queue.messages == [] and engine.feeder.fence is not None
        with engine.store.transaction() as tx:
            for name in ("tests", "second"):
                engine.ledger.presence.show(tx, name, {})
        engine.feeder.step()
        assert engine.feeder.fence is None
        assert not engine.feeder.step() and engine.feeder.fence is None, "it stands back"
    with engine.store.transaction() as tx:
        engine.ledger.presence.leave(tx, "tests")
    second = Feeder(engine.ledger, engine.queue, "second")  # type: ignore[arg-type]
    second.step()
    assert engine.queue.messages == [(campaign.id, 1)] and second.refuses == {}
    engine.feeder = second
    assert engine.run(campaign)["migrated"] == 2


def test_code_that_cannot_be_loaded(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without the code halts nobody; once it has it, it feeds."""
    engine = on_sqlite
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a')")
    cls = migration(
        lambda user: user.update(user.one("users"), {"name": "c"}),
        keys=Keys("users", "id"),
        reads=(Rows("users", by="id"),),
        writes=("users",),
    )
    campaign = engine.open(cls, "migrate")
    with monkeypatch.context() as elsewhere:

        def missing(*_: Any, **__: Any) -> Found:
            raise UsageError("there is no file here")

        elsewhere.setattr(code, "find", missing)
        engine.feeder.step()
        assert engine.status(campaign)["state"] == "open"
        assert engine.feeder.refuses == {campaign.name: f"cannot load {campaign.migration}: there is no file here"}
        codes = code.Codes()
        for _ in range(2):
            with pytest.raises(OtherCode):
                codes.of(campaign)
        codes.keep(set())
        assert codes.refuses == {}
    monkeypatch.setattr(code, "AGAIN_S", 0.0)
    assert engine.run(campaign)["migrated"] == 1 and engine.feeder.refuses == {}
