"""A dry run says what would happen, by the real code, and leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import Halt, ImpureMigration, UsageError
from producer.dryrun import forecast
from producer.order import Order
from tests.engine import Engine, migration


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The engine on twelve users, of which one is bad."""
    engine = Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE people (id integer PRIMARY KEY, name text)"
    )
    for number in range(1, 13):
        engine.execute("INSERT INTO users VALUES (?, ?)", number, "secret-bad" if number == 5 else f"n{number}")
    yield engine
    engine.close()


def move(user: Any) -> None:
    row = user.one("users")
    if "bad" in row["name"]:
        raise ValueError(row["name"])
    user.create("people", {"id": user.key, "name": row["name"]})
    if user.key % 2:
        user.update(row, set={"name": "moved"})
        user.conflict("name", values=[1, 2], chosen=1)


def moving(function: Any = move, **more: Any) -> type[Migration]:
    body = {"keys": Keys("users", "id"), "reads": (Rows("users", "id"),), "writes": ("people", "users"), **more}
    return migration(function, **body)


def foretold(engine: Engine, cls: type[Migration], **order: Any) -> dict[str, Any]:
    """The document, after seeing that nothing at all has changed, Backtrail's own tables included."""
    before = everything(engine)
    document = forecast(engine.ledger, engine.found(cls), Order("migrate", **order)).document(cls.name)
    assert everything(engine) == before
    assert json.loads(json.dumps(document)) == document
    return document


def everything(engine: Engine) -> Any:
    """Every table there is, and every row in it."""
    if not engine.postgres:
        with engine.sqlite() as connection:
            return list(connection.iterdump())
    names = engine.query(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    )
    with psycopg.connect(engine.url) as connection:
        sequences = connection.execute("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1").fetchall()
    return [names, sequences, engine.dump(*(name for (name,) in names))]


def test_it_foretells_what_the_campaign_then_does(engine: Engine) -> None:
    """Counts, writes, conflicts and failures are those of the real run; the failure shows class and line, and no value."""
    cls = moving()
    document = foretold(engine, cls)
    counts = {
        "total": 12,
        "migrated": 11,
        "failed": 1,
        "skipped": 0,
        "conflicts": 5,
        "unmapped": 0,
        "pending": 0,
        "rolled_back": 0,
    }
    assert {name: document[name] for name in counts} == counts
    assert document["writes"] == {"create people": 11, "update users": 5}
    assert [note["key"] for note in document["notes"]] == ["1", "3", "7", "9", "11"]
    assert document["notes"][0] == {"key": "1", "kind": "conflict", "field": "name", "values": [1, 2], "chosen": 1}
    (failure,) = document["failures"]
    assert (failure["key"], failure["error"]) == ("5", "MigrateFailed")
    assert "ValueError at test_dryrun.py" in failure["reason"]
    assert "secret" not in failure["reason"]
    assert (document["campaign"], document["state"], document["dry_run"]) == (None, "dry run", True)
    end = engine.migrate(cls)
    assert {name: end[name] for name in counts} == counts


def test_with_a_ledger_it_skips_what_is_done(engine: Engine) -> None:
    """Migrated and rolled-back entities are skipped as the campaign would; named ones are taken."""
    cls = moving()
    engine.migrate(cls, only=["1", "2", "3"])
    engine.rollback(cls, only=["3"])
    assert (foretold(engine, cls)["skipped"], foretold(engine, cls)["migrated"]) == (3, 8)
    assert foretold(engine, cls, only=["2", "3"])["migrated"] == 1


def test_a_limit_and_a_sample_choose_as_the_campaign_would(engine: Engine) -> None:
    """The first so many, and the same share of entities."""
    cls = moving()
    assert foretold(engine, cls, options={"limit": 3})["total"] == 3
    sampled = foretold(engine, cls, options={"sample": 0.5})
    assert 0 < sampled["total"] < 12
    end = engine.migrate(cls, options={"sample": 0.5})
    assert (end["total"], end["migrated"]) == (sampled["total"], sampled["migrated"])


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"only": ["99"]}, "trial knows no entity '99'"),
        ({"only": ["x"]}, "'x' is no key of this migration"),
        ({"params": {"rate": "1"}}, "takes no parameters"),
    ],
)
def test_what_the_campaign_would_refuse_is_refused(engine: Engine, order: dict[str, Any], said: str) -> None:
    """Wrong orders are answered as `enqueue` answers them."""
    before = everything(engine)
    with pytest.raises(UsageError) as error:
        forecast(engine.ledger, engine.found(moving()), Order("migrate", **order))
    assert said in str(error.value)
    assert everything(engine) == before


def test_mistakes_and_impurity_are_found(engine: Engine) -> None:
    """What would halt the campaign is raised, with nothing changed."""
    counter = iter(range(1000))
    before = everything(engine)
    with pytest.raises(ImpureMigration):
        forecast(engine.ledger, engine.found(moving(lambda user: user.remark(str(next(counter))))), Order("migrate"))
    with pytest.raises(Halt, match="did you mean 'name'"):
        forecast(engine.ledger, engine.found(moving(lambda user: user.one("users")["nmae"])), Order("migrate"))
    assert everything(engine) == before


def test_recalls_are_counted_and_not_called(engine: Engine) -> None:
    """Nothing is paid in a dry run."""

    def paid() -> None:
        raise AssertionError("it was called")

    document = foretold(engine, moving(lambda user: user.recall("title", paid)))
    assert (document["recalls"], document["migrated"]) == (12, 12)


def test_required_migrations_are_looked_at(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entity for which the required migration has not been done would fail, with and without a ledger."""
    from producer import campaign

    first = moving(lambda user: None, name="first")
    second = moving(lambda user: None, name="second", requires=("first",))
    monkeypatch.setattr(campaign, "find", lambda name: engine.found(first))
    assert foretold(engine, second)["failed"] == 12
    engine.migrate(first, only=["1", "2"])
    document = foretold(engine, second)
    assert (document["migrated"], document["failed"]) == (2, 10)
    assert document["failures"][0]["error"] == "RequirementMissing"
