"""PostgreSQL: whatever a migration writes, copies, updates or deletes comes back exactly, as an independent COPY shows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import UsageError
from tests.engine import Engine, migration
from tests.exactness.postgres_values import HARD, TYPES

LONGEST = max(map(len, HARD.values()))


def hard_tables(engine: Engine) -> None:
    """`old` and `twin` of the same columns, one row of `old` for each place in the lists of hard values, twice."""
    columns = ", ".join(f"c{at} {kind}" for at, kind in enumerate(HARD))
    engine.script(
        f"CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; {TYPES}"
        f"CREATE TABLE old (id int PRIMARY KEY, note text, {columns}); CREATE TABLE twin (id int PRIMARY KEY, note text, {columns})"
    )
    for number in range(2 * LONGEST):
        cells = [literals[number // 2] if number // 2 < len(literals) else "NULL" for literals in HARD.values()]
        engine.script(f"INSERT INTO old VALUES ({number}, 'n', {', '.join(cells)})")


def assert_round_trip(engine: Engine, cls: type[Migration], *tables: str, entities: int) -> None:
    """Migrate, roll back to identical bytes, redo to identical bytes, roll back and migrate anew."""
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


COLUMNS = [f"c{at}" for at in range(len(HARD))]
READS = (Rows("old", by="id"),)


def test_untouched_columns_of_an_updated_row(on_postgres: Engine) -> None:
    """An update of one column leaves all others as they were, before and after going back."""
    hard_tables(on_postgres)
    others = [line.replace(b"\tn\t", b"\tchanged\t", 1) for line in on_postgres.dump("old")]
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"note": "changed"}), keys=Keys("old", "id"), reads=READS, writes=("old",)
    )
    on_postgres.migrate(cls)
    assert sorted(on_postgres.dump("old")) == sorted(others)
    on_postgres.rollback(cls)
    assert_round_trip(
        on_postgres,
        migration(
            lambda entity: entity.update(entity.one("old"), {"note": "again"}),
            name="second",
            keys=Keys("old", "id"),
            reads=READS,
            writes=("old",),
        ),
        "old",
        entities=2 * LONGEST,
    )


def test_columns_that_were_emptied(on_postgres: Engine) -> None:
    """Every column of a row set to NULL, and brought back."""
    hard_tables(on_postgres)

    def empty(entity: Any) -> None:
        entity.update(entity.one("old"), {"note": None}, unset=COLUMNS)

    cls = migration(empty, keys=Keys("old", "id"), reads=READS, writes=("old",))
    assert_round_trip(on_postgres, cls, "old", entities=2 * LONGEST)


def test_rows_that_were_deleted(on_postgres: Engine) -> None:
    """Deleted rows come back as they were."""
    hard_tables(on_postgres)
    cls = migration(lambda entity: entity.delete(entity.one("old")), keys=Keys("old", "id"), reads=READS, writes=("old",))
    assert_round_trip(on_postgres, cls, "old", entities=2 * LONGEST)


def test_rows_that_were_copied(on_postgres: Engine) -> None:
    """A copy is identical to its source in every field that was not named."""
    hard_tables(on_postgres)
    cls = migration(lambda entity: entity.copy("twin", entity.one("old")), keys=Keys("old", "id"), reads=READS, writes=("twin",))
    assert_round_trip(on_postgres, cls, "old", "twin", entities=2 * LONGEST)
    on_postgres.migrate(cls, only=["0", "1", "2", "3", "4", "5"])
    copied = [line.replace(b"twin\t", b"old\t", 1) for line in on_postgres.dump("twin")]
    assert len(copied) == 6
    assert set(copied) <= set(on_postgres.dump("old"))


JSON = {"json", "jsonb", "jsonb[]"}
"""Documents are Python's dicts and lists to authors, which know neither whitespace nor 1.10; a copy keeps them exactly."""


def test_values_that_are_passed_on(on_postgres: Engine) -> None:
    """A value that an author reads and writes elsewhere arrives as it was, whether Python can hold it or not."""
    hard_tables(on_postgres)
    names = [f"c{at}" for at, kind in enumerate(HARD) if kind not in JSON]

    def pass_on(entity: Any) -> None:
        row = entity.one("old")
        entity.create("twin", {"id": row["id"], "note": row["note"], **{name: row[name] for name in names}})

    cls = migration(pass_on, keys=Keys("old", "id"), reads=READS, writes=("twin",))
    assert_round_trip(on_postgres, cls, "old", "twin", entities=2 * LONGEST)
    on_postgres.migrate(cls, only=[str(at) for at in range(2 * LONGEST)])
    for name, kind in zip(COLUMNS, HARD, strict=True):
        if kind not in JSON:
            sql = f"SELECT old.{name}::text, twin.{name}::text FROM old JOIN twin USING (id) WHERE old.{name}::text IS DISTINCT FROM twin.{name}::text"
            assert on_postgres.query(sql) == [], kind


def test_python_values() -> None:
    """What authors get: plain Python values, and text for what Python cannot hold."""
    from backtrail.stores.postgres.values import decoder

    assert decoder(1700)("1.10") == Decimal("1.10")
    assert decoder(1184)("2020-01-01 00:00:00+00") == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert decoder(1114)("2020-01-01 00:00:00").tzinfo is dt.UTC
    assert decoder(1186)("1 day 02:00:00") == dt.timedelta(days=1, hours=2)
    assert str(decoder(1186)("1 mon")) == "1 mon"
    assert str(decoder(1082)("0044-03-15 BC")) == "0044-03-15 BC"
    assert decoder(3802)('{"a": [1]}') == {"a": [1]}
    assert decoder(1007)("{1,NULL}") == [1, None]
    assert str(decoder(1007)("[2:3]={1,2}")) == "[2:3]={1,2}"
    assert decoder(17)("\\x00ff") == b"\x00\xff"


def test_deep_json_fails_nobody_who_does_not_use_it(on_postgres: Engine) -> None:
    """JSON deeper than Python's parser can go is opaque: it shows as text and is copied."""
    depth = 5000
    on_postgres.script("CREATE TABLE old (id int PRIMARY KEY, doc json); CREATE TABLE twin (id int PRIMARY KEY, doc json, n int)")
    on_postgres.execute("INSERT INTO old VALUES (1, ?)", "[" * depth + "]" * depth)

    def measure(entity: Any) -> None:
        row = entity.one("old")
        entity.copy("twin", row, set={"n": len(str(row["doc"]))})

    cls = migration(measure, keys=Keys("old", "id"), reads=READS, writes=("twin",))
    assert_round_trip(on_postgres, cls, "old", "twin", entities=1)


def test_odd_names_and_schemas(on_postgres: Engine) -> None:
    """Tables of other schemas, and columns called `order`, "MixedCase", `t`, `k`, or with quotes, marks and spaces."""
    names = ["order", "MixedCase", 'q"uote', "per%cent %s", "what?", ":x", "a b", "t", "k", "column1", "ünï", "user"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    columns = ", ".join(f"{name} text DEFAULT 'd'" for name in quoted)
    on_postgres.script(
        'CREATE SCHEMA "Old Stuff%"; CREATE SCHEMA other;'
        f'CREATE TABLE "Old Stuff%"."Ta""ble" ("Id%" int PRIMARY KEY, {columns}); CREATE TABLE other.new ("Id%" serial PRIMARY KEY, {columns});'
        'INSERT INTO "Old Stuff%"."Ta""ble" ("Id%") SELECT generate_series(1, 5)'
    )
    old = 'Old Stuff%.Ta"ble'

    def all_of_it(entity: Any) -> None:
        row = entity.one(old)
        entity.copy("other.new", row, unset=["Id%"], set={"order": "x"}, rename={"t": "user", "user": "t"})
        entity.create("other.new", {})
        entity.update(row, dict.fromkeys(names, "new"))

    cls = migration(all_of_it, keys=Keys(old, "Id%"), reads=(Rows(old, by="Id%"),), writes=(old, "other.new"))
    before = on_postgres.dump('"Old Stuff%"."Ta""ble"', "other.new")
    assert on_postgres.migrate(cls)["migrated"] == 5, on_postgres.failures(cls)
    assert on_postgres.query("SELECT count(*) FROM other.new") == [(10,)]
    assert on_postgres.rollback(cls)["rolled_back"] == 5
    assert on_postgres.dump('"Old Stuff%"."Ta""ble"', "other.new") == before


def test_a_mistyped_schema_is_answered(on_postgres: Engine) -> None:
    """A table that does not exist is one line with the nearest name."""
    on_postgres.script("CREATE SCHEMA other; CREATE TABLE other.people (id int PRIMARY KEY)")
    with pytest.raises(UsageError, match=r"did you mean 'other\.people'"):
        on_postgres.open(migration(lambda _: None, keys=Keys("other.peple", "id")), "migrate")


def test_identity_serial_and_generated_columns(on_postgres: Engine) -> None:
    """Keys of every kind that the database gives, and columns that it computes, come back with the same values."""
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY, a int);"
        "CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, n bigserial);"
        "CREATE TABLE bydefault (id int GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT 10), u uuid DEFAULT gen_random_uuid(), a int, PRIMARY KEY (u, id));"
        "CREATE TABLE virtual (id serial PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) VIRTUAL);"
        "CREATE TABLE own (id text PRIMARY KEY DEFAULT 'x' || (random() * 1e9)::bigint || '%s', a int);"
        "INSERT INTO old SELECT at, at FROM generate_series(1, 20) at;"
        "INSERT INTO always (a) SELECT at FROM generate_series(1, 20) at;"
        "INSERT INTO virtual (a) SELECT at FROM generate_series(1, 20) at"
    )

    def use(entity: Any) -> None:
        a = entity.one("old")["a"]
        entity.create("always", {"a": a})
        entity.create("bydefault", {"a": a})
        entity.create("own", {"a": a})
        entity.create("virtual", {"a": entity.create("virtual", {"a": a})})
        entity.update(entity.one("always"), {"a": -a})
        entity.copy("always", entity.one("always"), unset=["id"])
        entity.delete(entity.one("virtual"))

    cls = migration(
        use,
        keys=Keys("old", "id"),
        reads=(Rows("old", by="id"), Rows("always", by="id"), Rows("virtual", by="id")),
        writes=("always", "bydefault", "own", "virtual"),
    )
    assert_round_trip(on_postgres, cls, "old", "always", "bydefault", "own", "virtual", entities=20)


def test_what_the_database_changes_is_what_counts(on_postgres: Engine) -> None:
    """Triggers, defaults, rounding and padding: the after-image is what is stored, so nothing looks drifted, and going back is exact."""
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY, price numeric, name text);"
        "CREATE TABLE fresh (id int PRIMARY KEY, price numeric(8,2), name char(12), at timestamp(0) DEFAULT clock_timestamp(), tag text, r real);"
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); NEW.tag := TG_OP || coalesce(NEW.tag, ''); RETURN NEW; END $$;"
        "CREATE TRIGGER shout BEFORE INSERT ON fresh FOR EACH ROW EXECUTE FUNCTION shout();"
        "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.tag NOT LIKE '%later' THEN UPDATE fresh SET tag = tag || 'later' WHERE id = NEW.id; END IF; RETURN NULL; END $$;"
        "CREATE TRIGGER later AFTER INSERT ON fresh FOR EACH ROW EXECUTE FUNCTION later();"
        "INSERT INTO old SELECT at, at / 3.0, 'name ' || at FROM generate_series(1, 10) at"
    )

    def build(entity: Any) -> None:
        row = entity.one("old")
        entity.create("fresh", {"id": row["id"], "price": row["price"], "name": row["name"], "r": row["price"]})

    cls = migration(build, keys=Keys("old", "id"), reads=READS, writes=("fresh",))
    state = on_postgres.migrate(cls)
    assert state["migrated"] == 10, (state["halted"], on_postgres.failures(cls))
    assert on_postgres.query("SELECT price::text, name, tag FROM fresh WHERE id = 1") == [("0.33", "NAME 1      ", "INSERTlater")]
    (created,) = [event for event in on_postgres.events(cls, "1") if event.kind == "created"]
    assert created.after is not None
    assert b"NAME 1" in created.after
    assert b"INSERTlater" in created.after
    assert on_postgres.rollback(cls)["rolled_back"] == 10
    assert on_postgres.query("SELECT count(*) FROM fresh") == [(0,)]


def test_a_trigger_that_no_rollback_can_undo_is_named(on_postgres: Engine) -> None:
    """Where a trigger changes a column on every update, whoever writes, the rollback refuses instead of leaving other bytes behind."""
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY, a int, touched int DEFAULT 0); INSERT INTO old SELECT generate_series(1, 4), 0;"
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := OLD.touched + 1; RETURN NEW; END $$;"
        "CREATE TRIGGER touch BEFORE UPDATE ON old FOR EACH ROW EXECUTE FUNCTION touch();"
        "ALTER TABLE old ENABLE ALWAYS TRIGGER touch"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"a": 1}), keys=Keys("old", "id"), reads=READS, writes=("old",)
    )
    assert on_postgres.migrate(cls)["migrated"] == 4
    after = on_postgres.dump("old")
    assert on_postgres.rollback(cls)["failed"] == 4
    assert {facts["error"] for facts in on_postgres.failures(cls).values()} == {"Drifted"}
    assert "trigger" in on_postgres.failures(cls)["1"]["reason"]
    assert on_postgres.dump("old") == after


def test_settings_of_the_database_change_nothing(on_postgres: Engine) -> None:
    """A database whose own settings print values in other ways gives and takes the same images."""
    name = on_postgres.query("SELECT current_database()")[0][0]
    hard_tables(on_postgres)
    shape = on_postgres.store.shape("old")
    on_postgres.store.forget()
    on_postgres.store.close()
    for setting in (
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "timezone = 'Asia/Kathmandu'",
        "bytea_output = 'escape'",
        "extra_float_digits = -2",
        "array_nulls = off",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "xmloption = document",
        "lc_monetary = 'C.UTF-8'",
    ):
        on_postgres.script(f"ALTER DATABASE {name} SET {setting}")
    assert on_postgres.store.shape("old") == shape
    on_postgres.script("SET extra_float_digits = 3; UPDATE old SET c0 = 0.30000000000000004 WHERE id = 0")
    cls = migration(lambda entity: entity.delete(entity.one("old")), keys=Keys("old", "id"), reads=READS, writes=("old",))
    assert_round_trip(on_postgres, cls, "old", entities=2 * LONGEST)


def test_null_where_the_database_takes_it_for_a_text(on_postgres: Engine) -> None:
    """With `array_nulls = off` NULL stays NULL, alone and in an array, when it is written and when it comes back."""
    name = on_postgres.query("SELECT current_database()")[0][0]
    on_postgres.script(f"ALTER DATABASE {name} SET array_nulls = off")
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY, a text, tags text[]); INSERT INTO old VALUES (1, NULL, ARRAY['x', NULL]), (2, 'x', NULL)"
    )
    cls = migration(
        lambda entity: entity.update(entity.one("old"), {"a": "new" if entity.key == 1 else None, "tags": ["y", None]}),
        keys=Keys("old", "id"),
        reads=READS,
        writes=("old",),
    )
    on_postgres.migrate(cls)
    assert on_postgres.query("SELECT a, tags FROM old ORDER BY id") == [("new", ["y", None]), (None, ["y", None])]
    on_postgres.rollback(cls)
    assert_round_trip(
        on_postgres,
        migration(
            lambda entity: entity.delete(entity.one("old")), name="second", keys=Keys("old", "id"), reads=READS, writes=("old",)
        ),
        "old",
        entities=2,
    )
    assert on_postgres.query("SELECT a, tags FROM old ORDER BY id") == [(None, ["x", None]), ("x", None)]


def test_values_with_a_binary_form_in_other_columns(on_postgres: Engine) -> None:
    """A NaN with a sign, which keeps it where a number is, is the text NaN where a text is, passed on or copied."""
    on_postgres.script(
        "CREATE TYPE leaf AS (f float8); CREATE TABLE old (id int PRIMARY KEY, x float8, y float8[], z leaf);"
        "INSERT INTO old VALUES (1, 'inf'::float8 - 'inf'::float8, ARRAY['inf'::float8 - 'inf'::float8], ROW('inf'::float8 - 'inf'::float8));"
        "CREATE TABLE fresh (id int PRIMARY KEY, x text, y text, z text); CREATE TABLE same (LIKE old INCLUDING ALL)"
    )

    def use(entity: Any) -> None:
        row = entity.one("old")
        entity.create("fresh", {"id": 1, "x": row["x"], "y": row["y"], "z": row["z"]})
        entity.copy("fresh", row, set={"id": 2})
        entity.copy("fresh", row, rename={"x": "y", "y": "x"}, set={"id": 3})
        entity.create("same", {"id": 1, "x": row["x"], "y": row["y"], "z": row["z"]})
        entity.copy("same", row, set={"id": 2})

    cls = migration(use, keys=Keys("old", "id"), reads=READS, writes=("fresh", "same"))
    assert on_postgres.migrate(cls)["migrated"] == 1, on_postgres.failures(cls)
    assert on_postgres.query("SELECT x, y, z FROM fresh ORDER BY id") == [
        ("NaN", "{NaN}", "(NaN)"),
        ("NaN", "{NaN}", "(NaN)"),
        ("{NaN}", "NaN", "(NaN)"),
    ]
    bits = "SELECT encode(record_send(ROW(x, y, z)), 'hex') FROM"
    assert set(on_postgres.query(f"{bits} same")) == set(on_postgres.query(f"{bits} old"))
    assert on_postgres.rollback(cls)["rolled_back"] == 1


def test_a_key_that_has_a_default_of_its_own(on_postgres: Engine) -> None:
    """It comes from there, although the column owns a sequence; and it is the key as the column holds it."""
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY); INSERT INTO old VALUES (1); CREATE SEQUENCE others START 1000;"
        "CREATE TABLE serial (id serial PRIMARY KEY, u int); ALTER TABLE serial ALTER id SET DEFAULT nextval('others');"
        "CREATE TABLE owned (id int PRIMARY KEY, u int); CREATE SEQUENCE own START 7; ALTER SEQUENCE own OWNED BY owned.id;"
        "CREATE TABLE computed (id serial PRIMARY KEY, u int); ALTER TABLE computed ALTER id SET DEFAULT (40 + 2);"
        "CREATE TABLE plain (id serial PRIMARY KEY, u int); CREATE TABLE given (id int GENERATED ALWAYS AS IDENTITY (START 5) PRIMARY KEY, u int);"
        "CREATE TABLE rounded (u int, at timestamptz(0) DEFAULT '2020-01-01 00:00:00.4Z', PRIMARY KEY (u, at))"
    )

    def use(entity: Any) -> None:
        for name in ("serial", "computed", "plain", "given", "rounded"):
            entity.create(name, {"u": entity.key})

    names = ("serial", "computed", "plain", "given", "rounded")
    cls = migration(use, keys=Keys("old", "id"), reads=READS, writes=names)
    assert_round_trip(on_postgres, cls, "old", *names, entities=1)
    on_postgres.migrate(cls, only=("1",))
    found = {name: on_postgres.query(f"SELECT id FROM {name}")[0][0] for name in names[:-1]}
    assert found["serial"] >= 1000
    assert found["computed"] == 42
    assert found["plain"] < 10
    assert 5 <= found["given"] < 10
    refused = migration(lambda entity: entity.create("owned", {"u": 1}), name="second", keys=Keys("old", "id"), writes=("owned",))
    assert on_postgres.migrate(refused)["failed"] == 1, "there is no default, and none is made up"


def test_partitions_and_inheritance(on_postgres: Engine) -> None:
    """Rows of a partitioned table come back, wherever they are kept."""
    on_postgres.script(
        "CREATE TABLE old (id int, region text, a int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);"
        "CREATE TABLE old_eu PARTITION OF old FOR VALUES IN ('eu'); CREATE TABLE old_us PARTITION OF old FOR VALUES IN ('us');"
        "INSERT INTO old SELECT at, CASE WHEN at % 2 = 0 THEN 'eu' ELSE 'us' END, at FROM generate_series(1, 10) at"
    )

    def swap(entity: Any) -> None:
        for row in entity.rows("old"):
            entity.copy("old", row, set={"region": {"eu": "us", "us": "eu"}[row["region"]]})
            entity.delete(row)

    cls = migration(swap, keys=Keys("old", "id"), reads=READS, writes=("old",))
    assert_round_trip(on_postgres, cls, "old", entities=10)


def test_a_column_that_was_dropped_or_added_since(on_postgres: Engine) -> None:
    """A row whose table lost a column of the image cannot be restored: it is refused and named, and nothing changes."""
    on_postgres.script(
        "CREATE TABLE old (id int PRIMARY KEY, a int, b text); INSERT INTO old SELECT g, g, 'b' FROM generate_series(1, 3) g"
    )
    cls = migration(lambda entity: entity.delete(entity.one("old")), keys=Keys("old", "id"), reads=READS, writes=("old",))
    assert on_postgres.migrate(cls)["migrated"] == 3
    on_postgres.script("ALTER TABLE old ADD c int DEFAULT 5")
    on_postgres.store.forget()
    on_postgres.fresh_worker()
    assert on_postgres.rollback(cls, only=["1"])["rolled_back"] == 1
    assert on_postgres.query("SELECT * FROM old") == [(1, 1, "b", 5)]
    on_postgres.script("ALTER TABLE old DROP b")
    on_postgres.store.forget()
    on_postgres.fresh_worker()
    state = on_postgres.rollback(cls, only=["2"])
    assert (state["failed"], state["rolled_back"]) == (1, 0)
    assert "old.b was text and is gone" in on_postgres.failures(cls)["2"]["reason"]
