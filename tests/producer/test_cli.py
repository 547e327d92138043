"""Which errors are a line and which are a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import click
import pytest

from producer.cli import backtrail, main

LONG = "a" * 300
"""A name that no file can have: that holds for root too, whom no permission keeps out."""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BACKTRAIL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BACKTRAIL_DATABASE_URL", f"sqlite:///{tmp_path / 'data.db'}")


def ended(*arguments: str) -> int | str | None:
    """The exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    """What `status` ends with."""
    errors: list[Exception] = []

    def fail() -> None:
        raise errors[0]

    monkeypatch.setitem(backtrail.commands, "status", click.Command("status", callback=fail))
    yield errors


@pytest.mark.parametrize("name", ["locked/data.db", b"locked/data.db", Path("locked/data.db")])
def test_a_path_that_cannot_be_used(failing: list[Exception], capsys: pytest.CaptureFixture[str], name: object) -> None:
    """Whoever opens it, the path and the reason are told in one line."""
    failing.append(PermissionError(13, "Permission denied", name))
    assert ended("status") == 2
    assert capsys.readouterr() == ("", "backtrail: locked/data.db: Permission denied\n")


@pytest.mark.parametrize(
    "error",
    [
        OSError("without a path"),
        OSError(9, "Bad file descriptor"),
        OSError(9, "Bad file descriptor", 7),
        HTTPError("https://host/?token=s3cret", 404, "Not Found", Message(), None),
        TypeError("a mistake of ours"),
        ValueError("another"),
    ],
)
def test_a_bug_keeps_its_traceback(failing: list[Exception], capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    """What nobody can have meant is not told as if somebody had."""
    failing.append(error)
    with pytest.raises(type(error)):
        main(["status"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--database-url", f"sqlite:///{LONG}"],
        ["keys", "new", "--to", LONG],
        ["verify", f"{LONG}.py"],
        ["verify", "--checkpoint", LONG, "--verifier", "x"],
        ["sample", "unified-profile", "--database-url", f"sqlite:///nowhere/{LONG}"],
        ["sample", "unified-profile", "--database-url", "sqlite:///nowhere/data.db"],
        ["demo", "--keep", LONG],
        ["checkpoint", "--new-key", LONG],
        ["enqueue", "unified-profile", "--only-from", LONG],
        ["rejected", "--limit", "99999999999999999999999"],
        ["enqueue", "unified-profile", "--limit", "99999999999999999999999"],
        ["status", "--database-url", "sqlite:///circle"],
        ["verify", "circle/m.py"],
    ],
    ids=lambda given: " ".join(given)[:60],
)
def test_paths_and_numbers_that_are_too_much(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line, exit code 2, and no file is made."""
    if arguments[0] == "enqueue" or arguments[0] == "rejected":
        (tmp_path / "data.db").touch()
    (tmp_path / "circle").symlink_to("circle")
    before = sorted(tmp_path.iterdir())
    assert ended(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("backtrail: ") and err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["enqueue", "m.py", "--reason", "\udcff"],
        ["erase", "\udcff"],
        ["history", "m.py", "\udcff"],
        ["checkpoint", "--new-key", "key.pem", "--name", "\udcff"],
        ["status", "--database-url", "postgresql://u:s3cret\udcff@host/x"],
    ],
)
def test_arguments_that_are_no_text(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """They are refused before anything else, and not shown."""
    assert ended(*arguments) == 2
    assert capsys.readouterr() == ("", f"backtrail: argument {len(arguments)} is no text in UTF-8: write it as such\n")
    assert list(tmp_path.iterdir()) == []
