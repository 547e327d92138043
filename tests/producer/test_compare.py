"""What a dry run predicts is compared with what the campaign then did; the file holds no value of anybody's."""

from __future__ import annotations

import json
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from ledger.erase import Erasure
from producer.compare import Comparison, Predicted, compare
from producer.dryrun import forecast
from producer.order import Order
from tests.engine import Engine, migration
from tests.untouched import everything

SECRETS = ("Ann", "Bob", "moved", "by default")


def users(engine: Engine) -> None:
    """Five users, of whom the last is bad."""
    engine.table("users", id=int, name=str, size=int)
    engine.table("people", id=int, name=str, size=int, made="timestamp" if engine.mongo else _stamp(engine), until=_stamp(engine))
    engine.add("users", (1, "Ann", 1), (2, "Bob", 2), (3, "Ann", 3), (4, None, 4), (5, "bad", 5))


def _stamp(engine: Engine) -> Any:
    return str if engine.mongo else "timestamptz" if engine.postgres else "datetime"


def moving(engine: Engine, **more: Any) -> type[Migration]:
    """Makes a person of every user, of now, for a while."""

    def move(user: Any) -> None:
        row = user.one("users")
        if row["name"] == "bad":
            raise ValueError(row["name"])
        until = user.now.replace(year=user.now.year + 1, month=1, day=1)
        user.create("people", {engine.id: user.key, "name": row["name"], "size": row["size"], "made": user.now, "until": until})
        user.update(row, set={"name": "moved"})
        if row["name"] is None:
            user.remark("no name")

    body = {"keys": Keys("users", engine.id), "reads": (Rows("users", engine.id),), "writes": ("people", "users"), **more}
    return migration(move, **body)


def predicted(engine: Engine, cls: type[Migration], path: Path, **order: Any) -> list[dict[str, Any]]:
    """The lines of the file, after making sure that the dry run changed nothing."""
    before = everything(engine)
    forecast(engine.ledger, engine.found(cls), Order("migrate", **order), path)
    assert everything(engine) == before
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(engine: Engine, path: Path, campaign: dict[str, Any]) -> Comparison:
    """The comparison with the campaign of that status."""
    with engine.store.transaction(write=False) as tx:
        return compare(engine.ledger, tx, engine.ledger.campaigns.find(tx, campaign["campaign"]), Predicted(path))


def counts(result: Comparison) -> dict[str, int]:
    """What was found, without what was not."""
    return dict(+result.counts)


def test_all_as_predicted(everywhere: Engine, tmp_path: Path) -> None:
    """The time of the job is another, and counts as equal; the file is its owner's alone, and holds keys and digests."""
    users(everywhere)
    cls = moving(everywhere)
    path = tmp_path / "events"
    header, *lines = predicted(everywhere, cls, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert header["migration"] == "trial"
    assert [line["key"] for line in lines if "failed" in line] == ["5"]
    created = next(event for line in lines if line["key"] == "1" for event in line["events"] if event["kind"] == "created")
    assert (created["table"], created["now"], created["timed"]) == ("people", ["made"], ["until"])
    assert not any(word in path.read_text() for word in SECRETS)
    digests = [event["columns"]["name"] for line in lines for event in line.get("events", ()) if event["kind"] == "created"]
    assert len(set(digests)) == 4, "one name is not known again by its digest"
    end = everywhere.migrate(cls)
    assert (end["migrated"], end["failed"]) == (4, 1)
    result = judged(everywhere, path, end)
    assert (counts(result), result.ok, result.same_code) == ({"as_predicted": 5}, True, True), result.examples


def test_everything_that_can_differ(everywhere: Engine, tmp_path: Path) -> None:
    """A source that changed, one mended, one broken, one that is new: each told by entity, table and column."""
    users(everywhere)
    cls = moving(everywhere)
    path = tmp_path / "events"
    predicted(everywhere, cls, path)
    everywhere.change("users", {"size": 7}, id=2)
    everywhere.change("users", {"name": "bad"}, id=3)
    everywhere.change("users", {"name": "Eve"}, id=4)
    everywhere.change("users", {"name": "Eve"}, id=5)
    everywhere.add("users", (6, "new", 6))
    result = judged(everywhere, path, everywhere.migrate(cls))
    assert counts(result) == {"as_predicted": 1, "differs": 2, "failed": 1, "did_not_fail": 1, "not_predicted": 1}
    assert not result.ok
    assert result.examples["differs"] == [
        {"key": "2", "tables": {"people": ["size"], "users": ["size"]}},
        {"key": "4", "tables": {"people": ["name"], "(notes)": []}},
    ]
    assert [result.examples[name][0]["key"] for name in ("failed", "did_not_fail", "not_predicted")] == ["3", "5", "6"]
    assert not any(word in json.dumps(result.document()) for word in (*SECRETS, "Eve"))


@pytest.mark.long
def test_what_is_not_done_rolled_back_or_erased(everywhere: Engine, tmp_path: Path) -> None:
    """Those not yet done are counted and no problem; one that was rolled back is compared by what was done; one erased cannot be."""
    users(everywhere)
    cls = moving(everywhere)
    path = tmp_path / "events"
    predicted(everywhere, cls, path)
    end = everywhere.migrate(cls, only=["1", "2", "3"])
    everywhere.rollback(cls, only=["2"])
    Erasure(everywhere.ledger, "3").run(by="somebody", reason=None)
    result = judged(everywhere, path, end)
    assert (counts(result), result.rolled_back, result.ok) == ({"as_predicted": 2, "not_done": 2, "erased": 1}, 1, True)


def test_what_depends_on_the_time_or_a_recall(on_sqlite: Engine, tmp_path: Path) -> None:
    """Other rows at another time, or something that nobody has asked for yet: written down as such, and not compared."""
    users(on_sqlite)

    def move(user: Any) -> None:
        if user.key == 1 and user.now.year % 2:
            user.remark("odd")
            user.update(user.one("users"), set={"name": "odd"})
        if user.key == 1 and not user.now.year % 2:
            user.update(user.one("users"), set={"size": 0})
        if user.key == 2:
            user.update(user.one("users"), set={"name": user.recall("title", lambda: "Dr")})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("users",))
    path = tmp_path / "events"
    _, *lines = predicted(on_sqlite, cls, path)
    assert {"key": "1", "varies": True} in lines
    assert {"key": "2", "recalls": True} in lines
    result = judged(on_sqlite, path, on_sqlite.migrate(cls))
    assert counts(result) == {"not_comparable": 2, "as_predicted": 3}


@pytest.mark.long
def test_values_as_the_database_holds_them(engine: Engine, tmp_path: Path) -> None:
    """What a type makes of a value is no difference, and neither is what the database fills in; what a trigger changes is one."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "a"), (2, "b"))
    kinds = ("numeric(6,2)", "char(4)", "jsonb", "timestamp(0)") if engine.postgres else ("real", "integer", "json", "numeric")
    values = (
        ("1.5", "ab", {"b": 1, "a": [1, 2.50]}, "2024-01-01 10:00:00.7") if engine.postgres else (1, "12", {"b": 1, "a": 2}, 7.0)
    )
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(kinds))
    serial = "serial" if engine.postgres else "integer"
    engine.script(f"CREATE TABLE items (id {serial} PRIMARY KEY, {columns}, made text DEFAULT 'by default', who text)")

    def move(user: Any) -> None:
        user.create("items", {**{f"c{at}": value for at, value in enumerate(values)}, "who": user.one("users")["name"]})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("items",))
    path = tmp_path / "events"
    predicted(engine, cls, path)
    end = engine.migrate(cls, only=["1"])
    assert engine.query("SELECT made FROM items") == [("by default",)]
    assert counts(judged(engine, path, end)) == {"as_predicted": 1, "not_done": 1}
    engine.script(
        "CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.who := upper(NEW.who); RETURN NEW; END $$;"
        "CREATE TRIGGER up BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION up()"
        if engine.postgres
        else "CREATE TRIGGER up AFTER INSERT ON items BEGIN UPDATE items SET who = upper(who) WHERE id = NEW.id; END"
    )
    result = judged(engine, path, engine.migrate(cls))
    assert counts(result) == {"differs": 1, "not_done": 1}
    assert result.examples["differs"] == [{"key": "2", "tables": {"items": ["who"]}}]


def test_files_that_cannot_be_meant(on_sqlite: Engine, tmp_path: Path) -> None:
    """One that is there is not written over; what holds no prediction, and one of another migration, is refused."""
    users(on_sqlite)
    cls = moving(on_sqlite)
    path = tmp_path / "events"
    predicted(on_sqlite, cls, path)
    with pytest.raises(UsageError, match="exists"):
        predicted(on_sqlite, cls, path)
    end = on_sqlite.migrate(moving(on_sqlite, name="other"))
    with pytest.raises(UsageError, match="predicts trial, and c1 is one of other"):
        judged(on_sqlite, path, end)
    path.write_text("[]\n")
    with pytest.raises(UsageError, match="--dry-run --events"):
        judged(on_sqlite, path, end)


def test_half_a_prediction_is_none(on_sqlite: Engine, tmp_path: Path) -> None:
    """A dry run that ends for an author's mistake leaves no file."""
    users(on_sqlite)
    path = tmp_path / "events"
    cls = migration(lambda user: user.one("nobody"), keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("users",))
    with closing(on_sqlite), pytest.raises(Exception, match="nobody"):
        forecast(on_sqlite.ledger, on_sqlite.found(cls), Order("migrate"), path)
    assert not path.exists()
