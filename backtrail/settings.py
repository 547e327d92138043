"""Options, environment and `backtrail.toml`, read into one frozen object.

Who wins, from first to last: a command's options, `BACKTRAIL_*` variables, `backtrail.toml` in the current folder, the default.
They are a dataclass, for pydantic takes longer to be imported than the database to say a campaign's status.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from backtrail import urls
from backtrail.errors import UnknownName, UsageError

FILE = "backtrail.toml"
PREFIX = "BACKTRAIL_"


class Secret:
    """A text that is not shown by accident: no dataclass, whose fields `asdict` would tell."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


def _setting(default: Any, read: Callable[[Any], Any]) -> Any:
    """A field whose given values go through `read`, which raises ValueError with what is wrong, and never with the value: it may hold a password."""
    return field(default=default, metadata={"read": read})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")  # noqa: TRY004  what is wrong with a setting is told by ValueError alone
    if "\0" in value:
        raise ValueError("has a character of number 0 in it, which no path, name or address can have")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is no text in UTF-8") from None
    return value.strip()


def _url(read: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: read(_text(value))


def _whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = value if type(value) is int else None
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            number = int(value)
        if number is None or number < least or (most is not None and number > most):
            raise ValueError(
                f"is no whole number of {least} or more" if most is None else f"is no whole number from {least} to {most}"
            )
        return number

    return read


def _number(most: float | None = None) -> Callable[[Any], float]:
    """Reads what is more than 0, finite, and not more than `most`."""

    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (0 < number < math.inf) or (most is not None and number > most):
            raise ValueError("is no number above 0" if most is None else f"is no number above 0 and up to {most}")
        return number

    return read


def _or_off(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads a limit; `off` is None, which is no limit."""
    return lambda value: None if isinstance(value, str) and value.strip().lower() == "off" else read(value)


def _path(value: Any) -> Path:
    try:
        return Path(value if isinstance(value, Path) else _text(value)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("begins with the home of a user who is not known") from None


def _secret(value: Any) -> Secret:
    return Secret(_text(value))


def _queue(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name := _text(value)):
        raise ValueError("is not 1 to 64 letters, digits, dots, hyphens and underscores")
    return name


def _model(value: Any) -> str:
    if not 1 <= len(name := _text(value)) <= 200:
        raise ValueError("is not 1 to 200 characters")
    return name


def _flower_password(value: Any) -> Secret:
    text = _text(value)
    # Flower would take a comma for the end of the password, and fails at what is not ASCII.
    if not text or not text.isascii() or not text.isprintable() or "," in text:
        raise ValueError("can be any printable ASCII characters but a comma")
    return Secret(text)


def _command(value: Any) -> str:
    line = _text(value)
    try:
        words = shlex.split(line)
    except ValueError:
        raise ValueError("has a quotation mark that is not closed") from None
    if not words or not words[0]:
        raise ValueError("is empty: give a program and its arguments")
    return line


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """What this command runs with."""

    database_url: str | None = _setting(None, _url(urls.database_url))
    """Where the data and the ledger live."""
    broker_url: str | None = _setting(None, _url(urls.broker_url))
    """The server of the queue; without one, commands on one machine share an embedded broker."""
    queue: str = _setting("bt", _queue)
    """The queue's name on the broker: one for each database, where several share a broker."""
    concurrency: int | None = _setting(None, _whole(1))
    """Processes of one worker; None means as many as there are cores."""
    batch_size: int = _setting(500, _whole(1, 5000))
    """Jobs per message."""
    lock_timeout_ms: int = _setting(300, _whole(1))
    """How long a batch waits for a lock that the application holds before it is tried again later.

    PostgreSQL looks for deadlocks after a second: whoever waits for less gives way before the application would be made to.
    """
    runtime_dir: Path | None = _setting(None, _path)
    """The private folder of the embedded broker."""
    master_key_file: Path | None = _setting(None, _path)
    """The file with the master keys of an encrypted ledger, one a line."""
    signing_key_file: Path | None = _setting(None, _path)
    """The private key that signs checkpoints; nobody else may read the file."""
    titles_url: str | None = _setting(None, _url(urls.titles_url))
    """An OpenAI-compatible endpoint that `coaching-redesign` asks for titles; without one, titles are made here."""
    titles_key: Secret | None = _setting(None, _secret)
    """The endpoint's secret, sent as a bearer token."""
    titles_model: str = _setting("gpt-4o-mini", _model)
    """The model that the endpoint is asked for."""
    titles_timeout_s: float = _setting(20.0, _number(600))
    """How long one answer may take."""

    flower_password: Secret | None = _setting(None, _flower_password)
    """What Flower asks for beside the user `flower`; without one, it is made anew at each start."""
    max_replication_lag_s: float | None = _setting(10.0, _or_off(_number()))
    """How far replicas may be behind before campaigns wait for them; None for however far."""
    max_connections_share: float | None = _setting(0.9, _or_off(_number(1)))
    """Which share of the server's connections may be in use before campaigns wait; None for any."""
    max_lock_waits: int | None = _setting(10, _or_off(_whole(0)))
    """How many sessions of others may wait for locks of Backtrail's before campaigns wait; None for any number."""
    probe_command: str | None = _setting(None, _command)
    """A program that is asked before more is sent: exit code 0 for go; otherwise its first line says why not."""
    probe_every_s: float = _setting(5.0, _number(3600))
    """How often the probes look."""

    def database(self) -> str:
        """The database's URL; UsageError if there is none."""
        if self.database_url is None:
            raise UsageError(
                "no database_url: set BACKTRAIL_DATABASE_URL, or database_url in backtrail.toml, or pass --database-url"
            )
        return self.database_url

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in NAMES}
        shown = (f"{name}={urls.redact(value) if isinstance(value, str) else value!r}" for name, value in values.items())
        return f"Settings({', '.join(shown)})"


NAMES = tuple(one.name for one in fields(Settings))
"""Of all settings."""


def load(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` are the options that were given (None: not given). UsageError if any is wrong."""
    options = {name: value for name, value in overrides.items() if value is not None}
    given = {
        name: (value, source)
        for values, source in ((_file(), lambda _: FILE), (_variables(), _variable), (options, _option))
        for name, value in values.items()
    }
    unknown = [name for name in given if name not in NAMES]
    if unknown:
        raise UnknownName("setting", unknown[0], NAMES)
    reads = {one.name: one.metadata["read"] for one in fields(Settings)}
    return Settings(**{name: _read(reads[name], name, value, source(name)) for name, (value, source) in given.items()})


def _read(read: Callable[[Any], Any], name: str, value: Any, source: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise UsageError(f"{name} ({source}): {error}") from None


def _file() -> dict[str, Any]:
    try:
        return tomllib.loads(Path(FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UsageError(f"{FILE} is no TOML: {reason}") from None
    except OSError as error:
        raise UsageError(f"{FILE} cannot be read: {error.strerror}") from None


def _variables() -> dict[str, str]:
    """What the environment sets; a variable that is empty sets nothing."""
    values = {name: os.environ.get(_variable(name)) for name in NAMES}
    return {name: value for name, value in values.items() if value}


def _variable(setting: str) -> str:
    return f"{PREFIX}{setting}".upper()


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"
