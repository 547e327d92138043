"""Options, environment and `backtrail.toml`, read into one frozen object.

Who wins, from first to last: a command's options, `BACKTRAIL_*` variables, `backtrail.toml` in the current folder, the default.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote_plus

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from backtrail.errors import UnknownName, UsageError

FILE = "backtrail.toml"
PREFIX = "BACKTRAIL_"

# What a URL of each scheme looks like: shown to whoever wrote one that cannot be meant so.
DATABASES = {
    "sqlite": "sqlite:///data.db",
    "postgresql": "postgresql://user:password@host:5432/database",
    "postgresql+psycopg": "postgresql://user:password@host:5432/database",
    "postgres": "postgresql://user:password@host:5432/database",
    "mongodb": "mongodb://user:password@host:27017/database?replicaSet=name",
    "mongodb+srv": "mongodb+srv://user:password@host/database",
}
BROKERS = {
    "redis": "redis://:password@host:6379/0",
    "rediss": "rediss://:password@host:6379/0",
    "redis+socket": "redis+socket:///path/to/broker.sock",
    "amqp": "amqp://user:password@host:5672/vhost",
    "amqps": "amqps://user:password@host:5671/vhost",
    "memory": "memory://",
}

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]*)(?::(?P<port>\d*))?\Z")
# Greedy up to the last `@`: a password that should have been percent-encoded may hold any of `@ / ? #`.
_USERINFO = re.compile(r"(?<=://)([^:@/?#]*):.*@", re.DOTALL)
_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|authmechanismproperties)[^=&;]*=)[^&#]*", re.IGNORECASE)


def redact(url: str) -> str:
    """The URL with *** for every password, fit to be shown; what is no proper URL loses rather too much than too little."""
    return _SECRET.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


def _database_url(url: str) -> str:
    scheme, rest = _split(url, DATABASES)
    if scheme == "sqlite":
        return _sqlite_url(rest)
    _check_hosts(rest, example=DATABASES[scheme])
    if scheme.startswith("mongodb"):
        _check_name(rest, example=DATABASES[scheme])
    if scheme.startswith("postgres"):
        scheme = "postgresql"  # one spelling, so that two commands of one database share its broker
    return f"{scheme}://{rest}"


def _broker_url(url: str) -> str:
    scheme, rest = _split(url, BROKERS)
    example = BROKERS[scheme]
    path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")[2]
    if scheme == "redis+socket":
        if not rest.startswith("/") or not path:
            raise ValueError(f"names no absolute path of a socket: write {example}")
    elif scheme != "memory":
        _check_hosts(rest, example=example)
    if scheme in {"redis", "rediss"} and not re.fullmatch(r"\d*", path):
        raise ValueError(f"a Redis database is a number: write {example}")
    if scheme == "rediss" and "ssl_cert_reqs=" not in rest:
        rest += f"{'&' if '?' in rest else '?'}ssl_cert_reqs=required"  # kombu's default is to trust any certificate
    return f"{scheme}://{rest}"


def _split(url: str, known: dict[str, str]) -> tuple[str, str]:
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or not _SCHEME.match(scheme):
        raise ValueError(f"is no URL: write {next(iter(known.values()))}, or one that begins with {_any_of(known)}")
    if scheme not in known:
        near = difflib.get_close_matches(scheme, known, n=1, cutoff=0.7)
        mend = f"did you mean {near[0]}? Write {known[near[0]]}" if near else f"begin with {_any_of(known)}"
        raise ValueError(f"does not know {scheme}://: {mend}")
    return scheme, rest


def _any_of(schemes: Iterable[str]) -> str:
    return ", ".join(f"{scheme}://" for scheme in schemes)


def _check_hosts(rest: str, *, example: str) -> None:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    for host in authority.rpartition("@")[2].split(","):
        match = _HOST.match(host)
        if match is None or int(match["port"] or 0) > 65535:
            raise ValueError(f"has no proper host and port: write {example}, special characters of a password as %XX")


def _check_name(rest: str, *, example: str) -> None:
    """Refuses a path that can be no database of MongoDB: it is the rest of a password, or a port in the wrong place."""
    path = rest.partition("/")[2].partition("?")[0]
    if "@" in path:
        raise ValueError(f"has an @ in the name of the database: write {example}, special characters of a password as %XX")
    if re.search(r":\d*\Z", path):
        raise ValueError(f"has a port after the database: write {example}")
    if re.search(r"""[/\\. "$:\0]""", unquote_plus(path)):
        raise ValueError(f'names no database that can be, for a name has none of / \\ . : $ " and space: write {example}')


def _sqlite_url(rest: str) -> str:
    path, _, query = rest.partition("?")
    if not path.startswith("/") and path:
        raise ValueError("has a host, and SQLite has none: write sqlite:///relative.db or sqlite:////absolute.db")
    name = path[1:]  # as it stands: SQLAlchemy does not decode %XX in a path
    if not name or name == ":memory:" or "mode=memory" in query:
        raise ValueError("lives in the memory of one process, where no worker can see it: write sqlite:///data.db")
    if name.startswith("file:"):
        raise ValueError("is an SQLite file: URI, which is not understood: write sqlite:///data.db")
    # Absolute and without symbolic links: a worker in another folder must find the same file and the same broker.
    absolute = Path(name).resolve()
    if absolute.is_dir():
        raise ValueError("is a folder: name the database's file, such as sqlite:///data.db")
    return f"sqlite:///{absolute}{'?' if query else ''}{query}"


def _titles_url(url: str) -> str:
    example = "https://api.example.com/v1"
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in {"http", "https"}:
        raise ValueError(f"is no address of the web: write {example}")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host or "?" in rest or "#" in rest:
        raise ValueError(f"takes no user, password or query: write {example}, and the secret as titles_key")
    _check_hosts(rest, example=example)
    if not host.partition(":")[0]:
        raise ValueError(f"names no host: write {example}")
    return f"{scheme.lower()}://{rest.rstrip('/')}".removesuffix("/chat/completions")


def _flower_password(password: SecretStr) -> SecretStr:
    text = password.get_secret_value()
    # Flower would take a comma for the end of the password, and fails at what is not ASCII.
    if not text or not text.isascii() or not text.isprintable() or "," in text:
        raise ValueError("can be any printable ASCII characters but a comma")
    return password


def _off(value: Any) -> Any:
    """The limit that was given; None, which is no limit, for `off`."""
    return None if isinstance(value, str) and value.strip().lower() == "off" else value


def _command(line: str) -> str:
    try:
        words = shlex.split(line)
    except ValueError:
        raise ValueError("has a quotation mark that is not closed") from None
    if not words or not words[0]:
        raise ValueError("is empty: give a program and its arguments")
    return line


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class Settings(BaseModel):
    """What this command runs with."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # the input may be a URL with a password
        str_strip_whitespace=True,
    )

    database_url: Annotated[str, AfterValidator(_database_url)] | None = None
    """Where the data and the ledger live."""
    broker_url: Annotated[str, AfterValidator(_broker_url)] | None = None
    """The server of the queue; without one, commands on one machine share an embedded broker."""
    queue: str = Field(default="bt", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """The queue's name on the broker: one for each database, where several share a broker."""
    concurrency: int | None = Field(default=None, ge=1)
    """Processes of one worker; None means as many as there are cores."""
    batch_size: int = Field(default=200, ge=1, le=5000)
    """Jobs per message."""
    lock_timeout_ms: int = Field(default=300, ge=1)
    """How long a batch waits for a lock that the application holds before it is tried again later.

    PostgreSQL looks for deadlocks after a second: whoever waits for less gives way before the application would be made to.
    """
    runtime_dir: Annotated[Path, AfterValidator(_absolute)] | None = None
    """The private folder of the embedded broker."""
    master_key_file: Annotated[Path, AfterValidator(_absolute)] | None = None
    """The file with the master keys of an encrypted ledger, one a line."""
    signing_key_file: Annotated[Path, AfterValidator(_absolute)] | None = None
    """The private key that signs checkpoints; nobody else may read the file."""
    titles_url: Annotated[str, AfterValidator(_titles_url)] | None = None
    """An OpenAI-compatible endpoint that `coaching-redesign` asks for titles; without one, titles are made here."""
    titles_key: SecretStr | None = None
    """The endpoint's secret, sent as a bearer token."""
    titles_model: str = Field(default="gpt-4o-mini", min_length=1, max_length=200)
    """The model that the endpoint is asked for."""
    titles_timeout_s: float = Field(default=20, gt=0, le=600, allow_inf_nan=False)
    """How long one answer may take."""

    flower_password: Annotated[SecretStr, AfterValidator(_flower_password)] | None = None
    """What Flower asks for beside the user `flower`; without one, it is made anew at each start."""
    max_replication_lag_s: Annotated[float | None, BeforeValidator(_off)] = Field(default=10, gt=0, allow_inf_nan=False)
    """How far replicas may be behind before campaigns wait for them."""
    max_connections_share: Annotated[float | None, BeforeValidator(_off)] = Field(default=0.9, gt=0, le=1)
    """Which share of the server's connections may be in use before campaigns wait."""
    max_lock_waits: Annotated[int | None, BeforeValidator(_off)] = Field(default=10, ge=0)
    """How many sessions of others may wait for locks of Backtrail's before campaigns wait."""
    probe_command: Annotated[str, AfterValidator(_command)] | None = None
    """A program that is asked before more is sent: exit code 0 for go; otherwise its first line says why not."""
    probe_every_s: float = Field(default=5, gt=0, le=3600, allow_inf_nan=False)
    """How often the probes look."""

    def database(self) -> str:
        """The database's URL; UsageError if there is none."""
        if self.database_url is None:
            raise UsageError(
                "no database_url: set BACKTRAIL_DATABASE_URL, or database_url in backtrail.toml, or pass --database-url"
            )
        return self.database_url

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, redact(value) if isinstance(value, str) else value


def load(**overrides: Any) -> Settings:
    """The settings of this process; `overrides` are the options that were given (None: not given). UsageError if any is wrong.

    They are gathered here, for pydantic-settings takes longer to be imported than the database to say a campaign's status.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**(_file() | _variables() | given))
    except ValidationError as error:
        # `from None`: pydantic's own error can hold the URL with its password.
        _refuse(error, given)


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
    values = {name: os.environ.get(_variable(name)) for name in Settings.model_fields}
    return {name: value for name, value in values.items() if value}


def _variable(setting: str) -> str:
    return f"{PREFIX}{setting}".upper()


def _refuse(error: ValidationError, given: dict[str, Any]) -> NoReturn:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        raise UnknownName("setting", name, Settings.model_fields) from None
    reason = first["msg"].removeprefix("Value error, ")
    raise UsageError(" ".join(f"{name} ({_source(name, given)}): {reason}".split())) from None


def _source(name: str, given: dict[str, Any]) -> str:
    if name in given:
        return f"--{name.replace('_', '-')}"
    return _variable(name) if os.environ.get(_variable(name)) else FILE
