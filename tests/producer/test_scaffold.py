"""`backtrail new`: what it writes can be run as it is, and it writes over nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from backtrail import schema
from backtrail.discovery import find
from backtrail.errors import UsageError
from backtrail.migration import validate
from producer import scaffold

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


def test_the_generated_test_passes(tmp_path):
    """In a folder of its own, as an author would run it."""
    scaffold.create("a-new-one", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path), "test_a_new_one.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.parametrize("options", [[], ["--config", str(ROOT / "pyproject.toml")]])
def test_the_files_pass_ruff(tmp_path, options):
    """By ruff's own rules, and the migration by this project's as well."""
    written = scaffold.create("split-names", tmp_path)
    code = [path.name for path in (written[:1] if options else written)]
    for command in (["check"], ["format", "--check"]):
        line = [sys.executable, "-m", "ruff", *command, "--no-cache", *(options or ["--isolated"]), *code]
        result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_its_expand_and_invariant_run_on_a_database(database):
    """The table comes and goes, and the invariant is a query that the database takes."""
    url = sa.make_url(database)
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url)
    migration = _example()
    with engine.begin() as connection:
        steps = schema.run(connection, migration.expand)
        assert [str(step) for step in steps] == ["create_table user_names"]
        json.dumps([step.dump() for step in steps])
        for invariant in migration.invariants:
            assert connection.execute(sa.text(invariant.query)).all() == []
        schema.undo(connection, steps)
        assert not sa.inspect(connection).has_table("user_names")
    engine.dispose()


def _example():
    values: dict[str, object] = {"__name__": "example"}
    exec(compile(scaffold.MIGRATION.substitute(name="split-names", cls="SplitNames"), "example", "exec"), values)
    return values["SplitNames"]()


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
