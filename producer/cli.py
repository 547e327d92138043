"""The command line put together, and run. Exit code 0: all well; 1: it ran and found problems; 2: it could not be meant so."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import click

from backtrail._version import __version__
from backtrail.errors import BacktrailError, Quarantine, UsageError
from producer import output
from producer.context import quiet_logs

COMMANDS = {
    "preparing": ("migrations", "new", "expand", "grants"),
    "campaigns": ("enqueue", "rerun", "rollback"),
    "rehearsing": ("rehearse", "compare"),
    "watching": ("status", "metrics"),
    "rejected": ("rejected",),
    "steering": ("pause", "resume", "cancel"),
    "results": ("verify", "history", "notes"),
    "keeping": ("checkpoint", "prove", "erase", "keys", "upgrade"),
    "processes": ("worker", "flower", "up", "demo", "sample"),
}
"""The names of the commands, by the module of producer/commands that has them."""


class Commands(dict[str, click.Command]):
    """The commands by name; a module is loaded when one of its commands is asked for: `status` shall answer at once."""

    def __init__(self) -> None:
        self._modules = {name: module for module, names in COMMANDS.items() for name in names}

    def __missing__(self, name: str) -> click.Command:
        command: click.Command = getattr(import_module(f"producer.commands.{self._modules[name]}"), name)
        self[name] = command
        return command

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def get(self, name: str, default: Any = None) -> Any:
        """The command of that name."""
        return self[name] if name in self._modules else default


@click.group(commands=Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="backtrail %(version)s")
def backtrail() -> None:
    """Migrates live data user by user through a queue, with a ledger and an exact way back for each."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line, and ends the process with the command's exit code."""
    output.prepare()
    quiet_logs()
    # The collector would look through what is imported again and again, and once more at the end: a third of a short command's time.
    gc.set_threshold(50_000)
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        _demand_text(arguments)
        code = backtrail.main(args=arguments, prog_name="backtrail", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "backtrail"
        click.echo(f"backtrail: {error.format_message()} (see {where} --help)", err=True)
        sys.exit(2)
    except BacktrailError as error:
        from producer.drift import DriftFound

        click.echo(f"backtrail: {error}", err=True)
        sys.exit(1 if isinstance(error, (DriftFound, Quarantine, output.OutputLost)) else 2)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        # A path that somebody named, or the state of the machine, and no fault of ours. An answer of the web has a filename too, and no number.
        if error.filename is None or isinstance(error.filename, int) or error.errno is None:
            raise
        click.echo(f"backtrail: {os.fsdecode(error.filename)}: {error.strerror}", err=True)
        sys.exit(2)
    finally:
        gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def _demand_text(arguments: Sequence[str]) -> None:
    """Nothing, where all of it is text: what is not can be kept by no database, and would fail wherever it comes to first."""
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            # Without the argument, which may be an address.
            raise UsageError(f"argument {number} is no text in UTF-8: write it as such") from None


if __name__ == "__main__":
    main()
