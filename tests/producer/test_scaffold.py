"""`backtrail new`: what it writes can be run as it is, and it writes over nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backtrail.discovery import find
from backtrail.errors import UsageError
from backtrail.migration import validate
from ledger.expansion import expansion
from ledger.verify import Verifier
from producer import scaffold
from producer.campaign import open_campaign
from producer.order import Order
from tests.engine import Engine

ROOT = Path(__file__).resolve().parents[2]


def test_the_two_files_are_a_migration_and_its_test(tmp_path):
    """The migration is found in its file, and has everything that an author should see once."""
    written = scaffold.create("split-names2", tmp_path / "new")
    assert [path.name for path in written] == ["split_names2.py", "test_split_names2.py"]
    found = find(f"{written[0]}:SplitNames2")
    validate(found.cls)
    assert found.cls.name == "split-names2"
    assert found.summary
    assert {"expand", "migrate", "check", "invariants"} <= set(vars(found.cls))


@pytest.mark.parametrize("documents", [False, True])
def test_the_generated_test_passes(tmp_path, documents):
    """In a folder of its own, as an author would run it."""
    scaffold.create("a-new-one", tmp_path, documents=documents)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), "test_a_new_one.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("options", [[], ["--config", str(ROOT / "pyproject.toml")]])
def test_the_files_pass_ruff(tmp_path, options, documents):
    """By ruff's own rules, and the migration by this project's as well."""
    written = scaffold.create("split-names", tmp_path, documents=documents)
    code = [path.name for path in (written[:1] if options else written)]
    for command in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *command, "--no-cache", *(options or ["--isolated"]), *code]
        result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_it_makes_the_whole_trip_on_a_database(database, tmp_path):
    """As it was written: expanded, migrated, verified, rolled back to the same bytes, migrated again, and taken back."""
    path = scaffold.create("split-names", tmp_path)[0]
    found, engine = find(str(path)), Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, full_name text);"
        "INSERT INTO users VALUES (1, 'Ada Lovelace'), (2, 'Plato'), (3, 'Johann Sebastian Bach'), (4, NULL)"
    )
    before = engine.dump("users")
    steps = expansion(engine.ledger, found.cls()).expand(by="me", reason=None)
    assert [str(step) for step in steps] == ["create_table user_names"]

    def run(kind: str, **order: object) -> dict[str, Any]:
        return engine.run(open_campaign(engine.ledger, found, Order(kind, **order)))

    migrated = run("migrate")
    assert [migrated[name] for name in ("state", "migrated", "failed", "conflicts")] == ["completed", 4, 0, 1]
    after = engine.dump("users", "user_names")
    names = [(1, "Ada", "Lovelace"), (2, "Plato", None), (3, "Johann", "Sebastian Bach")]
    assert engine.query("SELECT user_id, first_name, last_name FROM user_names ORDER BY 1") == names
    assert Verifier(engine.ledger, found, None).run(lambda _: None)["ok"]

    assert run("rollback", only=["3"])["rolled_back"] == 1
    assert run("rerun", only=["3"])["migrated"] == 1
    assert engine.dump("users", "user_names") == after
    assert run("rollback", options={"from": "streams"})["rolled_back"] == 4
    assert expansion(engine.ledger, found.cls()).retract(by="me", reason=None) == steps
    assert engine.dump("users") == before
    engine.close()


def test_it_makes_the_whole_trip_on_mongodb(mongo, tmp_path):
    """The one of documents, in the same way."""
    path = scaffold.create("split-names", tmp_path, documents=True)[0]
    found = find(str(path))
    with closing(Engine(mongo)) as engine:
        with engine.database() as database:
            users = ["Ada Lovelace", "Plato", "Johann Sebastian Bach", None]
            database["users"].insert_many([{"_id": at, "full_name": name} for at, name in enumerate(users, 1)])
        before = engine.hashes()
        steps = expansion(engine.ledger, found.cls()).expand(by="me", reason=None)
        migrated = engine.run(open_campaign(engine.ledger, found, Order("migrate")))
        assert [migrated[name] for name in ("state", "migrated", "failed", "conflicts")] == ["completed", 4, 0, 1]
        assert Verifier(engine.ledger, found, None).run(lambda _: None)["ok"]
        back = engine.run(open_campaign(engine.ledger, found, Order("rollback", options={"from": "streams"})))
        assert back["rolled_back"] == 4
        assert expansion(engine.ledger, found.cls()).retract(by="me", reason=None) == steps
        assert engine.hashes() == before


@pytest.mark.parametrize("there", ["split_names.py", "test_split_names.py"])
def test_a_file_that_exists_is_not_overwritten(tmp_path, there):
    """Neither of the two, and then the other one is not written either."""
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=f"{there} exists already"):
        scaffold.create("split-names", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "mine")]


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("SplitNames", "as in split-names"),
        ("split_names", "as in split-names"),
        ("split names!", "as in split-names"),
        ("-split--names-", "as in split-names"),
        ("2-names", "as in migrate-2-names"),
        ("../evil", "as in evil"),
        ("", "as in split-names"),
        ("ß", "as in split-names"),
        ("names\n", "as in names"),
        ("class", "as in class-of-users"),
        ("json", "as in json-of-users"),
        ("celery", "as in celery-of-users"),
        ("rows", "as in rows-of-users"),
    ],
)
def test_a_bad_name_is_refused_with_one_that_would_do(tmp_path, name, mend):
    with pytest.raises(UsageError) as caught:
        scaffold.create(name, tmp_path)
    assert str(caught.value).endswith(mend)
    assert "\n" not in str(caught.value)
    scaffold.create(mend.removeprefix("as in "), tmp_path)


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        scaffold.create("split-names", tmp_path / "file")
