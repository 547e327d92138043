"""SQLite: whatever a migration writes, copies, updates or deletes comes back exactly, storage class and bytes."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from tests.engine import Engine, migration

STORED: list[Any] = [
    None,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.0,
    0.1,
    1e-320,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    9007199254740993,
    9007199254740992.0,
    "",
    "a",
    "1",
    "1.0",
    " 1 ",
    "0x10",
    "1e3",
    "nul\0inside",
    "\0",
    "tab\tnl\ncr\r\\N",
    "ünï 日本 \U0001f600 e\u0301",
    '{"a" : 1, "a":2}',
    "2020-01-01",
    "2020-01-01T00:00:00.5+02:00",
    "not a date",
    "n",
    "x00",
    "[1]",
    b"",
    b"\x00",
    b"\xff\xfe",
    b"abc",
]
"""Values of every storage class."""

RAW = [b"\xff", b"a\xffb", b"\xed\xa0\x80", b"\xff\x00z", b"\xc0\x80"]
"""Text that is not UTF-8, as bytes."""

TYPES = [
    "",
    "INTEGER",
    "TEXT",
    "REAL",
    "NUMERIC",
    "BLOB",
    "ANYTHING",
    "VARCHAR(2)",
    "JSON",
    "DATE",
    "DATETIME",
    "TIMESTAMP",
    "TIME",
    "BOOLEAN",
    "DECIMAL(5,2)",
    "JSONB",
    "TEXT COLLATE NOCASE",
]
"""Declared types: every affinity, and those that decide what authors see."""

COLUMNS = [f"c{at}" for at in range(len(TYPES))]
ENTITIES = len(STORED) + len(RAW)
READS = (Rows("old", by="id"),)


def hard_tables(engine: Engine, options: str = "") -> None:
    """`old` and `twin` with every value in a column of every type."""
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, TYPES, strict=True))
    engine.script(
        "".join(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, note TEXT, {columns}) {options};" for name in ("old", "twin"))
    )
    connection = engine.sqlite()
    connection.execute("BEGIN")
    for at, value in enumerate(STORED):
        connection.execute(f"INSERT INTO old VALUES (?, 'n' {', ?' * len(TYPES)})", (at, *[value] * len(TYPES)))
    for at, value in enumerate(RAW, len(STORED)):
        connection.execute(f"INSERT INTO old VALUES (?, 'n' {', CAST(? AS TEXT)' * len(TYPES)})", (at, *[value] * len(TYPES)))
    connection.execute("COMMIT")
    classes, text = connection.execute("SELECT count(DISTINCT typeof(c0)), sum(typeof(c3) = 'text') FROM old").fetchone()
    assert (classes, text > 10) == (5, True)  # the fixture is not trivial: text stands in a REAL column
    connection.close()


def assert_round_trip(engine: Engine, cls: type[Migration], *tables: str, entities: int) -> None:
    """Migrate, roll back to identical bytes, redo to identical bytes, roll back again."""
    before = engine.dump(*tables)
    assert len(before) >= entities
    state = engine.migrate(cls)
    assert (state["migrated"], state["failed"], state["halted"]) == (entities, 0, None), engine.failures(cls)
    after = engine.dump(*tables)
    assert after != before
    back = engine.rollback(cls)
    assert (back["rolled_back"], back["failed"]) == (entities, 0), engine.failures(cls)
    assert engine.dump(*tables) == before
    assert engine.redo(cls, back["campaign"])["migrated"] == entities, engine.failures(cls)
    assert engine.dump(*tables) == after
    assert engine.rollback(cls)["rolled_back"] == entities
    assert engine.dump(*tables) == before


@pytest.mark.parametrize("options", ["", "WITHOUT ROWID"])
@pytest.mark.parametrize("what", ["update", "empty", "delete", "copy", "pass"])
def test_every_value_in_every_column(on_sqlite: Engine, what: str, options: str) -> None:
    """Updated beside, emptied, deleted, copied and passed on by the author: every value of every class comes back and arrives."""
    hard_tables(on_sqlite, options)
    # Authors get JSON as dicts, which know neither whitespace nor repeated names; a boolean column shows 0 and 1 as bool.
    plain = [name for name, kind in zip(COLUMNS, TYPES, strict=True) if kind not in ("JSON", "JSONB", "DATETIME", "TIMESTAMP")]

    def change(entity: Any) -> None:
        row = entity.one("old")
        match what:
            case "update":
                entity.update(row, {"note": "changed"})
            case "empty":
                entity.update(row, {"note": None}, unset=COLUMNS)
            case "delete":
                entity.delete(row)
            case "copy":
                entity.copy("twin", row)
            case "pass":
                entity.create("twin", {"id": row["id"], **{name: row[name] for name in plain}})

    cls = migration(change, keys=Keys("old", "id"), reads=READS, writes=("old", "twin"))
    assert_round_trip(on_sqlite, cls, "old", "twin", entities=ENTITIES)
    if what in ("copy", "pass"):
        on_sqlite.migrate(cls, only=[str(at) for at in range(ENTITIES)])
        for name in COLUMNS if what == "copy" else plain:
            old, twin = _columns(on_sqlite, name)
            assert old == twin, name


def _columns(engine: Engine, name: str) -> tuple[list[Any], list[Any]]:
    engine.script(
        f"CREATE TABLE a_{name} AS SELECT id, {name} AS v FROM old; CREATE TABLE b_{name} AS SELECT id, {name} AS v FROM twin"
    )
    return [row[1:] for row in engine.dump(f"a_{name}")], [row[1:] for row in engine.dump(f"b_{name}")]


def test_untouched_columns_of_an_updated_row(on_sqlite: Engine) -> None:
    """Only the named column of an updated row changes."""
    hard_tables(on_sqlite)
    before = on_sqlite.dump("old")
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"note": "m"}), keys=Keys("old", "id"), reads=READS, writes=("old",)
    )
    on_sqlite.migrate(cls)
    after = on_sqlite.dump("old")
    assert after != before
    assert [row[:4] + row[7:] for row in after] == [row[:4] + row[7:] for row in before]


def test_strict_tables(on_sqlite: Engine) -> None:
    """STRICT tables, ANY columns and generated columns of both kinds."""
    on_sqlite.script(
        "CREATE TABLE old (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, a ANY, v INT AS (i * 2) VIRTUAL, s TEXT AS (t || '!') STORED) STRICT;"
        "CREATE TABLE twin (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, a ANY, v INT AS (i * 3), s TEXT) STRICT"
    )
    for at, value in enumerate([None, 1, -0.0, 1.0, "1", b"1", "a\0b", 2**60]):
        on_sqlite.execute("INSERT INTO old (id, i, r, t, b, a) VALUES (?, ?, ?, ?, ?, ?)", at, at, at / 3, f"t{at}", b"\0", value)

    def change(entity: Any) -> None:
        row = entity.one("old")
        entity.copy("twin", row)
        entity.update(row, {"i": 7, "a": "x", "t": None})

    cls = migration(change, keys=Keys("old", "id"), reads=READS, writes=("old", "twin"))
    assert_round_trip(on_sqlite, cls, "old", "twin", entities=8)


KEYS: list[tuple[str, list[Any]]] = [
    ("k TEXT PRIMARY KEY", ["a", "A", "", "a b", "[x", "n", "nul\0x", "ü", "1", " 1"]),
    ("k PRIMARY KEY", [1, "1", b"1", 1.5, "", b"", -0.5, 2**62, "[1]", "nul\0x"]),
    ("k BLOB PRIMARY KEY", [b"", b"\0", b"\xff", b"a"]),
    ("k REAL PRIMARY KEY", [0.1, 1.0, -2.5, 1e300, float("inf")]),
    ("k INTEGER PRIMARY KEY DESC", [3, 1, 2]),
    ("k TEXT COLLATE NOCASE PRIMARY KEY", ["a", "B"]),
    ("k TEXT COLLATE NOCASE, PRIMARY KEY (k COLLATE BINARY)", ["a", "A", "b", "B"]),
    ("k TEXT NOT NULL UNIQUE", ["a", "b"]),
]


@pytest.mark.parametrize("options", ["", "WITHOUT ROWID"])
@pytest.mark.parametrize(("key", "values"), KEYS)
def test_primary_keys_of_every_class(on_sqlite: Engine, key: str, values: list[Any], options: str) -> None:
    """Rows are found again by keys of any storage class, spelling and table kind, and no other row is touched."""
    if options and "PRIMARY" not in key:
        options = ""
    column, _, rest = key.partition(", ")
    on_sqlite.script(
        f"CREATE TABLE old ({column}, owner INTEGER, a INTEGER{', ' + rest if rest else ''}) {options}; CREATE TABLE users (id INTEGER PRIMARY KEY)"
    )
    for at, value in enumerate(values):
        on_sqlite.execute("INSERT INTO old VALUES (?, ?, 0)", value, at % 3)
    on_sqlite.script("INSERT INTO users VALUES (0), (1), (2)")

    def change(entity: Any) -> None:
        for at, row in enumerate(entity.rows("old")):
            if at % 2:
                entity.delete(row)
            else:
                entity.update(row, {"a": entity.key + 1})

    cls = migration(change, keys=Keys("users", "id"), reads=(Rows("old", by="owner"),), writes=("old",))
    assert_round_trip(on_sqlite, cls, "old", "users", entities=3)
    on_sqlite.migrate(cls, only=["1"])
    assert on_sqlite.query("SELECT count(*) FROM old WHERE owner <> 1 AND a <> 0") == [(0,)]
    assert on_sqlite.query("SELECT count(*) FROM old WHERE owner = 1 AND a = 0") == [(0,)]


def test_keys_that_are_not_utf8(on_sqlite: Engine) -> None:
    """Primary keys of invalid UTF-8 name their rows exactly."""
    on_sqlite.script(
        "CREATE TABLE old (k TEXT PRIMARY KEY, owner INTEGER, a INTEGER); CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1)"
    )
    for raw in (b"\xff", b"\xfe", b"a"):
        on_sqlite.execute("INSERT INTO old VALUES (CAST(? AS TEXT), 1, 0)", raw)

    def change(entity: Any) -> None:
        first, second, third = entity.rows("old")
        entity.update(first, {"a": 1})
        entity.delete(second)
        entity.delete(third)

    cls = migration(change, keys=Keys("users", "id"), reads=(Rows("old", by="owner"),), writes=("old",))
    assert_round_trip(on_sqlite, cls, "old", entities=1)


def test_null_in_a_primary_key(on_sqlite: Engine) -> None:
    """SQLite lets NULL into primary keys, several times: such a row is not changed, since it cannot be told from another."""
    on_sqlite.script(
        "CREATE TABLE old (k TEXT PRIMARY KEY, owner INTEGER, a INTEGER); INSERT INTO old VALUES (NULL, 1, 1), (NULL, 2, 2), ('x', 3, 3);"
        "CREATE TABLE users (id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3)"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"a": 9}),
        keys=Keys("users", "id"),
        reads=(Rows("old", by="owner"),),
        writes=("old",),
    )
    assert (on_sqlite.migrate(cls)["migrated"], set(on_sqlite.failures(cls))) == (1, {"1", "2"})
    assert on_sqlite.query("SELECT a FROM old ORDER BY owner") == [(1,), (2,), (9,)]
    assert on_sqlite.failures(cls)["1"]["error"] == "BadValue"
    create = migration(lambda entity: entity.create("old", {"a": 1}), name="second", keys=Keys("users", "id"), writes=("old",))
    assert on_sqlite.migrate(create)["failed"] == 3
    assert on_sqlite.query("SELECT count(*) FROM old") == [(3,)]


def test_odd_names(on_sqlite: Engine) -> None:
    """Columns called `order`, or with quotes, marks of parameters, percent signs and spaces, also beside text that is not UTF-8."""
    names = [
        "order",
        "MixedCase",
        'q"uote',
        "per%cent",
        "what?",
        ":x",
        "@y",
        "$z",
        "a b",
        "t",
        "k",
        "column1",
        "ünï",
        "rowid",
        "oid",
    ]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    columns = ", ".join(f"{name} DEFAULT 'd'" for name in quoted)
    on_sqlite.script(
        f'CREATE TABLE "o""ld ?" ("Id?" INTEGER PRIMARY KEY, {columns}); CREATE TABLE "new %" ("Id?" INTEGER PRIMARY KEY, {columns})'
    )
    for at in range(5):
        on_sqlite.execute('INSERT INTO "o""ld ?" ("Id?", "what?") VALUES (?, CAST(? AS TEXT))', at, b"\xff" if at % 2 else b"x")

    def all_of_it(entity: Any) -> None:
        row = entity.one('o"ld ?')
        entity.copy("new %", row, unset=["Id?"], set={"order": "x"}, rename={"t": "k", "k": "t"})
        entity.create("new %", {})
        entity.update(row, dict.fromkeys(names, row["what?"]))

    cls = migration(all_of_it, keys=Keys('o"ld ?', "Id?"), reads=(Rows('o"ld ?', by="Id?"),), writes=('o"ld ?', "new %"))
    assert_round_trip(on_sqlite, cls, '"o""ld ?"', '"new %"', entities=5)


def test_what_the_database_changes_is_what_counts(on_sqlite: Engine) -> None:
    """Affinity, defaults and triggers: the after-image is what is stored, and going back is exact."""
    on_sqlite.script(
        "CREATE TABLE old (id INTEGER PRIMARY KEY, a TEXT); CREATE TABLE fresh (id TEXT PRIMARY KEY, a INTEGER, b REAL, c DEFAULT 7, tag TEXT);"
        "CREATE TRIGGER tag AFTER INSERT ON fresh BEGIN UPDATE fresh SET tag = 'tagged' || NEW.id WHERE id = NEW.id; END"
    )
    for at in range(10):
        on_sqlite.execute("INSERT INTO old VALUES (?, ?)", at, str(at))

    def build(entity: Any) -> None:
        entity.create("fresh", {"id": entity.key, "a": entity.one("old")["a"], "b": entity.key})

    cls = migration(build, keys=Keys("old", "id"), reads=READS, writes=("fresh",))
    assert on_sqlite.migrate(cls)["migrated"] == 10
    assert on_sqlite.query("SELECT typeof(id), typeof(a), typeof(b), c, tag FROM fresh WHERE id = '3'") == [
        ("text", "integer", "real", 7, "tagged3")
    ]
    assert on_sqlite.rollback(cls)["rolled_back"] == 10
    assert on_sqlite.query("SELECT count(*) FROM fresh") == [(0,)]


def test_keys_that_the_database_gives(on_sqlite: Engine) -> None:
    """Rowids and AUTOINCREMENT, rows as values, redo with the same numbers."""
    on_sqlite.script(
        "CREATE TABLE old (id INTEGER PRIMARY KEY, a INTEGER); CREATE TABLE one (id INTEGER PRIMARY KEY AUTOINCREMENT, a INTEGER);"
        "CREATE TABLE two (id INTEGER PRIMARY KEY, one_id INTEGER NOT NULL REFERENCES one (id))"
    )
    for at in range(10):
        on_sqlite.execute("INSERT INTO old VALUES (?, ?)", at, at)

    def build(entity: Any) -> None:
        one = entity.create("one", {"a": entity.key})
        entity.create("two", {"one_id": one})

    cls = migration(build, keys=Keys("old", "id"), reads=READS, writes=("one", "two"))
    assert_round_trip(on_sqlite, cls, "old", "one", "two", entities=10)
