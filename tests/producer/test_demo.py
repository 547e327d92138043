"""`backtrail demo`: the whole story in real processes, its proof, and what is left when it ends well, badly or early."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import sqlalchemy as sa

from producer.proof import digests, together
from tests.processes import Place, command, gone, killed, those_with
from tests.servers import until

OURS = {"users", "context_profiles", "profiles", "chat_messages", "unified_profiles", "context_intents"}


@pytest.fixture
def place() -> Iterator[Place]:
    """A place where no setting names a database; what is temporary is in its folder, whose path is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    yield Place(folder, "", more={"TMPDIR": str(folder)})
    shutil.rmtree(folder, ignore_errors=True)


def running(place: Place) -> list[psutil.Process]:
    """The processes that know the place's folder."""
    return those_with(str(place.folder))


def workers(place: Place) -> list[psutil.Process]:
    """Those of them that are workers."""
    # Celery gives its processes other names where setproctitle is installed.
    return [one for one in running(place) if re.search(r"-m worker|celeryd: .*MainProcess", command(one))]


def nothing_runs(place: Place) -> None:
    """Returns once no process of the place is left."""
    until(lambda: gone(running(place)), what="the end of worker and broker", timeout=40)


def test_the_story_ends_well_and_what_it_prints_can_be_typed(place):
    """It proves what it says, in 80 columns; then its commands are pasted into a shell, and nothing is left running."""
    answer = place.run("demo", "--users", "300", timeout=180)
    nothing_runs(place)
    story, _, typed = answer.out.partition("What to type next:")
    assert story.count("identical") == 4
    assert "300 users migrated" in story
    assert max(map(len, story.splitlines())) <= 80
    commands = [line.strip() for line in typed.splitlines() if line.startswith("   ")]
    commands = commands[: commands.index("kill %1") + 1]
    assert len(commands) == 11
    assert commands[0].startswith("export BACKTRAIL_DATABASE_URL=sqlite:////")
    file = Path(commands[0].partition(":///")[2])
    assert _one(file, "SELECT count(*) FROM unified_profiles") == 300
    assert _one(file, "SELECT count(*) FROM backtrail_events WHERE kind = 'r'") > 3
    shell = ["bash", "-euo", "pipefail", "-c", "\n".join([*commands, "wait"])]
    done = subprocess.run(
        shell, cwd=place.folder, env=place.environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode in {0, 128 + signal.SIGTERM}, done.stdout + done.stderr
    assert "removed create_table unified_profiles" in done.stdout
    assert _one(file, "SELECT count(*) FROM sqlite_master WHERE name = 'unified_profiles'") == 0
    assert _one(file, "SELECT count(*) FROM users") == 300
    nothing_runs(place)


@pytest.mark.long
def test_a_database_that_is_named_is_used_once(place, postgres):
    """An empty PostgreSQL database gets the story; then it is not empty any more, and is refused untouched."""
    document = place.json("demo", "--users", "150", "--database-url", postgres)
    assert document["ok"]
    assert [one["kind"] for one in document["campaigns"]] == ["migrate", "rollback", "rerun"]
    assert [one["migrated"] for one in document["campaigns"]] == [150, 0, 3]
    assert len(document["three"]) == 3
    assert all(one["then"] == one["now"] for proof in document["proofs"] for one in proof)
    assert len({one["now"] for proof in document["proofs"] for one in proof}) == 3  # of the three there are two states
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM unified_profiles").fetchone() == (150,)
        answer = place.run("demo", "--database-url", postgres, code=2)
        assert "needs an empty database" in answer.err
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (150,)
    nothing_runs(place)


def test_somebodys_data_is_not_touched(place):
    """A database that holds anything is refused in one line, and its file is the same afterwards."""
    file = place.folder / "theirs.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id integer PRIMARY KEY)")
        connection.execute("INSERT INTO users VALUES (1)")
    connection.close()
    before = file.read_bytes()
    answer = place.run("demo", code=2, BACKTRAIL_DATABASE_URL=f"sqlite:///{file}")
    assert len(answer.err.splitlines()) == 1
    assert "holds users" in answer.err
    assert file.read_bytes() == before
    assert not list(place.folder.glob("theirs.db-*"))


@pytest.mark.long
def test_the_folder_that_is_named_keeps_its_file(place):
    """--keep puts the file there, and a second time refuses to touch it."""
    place.run("demo", "--users", "10", "--keep", "mine")
    assert _one(place.folder / "mine" / "demo.db", "SELECT count(*) FROM unified_profiles") == 10
    answer = place.run("demo", "--users", "10", "--keep", "mine", code=2)
    assert "exists already" in answer.err
    assert "--keep" in place.run("demo", "--keep", "x", "--database-url", "sqlite:///y.db", code=2).err


@pytest.mark.long
def test_the_settings_broker_is_left_alone(place):
    """A broker of the environment or of the folder's file may feed others' workers: the demo has its own."""
    (place.folder / "backtrail.toml").write_text('broker_url = "redis://127.0.0.1:1/0"\n')
    place.run("demo", "--users", "10", BACKTRAIL_BROKER_URL="redis://127.0.0.1:1/0")


@pytest.mark.long
def test_what_lies_in_the_users_folder_hides_nothing(place):
    """A project may have a worker.py and a producer of its own."""
    for name in ("worker", "producer", "ledger", "celery"):
        (place.folder / f"{name}.py").write_text("raise SystemExit('this one is not meant')")
    command = [sys.executable, "-P", "-m", "producer.cli", "demo", "--users", "10"]
    done = subprocess.run(
        command, cwd=place.folder, env=place.environment(), capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_it(place, number):
    """However it is ended while the worker works, worker, feeder and broker end too."""
    with place.program("demo", "producer.cli", "demo", "--users", "5000") as program:
        program.says("Migrate everybody")
        until(lambda: workers(place), what="the worker")
        family = running(place)
        assert len(family) > 5
        os.kill(program.pid, number)
        code = program.process.wait(40)
        until(lambda: gone(family) and gone(running(place)), what="the end of everything", timeout=40)
    assert code == {signal.SIGINT: 130, signal.SIGKILL: -9}.get(number, 128 + number)


@pytest.mark.long
def test_a_worker_that_dies_is_told(place):
    """Exit code 1, with what happened and the log of the worker, and nothing is left."""
    with place.program("demo", "producer.cli", "demo", "--users", "5000") as program:
        program.says("Migrate everybody")
        until(lambda: workers(place), what="the worker")
        assert killed(workers(place))
        assert program.process.wait(40) == 1
        assert "the demo failed: the worker ended" in program.text
        log = program.text.partition("the worker's log: ")[2].strip()
        assert Path(log).is_file()
    nothing_runs(place)


def test_the_proof_sees_what_equality_does_not(tmp_path, postgres):
    """Values that are equal and not the same give other digests; the same rows give the same ones."""
    lite = f"sqlite:///{tmp_path / 'x.db'}"
    for url, values in ((lite, ["1", "'1'", "NULL", "''", "x'31'"]), (postgres, ["1.0", "1.00", "NULL"])):
        parsed = sa.make_url(url)
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg") if url is postgres else parsed)
        seen = []
        for value in values:
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS things")
                connection.exec_driver_sql(f"CREATE TABLE things (id integer PRIMARY KEY, v {'' if url is lite else 'numeric'})")
                connection.exec_driver_sql(f"INSERT INTO things VALUES (1, {value}), (2, 5)")
            found = digests(url, {"things": "CAST(t.id AS text)"})
            assert found == digests(url, {"things": "CAST(t.id AS text)"})
            assert set(found) == {"1", "2"}
            seen.append(found)
        engine.dispose()
        assert len({one["1"] for one in seen}) == len(values)
        assert len({one["2"] for one in seen}) == 1
        assert len({together(one, ["1", "2"]) for one in seen}) == len(values)
        assert together(seen[0], ["1"]) != together(seen[0], ["1", "3"])


@pytest.mark.long
def test_json_of_a_failure_is_one_document(place):
    """A story that cannot go on says so in JSON too."""
    with place.program("demo", "producer.cli", "demo", "--users", "5000", "--json") as program:
        until(lambda: [one for one in running(place) if "producer.feed" in command(one)], what="a feeder")
        assert killed(workers(place))
        assert program.process.wait(40) == 1
        text = program.text
    document = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert document["ok"] is False
    assert "worker ended" in document["error"]
    nothing_runs(place)


def _one(file: Path, query: str) -> object:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchone()[0]
    finally:
        connection.close()
