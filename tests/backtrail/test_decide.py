"""The author's code under supervision: what comes out of it, and how its errors are told."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from backtrail import Migration
from backtrail.decide import account, check, decide, entity, place
from backtrail.errors import AuthorMistake, BacktrailError, CheckFailed, MigrateFailed, TooManyRows
from tests.engine import migration

SECRET = "jane.doe@example.org"
NOW = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)


def subject(cls: type[Migration], **rows: Any) -> tuple[Migration, Any]:
    instance = cls()
    return instance, entity(instance, SECRET, NOW, rows, {})


def failing(function: Callable[[Any], Any]) -> BacktrailError:
    with pytest.raises(BacktrailError) as raised:
        decide(*subject(migration(function)))
    return raised.value


def broken_mapping(user: Any) -> None:
    {}[user.key]


def broken_int(user: Any) -> None:
    int(user.key)


def broken_json(user: Any) -> None:
    json.loads(user.key)


def broken_assert(user: Any) -> None:
    assert not user.key, user.key


def raising(user: Any) -> None:
    raise ValueError(f"bad address {user.key}")


def chained(user: Any) -> None:
    try:
        raising(user)
    except ValueError as error:
        raise RuntimeError(user.key) from error


@pytest.mark.parametrize(
    ("function", "error", "line"),
    [
        (broken_mapping, "KeyError", "{}[user.key]"),
        (broken_int, "ValueError", "int(user.key)"),
        (broken_json, "JSONDecodeError", "json.loads(user.key)"),
        (broken_assert, "AssertionError", "assert not user.key, user.key"),
        (raising, "ValueError", 'raise ValueError(f"bad address {user.key}")'),
        (chained, "RuntimeError", "raise RuntimeError(user.key) from error"),
    ],
)
def test_an_error_is_told_by_its_class_and_the_authors_line(function: Any, error: str, line: str) -> None:
    """The entity is quarantined; the reason shows where, never what: the error's own text may quote a person's data."""
    failure = failing(function)
    assert isinstance(failure, MigrateFailed)
    assert failure.remedy == "quarantine"
    assert str(failure).startswith(f"{error} at test_decide.py:")
    assert str(failure).endswith(f"in {function.__name__}: {line}")
    assert SECRET not in str(failure)


@pytest.mark.parametrize(
    "error",
    [NameError("x"), ImportError("x"), NotImplementedError(), RecursionError(), MemoryError(), SystemExit(3), SyntaxError("x")],
)
def test_what_no_data_can_be_blamed_for_halts(error: BaseException) -> None:
    """Mistakes that would hit everybody stop the campaign, and `sys.exit` in an author's code does not stop the worker."""

    def migrate(user: Any) -> None:
        raise error

    failure = failing(migrate)
    assert isinstance(failure, AuthorMistake)
    assert failure.remedy == "halt"


def test_backtrails_own_conditions_pass_unchanged() -> None:
    """What the entity itself says is not wrapped."""

    def migrate(user: Any) -> None:
        raise TooManyRows("two rows")

    assert isinstance(failing(migrate), TooManyRows)


def test_interrupts_are_nobodys_business() -> None:
    """Ctrl-C goes through."""

    def migrate(user: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decide(*subject(migration(migrate)))


@pytest.mark.parametrize(("given", "messages"), [(None, []), ("one text", ["one text"]), (["a", 1], ["a", "1"]), ((), [])])
def test_check_may_answer_in_several_ways(given: Any, messages: list[str]) -> None:
    """Nothing, one text, a list or what it yields."""
    cls = migration(lambda user: None, check=lambda self, user: given)
    assert check(*subject(cls)) == messages

    def yielding(self: Any, user: Any) -> Any:
        yield from given or ()

    assert check(*subject(migration(lambda user: None, check=yielding))) == (list(map(str, given or ())))


def test_errors_of_check_and_account() -> None:
    """A `check` that fails quarantines, also in the middle of what it yields; a recall that nobody has is the author's mistake."""

    def late(self: Any, user: Any) -> Any:
        yield "first"
        raise KeyError(SECRET)

    with pytest.raises(CheckFailed, match=r"KeyError at test_decide\.py") as failed:
        check(*subject(migration(lambda user: None, check=late)))
    assert SECRET not in str(failed.value)
    with pytest.raises(AuthorMistake, match="check recalls 'title'"):
        check(*subject(migration(lambda user: None, check=lambda self, user: [user.recall("title", str)])))
    with pytest.raises(AuthorMistake, match="ZeroDivisionError"):
        account(*subject(migration(lambda user: None, account=lambda self, user: 1 // 0)))
    assert account(*subject(migration(lambda user: None, account=lambda self, user: None))) == {}
    assert account(*subject(migration(lambda user: None, account=lambda self, user: {"in": 2, "mapped": 2}))) == {
        "in": 2,
        "mapped": 2,
    }


def test_an_error_without_a_place_is_told_by_its_class() -> None:
    """An error that was never raised, or only in Backtrail's own code, has no line of the author's."""
    assert place(ValueError(SECRET)) == "ValueError"


def test_nothing_of_the_author_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors go nowhere but into the reason."""
    failing(raising)
    assert capsys.readouterr() == ("", "")
    assert sys.exc_info() == (None, None, None)
