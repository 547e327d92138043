"""What commands share: their context, options that more than one has, and how what was given is read."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from backtrail.errors import UsageError
from producer.context import Context

Command = Callable[..., Any]

MOST = 2**63 - 1
"""The largest number that every database takes."""


class Share(click.ParamType[float]):
    """A share: `1%` or `0.01`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number from 0 to 1."""
        if isinstance(value, float):
            return value
        try:
            share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            share = -1
        if not 0 < share <= 1:
            self.fail(f"{value!r} is no share: write it as 1% or 0.01", param, ctx)
        return share


def common(command: Command) -> Command:
    """A command with the options that all have, and with its context as first argument."""

    @click.option("--database-url", metavar="URL", help="sqlite:///file.db or postgresql://user@host/database.")
    @click.option("--broker-url", metavar="URL", help="redis://… or amqp://…; without one, an embedded broker.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
    @functools.wraps(command)
    def wrapped(database_url: str | None, broker_url: str | None, as_json: bool, **arguments: Any) -> Any:
        context = Context({"database_url": database_url, "broker_url": broker_url}, json=as_json)
        # What an author's code prints, whenever it is run, is no part of what the command says.
        with redirect_stdout(sys.stderr):
            return command(context, **arguments)

    return wrapped


reason_option = click.option("--reason", metavar="TEXT", help="Why; recorded with who ran it.")
only_option = click.option("--only", multiple=True, metavar="KEY", help="These entities only; can be given several times.")
only_from_option = click.option(
    "--only-from", type=click.Path(path_type=Path), metavar="FILE", help="The entities of a file, one a line."
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(1, 5000), metavar="N", help="Entities in one message and transaction."
)
verifier_option = click.option(
    "--verifier", metavar="KEY", help="The key that signed it, or its file; default that of signing_key_file."
)
watch_option = click.option("--watch", is_flag=True, help="Stay, and show progress, until the end.")


def chosen_keys(keys: Sequence[str], file: Path | None) -> list[str] | None:
    """The keys that `--only` and `--only-from` name; None if neither was given."""
    if file is None:
        return list(keys) or None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--only-from {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None
    found = [*keys, *(line for line in lines if line.strip())]
    if not found:
        raise UsageError(f"--only-from {file} names no entity: write one key a line")
    return found


def parameters(given: Sequence[str]) -> dict[str, str]:
    """The values that `--param NAME=VALUE` gave, by their names."""
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise UsageError(f"--param {name!r} has no value: write --param name=value")
    return {name: value for name, _, value in pairs}
