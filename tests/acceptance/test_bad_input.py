"""Every wrong input that the contract lists: exit code 2, one clear line on standard error, no traceback, and nothing created."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests import servers
from tests.acceptance.conftest import KINDS, a_place, server_of
from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import SPLIT_NAMES, World


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest) -> Iterator[dict[str, World]]:
    """A world of every kind with five users, in which no campaign was ever opened."""
    with ExitStack() as stack:
        worlds = {kind: World(stack.enter_context(a_place(kind, server_of(kind, request))), "w") for kind in KINDS}
        for world in worlds.values():
            world.write()
            world.populate(5)
        yield worlds


WRONG = [
    (["enqueue", "w.pyy"], "w.pyy"),
    (["enqueue", "nowhere.py"], "nowhere.py"),
    (["enqueue", "unified-profil"], "did you mean 'unified-profile'"),
    (["enqueue", "no.module:Class"], "no"),
    (["enqueue", "w.py:Nobody"], "SplitNames"),
    (["enqueue", "w.py", "--only", "99"], "'99'"),
    (["enqueue", "w.py", "--only", "x"], "int"),
    (["enqueue", "w.py", "--only", "99999999999999999999999"], "entity '99999999999999999999999'"),
    (["enqueue", "w.py", "--dry-run", "--only", "99999999999999999999999"], "entity '99999999999999999999999'"),
    (["enqueue", "w.py", "--only-from", "nowhere.txt"], "nowhere.txt"),
    (["enqueue", "w.py", "--sample", "200%"], "200%"),
    (["enqueue", "w.py", "--limit", "0"], "0"),
    (["enqueue", "w.py", "--param", "speed=1"], "speed"),
    (["enqueue", "w.py", "--param", "speed"], "speed"),
    (["enqueue", "w.py", "--dry-run", "--only", "99"], "'99'"),
    (["enqueue"], "MIGRATION"),
    (["enque", "w.py"], "enqueue"),
    (["enqueue", "w.py", "--onyl", "1"], "--only"),
    (["rerun", "w.py"], "--failed"),
    (["rerun", "w.py", "--failed", "--stale"], "one of"),
    (["rerun", "w.py", "--only", "99"], "'99'"),
    (["rollback", "w.py", "--only", "99999999999999999999999"], "entity '99999999999999999999999'"),
    (["rollback", "w.py"], "--all"),
    (["rollback", "w.py", "--all", "--only", "1"], "one of"),
    (["rollback", "w.py", "--campaign", "c9"], "c"),
    (["rollback", "w.py", "--all", "--on-drift", "ignore"], "refuse"),
    (["status", "c9"], "campaign"),
    (["pause", "c9"], "campaign"),
    (["resume", "c9"], "campaign"),
    (["cancel", "x"], "campaign"),
    (["history", "w.py", "99"], "99"),
    (["verify", "w.py"], "verify"),
    (["new", "Bad Name"], "Bad Name"),
    (["enqueue", "table.py"], "did you mean 'w_people'"),
    (["enqueue", "column.py"], "did you mean 'id'"),
    (["enqueue", "broken.py"], "line 1"),
]


ASKS_THE_SERVER = (
    "--only 99",
    "--only 99999999999999999999999",
    "--only x",
    "status c9",
    "table.py",
    "column.py",
    "history w.py 99",
)
"""Which of them are also tried on the other databases: the others never come so far as to ask a database."""

CASES = [("sqlite", *case) for case in WRONG]
CASES += [
    (kind, *case)
    for kind in ("postgres", "mongo")
    for case in WRONG
    if " ".join(case[0]).endswith(ASKS_THE_SERVER)
    and (kind, case[0][-1]) != ("mongo", "column.py")  # documents may have any field
]


@pytest.mark.parametrize(("kind", "arguments", "words"), CASES, ids=[f"{kind} {' '.join(given)}" for kind, given, _ in CASES])
def test_what_cannot_be_meant(stages: dict[str, World], kind: str, arguments: list[str], words: str) -> None:
    """Names, keys and options that are not there are answered with the nearest right thing."""
    stage = stages[kind]
    folder = stage.place.folder
    (folder / "table.py").write_text(stage.code().replace('"w_people")', '"w_peopel")'))
    (folder / "column.py").write_text(stage.code().replace('Keys("w_users", "id")', 'Keys("w_users", "idd")'))
    (folder / "broken.py").write_text("class ( :\n")
    before = stage.dump()
    stage.place.refused(*arguments, words=words)
    assert stage.dump() == before


@pytest.mark.long
def test_after_a_campaign(world: World) -> None:
    """What is not there is told from what is, also once there is a ledger: keys, campaigns, and another migration's campaign."""
    world.populate(5)
    campaign = world.enqueue()["campaign"]
    other = world.prefix + "_other.py"
    (world.place.folder / other).write_text(world.code(SPLIT_NAMES.replace("PRE-split", "PRE-other")))
    before = world.dump(but=("workers", "leases"))
    world.place.refused("status", "c999", words="c")
    world.place.refused("history", world.source, "99", words="99")
    world.place.refused("verify", world.source, "--only", "99", words="99")
    world.place.refused("rollback", other, "--campaign", campaign, words=world.name)
    world.place.refused("cancel", campaign, words="completed")
    assert world.dump(but=("workers", "leases")) == before


ADDRESSES = [
    ("", "database_url"),
    ("data.db", "URL"),
    ("postgrsql://localhost/x", "did you mean postgres"),
    ("sqlite:///:memory:", "memory"),
    ("sqlite:///nowhere.db", "nowhere.db"),
    ("sqlite:////", "folder"),
    ("postgresql://u:s3cret@127.0.0.1:1/x", "does not answer"),
    ("postgresql://u:s3cret@host:port/x", "port"),
    ("mysql://u:s3cret@host/x", "mysql"),
]


@pytest.mark.parametrize(("url", "words"), ADDRESSES)
def test_addresses_of_databases(alone_sqlite: World, url: str, words: str) -> None:
    """An address that is none, or where nobody answers, is told without its password, and no file is made."""
    before = sorted(path.name for path in alone_sqlite.place.folder.iterdir())
    answer = replace(alone_sqlite.place, database=url).refused("enqueue", alone_sqlite.source, words=words)
    assert "s3cret" not in answer.err
    assert sorted(path.name for path in alone_sqlite.place.folder.iterdir() if path.name != "__pycache__") == before


@pytest.mark.long
def test_brokers_that_cannot_be_used(alone_sqlite: World) -> None:
    """A broker that is not there, or refuses the password, is told before anything is changed, and its password is not."""
    alone_sqlite.populate(5)
    before = alone_sqlite.dump()
    with servers.valkey("--requirepass", "right") as broker:
        wrong = broker.replace("redis://", "redis://:s3cret@")
        for url, words in [
            (wrong, "broker"),
            (broker, "broker"),
            (f"redis://:s3cret@127.0.0.1:{servers.free_port()}/0", "cannot be used"),
            ("rabbit://x", "rabbit"),
        ]:
            for command in (["enqueue", alone_sqlite.source], ["worker"]):
                answer = replace(alone_sqlite.place, broker=url).refused(*command, words=words)
                assert "s3cret" not in answer.err
    assert alone_sqlite.dump() == before


def test_a_file_that_cannot_be_written(alone_sqlite: World) -> None:
    """A read-only SQLite file, or one that is no database, is told before the start."""
    alone_sqlite.populate(5)
    file = Path(alone_sqlite.url.removeprefix("sqlite:///"))
    other = file.parent / "other.db"
    other.write_text("This is no database, but it is long enough to be read as the header of one. " * 10)
    replace(alone_sqlite.place, database=f"sqlite:///{other}").refused("enqueue", alone_sqlite.source, words="database")
    # The format's own mark of a file that may only be read (https://sqlite.org/fileformat2.html, 1.3.3); it binds root too.
    header = bytearray(file.read_bytes())
    header[18] = 3
    file.write_bytes(header)
    assert len(alone_sqlite.users()) == 5
    alone_sqlite.place.refused("enqueue", alone_sqlite.source, words="written")
    assert file.read_bytes() == header


@pytest.mark.long
def test_what_a_server_refuses(alone_postgres: World) -> None:
    """A wrong database, a user without rights, a read-only session and row-level security are each told in a line."""
    world = alone_postgres
    world.populate(5)
    sql, name = sql_eye(world.url), world.url.rpartition("/")[2]
    role = f"r{name[-8:]}"
    sql.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {world.prefix}_users, {world.prefix}_people TO {role}",
        f"ALTER TABLE {world.prefix}_users ENABLE ROW LEVEL SECURITY",
    )
    try:
        limited = replace(world.place, database=world.url.replace("postgres:postgres@", f"{role}:s3cret@"))
        before = world.dump()
        replace(world.place, database=world.url + "_not").refused("enqueue", world.source, words="does not exist")
        replace(world.place, database=world.url.replace("postgres:", "nobody:")).refused("enqueue", world.source, words="user")
        limited.refused("enqueue", world.source, words="row-level security")
        sql.execute(f"ALTER TABLE {world.prefix}_users DISABLE ROW LEVEL SECURITY")
        limited.refused("enqueue", world.source, words="may not")
        sql.execute(f"ALTER ROLE postgres IN DATABASE {name} SET default_transaction_read_only = on")
        world.place.refused("enqueue", world.source, words="read-only")
        sql.execute("SET default_transaction_read_only = off")
        with sql.connected() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER ROLE postgres IN DATABASE {name} RESET default_transaction_read_only")
        assert world.dump() == before
    finally:
        with sql.connected() as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.long
def test_a_ledger_of_a_newer_version(alone: World) -> None:
    """A ledger that a newer version wrote is left alone, by every command."""
    alone.populate(5)
    alone.place.run("enqueue", alone.source)
    alone.eye.age()
    before = alone.dump()
    for command in (
        ["enqueue", alone.source],
        ["status"],
        ["status", "c1"],
        ["verify", alone.source],
        ["worker"],
        ["pause", "c1"],
    ):
        alone.place.refused(*command, words="newer version")
    assert alone.dump() == before


def test_keys_of_mixed_type(alone_sqlite: World) -> None:
    """A key column that holds numbers and texts is refused, with the mend."""
    alone_sqlite.populate(2)
    sql = sql_eye(alone_sqlite.url)
    sql.execute(
        "CREATE TABLE odd (id PRIMARY KEY, full_name text, score integer)",
        "INSERT INTO odd VALUES (1, 'a b', 1), ('1', 'c d', 2)",
    )
    assert len(sql.rows("SELECT DISTINCT typeof(id) FROM odd")) == 2
    code = SPLIT_NAMES.replace('"PRE_users"', '"odd"')
    alone_sqlite.write(code)
    alone_sqlite.place.refused("enqueue", alone_sqlite.source, words="mixed type")
