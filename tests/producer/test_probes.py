"""What holds campaigns back: limits, what a program of the user's own says, and how seldom is looked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backtrail.errors import DatabaseFault, Retry, UsageError
from backtrail.settings import Settings, load
from backtrail.stores.health import Health
from producer.cli import backtrail
from producer.probes import LINE, Command, Probes, demand_runnable, trouble
from tests.servers import until

WELL = Health(replication_lag_s=1.0, connections_share=0.5, lock_waits=1)


class FakeStore:
    """A database that is as it is told to be."""

    def __init__(self, health: Health | Exception = WELL) -> None:
        self.state, self.looks = health, 0

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        assert not write
        yield

    def health(self, tx: None) -> Health:
        self.looks += 1
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def probes(store: FakeStore, clock: Clock | None = None, **settings: Any) -> Probes:
    return Probes(load(**settings), store, clock or Clock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (WELL, None),
        (Health(), None),
        (Health(10.0, 0.9, 10), None),
        (Health(replication_lag_s=12.34), "replication lag of 12.3 s is over 10 s (max_replication_lag_s)"),
        (Health(connections_share=0.97), "97% of the database's connections are in use, over 90% (max_connections_share)"),
        (Health(lock_waits=11), "11 sessions wait for locks of Backtrail's, over 10 (max_lock_waits)"),
    ],
)
def test_what_is_over_its_limit(health: Health, reason: str | None) -> None:
    """Each figure has a limit of its own that may be reached and not passed; what is not known holds nothing."""
    assert trouble(health, load()) == reason


def test_a_limit_can_be_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`off` takes a limit away, as a variable too; other words are refused with the setting's name."""
    monkeypatch.setenv("BACKTRAIL_MAX_REPLICATION_LAG_S", "OFF")
    settings = load(max_connections_share="off", max_lock_waits="off")
    assert trouble(Health(1e9, 1.0, 10**6), settings) is None
    monkeypatch.setenv("BACKTRAIL_MAX_REPLICATION_LAG_S", "never")
    with pytest.raises(UsageError, match="BACKTRAIL_MAX_REPLICATION_LAG_S"):
        load()


def test_the_database_is_looked_at_every_few_seconds() -> None:
    """Between two looks the last one stands, in trouble and out of it."""
    store, clock = FakeStore(Health(replication_lag_s=60.0)), Clock()
    some = probes(store, clock, probe_every_s=5)
    held = [some.hold(), some.hold()]
    assert all(held) and store.looks == 1
    store.state, clock.now = WELL, 4.9
    assert some.hold() == held[0]
    clock.now = 5.1
    assert some.hold() is None and store.looks == 2


def test_what_cannot_be_seen_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A user who may not see, and a server that lacks it, hold nothing; the log says it once."""
    store, clock = FakeStore(Health(hidden="GRANT something")), Clock()
    some = probes(store, clock)
    with caplog.at_level(logging.WARNING):
        for state in (store.state, DatabaseFault("no such view"), store.state, DatabaseFault("no such view")):
            store.state = state
            clock.now += 10
            assert some.hold() is None
    assert store.looks == 4
    assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["GRANT something", "no such view"]


def test_a_database_that_does_not_answer_is_the_callers_business() -> None:
    """A lost connection is tried again by whoever asked."""
    with pytest.raises(Retry):
        probes(FakeStore(Retry("gone"))).hold()


# -- a program of the user's own --------------------------------------------------------------------------------------


def says(command: Command, answer: str | None, timeout: float = 10) -> None:
    until(lambda: command.says() == answer, what=f"{answer!r} instead of {command.says()!r}", timeout=timeout)


def python(code: str) -> str:
    return f"{sys.executable} -S -E -c '{code}'"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("pass", None),
        ('print("all is well")', None),
        ('print("\\tthe pool\\x1b[0m is full  \\nmore"); raise SystemExit(1)', "probe command: the pool [0m is full"),
        ("raise SystemExit(3)", "the probe command says no (exit code 3)"),
        ('print("x" * 10**6); raise SystemExit(1)', f"probe command: {'x' * LINE}"),
        ("import os; os.kill(os.getpid(), 9)", "the probe command says no (exit code -9)"),
    ],
)
def test_what_the_program_says(code: str, answer: str | None) -> None:
    """Exit code 0 is go; otherwise the first line, without control characters and of bounded length, is the reason."""
    command = Command(python(code))
    assert command.says() == "the probe command has not answered yet"
    command.ask()
    says(command, answer)


def test_a_program_that_takes_too_long(tmp_path: Path) -> None:
    """It is ended with all that it has started, and holds; nobody waits for it meanwhile, and it is not started twice."""
    file = tmp_path / "pids"
    command = Command(f"sh -c 'echo $$ >> {file}; sleep 600 & echo $! >> {file}; wait'", limit_s=1.5)
    for _ in range(5):
        command.ask()
    says(command, "the probe command took longer than 1.5 s")
    pids = file.read_text().split()
    assert len(pids) == 2
    until(lambda: not any(running(int(pid)) for pid in pids), what="the end of both")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    """One that is missing is refused before the start, and holds if it goes away later; its arguments are in neither answer."""
    missing = load(probe_command=f"{tmp_path}/missing --token secret")
    with pytest.raises(UsageError, match="probe_command: there is no program") as refused:
        demand_runnable(missing)
    assert "secret" not in str(refused.value)
    command = Command(missing.probe_command or "")
    command.ask()
    says(command, "the probe command cannot be run: No such file or directory")
    demand_runnable(load(probe_command=f"{sys.executable} -V"))
    demand_runnable(load())


@pytest.mark.parametrize("command", [["worker"], ["enqueue", "unified-profile"]])
def test_commands_refuse_a_program_that_is_not_there(sqlite: str, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    """A worker does not start, and no campaign is opened, with a probe that nobody could ask."""
    monkeypatch.setenv("BACKTRAIL_PROBE_COMMAND", "/nowhere/at-all")
    monkeypatch.setenv("BACKTRAIL_DATABASE_URL", sqlite)
    answer = CliRunner().invoke(backtrail, command)
    assert isinstance(answer.exception, UsageError) and "'/nowhere/at-all'" in str(answer.exception)
    assert not Path(sqlite.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize("line", ['"', "  ", "''"])
def test_a_line_that_is_no_command(line: str) -> None:
    """A command line that cannot be read is refused with the setting's name."""
    with pytest.raises(UsageError, match="probe_command"):
        load(probe_command=line)


def test_database_and_program_must_both_agree(tmp_path: Path) -> None:
    """The program is asked at every look; nothing is sent while either says no."""
    gate, flag, store, clock = tmp_path / "gate", tmp_path / "flag", FakeStore(), Clock()
    some = probes(store, clock, probe_command=f"sh -c 'until test -e {gate}; do sleep 0.01; done; test -e {flag}'")
    assert some.hold() == "the probe command has not answered yet"
    gate.touch()
    until(lambda: some.hold() == "the probe command says no (exit code 1)", what="a no")
    flag.touch()
    clock.now += 10
    until(lambda: some.hold() is None, what="a yes")
    store.state = Health(lock_waits=99)
    clock.now += 10
    assert "99 sessions" in str(some.hold())


def test_settings_show_no_probe_secrets() -> None:
    """The settings are frozen values, and what is shown of them does not hold a password of the command's address."""
    shown = repr(Settings(probe_command="check redis://:s3cret@host/0"))
    assert "s3cret" not in shown and "check" in shown
