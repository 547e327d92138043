"""What an author declares, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from backtrail import Entity, Invariant, Keys, Migration, Rows
from backtrail.errors import AuthorMistake, UsageError
from backtrail.migration import bound, validate
from backtrail.testing import trial
from tests.engine import migration

KEYS = Keys("users", "id")


def declared(**attributes: Any) -> type[Migration]:
    return migration(lambda user: None, **{"keys": KEYS, **attributes})


def test_what_a_declaration_means() -> None:
    """Keys and reads are values, with their defaults filled in."""
    keys = Keys("users", "a", "b", where={"kind": ["x", None]})
    assert (keys.columns, keys.where, keys.key) == (("a", "b"), {"kind": ["x", None]}, None)
    assert Keys("users", "id") == KEYS
    rows = Rows("profiles", by="context_id", via="public.contexts.id")
    assert (rows.by, rows.via, rows.name, rows.columns) == (("context_id",), ("public.contexts", "id"), "profiles", None)
    assert Rows("t", ("a", "b"), name="n", columns=["x"]).columns == ("x",)


def test_the_rest_of_a_declaration() -> None:
    """Several keys are united, params come from the annotation, and what is not said does nothing."""

    class Params(BaseModel):
        rate: int = 1

    class Annotated(Migration):
        name = "annotated"
        keys = (KEYS, Keys("others", "id"))
        params: Params

        def migrate(self, entity: Any) -> None: ...

    validate(Annotated)
    assert Annotated.all_keys() == (KEYS, Keys("others", "id"))
    assert declared().all_keys() == (KEYS,)
    assert declared().params_model() is None
    plain = declared()()
    assert (list(plain.check(None)), dict(plain.account(None))) == ([], {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Keys("users"),
        lambda: Rows("a", "b", via="id"),
        lambda: Rows("a", "b", via=".id"),
        lambda: Rows("a", "b", via="x."),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_written(make: Any) -> None:
    """The error comes from the author's own line, and shows how it is written."""
    with pytest.raises(AuthorMistake, match=r"^(Keys|Rows)\("):
        make()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Trial"}, "must be lower-case letters, digits and hyphens"),
    ({"name": "a_b"}, "must be lower-case"),
    ({"name": ""}, "must be lower-case"),
    ({"name": "a\n"}, "must be lower-case"),
    ({"name": None}, "must be lower-case"),
    ({"keys": None}, "keys is missing"),
    ({"keys": ()}, "keys is missing"),
    ({"reads": Rows("a", "b")}, "reads must be a tuple"),
    ({"reads": ("users",)}, "reads holds 'users', which is no Rows"),
    ({"writes": "users"}, "writes must be a tuple"),
    ({"writes": (1,)}, "writes holds 1, which is no str"),
    ({"invariants": ("SELECT 1",)}, "which is no Invariant"),
    ({"requires": "first"}, "requires must be a tuple"),
    ({"reads": (Rows("a", "x"), Rows("a", "y"))}, "two reads are called 'a'"),
    ({"reads": (Rows("a", "x", via="b.id"), Rows("b", "y"))}, "no earlier read for via of 'a'"),
    ({"reads": (Rows("contexts", "x"), Rows("b", "y", via="context.id"))}, "did you mean 'contexts'?"),
    ({"keys": (Keys("a", "x"), Keys("b", "x", "y"))}, "different numbers of columns"),
]


@pytest.mark.parametrize(("attributes", "said"), WRONG)
def test_what_cannot_run_is_refused_by_name(attributes: dict[str, Any], said: str) -> None:
    """Each mistake is named with the migration's class, and how to mend it."""
    with pytest.raises(UsageError) as error:
        validate(declared(**attributes))
    assert said in str(error.value)
    assert "migration Trial" in str(error.value)


class Rate(BaseModel):
    """A parameter."""

    rate: int = 1


class Base(Migration):
    """A base of several migrations."""

    params: Rate


class Derived(Base):
    """Has its parameters from its base, and an annotation for type checkers alone."""

    name = "derived"
    keys = KEYS
    helper: OnlyForTypeCheckers  # type: ignore[name-defined] # noqa: F821 -- as under TYPE_CHECKING


def test_parameters_are_found_by_their_annotation() -> None:
    """Also on a base, also as text, and whatever else is annotated; one that names nothing is told."""
    assert Derived.params_model() is Rate
    assert declared(__annotations__={"params": Rate}).params_model() is Rate
    assert declared(__annotations__={"params": int}).params_model() is None
    with pytest.raises(UsageError, match="params is annotated with Nothing"):
        declared(__annotations__={"params": "Nothing"}).params_model()


def test_what_can_run_is_not_refused() -> None:
    """Lists will do for tuples, names may begin with digits, and reads may go through others in either direction."""
    validate(
        declared(
            name="2-steps",
            reads=[Rows("a", "x"), Rows("b", "y", via="a.id"), Rows("a", "id", via="b.a_id", name="again")],
            writes=["a"],
            invariants=(Invariant("none", "SELECT 1 WHERE false"),),
            requires=["first"],
        )
    )


def test_a_migration_without_migrate_is_refused() -> None:
    """There is nothing to do."""
    with pytest.raises(UsageError, match="has no migrate"):
        validate(type("Idle", (Migration,), {"name": "idle", "keys": KEYS}))


class Names(BaseModel):
    relationships: str = "coaching_relationships"
    limit: int = 3


class Named(Migration):
    """A migration one of whose tables has another name in some places."""

    name = "named"
    keys = (Keys("users", "_id"), Keys("{relationships}", "client", where={"kind": "{relationships}"}))
    reads = (
        Rows("users", by="_id"),
        Rows("{relationships}", by="client", name="own"),
        Rows("coaches", by="_id", via="own.coach"),
        Rows("{relationships}", by="_id", via="coaches.of", name="of {relationships}"),
        Rows("teams", by="_id", via="of {relationships}.team"),
    )
    writes = ("{relationships}", "users")
    invariants = (
        Invariant("one", [{"$lookup": {"from": "{relationships}", "pipeline": [{"$limit": 3}]}}], collection="{relationships}"),
    )
    params: Names

    def migrate(self, entity: Entity) -> None:
        for row in entity.rows("own"):
            entity.update(row, {"seen": True})


@pytest.mark.parametrize("table", ["coaching_relationships", "coaching_relationship"])
def test_parameters_in_the_names_of_tables(table: str) -> None:
    """Keys, reads, writes and invariants name the table that the parameter says; what holds no name stays as it is."""
    cls = bound(Named, {} if table.endswith("s") else {"relationships": table})
    assert [one.table for one in cls.all_keys()] == ["users", table]
    assert cls.all_keys()[1].where == {"kind": "{relationships}"}
    assert [(rows.table, rows.name, rows.via) for rows in cls.reads[1:]] == [
        (table, "own", None),
        ("coaches", "coaches", ("own", "coach")),
        (table, f"of {table}", ("coaches", "of")),
        ("teams", "teams", (f"of {table}", "team")),
    ]
    assert cls.writes == (table, "users")
    assert cls.invariants[0].collection == table
    assert cls.invariants[0].query == [{"$lookup": {"from": table, "pipeline": [{"$limit": 3}]}}]
    validate(cls)
    assert issubclass(cls, Named)
    assert (cls.name, cls.params_model(), cls.__doc__) == (Named.name, Names, Named.__doc__)
    given = {"users": [{"_id": 1}], "coaches": [], "teams": [], table: [{"_id": 2, "client": 1}]}
    assert trial(Named, given, params={"relationships": table}).tables[table] == [{"_id": 2, "client": 1, "seen": True}]


def test_a_migration_without_such_names_is_itself() -> None:
    """Nothing is made where there is nothing to fill in, so that braces in SQL mean what they say."""

    class Plain(Migration):
        name = "plain"
        keys = Keys("users", "id")
        invariants = (Invariant("json", "SELECT 1 WHERE '{}' = '{limit}'"),)

        def migrate(self, entity: Entity) -> None: ...

    assert bound(Plain, {"limit": "x"}) is Plain
