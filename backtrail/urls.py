"""The URLs of settings: what can be meant is put into one spelling, what cannot is answered with what to write, and none is shown with its password."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote_plus

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


def database_url(url: str) -> str:
    """The URL in the spelling that the whole of Backtrail uses, a path of SQLite made absolute; ValueError with what to write."""
    scheme, rest = _split(url, DATABASES)
    if scheme == "sqlite":
        return _sqlite_url(rest)
    _check_hosts(rest, example=DATABASES[scheme])
    if scheme.startswith("mongodb"):
        _check_name(rest, example=DATABASES[scheme])
    if scheme.startswith("postgres"):
        scheme = "postgresql"  # one spelling, so that two commands of one database share its broker
    return f"{scheme}://{rest}"


def broker_url(url: str) -> str:
    """The URL, with certificates checked unless it says otherwise; ValueError with what to write."""
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
    absolute = Path(os.path.realpath(name))  # resolve() would end at links in a circle
    if absolute.is_dir():
        raise ValueError("is a folder: name the database's file, such as sqlite:///data.db")
    return f"sqlite:///{absolute}{'?' if query else ''}{query}"


def titles_url(url: str) -> str:
    """The base of an OpenAI-compatible endpoint; ValueError with what to write."""
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
