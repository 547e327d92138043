"""Migrations found by name, dotted path or file, and the fingerprint of what was loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from backtrail import Keys, discovery
from backtrail.discovery import find
from backtrail.errors import AuthorMistake, UnknownName, UsageError
from tests.engine import migration
from tests.processes import ROOT

FILE = """
from backtrail import Keys, Migration
{head}

class First(Migration):
    \"\"\"The first of two.

    More about it.
    \"\"\"

    name = "first"
    keys = Keys("users", "id")
    answer = {answer}

    def migrate(self, user):
        {body}
"""
SECOND = """

class Second(First):
    name = "second"
"""


def write(path: Path, *, head: str = "", answer: object = 1, body: str = "pass", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILE.format(head=head, answer=answer, body=body) + more)
    return path


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a test loads is gone afterwards."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


# -- finding ----------------------------------------------------------------------------------------------------------


def test_by_its_announced_name() -> None:
    """The bundled migration answers to its name."""
    found = find("unified-profile")
    assert (found.name, found.source) == ("unified-profile", "unified-profile")
    assert found.summary.startswith("One profile per user")
    assert len(found.fingerprint) == 64


def test_by_package_and_class() -> None:
    """A dotted path names the same class."""
    found = find("backtrail.catalog.unified_profile.migration:UnifiedProfile")
    assert found.cls is find("unified-profile").cls


def test_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file and its class; the class may be left out where there is one; the source is absolute, so that any worker finds it."""
    path = write(tmp_path / "one.py")
    monkeypatch.chdir(tmp_path)
    for text in ("one.py:First", "one.py", str(path), f"{path}:First", "./one.py:"):
        found = find(text)
        assert (found.name, found.source, found.summary) == ("first", f"{path}:First", "The first of two.")
    assert find(found.source).cls is found.cls


def test_a_module_beside_the_program_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:Class` is looked for in the working folder too, last of all."""
    write(tmp_path / "just_here.py")
    monkeypatch.chdir(tmp_path)
    assert find("just_here:First").name == "first"


NOWHERE = [
    ("unified-profil", "did you mean 'unified-profile'?"),
    ("", "no migration named ''"),
    ("missing.py", "there is no file"),
    ("nowhere.at.all:First", "no module named 'nowhere'"),
    ("two.py", "two.py holds 2 migrations (First, Second): say which, as in two.py:ClassName"),
    ("two.py:Secnd", "no migration class in two.py named 'Secnd': did you mean 'Second'?"),
    ("two.py:Migration2", "no migration class in two.py named 'Migration2'"),
    ("empty.py", "holds 0 migrations (none)"),
    ("empty.py:First", "there is none"),
    ("syntax.py", "syntax.py cannot be loaded: "),
    ("syntax.py", "in line 3 of syntax.py"),
    ("beside.py", "in line 3 of syntax.py"),
    ("import.py", "cannot be loaded: ModuleNotFoundError at import.py:3 in <module>: import nowhere_to_be_found"),
    ("zero.py", "cannot be loaded: ZeroDivisionError at zero.py:3"),
    ("lines.py", "cannot be loaded: ValueError at lines.py:3"),
    ("exit.py", "cannot be loaded: SystemExit at exit.py:3"),
    ("latin.py", "cannot be loaded: "),
    ("nameless.py", "must be lower-case letters, digits and hyphens"),
    ("keyless.py", "keys is missing"),
    ("idle.py", "it has no migrate(self, entity)"),
    (":", "no migration named ':'"),
    ("..:First", "cannot be loaded"),
]


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that cannot be meant."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "two.py", more=SECOND)
    heads = {
        "import": "import nowhere_to_be_found",
        "zero": "1 / 0",
        "lines": "raise ValueError('a\\nb\\nc')",
        "beside": "import syntax",
    }
    for name, head in heads.items() | {"exit": "import sys; sys.exit(3)"}.items():
        write(tmp_path / f"{name}.py", head=head)
    (tmp_path / "empty.py").write_text("from backtrail import Migration\n")
    (tmp_path / "syntax.py").write_text("\n\nclass First(:\n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\nname = 'caf\xe9'\n")
    for name, change in {
        "nameless": ('"first"', '"First!"'),
        "keyless": ("keys =", "kees ="),
        "idle": ("def migrate", "def migrat"),
    }.items():
        path = write(tmp_path / f"{name}.py")
        path.write_text(path.read_text().replace(*change))
    return tmp_path


@pytest.mark.parametrize(("text", "said"), NOWHERE)
def test_what_cannot_be_meant_is_answered_in_one_line(nowhere: Path, text: str, said: str) -> None:
    """The error says what is wrong, where, and what is nearest; and nothing half loaded stays."""
    for _ in range(2):
        with pytest.raises(UsageError) as error:
            find(text)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_a_class_body_that_cannot_be_right_says_so_itself(tmp_path: Path) -> None:
    """Backtrail's own errors while a file is loaded are not wrapped."""
    path = write(tmp_path / "one.py", head="Keys('users')")
    with pytest.raises(AuthorMistake, match="names no column"):
        find(str(path))


def test_a_package_that_announces_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `enqueue NAME` finds must be called NAME."""
    point = EntryPoint("other-name", "backtrail.catalog.unified_profile.migration:UnifiedProfile", discovery.GROUP)
    monkeypatch.setattr(discovery, "announced", lambda: {"other-name": point})
    with pytest.raises(UsageError, match="announces 'other-name', and its class is named 'unified-profile'"):
        find("other-name")


# -- the fingerprint --------------------------------------------------------------------------------------------------


def again(path: Path, *packages: Path) -> str:
    """The fingerprint that a program started now would have, with packages installed in other places."""
    return again_as(path.parent, str(path), *packages)


def again_as(folder: Path, source: str, *packages: Path) -> str:
    """The fingerprint that a program started now in that folder would have of that migration."""
    code = "import sys; from backtrail.discovery import find; print(find(sys.argv[1]).fingerprint)"
    done = subprocess.run(
        [sys.executable, "-c", code, source],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *packages)))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


HEAD = "from constants import FIELDS; import tools.deep.er as er; from tools import also"


def project(folder: Path) -> Path:
    """A migration with modules beside it, in every way that they can be imported."""
    (folder / "tools" / "deep").mkdir(parents=True)
    (folder / "constants.py").write_text("FIELDS = {'a': 1}\n")
    (folder / "lazy.py").write_text("X = 1\n")
    (folder / "unused.py").write_text("X = 1\n")
    (folder / "tools" / "__init__.py").write_text("")
    (folder / "tools" / "also.py").write_text("from . import sibling\n")
    (folder / "tools" / "sibling.py").write_text("X = 1\n")
    (folder / "tools" / "deep" / "er.py").write_text("import json, constants\n")
    (folder / "data.csv").write_text("a,b\n")
    return write(folder / "one.py", head=HEAD, body="from lazy import X")


FILES = ["one.py", "constants.py", "lazy.py", "tools/__init__.py", "tools/also.py", "tools/sibling.py", "tools/deep/er.py"]


@pytest.mark.parametrize("name", FILES)
def test_it_changes_with_everything_that_the_migration_imports_from_its_folder(tmp_path: Path, name: str) -> None:
    """Constants, packages, relative and lazy imports: another byte gives another fingerprint, and the old byte the old one."""
    path = project(tmp_path)
    before = again(path)
    changed = tmp_path / name
    text = changed.read_text()
    changed.write_text(text + "# changed\n")
    assert again(path) != before
    changed.write_text(text)
    assert again(path) == before


def test_it_stays_with_everything_else(tmp_path: Path) -> None:
    """Files that are not imported, other folders, bytecode, an environment below the folder: none of it counts."""
    path = project(tmp_path / "here")
    before = again(path)
    (path.parent / "unused.py").write_text("X = 2\n")
    (path.parent / "data.csv").write_text("c\n")
    (path.parent / "__pycache__").mkdir(exist_ok=True)
    (path.parent.parent / "constants.py").write_text("FIELDS = {}\n")
    assert again(path) == before
    moved = path.parent.rename(tmp_path / "there")
    assert again(moved / "one.py") == before, "nor does the folder's own place"


def test_an_environment_below_the_folder_is_no_part_of_it(tmp_path: Path) -> None:
    """Where the environment lies in the project, its packages are not the author's code."""
    packages = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "helpful.py").write_text("X = 1\n")
    sys.path.append(str(packages))
    path = write(tmp_path / "one.py", head="import helpful")
    before = find(str(path)).fingerprint
    (packages / "helpful.py").write_text("X = 2\n")
    assert find(str(path), fresh=True).fingerprint == before


def test_a_repository_with_backtrail_in_it_is_not_fingerprinted_whole() -> None:
    """A migration beside Backtrail's own packages does not consist of them; a bundled one of its own folder."""
    names = ["backtrail", "ledger.event", "worker", "producer.cli", "tests.engine", "json"]
    assert [path.name for path, _ in discovery._beside(ROOT, "backtrail_file_x", iter(names))] == ["engine.py"]
    find("unified-profile")
    (code,) = [code for name, code in discovery._codes.items() if "unified_profile" in name]
    assert {path.name for path in code.files} > {"migration.py", "merge.py"}
    assert {path.parent.name for path in code.files} == {"unified_profile"}


PACKAGE = ["shop/__init__.py", "shop/prices.py", "shop/moves/__init__.py", "shop/moves/one.py", "shop/models/user.py"]


@pytest.mark.parametrize("name", PACKAGE)
def test_of_a_module_in_a_package_it_is_of_the_package(tmp_path: Path, name: str) -> None:
    """What is imported from elsewhere in its own package counts, and the packages that it lies in; what is not imported does not."""
    for one in (*PACKAGE, "shop/unused.py"):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("X = 1\n")
    write(tmp_path / "shop/moves/one.py", head="from shop.prices import X; from ..models import user")
    before = again_as(tmp_path, "shop.moves.one:First")
    (tmp_path / "shop/unused.py").write_text("X = 2\n")
    assert again_as(tmp_path, "shop.moves.one:First") == before
    changed = tmp_path / name
    changed.write_text(changed.read_text() + "# changed\n")
    assert again_as(tmp_path, "shop.moves.one:First") != before


def test_it_knows_the_versions_of_other_peoples_packages(tmp_path: Path) -> None:
    """Another version of an installed package that the migration imports is other code; one that it does not import is not."""
    path = write(tmp_path / "here" / "one.py", head="import helpful_thing")
    packages = tmp_path / "packages"
    for name in ("helpful_thing", "another_thing"):
        (packages / f"{name}-1.0.dist-info").mkdir(parents=True)
        (packages / f"{name}.py").write_text("X = 1\n")
        (packages / f"{name}-1.0.dist-info" / "RECORD").write_text(f"{name}.py,,\n")
        version(packages, name, "1.0")
    before = again(path, packages)
    assert again(path, packages) == before
    version(packages, "another_thing", "1.1")
    assert again(path, packages) == before
    version(packages, "helpful_thing", "1.1")
    assert again(path, packages) != before


def version(packages: Path, name: str, number: str) -> None:
    """Installs the package in that version."""
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
    (packages / f"{name}-1.0.dist-info" / "METADATA").write_text(text)


def test_it_is_of_the_code_that_runs_and_not_of_the_file_that_lies_there_now(tmp_path: Path) -> None:
    """A worker that loaded the old code has the old fingerprint, whatever was deployed since; a fresh look has both new."""
    (tmp_path / "beside.py").write_text("X = 1\n")
    path = write(tmp_path / "one.py", head="from beside import X", answer="X")
    old = find(str(path))
    (tmp_path / "beside.py").write_text("X = 2\n")
    same = find(str(path))
    assert (same.cls.answer, same.fingerprint) == (1, old.fingerprint)  # type: ignore[attr-defined]
    new = find(str(path), fresh=True)
    assert new.cls.answer == 2  # type: ignore[attr-defined]
    assert new.fingerprint != old.fingerprint
    assert find(str(path)).fingerprint == new.fingerprint
    write(path, head="from beside import X", answer="X+1")
    assert find(str(path)).cls.answer == 2  # type: ignore[attr-defined]
    assert find(str(path), fresh=True).cls.answer == 3  # type: ignore[attr-defined]


def test_a_package_that_was_deployed_anew_is_told_from_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module keeps the fingerprint that it had when it was loaded."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "deployed_here.py")
    before = find("deployed_here:First").fingerprint
    path.write_text(path.read_text() + "# new release\n")
    assert find("deployed_here:First").fingerprint == before
    assert again(path) != before


def test_a_file_that_cannot_be_loaded_afresh_leaves_no_ruin(tmp_path: Path) -> None:
    """After a failed look the mended file is found."""
    path = write(tmp_path / "one.py")
    find(str(path))
    path.write_text("1 / 0\n")
    with pytest.raises(UsageError):
        find(str(path), fresh=True)
    write(path, answer=5)
    assert find(str(path)).cls.answer == 5  # type: ignore[attr-defined]


def test_looking_leaves_nothing_in_the_authors_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bytecode is written beside the author's files, whatever the environment says of bytecode."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = project(tmp_path)
    find(str(path))
    assert not list(tmp_path.rglob("__pycache__"))


# -- names of the author's own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["migrations"], ["status"], ["notes", "first.py"]])
def test_files_that_are_called_as_our_packages_break_nothing(sqlite: str, tmp_path: Path, command: list[str]) -> None:
    """worker.py, ledger.py, producer.py and json.py of an author's own beside the migration are never loaded in place of others."""
    folder = tmp_path / "authors"
    write(folder / "first.py")
    for name in ("worker", "ledger", "producer", "backtrail", "json", "celery"):
        (folder / f"{name}.py").write_text("raise SystemExit('the author's own file was loaded')\n")
    database = folder / "app.db"
    code = "import sqlite3, sys; sqlite3.connect(sys.argv.pop()).execute('CREATE TABLE users (id integer)'); from producer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *command, "--database-url", f"sqlite:///{database}", str(database)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "author" not in done.stderr


# -- parameters -------------------------------------------------------------------------------------------------------


class Params(BaseModel):
    """Two of them."""

    rate: int
    name: str = "x"


def found_with(**attributes: Any) -> discovery.Found:
    cls = migration(lambda user: None, keys=Keys("users", "id"), **attributes)
    return discovery.Found(cls, "trial", "")


def test_parameters_are_filled_and_typed() -> None:
    """Texts from the command line become what the model says."""
    params = found_with(__annotations__={"params": Params}).instance({"rate": "7"}).params
    assert params == Params(rate=7, name="x")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rat": "7"}, "no parameter of trial named 'rat': did you mean 'rate'?"),
        ({}, "--param rate=… of trial: Field required"),
        ({"rate": "4711-secret"}, "--param rate=… of trial: Input should be a valid integer"),
    ],
)
def test_wrong_parameters_are_named(given: dict[str, str], said: str) -> None:
    """The error names the parameter and does not repeat its value."""
    with pytest.raises(UsageError) as error:
        found_with(__annotations__={"params": Params}).instance(given)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_a_migration_without_parameters_takes_none() -> None:
    """A parameter that nobody asked for is refused."""
    assert found_with().instance({}).params is None
    with pytest.raises(UsageError, match="takes no parameters"):
        found_with().instance({"rate": "1"})
    assert issubclass(UnknownName, UsageError)
