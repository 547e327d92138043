"""Flower, Celery's page in the browser, as it may be left running: on the loopback, behind a password, and unable to change anything."""

from __future__ import annotations

import errno
import importlib.metadata
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from backtrail import program
from backtrail.errors import UsageError
from backtrail.settings import Settings
from producer.processes import environment_of

USER = "flower"
LOOPBACK = "127.0.0.1"
PORT = 5555
OLDEST = (2, 2)
"""Older ones do not know --read_only, and pass over options that they do not know."""

OPTIONS = (
    "--read_only",
    "--max_tasks=20000",  # some 80 MB
    "--purge_offline_workers=600",
    "--tasks_columns=name,kwargs,result,state,received,runtime,worker",
    f"--conf={os.devnull}",  # no flowerconfig.py of the user's folder, which could take all this back
    "--logging=error",  # it warns of every worker that is slow to answer
)
PASSED = (
    *("FLOWER_CERTFILE", "FLOWER_KEYFILE", "FLOWER_CA_CERTS"),
    *("FLOWER_URL_PREFIX", "FLOWER_XHEADERS", "FLOWER_COOKIE_SECRET", "FLOWER_BROKER_API", "FLOWER_INSPECT_TIMEOUT"),
)
"""Flower's own variables that open nothing; it gets no others."""


@dataclass(frozen=True)
class Access:
    """Where Flower listens, and who is let in."""

    address: str
    port: int
    password: str
    generated: bool
    variables: Mapping[str, str]
    """Flower's own that were passed on."""

    @property
    def url(self) -> str:
        """What to open in the browser."""
        scheme = "https" if "FLOWER_CERTFILE" in self.variables else "http"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}:{self.port}/{self.variables.get('FLOWER_URL_PREFIX', '').strip('/')}"

    def __str__(self) -> str:
        known = self.password if self.generated else "as flower_password says"
        return f"Flower: {self.url}  user: {USER}  password: {known}"

    def __repr__(self) -> str:
        return f"Access({self.url})"


def access(settings: Settings, *, address: str = LOOPBACK, port: int = PORT, variables: Mapping[str, str] = {}) -> Access:
    """Where Flower can listen now, with the password of the settings or a new one.

    Args:
        settings: may have the password.
        address: an address of this machine.
        port: one that nobody listens on.
        variables: where Flower's own may be, of which the harmless ones hold.

    Raises:
        UsageError: it is not installed, cannot listen there, or would be open to others with a password that nobody chose.
    """
    _check_installed()
    if settings.flower_password is None and not _is_loopback(address):
        raise UsageError(
            f"--address {address} can be reached by others: set BACKTRAIL_FLOWER_PASSWORD, or flower_password in backtrail.toml"
        )
    _check_free(address, port)
    given = settings.flower_password
    return Access(
        address,
        port,
        secrets.token_urlsafe(16) if given is None else given.reveal(),
        generated=given is None,
        variables={name: variables[name] for name in PASSED if variables.get(name)},
    )


def _check_installed() -> None:
    try:
        version = importlib.metadata.version("flower")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError("Flower is not installed: pip install 'backtrail[flower]'") from None
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise UsageError(f"Flower {version} cannot be kept from changing things: pip install --upgrade 'backtrail[flower]'")


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return False


def _check_free(address: str, port: int) -> None:
    try:
        # An empty name would mean every address of the machine.
        found = socket.getaddrinfo(address or " ", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower does
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(place)
                probe.listen(1)
    except OSError as error:
        mend = "give another one as --port" if _in_use(error) else "give one of this machine's as --address"
        raise UsageError(f"Flower cannot listen on {address} port {port}: {error.strerror}: {mend}") from None


def _in_use(error: OSError) -> bool:
    return not isinstance(error, socket.gaierror) and error.errno in {errno.EADDRINUSE, errno.EACCES}


def run_flower(settings: Settings, place: Access) -> NoReturn:
    """Becomes Flower; it does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command(place), environment(settings, place))  # noqa: S606 -- our own interpreter


def command(place: Access) -> list[str]:
    """What starts Flower; without a secret, for everybody on the machine can read it."""
    return program.command("worker", "--quiet", "flower", f"--address={place.address}", f"--port={place.port}", *OPTIONS)


def environment(settings: Settings, place: Access) -> dict[str, str]:
    """The variables that Flower starts with: the secrets are here."""
    own = {
        **_management(settings.broker_url),
        **place.variables,
        "FLOWER_BASIC_AUTH": f"{USER}:{place.password}",
    }
    inherited = program.environment(environment_of(settings) | {"BACKTRAIL_FLOWER_PASSWORD": ""})  # once is enough
    return {name: value for name, value in inherited.items() if not name.startswith("FLOWER_")} | own


def _management(broker_url: str | None) -> dict[str, str]:
    """Where RabbitMQ's management listens. Left to itself, Flower puts the password into that address, and the address into errors."""
    url = urlsplit(broker_url or "")
    places = {"amqp": ("http", 15672), "amqps": ("https", 15671)}
    if url.scheme not in places:
        return {}
    scheme, port = places[url.scheme]
    host = url.hostname or "localhost"
    return {"FLOWER_BROKER_API": f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/api/"}
