"""The author's entity: the whole table of the contract, from reading to recalls."""

from __future__ import annotations

import copy
import datetime as dt
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtrail import Entity, Keys, Rows
from backtrail.changes import Create, Update
from backtrail.errors import (
    AuthorMistake,
    BacktrailError,
    Halt,
    MissingRow,
    TooManyRows,
    UndeclaredTable,
    UnknownField,
)
from backtrail.image import Ref
from backtrail.recall import RecallNeeded
from backtrail.row import NewRow, Row
from backtrail.stores.memory import MemoryRecord
from tests.engine import Engine, migration
from tests.processes import ROOT

NOW = dt.datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
SECRET = "jane.doe@example.org"
COLUMNS = {"users": ("id", "email", "age", "data"), "people": ("id", "mail", "age", "data")}


def record(table: str, columns: Sequence[str] | None = None, **values: Any) -> MemoryRecord:
    return MemoryRecord(Ref(table, repr(values.get("id", values.get("_id")))), values, columns)


def made(tables: dict[str, Any] | None = None, recalls: Any = None, **rows: Any) -> Entity:
    return Entity(
        7,
        migration="m",
        now=NOW,
        rows=rows,
        writes=("people", "users", "documents"),
        tables={**COLUMNS, "documents": None} if tables is None else tables,
        requires=("first",),
        recalls=recalls,
    )


@pytest.fixture
def user() -> Entity:
    """An entity with two users, one of which was read in part, and two documents."""
    return made(
        users=[record("users", id=1, email="a", age=3, data={"k": [1]}), record("users", id=2, email="b", age=3, data=None)],
        mails=[record("users", ("id", "email"), id=1, email="a", age=3, data=None)],
        documents=[record("documents", _id=1, name="x"), record("documents", _id=2)],
    )


# -- reading ----------------------------------------------------------------------------------------------------------


def test_what_it_is(user: Entity) -> None:
    """The key with its type, and the job's time."""
    assert (user.key, user.now) == (7, NOW)


def test_rows_are_frozen_mappings(user: Entity) -> None:
    """Rows read like dicts, cannot be assigned to, and what an author does to a nested value changes nothing."""
    row = user.rows("users")[0]
    assert dict(row) == {"id": 1, "email": "a", "age": 3, "data": {"k": [1]}}
    assert (len(row), list(row), "email" in row, "mail" in row) == (4, ["id", "email", "age", "data"], True, False)
    with pytest.raises(TypeError):
        row["age"] = 4  # type: ignore[index]
    row["data"]["k"].append(2)
    assert row.record.value("data") == {"k": [1]}
    user.update(row, set={"data": row["data"]})
    assert user.decision.changes[0].set == {"data": {"k": [1, 2]}}  # type: ignore[union-attr]


def test_get_gives_the_default_only_where_there_is_no_field(user: Entity) -> None:
    """A field that is None is there; a default is not remembered; a nested value is the author's own, and one and the same."""
    row, document = user.rows("users")[1], user.rows("documents")[1]
    assert (row.get("data", 5), row.get("email"), row.get("nothing")) == (None, "b", None)
    assert [document.get("name", default) for default in (1, None, "x")] == [1, None, "x"]
    nested = user.rows("users")[0].get("data")
    assert nested is user.rows("users")[0]["data"]


def test_rows_by_equal_fields(user: Entity) -> None:
    """Fields select; several must all be equal; the list is the author's own."""
    assert [row["id"] for row in user.rows("users", age=3)] == [1, 2]
    assert [row["id"] for row in user.rows("users", age=3, email="b")] == [2]
    assert user.rows("users", email=None) == []
    assert [row["_id"] for row in user.rows("documents", name=None)] == [2]
    user.rows("users").clear()
    assert len(user.rows("users")) == 2


def test_one_and_one_or_none(user: Entity) -> None:
    """Exactly one, or at most one; anything else quarantines and names fields, never values."""
    assert user.one("users", id=2)["email"] == "b"
    assert user.one_or_none("users", email=SECRET) is None
    with pytest.raises(MissingRow, match=r"no row of users by email; one is expected") as missing:
        user.one("users", email=SECRET)
    assert SECRET not in str(missing.value)
    for ask in (user.one, user.one_or_none):
        with pytest.raises(TooManyRows, match="2 rows of users by age; at most one is expected"):
            ask("users", age=3)


NEAREST: dict[str, tuple[Callable[[Entity], Any], str]] = {
    "a read": (lambda user: user.rows("usrs"), "no read named 'usrs': did you mean 'users'?"),
    "a field": (lambda user: user.rows("users", emial="x"), "no column of users named 'emial': did you mean 'email'?"),
    "a row's column": (lambda user: user.rows("users")[0]["emial"], "no column of users named 'emial': did you mean 'email'?"),
    "a column not read": (lambda user: user.rows("mails")[0]["age"], "column 'age' of mails is not read: add it to columns="),
    "a field not read": (lambda user: user.rows("mails", age=3), "column 'age' of mails is not read: add it to columns="),
    "a table": (lambda user: user.create("peple", {}), "peple is not in writes"),
    "a new column": (lambda user: user.create("people", {"mial": 1}), "no column of people named 'mial': did you mean 'mail'?"),
    "a set column": (lambda user: user.update(user.rows("users")[0], set={"aeg": 1}), "did you mean 'age'?"),
    "an unset column": (lambda user: user.update(user.rows("users")[0], unset=["aeg"]), "did you mean 'age'?"),
    "a column of a new row": (lambda user: user.update(user.create("people", {}), set={"aeg": 1}), "did you mean 'age'?"),
    "a copied column": (
        lambda user: user.copy("people", user.rows("users")[0]),
        "no column of people named 'email': did you mean 'mail'?",
    ),
    "an unset copy": (lambda user: user.copy("users", user.rows("users")[0], unset=["emial"]), "did you mean 'email'?"),
    "a rename": (lambda user: user.copy("users", user.rows("users")[0], rename={"emial": "email"}), "did you mean 'email'?"),
    "a required migration": (
        lambda user: user.new_uuid(of="frist"),
        "no required migration named 'frist': did you mean 'first'?",
    ),
}


@pytest.mark.parametrize("name", NEAREST)
def test_whoever_mistypes_is_answered_with_the_nearest(user: Entity, name: str) -> None:
    """A wrong name is the author's mistake: it halts, and says what is there."""
    call, said = NEAREST[name]
    with pytest.raises(Halt) as error:
        call(user)
    assert said in str(error.value)


def test_an_unknown_column_is_still_a_missing_key(user: Entity) -> None:
    """`get` and `in` mean what they mean on every mapping; a document may lack any field."""
    row = user.rows("users")[0]
    assert row.get("emial") is None
    with pytest.raises(KeyError):
        row["emial"]
    document = user.one("documents", _id=2)
    assert document.get("name") is None
    with pytest.raises(KeyError) as missing:
        document["name"]
    assert not isinstance(missing.value, BacktrailError)


def test_no_value_is_shown_by_accident(user: Entity) -> None:
    """Rows end up in logs by their repr, which holds names only."""
    row = made(users=[record("users", id=1, email=SECRET)]).rows("users")[0]
    new = user.create("people", {"mail": SECRET})
    assert SECRET not in f"{row!r} {row} {new!r} {new}"


# -- changing ---------------------------------------------------------------------------------------------------------


def test_changes_of_one_row_add_up(user: Entity) -> None:
    """Later values win over earlier ones, unset over set and set over unset; it stays one change, where it was first made."""
    row = user.rows("users")[0]
    user.update(row, set={"age": 1, "email": "x"})
    user.create("people", {"id": 1})
    user.update(row, set={"age": 2}, unset=["email"])
    user.update(user.one("users", id=1), set={"data": 1}, unset=["age"])
    user.update(row, set={"age": 5})
    first, second = user.decision.changes
    assert isinstance(first, Update)
    assert isinstance(second, Create)
    assert first.set == {"data": 1, "age": 5}
    assert list(first.unset) == ["email"]


def test_what_is_deleted_stays_deleted(user: Entity) -> None:
    """A deletion takes the place of updates, and the row cannot be changed or deleted again."""
    row = user.rows("users")[0]
    user.update(row, set={"age": 1})
    user.delete(row)
    assert [type(change).__name__ for change in user.decision.changes] == ["Delete"]
    for again in (lambda: user.update(row, set={"age": 2}), lambda: user.delete(user.one("users", id=1))):
        with pytest.raises(UnknownField, match="is deleted"):
            again()


def test_rows_read_in_part_can_be_copied_and_not_changed(user: Entity) -> None:
    """They were not locked, and what was not read is not known."""
    row = user.rows("mails")[0]
    with pytest.raises(UndeclaredTable, match="read with columns="):
        user.update(row, set={"email": "x"})
    with pytest.raises(UndeclaredTable, match="read with columns="):
        user.delete(row)
    assert dict(user.copy("people", row, rename={"email": "mail"})) == {"id": 1, "mail": "a"}


def test_rows_of_tables_that_are_only_read_cannot_be_changed() -> None:
    """Anything but `writes` is refused."""
    user = made(tables={"others": ("id",)}, others=[record("others", id=1)])
    for change in (lambda row: user.update(row, set={"id": 2}), user.delete):
        with pytest.raises(UndeclaredTable, match="others is not in writes"):
            change(user.one("others"))


def test_a_copy_unsets_renames_and_sets_in_this_order(user: Entity) -> None:
    """Renamed fields keep their place, new ones come last, and what is set wins."""
    row = user.rows("users")[0]
    new = user.copy("people", row, set={"age": 9, "data": 1}, unset=["data"], rename={"email": "mail"})
    assert list(new.items()) == [("id", 1), ("mail", "a"), ("age", 9), ("data", 1)]
    swapped = user.copy("users", row, rename={"email": "data", "data": "email"})
    assert list(swapped) == ["id", "data", "age", "email"]
    assert swapped["data"] == "a"
    assert list(user.copy("users", row, unset=["email"], rename={"email": "data"}, set={"email": 1})) == [
        "id",
        "age",
        "data",
        "email",
    ]


def test_a_copy_with_two_fields_of_one_name_is_refused(user: Entity) -> None:
    """A rename onto a field that is still there says so; with that one unset it is right."""
    row = user.rows("users")[0]
    with pytest.raises(AuthorMistake, match="two fields would be called 'data': unset one"):
        user.copy("users", row, rename={"email": "data"})
    assert user.copy("users", row, unset=["data"], rename={"email": "data"})["data"] == "a"


def test_a_copy_can_be_changed_by_its_new_names(user: Entity) -> None:
    """Update of a copied row goes by the names that it has now."""
    new = user.copy("people", user.rows("users")[0], set={"age": 1}, rename={"email": "mail"})
    user.update(new, set={"data": 5}, unset=["mail", "age"])
    assert dict(new) == {"id": 1, "data": 5}
    change = new.change
    assert change is not None
    assert set(change.unset) == {"email", "age"}
    assert change.values == {"data": 5}


def test_new_rows_show_what_they_were_given(user: Entity) -> None:
    """A new row reads like a mapping, and what the database will give is not there yet."""
    new = user.create("people", {"mail": "x"})
    user.update(new, set={"age": 1}, unset=["mail"])
    assert dict(new) == {"age": 1}
    assert isinstance(new, NewRow)
    with pytest.raises(KeyError):
        new["id"]


# -- ids, notes, recalls ----------------------------------------------------------------------------------------------


def test_ids_depend_on_migration_key_and_label_only(user: Entity) -> None:
    """Two entities and two labels have different ids; `of` gives the id that the required migration gave."""
    other = Entity(8, migration="m", now=NOW, rows={}, writes=(), tables={})
    first = Entity(7, migration="first", now=NOW + dt.timedelta(1), rows={}, writes=(), tables={})
    ids = {
        user.new_uuid("a"),
        user.new_uuid("b"),
        user.new_uuid("a", 1),
        user.new_uuid(),
        other.new_uuid("a"),
        first.new_uuid("a"),
    }
    assert len(ids) == 6
    assert user.new_uuid("a") == made().new_uuid("a")
    assert user.new_uuid("a", of="first") == first.new_uuid("a")
    assert user.new_object_id("a", of="first") == first.new_object_id("a")
    assert user.new_object_id("a") != user.new_object_id("b")


def test_ids_are_the_same_in_another_process(user: Entity) -> None:
    """Neither hash seed nor process goes into an id."""
    code = (
        "import datetime; from backtrail import Entity;"
        "print(Entity(7, migration='m', now=datetime.datetime.now(), rows={}, writes=(), tables={}).new_uuid('a', 1, None))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert uuid.UUID(done.stdout.strip()) == user.new_uuid("a", 1, None)


def test_a_row_in_a_label_stands_for_its_key(user: Entity) -> None:
    """Rows of one table look alike as text; two of them must not give one id. A new row has no key to be told by."""
    one, two = user.rows("users")
    assert user.new_uuid("profile", one) != user.new_uuid("profile", two)
    with pytest.raises(AuthorMistake, match="cannot be made of a new row"):
        user.new_uuid(user.create("people", {}))


def test_notes_are_json_in_the_order_in_which_they_were_said(user: Entity) -> None:
    """Values of any type become JSON, rows become objects."""
    user.conflict("age", values=[1, dt.date(2025, 1, 2)], chosen=uuid.UUID(int=1), context="c")
    user.unmapped({"x": float("nan")}, table="users")
    user.remark("said", row=user.rows("users")[0])
    assert [(note.kind, note.data) for note in user.decision.notes] == [
        ("conflict", {"field": "age", "values": [1, "2025-01-02"], "chosen": str(uuid.UUID(int=1)), "context": "c"}),
        ("unmapped", {"fields": {"x": "nan"}, "table": "users"}),
        ("remark", {"text": "said", "row": {"id": 1, "email": "a", "age": 3, "data": {"k": [1]}}}),
    ]


def test_a_recall_is_asked_for_once_and_then_given() -> None:
    """What is not known is asked for through `migrate`, whatever the author catches; what is known is given, per label and arguments."""

    def title(*args: Any, **kwargs: Any) -> str:
        return f"{args}{kwargs}"

    with pytest.raises(RecallNeeded) as needed:
        try:
            made().recall("title", title, 1, style="short")
        except Exception:  # noqa: BLE001 -- as careless authors do
            pytest.fail("an author's except must not catch it")
    assert needed.value.label == "title"
    assert needed.value.call() == "(1,){'style': 'short'}"
    known = {("title", needed.value.digest): None}
    assert made(recalls=known).recall("title", title, 1, style="short") is None
    for label, number in (("title", 2), ("other", 1)):
        with pytest.raises(RecallNeeded):
            made(recalls=known).recall(label, title, number, style="short")


def test_recalls_about_different_rows_are_different(user: Entity) -> None:
    """A row as an argument counts by its values."""
    digests = []
    for row in user.rows("users"):
        with pytest.raises(RecallNeeded) as needed:
            user.recall("title", str, row)
        digests.append(needed.value.digest)
    assert len(set(digests)) == 2


# -- on databases -----------------------------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.integers(-5, 5), st.text("ab", max_size=2))


def test_what_changes_nothing_writes_nothing(database: str) -> None:
    """Updates to the values that are there already leave no event, and the entity is migrated all the same."""
    engine = Engine(database)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text, age integer); INSERT INTO users VALUES (1, 'a', NULL)")

    def same(user: Any) -> None:
        row = user.one("users")
        user.update(row, set={"name": "b", "age": 1})
        user.update(row, set={"name": "a"}, unset=["age"])

    cls = migration(same, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("users",))
    assert engine.migrate(cls)["migrated"] == 1
    assert [event.kind for event in engine.events(cls, "1")] == ["begin", "end"]
    engine.close()


def test_rows_come_in_binary_order_of_their_keys(database: str) -> None:
    """Numbers by value and text by its bytes, whatever the collation, whatever the order of insertion; the same in `check`."""
    engine = Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE words (word text PRIMARY KEY, user_id integer);"
        "CREATE TABLE numbers (n integer PRIMARY KEY, user_id integer); INSERT INTO users VALUES (1);"
        "INSERT INTO words VALUES ('é', 1), ('a', 1), ('B', 1), ('10', 1), ('9', 1); INSERT INTO numbers VALUES (10, 1), (9, 1), (-1, 1), (100, 1)"
    )
    seen: list[Any] = []

    def look(user: Any) -> None:
        seen.append([row["word"] for row in user.rows("words")] + [row["n"] for row in user.rows("numbers")])
        for number in (1000, 200, 3):
            user.create("made", {"id": number})

    def check(self: Any, user: Any) -> Any:
        if [row["id"] for row in user.rows("made")] != [3, 200, 1000]:
            yield "not in order"

    engine.script("CREATE TABLE made (id integer PRIMARY KEY)")
    reads = (Rows("words", "user_id"), Rows("numbers", "user_id"))
    cls = migration(look, keys=Keys("users", "id"), reads=reads, writes=("made",), check=check)
    assert engine.migrate(cls)["migrated"] == 1
    assert seen[0] == ["10", "9", "B", "a", "é", -1, 9, 10, 100]
    engine.close()


def test_a_mistyped_name_halts_the_campaign_and_changes_nothing(database: str) -> None:
    """The reason names the nearest, nobody is quarantined, and the same holds for a column of a row."""
    engine = Engine(database)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, email text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    keys = {"keys": Keys("users", "id"), "reads": (Rows("users", "id"),), "writes": ("users",)}
    for function in (lambda user: user.one("users")["emial"], lambda user: user.update(user.one("users"), set={"emial": 1})):
        end = engine.migrate(migration(function, **keys))
        assert (end["state"], end["failed"], end["migrated"]) == ("halted", 0, 0)
        assert "no column of users named 'emial': did you mean 'email'?" in end["halted"]
    engine.close()


def test_recalls_are_paid_once_and_given_on_every_later_run(database: str) -> None:
    """Two labels and arguments, called outside the transaction once each; a rerun pays nothing."""
    engine = Engine(database)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    calls: list[Any] = []

    def title(key: int, style: str) -> dict[str, Any]:
        calls.append((key, style))
        return {"title": f"{style} {key} {len(calls)}"}

    def ask(user: Any) -> None:
        titles = [user.recall("title", title, user.key, style)["title"] for style in ("short", "long")]
        user.update(user.one("users"), set={"name": ", ".join(titles)})

    cls = migration(ask, keys=Keys("users", "id"), reads=(Rows("users", "id"),), writes=("users",))
    assert engine.migrate(cls)["migrated"] == 2
    assert sorted(calls) == [(1, "long"), (1, "short"), (2, "long"), (2, "short")]
    after = engine.dump("users")
    assert engine.rerun(cls, only=["1", "2"])["migrated"] == 2
    assert (len(calls), engine.dump("users")) == (4, after)
    engine.close()


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["email", "age", "data"]), VALUES), max_size=6))
def test_any_updates_leave_what_a_dict_would_hold(steps: list[tuple[bool, str, Any]]) -> None:
    """Set and unset in any order come to what the same steps come to on a plain dict."""
    user = made(users=[record("users", id=1, email="a", age=3, data=None)])
    row = user.one("users")
    model: dict[str, Any] = dict(row)
    for is_set, name, value in steps:
        if is_set:
            user.update(row, set={name: value})
            model[name] = value
        else:
            user.update(row, unset=[name])
            model.pop(name, None)
    result = dict(row)
    for change in user.decision.changes:
        assert isinstance(change, Update)
        result.update(change.set)
        for name in change.unset:
            result.pop(name)
    assert result == model
    assert isinstance(row, Row)
    assert copy.deepcopy(dict(row)) == {"id": 1, "email": "a", "age": 3, "data": None}
