"""What `trial` does for an author: runs a migration on plain dicts, and fails by itself where the migration is not what it must be."""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import random
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from backtrail import Entity, Keys, Migration, Opaque, Rows
from backtrail.errors import AuthorMistake, ImpureMigration, RecallFailed, UndeclaredTable, UnknownField, UnknownName, UsageError
from backtrail.testing import NOW, Trial, TrialFailed, trial

DOCUMENTS: dict[str, Any] = {"keys": Keys("users", "_id"), "reads": (Rows("users", by="_id"),)}

Tables = dict[str, list[dict[str, Any]]]


def by_user(
    migrate: Callable[[Any, Entity], None],
    *,
    reads: tuple[Rows, ...] = (Rows("users", by="id"),),
    writes: tuple[str, ...] = ("users", "copies"),
    keys: Keys | tuple[Keys, ...] | None = None,
    check: Callable[[Any, Entity], Any] | None = None,
    account: Callable[[Any, Entity], Any] | None = None,
    requires: tuple[str, ...] = (),
) -> type[Migration]:
    """A migration with one entity per user, which does what it is told."""
    body: dict[str, Any] = {
        "name": "tried",
        "keys": keys or Keys("users", "id"),
        "reads": reads,
        "writes": writes,
        "requires": requires,
        "migrate": migrate,
    }
    return type("Tried", (Migration,), body | ({"check": check} if check else {}) | ({"account": account} if account else {}))


def nothing(_: Any, __: Entity) -> None: ...


def seen(migration: type[Migration], tables: Tables, **options: Any) -> list[Any]:
    """The keys of the entities of a trial."""
    return trial(migration, tables, **options).migrated


# -- which entities ---------------------------------------------------------------------------------------------------


def test_each_distinct_key_is_one_entity_in_binary_order():
    rows = [{"id": at, "user": user} for at, user in enumerate(["é", "b", "Z", "a", "b", None])]
    assert seen(by_user(nothing, keys=Keys("orders", "user"), reads=()), {"orders": [*rows, {"id": 9}]}) == ["Z", "a", "b", "é"]


def test_several_columns_make_a_tuple_and_only_a_key_without_any_value_is_none():
    rows = [{"id": 1, "a": 1, "b": "x"}, {"id": 2, "a": 1, "b": None}, {"id": 3, "a": None, "b": None}]
    assert seen(by_user(nothing, keys=Keys("t", "a", "b"), reads=()), {"t": rows}) == [(1, None), (1, "x")]


@pytest.mark.parametrize(
    ("where", "expected"),
    [({"kind": "x"}, [1]), ({"kind": None}, [3, 4]), ({"kind": ["x", "y"]}, [1, 2]), ({"kind": ["x", None]}, [1, 3, 4])],
)
def test_where_takes_a_value_null_or_absent_or_any_of_a_list(where, expected):
    rows = [{"id": 1, "kind": "x"}, {"id": 2, "kind": "y"}, {"id": 3, "kind": None}, {"id": 4}]
    assert seen(by_user(nothing, keys=Keys("users", "id", where=where)), {"users": rows}) == expected


def test_several_keys_are_united_and_key_makes_them_alike():
    keys = (Keys("a", "id"), Keys("b", "ref", key=lambda text: int(text.removeprefix("u"))))
    tables = {"a": [{"id": 2}, {"id": 1}], "b": [{"id": 1, "ref": "u3"}, {"id": 2, "ref": "u1"}]}
    assert seen(by_user(nothing, keys=keys, reads=()), tables) == [1, 2, 3]


def test_keys_of_mixed_type_are_refused():
    with pytest.raises(UsageError, match="mixed type"):
        trial(by_user(nothing), {"users": [{"id": 1}, {"id": "1"}]})


# -- what an entity reads -----------------------------------------------------------------------------------------------


def test_rows_are_found_by_key_and_through_other_rows_in_either_direction():
    found = []
    reads = (
        Rows("memberships", by="user_id"),
        Rows("notes", by="membership_id", via="memberships.id"),
        Rows("teams", by="id", via="memberships.team_id"),
    )

    def migrate(_, user):
        found.append((user.key, [[row["id"] for row in user.rows(name)] for name in ("memberships", "notes", "teams")]))

    tables = {
        "users": [{"id": 1}, {"id": 2}],
        "memberships": [{"id": 12, "user_id": 1, "team_id": 7}, {"id": 11, "user_id": 1, "team_id": 7}, {"id": 13, "user_id": 2}],
        "notes": [{"id": 3, "membership_id": 12}, {"id": 1, "membership_id": 11}, {"id": 2, "membership_id": None}],
        "teams": [{"id": 7}, {"id": 8}],
    }
    trial(by_user(migrate, reads=reads), tables)
    assert found[0] == (1, [[11, 12], [1, 3], [7]])
    assert found[2] == (2, [[13], [], []])


def test_a_key_function_turns_the_key_into_the_value_looked_for():
    def migrate(_, user):
        user.update(user.one("people"), set={"seen": True})

    migration = by_user(migrate, reads=(Rows("people", by="ref", key=lambda key: f"u{key}"),), writes=("people",))
    assert trial(migration, {"users": [{"id": 1}], "people": [{"id": 1, "ref": "u1"}]}).tables["people"][0]["seen"] is True


def test_rows_read_with_columns_show_those_and_keys_only_and_cannot_be_changed():
    reads = (Rows("users", by="id", columns=("name",)),)
    tables = {"users": [{"id": 1, "name": "Zoë", "secret": "s"}]}
    shown = []
    trial(by_user(lambda _, user: shown.append(dict(user.one("users"))), reads=reads), tables)
    assert shown[0] == {"id": 1, "name": "Zoë"}
    with pytest.raises(UndeclaredTable, match="columns="):
        trial(by_user(lambda _, user: user.update(user.one("users"), set={"name": "x"}), reads=reads), tables)


def test_values_are_copies_so_that_no_author_can_change_a_table_by_them():
    def migrate(_, user):
        row = user.one("users")
        row["data"]["list"].append("mine")
        user.create("copies", {"data": row["data"]})

    tables = {"users": [{"id": 1, "data": {"list": []}}]}
    given = copy.deepcopy(tables)
    result = trial(by_user(migrate), tables)
    assert tables == given
    assert result.tables == {**given, "copies": [{"id": 1, "data": {"list": ["mine"]}}]}


def test_the_time_is_the_one_given_in_utc_and_milliseconds():
    times = []
    migration = by_user(lambda _, user: times.append(user.now))
    trial(migration, {"users": [{"id": 1}]})
    local = dt.datetime(2025, 3, 1, 14, 0, 0, 123987, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    trial(migration, {"users": [{"id": 1}]}, now=local)
    assert set(times) == {NOW, dt.datetime(2025, 3, 1, 12, 0, 0, 123000, tzinfo=dt.UTC)}
    with pytest.raises(UsageError, match="time zone"):
        trial(migration, {"users": []}, now=dt.datetime(2025, 1, 1))


# -- what an entity changes ----------------------------------------------------------------------------------------------


def test_rows_are_created_updated_and_deleted():
    def migrate(_, user):
        row = user.one("users")
        user.create("copies", {"id": f"c{user.key}", "of": user.key})
        if user.key == 1:
            user.update(row, set={"name": "new", "old": 2})
        else:
            user.delete(row)

    tables = {"users": [{"id": 2, "name": "b"}, {"id": 1, "name": "a", "old": 1}]}
    result = trial(by_user(migrate), tables)
    assert result.tables == {
        "users": [{"id": 1, "name": "new", "old": 2}],
        "copies": [{"id": "c1", "of": 1}, {"id": "c2", "of": 2}],
    }
    assert result.migrated == [1, 2]
    assert not result.failures


def test_a_new_row_stands_for_its_key_which_counts_on_where_it_is_left_out():
    def migrate(_, user):
        parent = user.create("parents", {"of": user.key})
        child = user.create("children", {"parent_id": parent})
        user.update(parent, set={"favourite": child})

    tables = {"users": [{"id": "a"}, {"id": "b"}], "children": [{"id": 7, "parent_id": None}]}
    result = trial(by_user(migrate, writes=("parents", "children"), reads=()), tables)
    assert result.tables["parents"] == [{"id": 1, "of": "a", "favourite": 8}, {"id": 2, "of": "b", "favourite": 9}]
    assert result.tables["children"][1:] == [{"id": 8, "parent_id": 1}, {"id": 9, "parent_id": 2}]


def test_a_copy_keeps_every_untouched_field_and_the_place_of_renamed_ones():
    def migrate(_, user):
        user.copy("copies", user.one("users"), set={"b": 0, "new": 1}, unset=("gone",), rename={"old": "renamed"})

    result = trial(by_user(migrate), {"users": [{"id": 1, "old": 1.0, "gone": 2, "b": 3, "c": {"y": 1, "x": None}}]})
    assert list(result.tables["copies"][0].items()) == [
        ("id", 1),
        ("renamed", 1.0),
        ("b", 0),
        ("c", {"y": 1, "x": None}),
        ("new", 1),
    ]
    assert list(result.tables["copies"][0]["c"]) == ["y", "x"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([({"a.b": 1}, ()), ({"a": {}}, ()), ({"a.c": 2}, ())], {"_id": 1, "a": {"c": 2}}),
        ([({"a.b": 1}, ()), ({"a": {}}, ()), ({"a.b": 2}, ())], {"_id": 1, "a": {"b": 2}}),
        ([({"a.b": 1}, ()), ({}, ("a",))], {"_id": 1}),
        ([({}, ("a",)), ({"a.b": 1}, ())], {"_id": 1, "a": {"b": 1}}),
        ([({"a": 5}, ()), ({}, ("a",)), ({"a": 6}, ())], {"_id": 1, "a": 6}),
    ],
)
def test_changes_of_one_row_add_up_in_the_order_in_which_they_were_said(changes, expected):
    def migrate(_, user):
        for values, unset in changes:
            user.update(user.one("users"), set=values, unset=unset)

    assert trial(by_user(migrate, **DOCUMENTS), {"users": [{"_id": 1, "a": {"x": 0}}]}).tables["users"] == [expected]


def test_what_was_copied_renamed_or_set_can_be_unset_again():
    def migrate(_, user):
        new = user.copy("copies", user.one("users"), set={"c": 3, "d": 4}, rename={"old": "new"})
        user.update(new, unset=("new", "b", "c"))
        assert dict(new) == {"id": 1, "d": 4}

    result = trial(by_user(migrate), {"users": [{"id": 1, "old": 1, "b": 2}]})
    assert result.tables["copies"] == [{"id": 1, "d": 4}]


def test_dotted_names_are_paths_in_documents():
    def migrate(_, user):
        user.update(
            user.one("users"), set={"a.b": 1, "deep.er.still": 2, "list.1.x": 3, "list.3": 4}, unset=("a.c", "no.thing", "gone")
        )

    document = {"_id": 1, "a": {"c": 0, "d": 1}, "list": [{}, {"x": 0}], "gone": None}
    result = trial(by_user(migrate, **DOCUMENTS), {"users": [document]})
    assert result.tables["users"] == [
        {"_id": 1, "a": {"d": 1, "b": 1}, "list": [{}, {"x": 3}, None, 4], "deep": {"er": {"still": 2}}},
    ]


def test_a_column_of_a_table_is_null_when_unset_and_absent_in_a_document():
    migration = by_user(lambda _, user: user.update(user.one("users"), unset=("name",)))
    assert trial(migration, {"users": [{"id": 1, "name": "x"}]}).tables["users"] == [{"id": 1, "name": None}]
    by_document = by_user(lambda _, user: user.update(user.one("users"), unset=("name",)), **DOCUMENTS)
    assert trial(by_document, {"users": [{"_id": 1, "name": "x"}]}).tables["users"] == [{"_id": 1}]


def test_a_path_through_a_text_fails_the_entity():
    migration = by_user(lambda _, user: user.update(user.one("users"), set={"a.b": 1}), **DOCUMENTS)
    assert "neither an object nor a list" in trial(migration, {"users": [{"_id": 1, "a": "text"}]}).failures[1]


def test_a_dotted_name_is_no_column_of_a_table():
    migration = by_user(lambda _, user: user.update(user.one("users"), set={"a.b": 1}))
    with pytest.raises(UnknownField, match="no column"):
        trial(migration, {"users": [{"id": 1, "a": {}}]})


def test_the_primary_key_may_be_several_columns():
    def migrate(_, user):
        for row in user.rows("weeks"):
            user.update(row, set={"done": True})
        user.create("weeks", {"user": user.key, "week": 3})

    migration = by_user(migrate, reads=(Rows("weeks", by="user"),), writes=("weeks",))
    weeks = [{"user": 1, "week": 2}, {"user": 1, "week": 1}]
    result = trial(migration, {"users": [{"id": 1}], "weeks": weeks}, primary_keys={"weeks": ("user", "week")})
    assert [(row["week"], row.get("done")) for row in result.tables["weeks"]] == [(2, True), (1, True), (3, None)]


def test_a_primary_key_cannot_be_updated():
    with pytest.raises(AuthorMistake, match="primary key"):
        trial(by_user(lambda _, user: user.update(user.one("users"), set={"id": 2})), {"users": [{"id": 1}]})


def test_a_value_that_python_cannot_hold_is_passed_and_copied_exactly():
    def migrate(_, user):
        user.copy("copies", user.one("users"), rename={"born": "birthday"})

    assert trial(by_user(migrate), {"users": [{"id": 1, "born": Opaque("0044-03-15 BC")}]}).tables["copies"] == [
        {"id": 1, "birthday": Opaque("0044-03-15 BC")}
    ]


# -- what fails an entity --------------------------------------------------------------------------------------------------


def test_a_row_changed_by_two_entities_fails_the_second():
    def migrate(_, user):
        for row in user.rows("shared"):
            user.update(row, set={"by": user.key})
        user.create("copies", {"of": user.key})

    migration = by_user(migrate, reads=(Rows("shared", by="group", key=lambda _: "g"),), writes=("shared", "copies"))
    result = trial(migration, {"users": [{"id": 1}, {"id": 2}], "shared": [{"id": 1, "group": "g", "by": None}]})
    assert result.migrated == [1]
    assert "another entity" in result.failures[2]
    assert result.tables["shared"][0]["by"] == 1
    assert result.tables["copies"] == [{"id": 1, "of": 1}]


def test_two_rows_with_one_key_fail_the_entity():
    result = trial(by_user(lambda _, user: user.create("copies", {"id": "same"})), {"users": [{"id": 1}, {"id": 2}]})
    assert result.migrated == [1]
    assert "primary key" in result.failures[2]


def test_an_error_of_the_migration_fails_the_entity_and_leaves_nothing_of_it():
    def migrate(_, user):
        user.create("copies", {"of": user.key})
        user.remark("begun")
        user.one("users")["no such field"]

    result = trial(by_user(migrate), {"users": [{"id": 1}]})
    assert result.failures == {1: "KeyError: 'no such field'"}
    assert result.tables["copies"] == []
    assert result.notes == []


def test_a_failing_check_takes_the_entity_back():
    def check(_, user):
        assert [row["of"] for row in user.rows("copies")] == [user.key]
        if user.key == 2:
            yield "wrong"
            yield "very wrong"

    result = trial(
        by_user(lambda _, user: user.create("copies", {"of": user.key}), check=check), {"users": [{"id": 1}, {"id": 2}]}
    )
    assert result.failures == {2: "wrong; very wrong"}
    assert result.tables["copies"] == [{"id": 1, "of": 1}]


def test_check_sees_current_rows_and_cannot_write():
    def check(_, user):
        assert user.one("users")["name"] == "new"
        user.create("copies", {})

    with pytest.raises(UndeclaredTable):
        trial(by_user(lambda _, user: user.update(user.one("users"), set={"name": "new"}), check=check), {"users": [{"id": 1}]})


def test_an_account_that_does_not_add_up_fails_the_trial():
    migration = by_user(nothing, account=lambda _, __: {"in": 3, "mapped": 2, "unmapped": 1})
    assert trial(migration, {"users": [{"id": 1}]}).accounts == {1: {"in": 3, "mapped": 2, "unmapped": 1}}
    with pytest.raises(TrialFailed, match="3 fields 2 are accounted for"):
        trial(by_user(nothing, account=lambda _, __: {"in": 3, "mapped": 2}), {"users": [{"id": 1}]})


# -- what fails the trial -----------------------------------------------------------------------------------------------------


def impure(decide: Callable[[Entity, int], Any]) -> type[Migration]:
    """A migration that counts its runs."""
    runs = itertools.count()
    return by_user(lambda _, user: decide(user, next(runs)))


@pytest.mark.parametrize(
    "decide",
    [
        lambda user, run: user.create("copies", {"id": 1, "run": run}),
        lambda user, run: user.create("copies", {"id": 1, "n": [1, 1.0, True][run % 3]}),
        lambda user, run: user.create("copies", {"id": 1, "data": dict([("a", 1), ("b", 2)][:: (-1) ** run])}),
        lambda user, run: user.create("copies", {"id": 1, **({"a": None} if run % 2 else {})}),
        lambda user, run: user.update(user.one("users"), set={"run": run}),
        lambda user, run: user.delete(user.one("users")) if run % 2 else None,
        lambda user, run: user.remark("run", number=run),
        lambda user, run: 1 / (run % 2),
    ],
)
def test_two_decisions_that_differ_fail_the_trial(decide):
    with pytest.raises(TrialFailed, match="not pure"):
        trial(impure(decide), {"users": [{"id": 1, "run": None}]})


def test_state_kept_from_one_run_to_the_next_is_found():
    class Counting(Migration):
        name = "counting"
        keys = Keys("users", "id")
        writes = ("copies",)
        known: ClassVar[list[Any]] = []

        def migrate(self, user: Entity) -> None:
            self.known.append(user.key)
            user.create("copies", {"number": len(self.known)})

    with pytest.raises(TrialFailed, match=r"to create a row of copies with \{'number': 1\}, and then to create"):
        trial(Counting, {"users": [{"id": 1}]})


def test_a_migration_that_is_other_the_second_time_around_fails_the_trial():
    with pytest.raises(TrialFailed, match="done again, copies"):
        trial(impure(lambda user, run: user.create("copies", {"late": run >= 2})), {"users": [{"id": 1}]})


@pytest.mark.parametrize(
    "value", [1, 1.0, True, None, float("nan"), -0.0, "1", [1, True], {"b": 1, "a": None}, Opaque("infinity")]
)
def test_undoing_gives_back_every_type_and_order(value):
    result = trial(
        by_user(lambda _, user: user.update(user.one("users"), set={"v": "other"})), {"users": [{"id": 1, "v": value}]}
    )
    assert result.tables["users"] == [{"id": 1, "v": "other"}]  # and the trial has undone it in between


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (0.0, -0.0)])
def test_values_that_python_calls_equal_are_changes(before, after):
    result = trial(by_user(lambda _, user: user.update(user.one("users"), set={"v": after})), {"users": [{"id": 1, "v": before}]})
    assert repr(result.tables["users"][0]["v"]) == repr(after)


# -- what is refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("migrate", "error", "message"),
    [
        (lambda _, user: user.create("copy", {}), UndeclaredTable, "writes"),
        (lambda _, user: user.rows("user"), UndeclaredTable, "did you mean 'users'"),
        (lambda _, user: user.update(user.one("users"), set={"nmae": 1}), UnknownField, "did you mean 'name'"),
        (lambda _, user: user.rows("users", nmae=1), UnknownField, "did you mean 'name'"),
        (lambda _, user: user.new_uuid(of="other"), UnknownField, "required migration"),
    ],
)
def test_what_would_halt_a_campaign_is_raised(migrate, error, message):
    with pytest.raises(error, match=message):
        trial(by_user(migrate), {"users": [{"id": 1, "name": "x"}]}, columns={"users": ("id", "name")})


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({}, UnknownName, "no table named 'people'"),
        ({"peoples": []}, UnknownName, "did you mean 'peoples'"),
        ({"people": [{"id": 1}, {"id": 1}]}, UsageError, "two rows"),
        ({"people": [{"name": "x"}]}, UsageError, "primary_keys="),
        ({"people": [{"_id": 1}], "other": [{"id": 1}, {"id": 1}]}, UsageError, "'other': two rows"),
    ],
)
def test_tables_that_cannot_be_meant_so_are_refused(tables, error, message):
    with pytest.raises(error, match=message):
        trial(by_user(nothing, keys=Keys("people", "id"), reads=()), tables)


# -- parameters, notes and recalls ------------------------------------------------------------------------------------------------


class Limits(BaseModel):
    limit: int = 3


class Limited(Migration):
    name = "limited"
    keys = Keys("users", "id")
    writes = ("copies",)
    params: Limits

    def migrate(self, user: Entity) -> None:
        user.create("copies", {"limit": self.params.limit})


@pytest.mark.parametrize(("params", "limit"), [(None, 3), ({"limit": "5"}, 5), (Limits(limit=7), 7)])
def test_parameters_fill_the_model(params, limit):
    assert trial(Limited, {"users": [{"id": 1}]}, params=params).tables["copies"][0]["limit"] == limit


def test_wrong_parameters_are_refused():
    with pytest.raises(UsageError, match="limit"):
        trial(Limited, {"users": []}, params={"limit": "many"})
    with pytest.raises(UsageError, match="takes no parameters"):
        trial(by_user(nothing), {"users": []}, params={"limit": 1})


def test_notes_come_with_their_entity():
    def migrate(_, user):
        user.conflict("place", values=["a", "b"], chosen="a", context="x")
        user.unmapped({"odd": 1})
        user.remark("strange", number=2)

    result = trial(by_user(migrate), {"users": [{"id": 1}]})
    assert [(note.key, note.kind, note.data) for note in result.notes] == [
        (1, "conflict", {"field": "place", "values": ["a", "b"], "chosen": "a", "context": "x"}),
        (1, "unmapped", {"fields": {"odd": 1}}),
        (1, "remark", {"text": "strange", "number": 2}),
    ]


def titled(function: Callable[..., Any]) -> type[Migration]:
    def migrate(_: Any, user: Entity) -> None:
        user.create("copies", {"title": user.recall("title", function, user.key, tone="dry")})

    return by_user(migrate)


def titles(result: Trial) -> list[Any]:
    return [row["title"] for row in result.tables["copies"]]


def test_a_recalled_function_is_called_once_for_its_arguments():
    calls = []
    result = trial(titled(lambda key, tone: calls.append(key) or f"{tone} {key}"), {"users": [{"id": 1}, {"id": 2}]})
    assert titles(result) == ["dry 1", "dry 2"]
    assert calls == [1, 2]


@pytest.mark.parametrize("argument", [lambda user: user.now.isoformat(), lambda user: random.random()], ids=["time", "chance"])
def test_a_recall_with_other_arguments_each_time_is_refused(argument: Callable[[Entity], Any]) -> None:
    """Before anything is called: a worker would call, and pay, at every try."""
    calls: list[Any] = []

    def migrate(_: Any, user: Entity) -> None:
        user.create("copies", {"title": user.recall("title", calls.append, argument(user))})

    with pytest.raises(ImpureMigration, match="recall 'title'"):
        trial(by_user(migrate), {"users": [{"id": 1}]})
    assert calls == []


def test_a_recall_can_be_given_as_a_value_or_another_function():
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("called")

    tables = {"users": [{"id": 1}]}
    assert titles(trial(titled(never), tables, recalls={"title": "given"})) == ["given"]
    assert titles(trial(titled(never), tables, recalls={"title": lambda key, tone: [key, tone]})) == [[1, "dry"]]
    with pytest.raises(RecallFailed, match="title"):
        trial(titled(never), tables, recalls={"other": 1})


def test_a_column_that_no_row_has_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'user_id'"):
        trial(by_user(nothing, reads=(Rows("orders", by="userid"),)), {"users": [{"id": 1}], "orders": [{"id": 1, "user_id": 1}]})


def test_documents_belong_through_lists() -> None:
    """As on MongoDB: a member of a list, and a field of documents in a list, is what a read finds its documents by."""

    class Teams(Migration):
        name = "teams"
        keys = Keys("users", "_id")
        reads = (
            Rows("teams", by="members"),
            Rows("visits", by="who.id", name="visits"),
            Rows("rooms", by="_id", via="teams.rooms.id"),
        )
        writes = ("found",)

        def migrate(self, entity: Entity) -> None:
            found = {name: [row["_id"] for row in entity.rows(name)] for name in ("teams", "visits", "rooms")}
            entity.create("found", {"_id": entity.key, **found})

    result = trial(
        Teams,
        {
            "users": [{"_id": 1}, {"_id": 2}],
            "teams": [{"_id": "a", "members": [1, 2], "rooms": [{"id": "x"}, {"id": "y"}]}, {"_id": "b", "members": 2}],
            "visits": [{"_id": "v", "who": [{"id": 2}, {"name": "nobody"}]}, {"_id": "w", "who": {"id": 1}}],
            "rooms": [{"_id": "x"}, {"_id": "y"}, {"_id": "z"}],
        },
    )
    assert result.tables["found"] == [
        {"_id": 1, "teams": ["a"], "visits": ["w"], "rooms": ["x", "y"]},
        {"_id": 2, "teams": ["a", "b"], "visits": ["v"], "rooms": ["x", "y"]},
    ]
