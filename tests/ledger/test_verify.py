"""What `verify` finds: everything that was tampered with, by name, and nothing where all is well."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from backtrail import Invariant, Keys, Migration, Rows
from ledger.verify import Verifier
from tests.engine import Engine

NAMES = ["ledger", "drift", "coverage", "checks", "invariants", "decisions", "accounting"]


class Split(Migration):
    """People from users; reads what it writes, in all three ways."""

    name = "split"
    keys = Keys("users", "id")
    reads = (Rows("users", "id"), Rows("tags", "user_id"), Rows("notes", "tag_id", via="tags.id"))
    writes = ("people", "users", "tags")
    invariants = (Invariant("no nameless", "SELECT id FROM people WHERE first = ''"),)

    def migrate(self, user: Any) -> None:
        row = user.one("users")
        first, _, last = row["name"].partition(" ")
        user.create("people", {"id": user.key, "first": first, "last": last, "notes": len(user.rows("notes"))})
        user.update(row, set={"name": None})
        for tag in user.rows("tags"):
            user.delete(tag)
        user.create("tags", {"id": user.key * 100, "user_id": user.key, "text": "migrated"})
        if first == "Ann":
            user.conflict("first", values=["Ann", "Anna"], chosen="Ann")

    def check(self, user: Any) -> Any:
        for person in user.rows("people"):
            if person["last"] == "Wrong":
                yield "the last name is wrong"

    def account(self, user: Any) -> dict[str, int]:
        return {"in": 1, "mapped": 0 if user.one("people")["last"] == "Lost" else 1}


def prepare(engine: Engine, users: int = 5) -> None:
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE tags (id integer PRIMARY KEY, user_id integer, text text);"
        "CREATE TABLE notes (id integer PRIMARY KEY, tag_id integer); CREATE TABLE people (id integer PRIMARY KEY, first text, last text, notes integer)"
    )
    for number in range(1, users + 1):
        engine.execute("INSERT INTO users VALUES (?, ?)", number, f"{'Ann' if number % 2 else 'Bob'} B{number}")
        engine.script(f"INSERT INTO tags VALUES ({number}, {number}, 'a'), ({number + 10}, {number}, 'b')")
        engine.script(f"INSERT INTO notes VALUES ({number}, {number}), ({number + 10}, {number + 10})")


def verify(
    engine: Engine, cls: type[Migration] = Split, chosen: Callable[[str], bool] | None = None, *, code: bool = True
) -> dict[str, Any]:
    """The document, whose form and sums are what scripts rely on."""
    document = Verifier(engine.ledger, engine.found(cls), chosen, code=code).run()
    assert json.loads(json.dumps(document)) == document
    assert [one["name"] for one in document["checks"]] == NAMES
    for one in document["checks"]:
        assert one["ok"] == (one["problems"] == 0)
        assert len(one["examples"]) == min(one["problems"], 10)
    assert document["ok"] == all(one["ok"] for one in document["checks"])
    return document


def found(document: dict[str, Any]) -> dict[str, list[str]]:
    """The examples of those checks that found something."""
    return {one["name"]: one["examples"] for one in document["checks"] if not one["ok"]}


def only(document: dict[str, Any], check: str, key: str) -> str:
    """The one problem there is, which is of that check and names that entity."""
    problems = found(document)
    assert set(problems) == {check}, problems
    assert len(problems[check]) == 1, problems
    assert problems[check][0].startswith(f"{key}: "), problems
    return problems[check][0]


def table(engine: Engine, name: str) -> str:
    return f"backtrail.{name}" if engine.postgres else f"backtrail_{name}"


def loosen(engine: Engine) -> None:
    """Takes the triggers away, as the owner of the database can."""
    if engine.postgres:
        for name in ("events", "shapes"):
            engine.script(f"ALTER TABLE {table(engine, name)} DISABLE TRIGGER ALL")
        return
    for (name,) in engine.query("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        engine.script(f'DROP TRIGGER "{name}"')


def stream(engine: Engine, key: str = "2") -> int:
    return int(engine.query(f"SELECT id FROM {table(engine, 'streams')} WHERE key = '{key}' AND migration = 'split'")[0][0])


def lived(engine: Engine) -> None:
    """Five entities, of which the second went back and forth, and the fourth stays back."""
    prepare(engine)
    assert engine.migrate(Split)["migrated"] == 5
    back = engine.rollback(Split, only=["2", "4"])
    assert back["rolled_back"] == 2
    assert engine.rerun(Split, only=["2"])["migrated"] == 1
    loosen(engine)


# -- without the author's code ----------------------------------------------------------------------------------------


class Grumbler(Split):
    """The same, whose code finds fault with all that it is asked."""

    def migrate(self, user: Any) -> None:
        super().migrate(user)
        if ASKED_AGAIN:
            user.remark("again")

    def check(self, user: Any) -> list[str]:
        return ["wrong"] if ASKED_AGAIN else []


ASKED_AGAIN: list[bool] = []


def test_what_needs_no_code_is_verified_without(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger, drift, coverage and invariants are looked at; migrate, check and account are not asked, and the document says so."""
    prepare(engine)
    assert engine.migrate(Grumbler)["migrated"] == 5
    monkeypatch.setattr(f"{__name__}.ASKED_AGAIN", [True])
    assert set(found(verify(engine, Grumbler))) == {"checks", "decisions"}
    document = verify(engine, Grumbler, code=False)
    assert document["ok"], found(document)
    checks = {one["name"]: one for one in document["checks"]}
    assert {name for name, one in checks.items() if one.get("note") == "not asked"} == {"checks", "decisions", "accounting"}
    assert [checks[name]["checked"] for name in ("ledger", "drift", "coverage", "checks", "decisions", "accounting")] == [
        38,
        25,
        5,
        0,
        0,
        0,
    ]
    engine.execute("UPDATE people SET first = 'other' WHERE id = 2")
    assert "changed since" in only(verify(engine, Grumbler, code=False), "drift", "2")
    engine.execute("INSERT INTO users VALUES (99, 'No One')")
    assert set(found(verify(engine, Grumbler, code=False))) == {"drift", "coverage"}


# -- nothing where all is well ----------------------------------------------------------------------------------------


def test_no_false_alarm_after_any_of_the_jobs(engine: Engine) -> None:
    """After migrate, rollback, redo and reruns of all kinds, everything verifies, although `migrate` reads what it wrote."""
    prepare(engine)
    before = engine.dump("users", "tags", "notes", "people")
    assert engine.migrate(Split)["migrated"] == 5
    document = verify(engine)
    assert document["ok"], found(document)
    checked = {one["name"]: one["checked"] for one in document["checks"]}
    # begin, person, user, two tags gone, one new, end: and a conflict for three of five
    assert checked == {"ledger": 38, "drift": 25, "coverage": 5, "checks": 5, "invariants": 1, "decisions": 5, "accounting": 5}
    assert document["checks"][6]["sums"] == {"in": 5, "mapped": 5}
    back = engine.rollback(Split)
    assert engine.dump("users", "tags", "notes", "people") == before
    document = verify(engine)
    assert document["ok"], found(document)
    assert "5 were rolled back" in document["checks"][2]["note"]
    assert engine.redo(Split, back["campaign"])["migrated"] == 5
    assert found(verify(engine)) == {}
    assert engine.rerun(Split, only=["1", "2"])["migrated"] == 2
    assert found(verify(engine)) == {}
    assert engine.rerun(Split, options={"stale": True})["migrated"] == 0, "nothing is stale"
    engine.execute("UPDATE notes SET tag_id = NULL WHERE id = 3")
    assert "stale" in only(verify(engine), "decisions", "3")
    assert engine.rerun(Split, options={"stale": True})["migrated"] == 1
    assert found(verify(engine)) == {}
    engine.rollback(Split)
    engine.execute("UPDATE notes SET tag_id = 3 WHERE id = 3")
    assert engine.dump("users", "tags", "notes", "people") == before


def test_an_empty_ledger_verifies_as_far_as_there_is_one(engine: Engine) -> None:
    """Before anything is migrated coverage names every entity, and nothing else complains."""
    prepare(engine, 2)
    engine.ledger.create()
    assert found(verify(engine)) == {"coverage": ["1: not migrated", "2: not migrated"]}


def test_failed_and_vanished_entities_are_sound(engine: Engine) -> None:
    """A quarantined entity is named by coverage alone, whatever becomes of it later."""
    prepare(engine, 3)
    engine.execute("UPDATE users SET name = NULL WHERE id = 2")
    assert engine.migrate(Split)["failed"] == 1
    assert only(verify(engine), "coverage", "2") == "2: failed"
    engine.execute("DELETE FROM users WHERE id = 2")
    engine.rerun(Split, options={"failed": True})
    assert found(verify(engine)) == {}
    assert engine.states(Split)["2"] == "vanished"


def test_who_was_rolled_back_and_vanished_stays_rolled_back(engine: Engine) -> None:
    """A rerun of an entity whose key is gone leaves it where it was, so that a plain enqueue never takes it again."""
    prepare(engine, 3)
    engine.migrate(Split)
    engine.rollback(Split, only=["2"])
    user = engine.query("SELECT name FROM users WHERE id = 2")[0][0]
    with engine.store.transaction(write=False) as tx:
        assert engine.ledger.journal.count(tx, "split")["rolled_back"] == 1
    campaign = engine.open(Split, "rerun", only=["2"])
    engine.execute("DELETE FROM users WHERE id = 2")
    assert engine.run(campaign)["skipped"] == 1
    assert found(verify(engine)) == {}
    engine.execute("INSERT INTO users VALUES (2, ?)", user)
    assert engine.migrate(Split)["migrated"] == 0
    assert engine.states(Split)["2"] == "rolled_back"


# -- the ledger -------------------------------------------------------------------------------------------------------

EDITS = {
    "kind": "'n'",
    "campaign": "campaign + 1",
    "at": '"at" - 1',
    "shape": "NULL",
    "body": "hash",
    "hash": "body",
    "ref": "ref + 1",
    "version": "version + 100",
}


@pytest.mark.parametrize("column", EDITS)
def test_an_edited_event_is_named(engine: Engine, column: str) -> None:
    """Whichever column of an event is edited, the stream and the version are named, and no other entity."""
    lived(engine)
    assert found(verify(engine)) == {}
    sid = stream(engine)
    version = engine.query(f"SELECT min(version) FROM {table(engine, 'events')} WHERE stream = {sid} AND kind = 'u'")[0][0]
    columns = [row[0] for row in engine.query(f"SELECT * FROM {table(engine, 'events')} LIMIT 1")]
    assert columns
    engine.script(
        f'UPDATE {table(engine, "events")} SET "{column}" = {EDITS[column]} WHERE stream = {sid} AND version = {version}'
    )
    assert f"version {version}" in only(verify(engine), "ledger", "2")


def test_every_column_of_an_event_is_among_those_that_were_edited() -> None:
    """A column that somebody adds later must be edited here too; `stream` is, where events are moved."""
    from ledger.sql.tables import ledger_tables

    assert {column.name for column in ledger_tables("sqlite").events.columns} == set(EDITS) | {"stream"}


def swap(engine: Engine, sid: int) -> None:
    for old, new in ((3, 9003), (4, 3), (9003, 4)):
        engine.script(f"UPDATE {table(engine, 'events')} SET version = {new} WHERE stream = {sid} AND version = {old}")


def move(engine: Engine, sid: int) -> None:
    other = stream(engine, "1")
    last = engine.query(f"SELECT max(version) FROM {table(engine, 'events')} WHERE stream = {other}")[0][0]
    engine.script(
        f"UPDATE {table(engine, 'events')} SET stream = {other}, version = {last + 1} WHERE stream = {sid} AND version = 3"
    )


MOVES: dict[str, tuple[Callable[[Engine, int], None], set[str]]] = {
    "swapped": (swap, {"2"}),
    "moved to another stream": (move, {"1", "2"}),
    "deleted": (
        lambda engine, sid: engine.script(f"DELETE FROM {table(engine, 'events')} WHERE stream = {sid} AND version = 3"),
        {"2"},
    ),
    "first deleted": (
        lambda engine, sid: engine.script(f"DELETE FROM {table(engine, 'events')} WHERE stream = {sid} AND version = 1"),
        {"2"},
    ),
    "tail cut": (
        lambda engine, sid: engine.script(f"DELETE FROM {table(engine, 'events')} WHERE stream = {sid} AND version > 7"),
        {"2"},
    ),
    "all deleted": (lambda engine, sid: engine.script(f"DELETE FROM {table(engine, 'events')} WHERE stream = {sid}"), {"2"}),
    "streams exchanged": (
        lambda engine, sid: engine.script(
            f"UPDATE {table(engine, 'events')} SET stream = 9000 + stream WHERE stream IN ({sid}, {stream(engine, '1')});"
            f"UPDATE {table(engine, 'events')} SET stream = CASE WHEN stream = 9000 + {sid} THEN {stream(engine, '1')} ELSE {sid} END WHERE stream > 9000"
        ),
        {"1", "2"},
    ),
    "shape edited": (
        lambda engine, sid: engine.script(f"UPDATE {table(engine, 'shapes')} SET body = '[]' WHERE body LIKE '%people%'"),
        {"1", "2", "3", "4", "5"},
    ),
    "shape no JSON": (
        lambda engine, sid: engine.script(f"UPDATE {table(engine, 'shapes')} SET body = 'x' WHERE body LIKE '%people%'"),
        {"1", "2", "3", "4", "5"},
    ),
}


@pytest.mark.parametrize("how", MOVES)
def test_events_that_are_gone_or_elsewhere_are_named(engine: Engine, how: str) -> None:
    """Deleted, swapped, moved and cut events are found, and exactly the entities concerned are named."""
    lived(engine)
    attack, keys = MOVES[how]
    attack(engine, stream(engine))
    problems = found(verify(engine))
    assert set(problems) == {"ledger"}
    assert {example.partition(":")[0] for example in problems["ledger"]} == keys


STATE = {
    "state": "'migrated'",
    "failed": "NOT failed",
    "version": "version - 1",
    "head": "(SELECT hash FROM {events} WHERE stream = 1 AND version = 1)",
    "campaign": "campaign + 1",
}


@pytest.mark.parametrize("column", STATE)
def test_an_edited_state_is_named(engine: Engine, column: str) -> None:
    """The row that applications read cannot say what the events do not."""
    lived(engine)
    value = STATE[column].format(events=table(engine, "events"))
    engine.script(f"UPDATE {table(engine, 'streams')} SET {column} = {value} WHERE key = '4'")
    only(verify(engine), "ledger", "4")


def test_a_stream_that_is_gone_altogether_is_named(engine: Engine) -> None:
    """Events and state row removed: coverage names the entity, and the batches that did it do too, even where its key is gone."""
    lived(engine)
    sid = stream(engine)
    engine.script(
        f"DELETE FROM {table(engine, 'events')} WHERE stream = {sid}; DELETE FROM {table(engine, 'streams')} WHERE id = {sid}"
    )
    problems = found(verify(engine))
    assert problems == {"coverage": ["2: not migrated"], "ledger": ["2: c1 has done it, and its stream is gone"]}
    engine.execute("DELETE FROM users WHERE id = 2")
    assert "its stream is gone" in only(verify(engine), "ledger", "2")


def test_events_without_a_stream_are_named(engine: Engine) -> None:
    """Where only the row is removed, its events tell."""
    lived(engine)
    sid = stream(engine)
    engine.script(f"DELETE FROM {table(engine, 'streams')} WHERE id = {sid}")
    assert any(f"stream {sid}" in example for example in found(verify(engine))["ledger"])


GARBAGE = [
    ("body", "'i1' || char(0) || 't'"),
    ("body", "7"),
    ("body", "x'01ff00fe'"),
    ("body", "CAST(x'fffe' AS TEXT)"),
    ("body", "'no body'"),
    ("body", "x''"),
    ("kind", "x'ff'"),
    ("version", "'three'"),
    ("at", "'noon'"),
    ("campaign", "1.5"),
    ("hash", "'text'"),
    ("shape", "'one'"),
]


@pytest.mark.parametrize(("column", "value"), GARBAGE)
def test_garbage_of_another_type_is_named_and_stops_nothing(sqlite: str, column: str, value: str) -> None:
    """SQLite takes any value in any column: `verify` names the stream, goes on with the others, and raises nothing."""
    engine = Engine(sqlite)
    lived(engine)
    sid = stream(engine)
    engine.script(f'UPDATE backtrail_events SET "{column}" = {value} WHERE stream = {sid} AND version = 3')
    problems = found(verify(engine))
    assert set(problems) == {"ledger"}
    assert {example.partition(":")[0] for example in problems["ledger"]} == {"2"}
    engine.close()


@pytest.mark.parametrize("data", ["\\xff", "\\x", "\\x6931007400ff"])
def test_bad_images_on_postgres_are_named(postgres: str, data: str) -> None:
    """Image bytes that are no image are found by their hash before anybody decodes them."""
    engine = Engine(postgres)
    lived(engine)
    engine.script(f"UPDATE backtrail.events SET body = '{data}' WHERE stream = {stream(engine)} AND version = 3")
    only(verify(engine), "ledger", "2")
    engine.close()


# -- the data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE people SET last = 'Edited' WHERE id = 3", "people 3: last changed since"),
        ("UPDATE people SET last = 'Edited', notes = NULL WHERE id = 3", "people 3: last, notes changed since"),
        ("UPDATE users SET name = '' WHERE id = 3", "users 3: name changed since"),
        ("DELETE FROM tags WHERE id = 300", "tags 300: (row) changed since"),
        ("INSERT INTO tags VALUES (13, 3, 'b')", "tags 13: (row) changed since"),
    ],
)
def test_an_edited_row_is_drift(engine: Engine, sql: str, said: str) -> None:
    """A row that is edited, deleted or brought again behind the ledger's back is named with its columns, and no value."""
    lived(engine)
    engine.script(sql)
    assert found(verify(engine))["drift"] == [f"3: {said}"]


def test_a_created_row_that_an_application_deleted_is_drift(engine: Engine) -> None:
    """The person is gone: drift says so, and `check` and accounting cope with it."""
    lived(engine)
    engine.script("DELETE FROM people WHERE id = 3")
    problems = found(verify(engine))
    assert problems["drift"] == ["3: people 3: (row) changed since"]
    assert set(problems) <= {"drift", "accounting"}


class Shout(Migration):
    """Writes the rows that Split wrote before."""

    name = "shout"
    keys = Keys("people", "id")
    reads = (Rows("people", "id"),)
    writes = ("people",)

    def migrate(self, person: Any) -> None:
        row = person.one("people")
        if person.key == 3:
            person.delete(row)
        else:
            person.update(row, set={"last": row["last"].upper() + "!"})


class Whisper(Shout):
    """Writes them once more."""

    name = "whisper"

    def migrate(self, person: Any) -> None:
        row = person.one("people")
        person.update(row, set={"last": row["last"].lower()})


def test_a_later_migrations_write_is_no_drift(engine: Engine) -> None:
    """What other migrations wrote on top, one after the other, is theirs; what an application wrote on top of that is drift for all."""
    prepare(engine)
    engine.migrate(Split)
    engine.migrate(Shout)
    engine.migrate(Whisper)
    assert "drift" not in found(verify(engine))
    assert "drift" not in found(verify(engine, Shout))
    engine.script("UPDATE people SET last = 'Edited' WHERE id = 1")
    for cls in (Split, Shout, Whisper):
        assert found(verify(engine, cls))["drift"] == ["1: people 1: last changed since"]


def test_a_write_that_was_rolled_back_explains_nothing(engine: Engine) -> None:
    """A deletion by a migration that was rolled back since does not excuse the same deletion by an application."""
    prepare(engine)
    engine.migrate(Split)
    engine.migrate(Shout)
    assert "drift" not in found(verify(engine))
    engine.rollback(Shout)
    assert found(verify(engine)) == {}
    engine.script("DELETE FROM people WHERE id = 3")
    assert found(verify(engine))["drift"] == ["3: people 3: (row) changed since"]


# -- the author's code ------------------------------------------------------------------------------------------------


def test_a_changed_source_makes_stale(engine: Engine) -> None:
    """An entity whose sources changed so that `migrate` would decide otherwise is named; one where it would not is not."""
    lived(engine)
    engine.script("UPDATE notes SET tag_id = NULL WHERE id = 3; UPDATE notes SET id = 1000 WHERE id = 5")
    assert only(verify(engine), "decisions", "3") == "3: stale: migrate would now decide otherwise"


def test_migrate_that_fails_now_is_stale(engine: Engine) -> None:
    """An error of the author's code on today's sources is a finding, with its class and line, and without values."""
    prepare(engine)
    engine.migrate(Split)
    secret = "4711-secret"
    engine.execute("INSERT INTO notes VALUES (77, 3)")

    class Strict(Split):
        def migrate(self, user: Any) -> None:
            if len(user.rows("notes")) > 2:
                raise ValueError(secret)
            super().migrate(user)

    said = found(verify(engine, Strict))["decisions"]
    assert len(said) == 1
    assert "MigrateFailed: ValueError at test_verify.py" in said[0]
    assert secret not in said[0]


def test_other_code_is_said_to_be_the_reason(engine: Engine) -> None:
    """Where the campaign's code was another, a different decision is laid to that."""
    prepare(engine)
    engine.migrate(Split)
    engine.execute(f"UPDATE {table(engine, 'campaigns')} SET fingerprint = 'older'")
    assert found(verify(engine)) == {}, "other code that decides the same is no problem"
    engine.execute("UPDATE notes SET tag_id = NULL WHERE id = 3")
    assert only(verify(engine), "decisions", "3") == "3: decided by other code"


def test_the_authors_check_and_accounting_speak(engine: Engine) -> None:
    """What `check` finds on current rows is named, and fields that do not add up are too."""
    lived(engine)
    engine.script("UPDATE people SET last = 'Wrong' WHERE id = 1; UPDATE people SET last = 'Lost' WHERE id = 5")
    document = verify(engine)
    problems = found(document)
    assert problems["checks"] == ["1: the last name is wrong"]
    assert problems["accounting"] == ["5: 1 fields went in, 0 are accounted for"]
    assert document["checks"][6]["sums"] == {"in": 4, "mapped": 3}


def test_errors_in_check_and_account_are_findings(engine: Engine) -> None:
    """An author's `check` or `account` that fails for an entity is named with its line, and the others are checked."""
    prepare(engine)
    engine.migrate(Split)

    secret = "a secret value"

    class Careless(Split):
        def check(self, user: Any) -> Any:
            if user.key == 2:
                raise KeyError(secret)
            return "alarm" if user.key == 3 else None

        def account(self, user: Any) -> dict[str, int]:
            return {"in": 1 // (user.key - 4), "mapped": 1 // (user.key - 4)}

    problems = found(verify(engine, Careless))
    assert len(problems["checks"]) == 2
    assert "2: CheckFailed: KeyError at test_verify.py" in problems["checks"][0]
    assert problems["checks"][1] == "3: alarm"
    assert len(problems["accounting"]) == 1
    assert "4: AuthorMistake: ZeroDivisionError" in problems["accounting"][0]
    assert "secret value" not in str(problems)


def test_invariants_are_asked_one_by_one(engine: Engine) -> None:
    """A violated invariant shows its rows; one that cannot be asked is a finding and spoils no other."""
    prepare(engine)
    engine.migrate(Split)
    engine.script("UPDATE people SET first = '' WHERE id IN (2, 3)")

    class More(Split):
        invariants = (
            Invariant("broken", "SELECT missing FROM nowhere"),
            Invariant("percent", "SELECT id FROM people WHERE first LIKE '%%' AND id % 2 = 5"),
            *Split.invariants,
        )

    problems = found(verify(engine, More))["invariants"]
    assert problems[0].startswith("broken: SchemaChanged: ")
    assert sorted(problems[1:]) == ["no nameless: 2", "no nameless: 3"]


class Rate(BaseModel):
    """How much."""

    rate: int


class Rated(Migration):
    """Has a parameter without default, a recall, and the time."""

    name = "rated"
    keys = Keys("users", "id")
    reads = (Rows("users", "id"),)
    writes = ("people",)
    params: Rate

    def migrate(self, user: Any) -> None:
        title = user.recall("title", title_of, user.key)
        stamp = user.now.isoformat()
        user.create("people", {"id": user.key, "first": title, "last": stamp, "notes": self.params.rate})

    def check(self, user: Any) -> Any:
        person = user.one("people")
        if (person["notes"], person["first"]) != (self.params.rate, user.recall("title", title_of, user.key)):
            yield "not as decided"


def title_of(key: int) -> str:
    return f"title {key} {dt.datetime.now(dt.UTC).isoformat()}"


def test_parameters_recalls_and_time_are_those_of_then(engine: Engine) -> None:
    """Entities of two campaigns with different parameters verify at once: each is asked with what it had."""
    prepare(engine)
    assert engine.migrate(Rated, params={"rate": 1}, only=["1", "2"])["migrated"] == 2
    assert engine.migrate(Rated, params={"rate": 2})["migrated"] == 3
    assert {row[0] for row in engine.query("SELECT notes FROM people")} == {1, 2}, "the fixture is not trivial"
    assert found(verify(engine, Rated)) == {}
    engine.script(f"DELETE FROM {table(engine, 'recalls')} WHERE key = '2'")
    problems = found(verify(engine, Rated))
    assert problems["decisions"] == ["2: stale: it would recall 'title' anew"]
    assert "check recalls 'title'" in problems["checks"][0]


def test_only_the_chosen_are_looked_at(engine: Engine) -> None:
    """With a choice, what is wrong about the others is not seen."""
    lived(engine)
    engine.script("UPDATE people SET last = 'Edited' WHERE id IN (1, 3)")
    document = verify(engine, chosen=lambda key: key in {"2", "3"})
    assert found(document)["drift"] == ["3: people 3: last changed since"]
    assert document["checks"][2]["checked"] == 2


def test_keys_whose_sources_are_gone_keep_their_type(engine: Engine) -> None:
    """A migration that takes its own keys away still verifies: the campaign knows what they were."""
    engine.script(
        "CREATE TABLE old (code %s PRIMARY KEY); INSERT INTO old VALUES (1), (2)" % ("integer" if engine.postgres else "")
    )
    engine.script("CREATE TABLE fresh (code integer PRIMARY KEY)")

    class Move(Migration):
        """Moves rows."""

        name = "move"
        keys = Keys("old", "code")
        reads = (Rows("old", "code"),)
        writes = ("old", "fresh")

        def migrate(self, user: Any) -> None:
            user.delete(user.one("old"))
            user.create("fresh", {"code": user.key + 1})

    assert engine.migrate(Move)["migrated"] == 2
    assert engine.query("SELECT count(*) FROM old") == [(0,)]
    assert found(verify(engine, Move)) == {}
    assert engine.rollback(Move)["rolled_back"] == 2
    assert found(verify(engine, Move)) == {}
