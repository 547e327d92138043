"""Passwords of addresses are nowhere to be seen: a campaign with all that can fail, and then everything that was said and stored is searched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import redis

from tests import servers
from tests.acceptance.world import SPLIT_NAMES, World
from tests.processes import Answer, command, those_with

CORE = "S3cr3tW0rd"
PASSWORD = f"{CORE}@/#:?%"
"""With everything that means something in an address; whoever shows a part of it shows the core."""

TELLTALE = SPLIT_NAMES.replace("from backtrail", "import os\n\nfrom backtrail").replace(
    "        row = user.one",
    "        if user.key in (7, 8):\n"
    '            raise RuntimeError("cannot reach " + os.environ["BACKTRAIL_DATABASE_URL"])\n'
    "        row = user.one",
)
"""A migration that tells the address when it fails."""

UNDECLARED = (
    SPLIT_NAMES.replace('PRE-split"', 'PRE-other"')
    .replace('"PRE_people")', ")")
    .replace('writes = ("PRE_users", )', 'writes = ("PRE_users",)')
)
"""One that halts its campaign."""


def everything_stored(url: str) -> Iterator[tuple[str, str]]:
    """Every row of the ledger's tables as text."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'backtrail%'"
        ).fetchall()
        for (table,) in tables:
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t").fetchall():  # type: ignore[arg-type]
                yield table, row
                yield table, _unpacked(row)


def _unpacked(row: str) -> str:
    """The row with its bytes, which are shown as digits, as the text that they may be."""
    parts = row.split("\\x")
    return "".join(bytes.fromhex(_even(part)).decode(errors="replace") for part in parts[1:])


def _even(text: str) -> str:
    digits = text[: next((at for at, letter in enumerate(text) if letter not in "0123456789abcdef"), len(text))]
    return digits[: len(digits) // 2 * 2]


def everything_queued(broker: str) -> Iterator[str]:
    """All that the broker holds."""
    with redis.Redis.from_url(broker) as client:
        for key in client.scan_iter():
            yield repr(client.dump(key))


@pytest.mark.long
def test_passwords_are_nowhere(alone_postgres: World) -> None:
    """Not in what commands and workers say, not in process lists, logs, files, messages or rows: while all is well, and however it fails."""
    with servers.valkey("--requirepass", PASSWORD) as server:
        broker = server.replace("redis://", f"redis://:{quote(PASSWORD, safe='')}@")
        with psycopg.connect(alone_postgres.url) as connection:
            connection.execute(f"CREATE ROLE telltale LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        world = alone_postgres.at(broker)
        world.place.database = world.url.replace("postgres:postgres@", f"telltale:{quote(PASSWORD, safe='')}@")
        world.write(TELLTALE)
        world.populate(120)
        answers, shown = campaigns(world)
        answers += failures(world, server)
        said = [part for answer in answers for part in (answer.out, answer.err)] + shown
        said += list(everything_queued(broker))
        stored = list(everything_stored(world.url))
        files = [path for path in world.place.folder.rglob("*") if path.is_file()]
    assert len(said) > 30 and len(stored) > 500 and any("two.log" in path.name for path in files)
    assert [text for text in said if CORE in text] == []
    assert {table for table, text in stored if CORE in text} == set()
    assert [str(path) for path in files if CORE.encode() in Path(path).read_bytes()] == []
    assert any("RuntimeError" in text for _, text in stored), "the migration did not fail"


def campaigns(world: World) -> tuple[list[Answer], list[str]]:
    """What was said over a campaign with failures, one that halts, and the way back; and the command lines that ran meanwhile."""
    place, shown = world.place, []
    other = place.folder / "other.py"
    other.write_text(world.code(UNDECLARED))
    with place.worker("one", 1) as worker:
        answers = [place.run("enqueue", world.source, "--watch", code=1)]
        shown += [command(process) for process in {*worker.family(), *those_with(str(place.folder))}]
        answers += [place.run(*words, code=None) for words in ASKED]
        answers += [place.run("enqueue", "other.py", "--watch", code=None)]
        answers += [place.run(*[word.replace("M", world.source) for word in words], code=None) for words in ABOUT]
        shown.append(worker.text)
    assert len(shown) >= 4 and answers[0].err + answers[0].out
    return answers, shown


ASKED = (["status"], ["status", "--json"], ["status", "c1"], ["status", "c1", "--json"])
ABOUT = (
    ["history", "M", "7", "--json"],
    ["notes", "M"],
    ["verify", "M"],
    ["grants", "M"],
    ["rollback", "M", "--all", "--watch"],
    ["rerun", "M", "--failed", "--watch"],
    ["status", "--json"],
)


def failures(world: World, server: str) -> list[Answer]:
    """What is said where addresses are wrong in every way."""
    wrong = f"redis://:wrong{CORE}@{server.partition('//')[2]}"
    nobody = servers.free_port()
    user = f"telltale:{quote(PASSWORD, safe='')}@127.0.0.1"
    addresses = [
        {"BACKTRAIL_BROKER_URL": wrong},
        {"BACKTRAIL_BROKER_URL": f"redis://:{CORE}@127.0.0.1:{nobody}/0"},
        {"BACKTRAIL_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{nobody}/0"},
        {"BACKTRAIL_BROKER_URL": f"amqp://me:{CORE}@127.0.0.1:{nobody}//"},
        {"BACKTRAIL_BROKER_URL": f"reddis://:{CORE}@127.0.0.1/0"},
        {"BACKTRAIL_DATABASE_URL": f"postgresql://{user}:{nobody}/there"},
        {"BACKTRAIL_DATABASE_URL": world.url.rpartition("/")[0] + "/not_there"},
        {"BACKTRAIL_DATABASE_URL": f"postgresql://me:{PASSWORD}@127.0.0.1:{nobody}/there"},
        {"BACKTRAIL_DATABASE_URL": f"postgresql://me:{CORE}@127.0.0.1:port/there"},
        {"BACKTRAIL_DATABASE_URL": f"postgres//me:{CORE}@127.0.0.1/there"},
        {"BACKTRAIL_DATABASE_URL": f"mongodb://{user}:{nobody}/there?serverSelectionTimeoutMS=200"},
    ]
    answers = [world.place.run("enqueue", world.source, code=2, **address) for address in addresses]
    answers += [world.place.run("worker", "-c", "1", code=2, **address) for address in (addresses[0], addresses[5])]
    with world.place.program("two", "producer.cli", "worker", "-c", "1") as worker:
        worker.says(" ready")
        with redis.Redis.from_url(str(world.place.broker)) as client:
            client.config_set("requirepass", "another")
            client.client_kill_filter(_type="normal", skipme=True)
        worker.says("onnection", timeout=30)
        with redis.Redis.from_url(server, password="another") as client:
            client.config_set("requirepass", PASSWORD)
    return answers
