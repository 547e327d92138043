"""Paging visits every key exactly once, whatever the column holds and however small the pages are."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import psycopg
import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from backtrail.keys import key_text
from tests.engine import Engine, migration

SIZES = (1, 2, 3, 7)


def nothing(entity: Any) -> None:
    """A migration that decides nothing."""


def visited(engine: Engine, keys: Keys | tuple[Keys, ...], size: int) -> list[Any]:
    """What paging gives, page by page of that size, from a cursor that goes through the database's JSON each time."""
    cls = migration(nothing, keys=keys)
    engine.store.check(cls)
    found: list[Any] = []
    for source in range(len(cls.all_keys())):
        after = None
        for _ in range(10_000):
            with engine.store.transaction(write=False) as tx:
                page = engine.store.page(tx, cls.all_keys(), source, after, size)
            found += page.keys
            after = page.after
            if after is None:
                break
        else:
            raise AssertionError("paging does not end")
    return found


def census(engine: Engine, *keys: Keys) -> tuple[int, int]:
    counted = engine.store.census(migration(nothing, keys=keys))
    return counted.total, counted.null


def assert_visited(engine: Engine, keys: Keys | tuple[Keys, ...], wanted: set[str]) -> None:
    """Every wanted key is there once, at every page size."""
    for size in SIZES:
        assert Counter(map(key_text, visited(engine, keys, size))) == Counter(wanted), f"pages of {size}"
    assert census(engine, *(keys if isinstance(keys, tuple) else (keys,)))[0] == len(wanted)


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", [-5, 0, 3, 2**31 - 1, 7, -(2**31), 8, 9, 10]),
        ("bigint", [-(2**63), 2**63 - 1, 0, 1, 10, 9]),
        (
            "text",
            [
                "",
                " ",
                "a",
                "A",
                "b",
                "B",
                "ä",
                "Z",
                "z",
                "é",
                "e\u0301",
                "日本",
                "\U0001f600",
                "10",
                "9",
                "a'b",
                'q"',
                "tab\t",
                "nl\n",
                "\\N",
            ],
        ),
        ("double precision", [-1.5, 0.1, 1e300, -1e-300, 3.0, float("inf"), float("-inf"), 0.30000000000000004]),
    ],
)
def test_values_of_one_type(everywhere: Engine, kind: str, values: list[Any], unique: bool) -> None:
    """Integers, text and floats come once each, from unique columns and from ones with repetitions."""
    everywhere.table("t", id=int, k=kind, unique=["k"] if unique else [])
    everywhere.add("t", *enumerate(values * (1 if unique else 3)), (999, None))
    if not (unique and everywhere.mongo):  # which takes null for a value like any other there
        everywhere.add("t", (998, None))
    # To MongoDB 3.0 and 3 are one.
    same = [int(value) if everywhere.mongo and value == 3.0 else value for value in values]
    assert_visited(everywhere, Keys("t", "k"), set(map(key_text, same)))
    assert census(everywhere, Keys("t", "k")) == (len(values), 1 if unique and everywhere.mongo else 2)


def test_random_uuids(on_postgres: Engine) -> None:
    """Random UUIDs of PostgreSQL come as UUIDs, once each."""
    values = [uuid.UUID(int=(at * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128) for at in range(40)]
    on_postgres.script("CREATE TABLE t (k uuid PRIMARY KEY)")
    for value in values:
        on_postgres.execute("INSERT INTO t VALUES (?)", value)
    assert all(isinstance(key, uuid.UUID) for key in visited(on_postgres, Keys("t", "k"), 7))
    assert_visited(on_postgres, Keys("t", "k"), set(map(str, values)))


@pytest.mark.parametrize(
    ("kind", "literals"),
    [
        ("bytea", [r"'\x'", r"'\x00'", r"'\x00ff'", r"'\xff'", r"'\x61'"]),
        (
            "date",
            ["'2020-01-01'", "'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'12020-01-01'"],
        ),
        ("timestamp", ["'2020-01-01 00:00:00'", "'2020-01-01 00:00:00.000001'", "'1970-01-01'"]),
        (
            "timestamptz",
            ["'infinity'", "'0044-03-15 12:00:00 BC'", "'2020-01-01 00:00:00+02'", "'2020-01-01 00:00:00.5Z'", "'1970-01-01Z'"],
        ),
        ("numeric", ["1.5", "-3", "1e30", "0.000001", "10", "9"]),
        ("boolean", ["true", "false"]),
        ("char(4)", ["'a'", "'b'", "'ab'", "''"]),
        ("varchar(3)", ["'a'", "'a '", "'ab'"]),
        ("name", ["'a'", "'B'"]),
        ('"char"', ["'a'", "'B'"]),
        ("inet", ["'10.0.0.1'", "'10.0.0.1/8'", "'9.0.0.1'", "'::1'"]),
        ("mood", ["'sad'", "'glad'", "'mad'"]),
        ("positive", ["1", "22", "3"]),
        ("oid", ["1", "4000000000", "22"]),
        ("int[]", ["'{1,2}'", "'{10}'", "'{}'"]),
        ("real", ["0.1", "1.5e10", "16777216"]),
    ],
)
def test_types_of_postgresql(on_postgres: Engine, kind: str, literals: list[str]) -> None:
    """Keys of any type that PostgreSQL can order are visited, counted, looked up and migrated once each."""
    on_postgres.script(
        "CREATE TYPE mood AS ENUM ('sad', 'mad', 'glad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
        f"CREATE TABLE t (k {kind} PRIMARY KEY, seen boolean);"
        + "".join(f"INSERT INTO t VALUES ({literal}, false);" for literal in literals)
    )
    found = visited(on_postgres, Keys("t", "k"), 2)
    assert len(found) == len(literals)
    assert_visited(on_postgres, Keys("t", "k"), set(map(key_text, found)))
    cls = migration(
        lambda entity: entity.update(entity.one("t"), {"seen": True}),
        keys=Keys("t", "k"),
        reads=(Rows("t", by="k"),),
        writes=("t",),
    )
    assert on_postgres.migrate(cls, batch_size=2)["migrated"] == len(literals)
    assert on_postgres.query("SELECT count(*) FROM t WHERE seen") == [(len(literals),)]


@pytest.mark.parametrize("key", ["k citext PRIMARY KEY", "k citext", 'k text COLLATE "de-x-icu"', 'k text COLLATE "C"', "k text"])
def test_collations_of_postgresql(on_postgres: Engine, key: str) -> None:
    """Under case-insensitive, linguistic and binary collations every different value is an entity of its own."""
    if "icu" in key and not on_postgres.query("SELECT 1 FROM pg_collation WHERE collname = 'de-x-icu'"):
        key = (
            'k text COLLATE "und-x-icu"'
            if on_postgres.query("SELECT 1 FROM pg_collation WHERE collname = 'und-x-icu'")
            else "k text"
        )
    on_postgres.script(f"CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE t ({key})")
    values = ["a", "b", "Z", "ä", "co-op", "coop", "", "ß", "ss"]
    if "PRIMARY" not in key:
        values += ["A", "B", "z", "CO-OP", "A", "a"]
    for value in values:
        on_postgres.execute("INSERT INTO t VALUES (?)", value)
    assert_visited(on_postgres, Keys("t", "k"), set(values))


def test_nondeterministic_collations(on_postgres: Engine) -> None:
    """Under an ICU collation that takes different values for equal, every different value is an entity (where the server has ICU)."""
    try:
        on_postgres.script("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server is built without ICU")
    on_postgres.script("CREATE TABLE t (k text COLLATE loose)")
    values = ["a", "A", "ä", "b", "B"]
    for value in values * 2:
        on_postgres.execute("INSERT INTO t VALUES (?)", value)
    assert_visited(on_postgres, Keys("t", "k"), set(values))


@pytest.mark.parametrize(
    "table",
    [
        "k TEXT COLLATE NOCASE",
        "k TEXT COLLATE NOCASE, UNIQUE (k COLLATE BINARY)",
        "k COLLATE NOCASE",
        "k NUMERIC COLLATE NOCASE",
        "k TEXT COLLATE RTRIM",
        "k TEXT, UNIQUE (k COLLATE BINARY)",
    ],
)
def test_collations_of_sqlite(on_sqlite: Engine, table: str) -> None:
    """Under NOCASE and RTRIM every different value is an entity of its own, unique or not."""
    on_sqlite.script(f"CREATE TABLE t ({table})")
    values = ["a", "A", "b", "B", "c", "a ", "C  "]
    for value in values if "UNIQUE" in table else values * 3:
        on_sqlite.execute("INSERT INTO t VALUES (?)", value)
    assert_visited(on_sqlite, Keys("t", "k"), set(values))


def test_unique_case_insensitive_keys(on_sqlite: Engine) -> None:
    """A NOCASE primary key is paged in its own order."""
    on_sqlite.script("CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID")
    for value in ("a", "B", "c", "D"):
        on_sqlite.execute("INSERT INTO t VALUES (?)", value)
    assert_visited(on_sqlite, Keys("t", "k"), {"a", "B", "c", "D"})


def test_a_case_insensitive_view(on_sqlite: Engine) -> None:
    """A view has the collation of the columns behind it."""
    on_sqlite.script(
        "CREATE TABLE u (k TEXT COLLATE NOCASE); INSERT INTO u VALUES ('a'), ('A'), ('b'), ('a'); CREATE VIEW t AS SELECT k FROM u"
    )
    assert_visited(on_sqlite, Keys("t", "k"), {"a", "A", "b"})


MIXED = [1, "1", b"1", 1.5, -1, 2**62, "a", "A", b"", "", b"\xff", 1e300, "é", b"a", -1.5, 10, 9]


@pytest.mark.parametrize("unique", [True, False])
def test_mixed_storage_classes(on_sqlite: Engine, unique: bool) -> None:
    """SQLite may hold all storage classes in one column: with `key=` that tells them apart, each value is one entity."""
    on_sqlite.script(f"CREATE TABLE t (k {'UNIQUE' if unique else ''})")
    for value in MIXED if unique else MIXED * 2:
        on_sqlite.execute("INSERT INTO t VALUES (?)", value)

    def one_type(value: Any) -> str:
        return f"{type(value).__name__}:{value!r}"

    wanted = {one_type(value) for value in MIXED}
    assert len(wanted) == len(MIXED)
    assert_visited(on_sqlite, Keys("t", "k", key=one_type), wanted)


def test_mixed_types_are_refused(on_sqlite: Engine) -> None:
    """Without `key=`, keys of several types are refused with one line that says so."""
    on_sqlite.script("CREATE TABLE t (k)")
    for value in (1, "1"):
        on_sqlite.execute("INSERT INTO t VALUES (?)", value)
    with pytest.raises(UsageError, match=r"keys of mixed type .*key=") as caught:
        on_sqlite.open(migration(nothing, keys=Keys("t", "k")), "migrate")
    assert "\n" not in str(caught.value)


def test_mixed_types_of_two_sources_are_refused(everywhere: Engine) -> None:
    """An integer here and text there cannot be united without `key=`; with it they can."""
    everywhere.table("a", k=int)
    everywhere.table("b", k=str)
    everywhere.add("a", (1,), (2,))
    everywhere.add("b", ("2",), ("3",))
    with pytest.raises(UsageError, match=r"keys of mixed type.*\bint\b.*\btext\b.*key="):
        everywhere.open(migration(nothing, keys=(Keys("a", "k"), Keys("b", "k"))), "migrate")
    cls = migration(nothing, keys=(Keys("a", "k", key=str), Keys("b", "k", key=str)))
    assert everywhere.migrate(cls)["state"] == "completed"
    assert everywhere.states(cls) == dict.fromkeys("123", "migrated")


def test_integers_and_reals_are_one_type(on_sqlite: Engine) -> None:
    """1 and 1.0 are equal to SQLite, so they are one entity, and always the same."""
    on_sqlite.script("CREATE TABLE t (id INTEGER PRIMARY KEY, k)")
    for value in (1, 1.0, 2.5, 3.0, 3, 7):
        on_sqlite.execute("INSERT INTO t (k) VALUES (?)", value)
    assert_visited(on_sqlite, Keys("t", "k"), {"1", "2.5", "3", "7"})


@pytest.mark.parametrize("kind", ["DATE", "DATETIME", "TIMESTAMP", "TIME", "BOOLEAN", "VARCHAR(9)", "DECIMAL(9,2)"])
def test_declared_types_of_sqlite(on_sqlite: Engine, kind: str) -> None:
    """A declared type that SQLite itself does not know changes nothing: what paging gives finds the rows again."""
    values: list[Any] = {
        "DATE": ["2020-01-01", "2021-02-03"],
        "DATETIME": ["2020-01-01 00:00:00", "2020-01-01T00:00:00+02:00", "2021-02-03 04:05:06.000007"],
        "TIMESTAMP": ["2020-01-01 00:00:00"],
        "TIME": ["00:01:02", "00:01"],
        "BOOLEAN": [0, 1],
    }.get(kind, ["a", "b"] if "CHAR" in kind else [1, 2.5])
    on_sqlite.script(f"CREATE TABLE t (k {kind} PRIMARY KEY, seen INTEGER)")
    for value in values:
        on_sqlite.execute("INSERT INTO t VALUES (?, 0)", value)
    cls = migration(
        lambda entity: entity.update(entity.one("t"), {"seen": 1}),
        keys=Keys("t", "k"),
        reads=(Rows("t", by="k"),),
        writes=("t",),
    )
    assert on_sqlite.migrate(cls)["migrated"] == len(values)
    assert on_sqlite.query("SELECT count(*) FROM t WHERE seen") == [(len(values),)]


PARTS = [(a, b, c) for a in (None, 1, 2) for b in (None, "", "x") for c in (None, 0, 5)]


@pytest.mark.parametrize("unique", [True, False])
def test_composite_keys_with_null_parts(everywhere: Engine, unique: bool) -> None:
    """NULL may stand in any part of a composite key; only a key that is NULL in all parts is none."""
    everywhere.table("t", a=int, b=str, c=int, unique=[("a", "b", "c")] if unique else [])
    # In a unique index, NULL is unlike NULL, and null is like null.
    again = [parts for parts in PARTS if not unique or (None in parts and not everywhere.mongo)]
    everywhere.add("t", *PARTS, *again)
    wanted = {key_text(parts) for parts in PARTS if any(part is not None for part in parts)}
    assert len(wanted) == 26
    assert_visited(everywhere, Keys("t", "a", "b", "c"), wanted)
    assert census(everywhere, Keys("t", "a", "b", "c")) == (26, 1 + again.count((None, None, None)))


def test_composite_keys_with_null_parts_are_migrated(everywhere: Engine) -> None:
    """Entities whose keys have NULL parts find their rows, and are migrated once."""
    everywhere.table("t", id=int, a=int, b=str, seen=int)
    pairs = [(1, "x"), (1, None), (None, "x"), (2, "x"), (None, "y"), (2, "")]
    everywhere.add("t", *((at, *pair, 0) for at, pair in enumerate(pairs * 2)), (99, None, None, 0))

    def mark(entity: Any) -> None:
        for row in entity.rows("t"):
            entity.update(row, {"seen": row["seen"] + 1})

    cls = migration(mark, keys=Keys("t", "a", "b"), reads=(Rows("t", by=("a", "b")),), writes=("t",))
    state = everywhere.migrate(cls, batch_size=2)
    assert (state["migrated"], state["null_keys"]) == (6, 1)
    assert sorted(seen for (seen,) in everywhere.rows("t", "seen")) == [0] + [1] * 12


def test_composite_keys_under_collations(on_sqlite: Engine) -> None:
    """A case-insensitive part of a composite key is told apart by its bytes too."""
    on_sqlite.script("CREATE TABLE t (a TEXT COLLATE NOCASE, b INTEGER)")
    pairs = [(a, b) for a in ("x", "X", "y", None) for b in (1, 2, None)]
    for pair in pairs * 2:
        on_sqlite.execute("INSERT INTO t VALUES (?, ?)", *pair)
    assert_visited(on_sqlite, Keys("t", "a", "b"), {key_text(pair) for pair in pairs if pair != (None, None)})


def test_several_sources_united(everywhere: Engine) -> None:
    """Keys that several sources share are visited once, NULL parts included."""
    everywhere.table("a", x=int, y=int)
    everywhere.table("b", x=int, y=int)
    everywhere.table("c", x=int, y=int, off=bool)
    everywhere.add("a", (1, 1), (1, None), (2, 2), (2, 2))
    everywhere.add("b", (1, 1), (1, None), (None, 3), (4, 4))
    everywhere.add("c", (4, 4, False), (5, 5, False), (6, 6, True), (None, 3, False), (None, None, False))
    keys = (Keys("a", "x", "y"), Keys("b", "x", "y"), Keys("c", "x", "y", where={"off": False}))
    assert_visited(everywhere, keys, {"[1,1]", "[1,null]", "[2,2]", "[null,3]", "[4,4]", "[5,5]"})
    assert census(everywhere, *keys) == (6, 1)


def test_the_first_source_has_conditions(everywhere: Engine) -> None:
    """A key that an earlier source leaves out by its condition is taken from a later one."""
    everywhere.table("a", k=int, s=str)
    everywhere.table("b", k=int)
    everywhere.add("a", (1, "on"), (2, "off"), (3, None))
    everywhere.add("b", (1,), (2,), (3,), (4,))
    assert_visited(everywhere, (Keys("a", "k", where={"s": "on"}), Keys("b", "k")), {"1", "2", "3", "4"})
    assert [set(visited(everywhere, keys, 3)) for keys in (Keys("a", "k", where={"s": "on"}), Keys("b", "k"))] == [
        {1},
        {1, 2, 3, 4},
    ]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ({"s": "on"}, {"1"}),
        ({"s": None}, {"3", "6"}),
        ({"s": ["on", "off"]}, {"1", "2", "5"}),
        ({"s": ["on", None]}, {"1", "3", "6"}),
        ({"s": []}, set()),
        ({"s": "off", "n": 7}, {"2"}),
        ({"s": "off", "n": None}, {"5"}),
        ({"n": (7, None)}, {"1", "2", "3", "4", "5"}),
    ],
)
def test_where(everywhere: Engine, where: dict[str, Any], wanted: set[str]) -> None:
    """Equality, None for NULL, and a list for any of, in paging, counting and looking up alike."""
    everywhere.table("t", k=int, s=str, n=int)
    rows = [(1, "on", 7), (2, "off", 7), (3, None, None), (4, "", 7), (5, "off", None), (6, None, 8), (None, "on", 7)]
    everywhere.add("t", *rows)
    keys = Keys("t", "k", where=where)
    assert_visited(everywhere, keys, wanted)
    cls = migration(nothing, keys=keys)
    with everywhere.store.transaction(write=False) as tx:
        assert {str(at + 1) for at in everywhere.store.existing(tx, cls, [1, 2, 3, 4, 5, 6])} == wanted
    if "3" not in wanted:
        with pytest.raises(UsageError, match="knows no entity '3'"):
            everywhere.open(cls, "migrate", only=["3"])


def test_a_function_that_makes_keys_alike(everywhere: Engine) -> None:
    """Keys that `key=` makes equal are one entity, also where they stand on different pages."""
    everywhere.table("t", k=str)
    everywhere.add("t", *((value,) for value in ("a", "B", "b", "A", "c", "b ")))
    cls = migration(nothing, keys=Keys("t", "k", key=lambda value: value.strip().lower()))
    for size in SIZES:
        assert set(visited(everywhere, cls.keys, size)) == {"a", "b", "c"}
    assert everywhere.migrate(cls)["migrated"] == 3


def test_odd_names(everywhere: Engine) -> None:
    """Names of tables and columns may hold quotes, marks of parameters, percent signs, spaces and capitals."""
    table, column, other = 'or"der 100%', 'k?:x %s "q" (%)', "Select"
    everywhere.table(table, **{column: int, other: str})
    everywhere.add(table, *((at, "on") for at in range(5)))
    assert_visited(everywhere, Keys(table, column, where={other: "on"}), {"0", "1", "2", "3", "4"})
    assert_visited(everywhere, Keys(table, column, other), {f'[{at},"on"]' for at in range(5)})


def test_every_key_of_a_campaign_once(everywhere: Engine) -> None:
    """A campaign migrates every key once, whatever the size of its batches, and a second one skips them all."""
    everywhere.table("t", id=str, seen=int)
    everywhere.add("t", *((f"{(at * 7919) % 53}-{'aAzZ'[at % 4]}", 0) for at in range(53)))
    cls = migration(
        lambda entity: entity.update(entity.one("t"), {"seen": entity.one("t")["seen"] + 1}),
        keys=Keys("t", everywhere.id),
        reads=(Rows("t", by=everywhere.id),),
        writes=("t",),
    )
    assert everywhere.migrate(cls, batch_size=7)["migrated"] == 53
    assert everywhere.rows("t", "seen") == [(1,)] * 53
    again = everywhere.migrate(cls, batch_size=3)
    assert (again["migrated"], again["skipped"], again["state"]) == (0, 53, "completed")


def test_case_insensitive_entities_have_their_own_rows(engine: Engine) -> None:
    """Where 'a' and 'A' are two entities, each gets the rows that are spelled as it is, and nobody's are taken twice."""
    if engine.postgres:
        engine.script("CREATE EXTENSION citext; CREATE TABLE t (id integer PRIMARY KEY, k citext, seen integer DEFAULT 0)")
    else:
        engine.script("CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, seen INTEGER DEFAULT 0)")
    for at, value in enumerate(["a", "A", "b", "B", "a", "A"]):
        engine.execute("INSERT INTO t VALUES (?, ?, 0)", at, value)

    def mark(entity: Any) -> None:
        for row in entity.rows("t"):
            entity.update(row, {"seen": row["seen"] + 1})

    cls: type[Migration] = migration(mark, keys=Keys("t", "k"), reads=(Rows("t", by="k"),), writes=("t",))
    assert engine.migrate(cls)["migrated"] == 4
    assert engine.query("SELECT DISTINCT seen FROM t") == [(1,)]
    assert set(engine.states(cls)) == {"a", "A", "b", "B"}


def test_case_insensitive_references(engine: Engine) -> None:
    """A row that refers to an entity in another spelling is still its own, where no entity is spelled so."""
    if engine.postgres:
        engine.script(
            "CREATE EXTENSION citext; CREATE TABLE u (k citext PRIMARY KEY); CREATE TABLE t (id integer PRIMARY KEY, k citext, seen integer)"
        )
    else:
        engine.script(
            "CREATE TABLE u (k TEXT COLLATE NOCASE PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, k TEXT COLLATE NOCASE, seen INTEGER)"
        )
    engine.script(
        "INSERT INTO u VALUES ('Ann@x'), ('bob@x'); INSERT INTO t VALUES (1, 'ann@x', 0), (2, 'Ann@x', 0), (3, 'bob@x', 0)"
    )

    def mark(entity: Any) -> None:
        for row in entity.rows("t"):
            entity.update(row, {"seen": row["seen"] + 1})

    cls = migration(mark, keys=Keys("u", "k"), reads=(Rows("t", by="k"),), writes=("t",))
    assert engine.migrate(cls)["migrated"] == 2
    assert engine.query("SELECT DISTINCT seen FROM t") == [(1,)]
