"""What commands say where standard output or standard error is closed, full, or of few characters: real streams of real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.engine import Engine
from tests.processes import ROOT

PROGRAM = f"{sys.executable} -m producer.cli"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")

LOUD = """
from backtrail import Entity, Keys, Migration, Rows

print("LOUD")

class Loud(Migration):
    \"\"\"Prints whenever it is run.\"\"\"
    name = "loud"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"),)
    writes = ("users",)

    def migrate(self, user: Entity) -> None:
        print("LOUD")
        user.conflict("name", values=["€"], chosen=None)

    def expand(self, schema) -> None:
        print("LOUD")
"""


class Answer(NamedTuple):
    """What a line of the shell did."""

    code: int
    out: bytes
    err: str


class Shell(NamedTuple):
    """A folder and a database in which lines of bash run, with `backtrail` for the program."""

    folder: Path
    url: str

    def run(self, line: str, **variables: str) -> Answer:
        """What it did; a pipe's exit code is the first of its parts' that is not 0."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BACKTRAIL_", "PYTHON"))}
        own |= {"PYTHONPATH": str(ROOT), "BACKTRAIL_DATABASE_URL": self.url, "BACKTRAIL_RUNTIME_DIR": str(self.folder / "r")}
        script = f'set -o pipefail; backtrail() {{ {PROGRAM} "$@"; }}; {line}'
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=own | variables, capture_output=True, check=False, timeout=60
        )
        return Answer(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


@pytest.fixture
def shell(tmp_path: Path, sqlite: str) -> Shell:
    """With two users, and a migration that prints whenever it is run."""
    engine = Engine(sqlite)
    engine.execute("CREATE TABLE users (id integer PRIMARY KEY, name text)")
    engine.execute("INSERT INTO users VALUES (1, '€'), (2, 'b')")
    engine.close()
    (tmp_path / "loud.py").write_text(LOUD)
    return Shell(tmp_path, sqlite)


SAYING = ["status", "status --json", "grants loud.py", "--help"]


@pytest.mark.parametrize("command", SAYING)
def test_whoever_reads_has_seen_enough(shell: Shell, command: str) -> None:
    """The exit code is one that says neither that all is well nor that something is wrong, and nothing is said."""
    answer = shell.run(f"backtrail {command} | true")
    assert (answer.code, answer.err.replace("LOUD\n", "")) == (141, "")


@FULL
@pytest.mark.parametrize("command", SAYING)
def test_where_there_is_no_room(shell: Shell, command: str) -> None:
    """One line says so, and the exit code is not the one of commands that have changed nothing."""
    answer = shell.run(f"backtrail {command} > /dev/full")
    said = answer.err.replace("LOUD\n", "")
    assert (answer.code, said) == (1, "backtrail: standard output cannot be written: No space left on device\n")


@FULL
@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_standard_error_is_not_needed(shell: Shell, where: str) -> None:
    """What cannot be said there is lost, and nothing else: neither results nor exit codes."""
    assert shell.run(f"backtrail status {where}") == shell.run("backtrail status")
    assert shell.run(f"backtrail status c9 {where}")[:2] == (2, b"")


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["status", "status --json"])
def test_whoever_closed_a_stream_wants_nothing_from_it(shell: Shell, command: str, closed: str) -> None:
    """No file and no connection comes into its place, where what is said would be written into it."""
    file = shell.folder / "data.db"
    before = file.read_bytes()
    assert shell.run(f"backtrail {command} {closed}") == (0, b"", "")
    assert file.read_bytes() == before


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "\\u20ac"), ("latin-1", "\\u20ac"), ("cp1251", "€")])
def test_few_characters(shell: Shell, encoding: str, shown: str) -> None:
    """What an encoding has no character for is escaped; a JSON document is the same in all of them."""
    command = "backtrail enqueue loud.py --dry-run --only 1"
    said = shell.run(command, PYTHONIOENCODING=encoding)
    assert f"values: ['{shown}']" in said.out.decode(encoding)
    assert said.code == 0
    document = json.loads(shell.run(f"{command} --json", PYTHONIOENCODING=encoding).out.decode(encoding))
    assert [note["values"] for note in document["notes"]] == [["€"]]


@pytest.mark.parametrize(
    "command",
    [
        "verify loud.py",
        "expand loud.py --dry-run",
        "enqueue loud.py --dry-run",
        "rehearse loud.py",
        "history loud.py 1",
        "notes loud.py",
    ],
)
def test_what_an_authors_code_prints_is_no_result(shell: Shell, command: str) -> None:
    """Whenever it is run, while it is loaded too: standard output is the command's alone, with `--json` and without."""
    for each in (command, f"{command} --json"):
        answer = shell.run(f"backtrail {each}")
        assert "LOUD" in answer.err and b"LOUD" not in answer.out, each
        assert "Traceback" not in answer.err
        if each.endswith("--json") and answer.code == 0:
            json.loads(answer.out)
