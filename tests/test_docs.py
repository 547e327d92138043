"""The documents are true: the README's commands and snippets are run in order, and what they show is what they print."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from backtrail.settings import NAMES, PREFIX
from producer.cli import backtrail
from tests.processes import Place

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
LANGUAGES = {"console", "python", "sh", "toml", "sql", "json", "text", "ini"}
NOT_RUN = {"sh"}
"""Blocks of this kind install or start what a test cannot: `.ci/run` and `make` do, and here their options are checked."""


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str
    line: int


class Typed(NamedTuple):
    """A command of a console block, the exit code it is said to have, and the lines that it is said to print."""

    command: str
    code: int
    shown: list[str]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in their order."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(one[1], one[2], text[: one.start()].count("\n") + 1) for one in found]


def typed(block: Block) -> list[Typed]:
    """The commands of a console block."""
    found: list[Typed] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            command, _, code = line[2:].partition("  # exit code ")
            found.append(Typed(command, int(code or 0), []))
        else:
            found[-1].shown.append(line)
    return found


def says(output: str, shown: list[str]) -> bool:
    """Whether the output has the lines that are shown, in that order; … stands for anything, and the width of columns is free."""
    lines = iter(output.splitlines())
    for line in shown:
        parts = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
        pattern = re.compile(r"\s*" + r".*".join(parts) + r"\s*")
        if not any(pattern.fullmatch(printed) or (line.endswith("…") and pattern.match(printed)) for printed in lines):
            return False
    return True


@pytest.fixture
def place() -> Iterator[Place]:
    """A folder outside the tree with `backtrail` and `python` on the path, as after `pip install`."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    programs = folder / "bin"
    programs.mkdir()
    for name, arguments in (("backtrail", "-P -m producer.cli"), ("python", "")):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        script.chmod(0o755)
    (folder / "work").mkdir()
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    more = {"PATH": path, "BACKTRAIL_RUNTIME_DIR": str(folder / "r"), "PYTHONDONTWRITEBYTECODE": "1"}
    yield Place(folder / "work", "", more=more)
    shutil.rmtree(folder, ignore_errors=True)


def test_everything_in_the_readme_runs_and_prints_what_it_shows(place):
    """In order, in a fresh folder with a fresh database and a real worker."""
    used = _followed("README.md", README, place)
    assert used >= {"new", "expand", "enqueue", "verify", "history", "notes", "rollback", "rerun", "status"}


@pytest.mark.long
def test_everything_on_the_page_of_mongodb_runs_and_prints_what_it_shows(place, mongo):
    """The same, on a real replica set."""
    used = _followed("docs/mongodb.md", (ROOT / "docs" / "mongodb.md").read_text(), place, mongo)
    assert used >= {"expand", "enqueue", "verify", "rollback"}


def _followed(name: str, text: str, place: Place, url: str | None = None) -> set[str]:
    """The commands of the page, each of which was run, did what it is said to do, and printed what is shown; with a worker beside.

    Args:
        name: what the page is called where something differs.
        text: the page.
        place: where it is run.
        url: the database that stands for the one that the page names.
    """
    environment = place.environment()
    workers: list[subprocess.Popen[bytes]] = []
    ran = []
    try:
        if url is not None:
            environment["BACKTRAIL_DATABASE_URL"] = url
        for block in blocks(text):
            if block.language == "python":
                _python(f"{name}:{block.line}", block, place.folder, environment)
            if block.language != "console":
                continue
            for one in typed(block):
                where = f"{name}:{block.line}: {one.command}"
                if one.command.startswith("export "):
                    variable, _, value = one.command.removeprefix("export ").partition("=")
                    environment[variable] = shlex.split(value)[0] if url is None else url
                elif one.command.startswith("backtrail worker"):
                    workers.append(_start(one.command, place.folder, environment))
                else:
                    done = _run(["bash", "-c", one.command], place.folder, environment)
                    output = done.stdout + done.stderr
                    assert done.returncode == one.code, f"{where}: exit code {done.returncode}\n{output}"
                    assert says(output, one.shown), f"{where} prints other than it shows:\n{output}"
                    ran.append(one.command)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(40)
    assert workers
    return {shlex.split(command)[1] for command in ran if command.startswith("backtrail ")}


def _python(where: str, block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Writes the file that the block's first line names, or runs the block where it names none."""
    named = re.match(r"# (\w+\.py)\n", block.text)
    if named:
        (folder / named[1]).write_text(block.text.partition("\n")[2])
        return
    done = _run(["python", "-c", block.text], folder, environment)
    assert done.returncode == 0, f"{where}:\n{done.stderr}"


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False)


def _start(command: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(shlex.split(command), cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def test_the_check_of_shown_output_can_fail():
    """Another word, another order or a missing line is noticed."""
    assert says("a  1 b\nc\n", ["a 1 b", "c"])
    assert says("begin 12:00 end\n", ["begin … end"])
    assert not says("a 1 b\n", ["a 2 b"])
    assert not says("a\nb\n", ["b", "a"])
    assert not says("a\n", ["a", "a"])
    assert not says("ab\n", ["a"])


# -- the reference ----------------------------------------------------------------------------------------------------


def _sections() -> dict[str, str]:
    parts = re.split(r"^## `backtrail ([a-z]+)[^`\n]*`.*$", COMMANDS, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_its_section():
    """No command is missing, and none is described that does not exist."""
    assert set(_sections()) == set(backtrail.commands)


@pytest.mark.parametrize("name", sorted(backtrail.commands))
def test_every_option_is_documented(name):
    """By its long name, at the start of its row; a row for an option that does not exist is wrong too."""
    common = {"--database-url", "--broker-url", "--json"}
    known = {max(param.opts, key=len) for param in backtrail.commands[name].params if isinstance(param, click.Option)} - common
    written = set(re.findall(r"^\| `(?:-\w, )?(--[a-z-]+)", _sections()[name], re.MULTILINE))
    assert written == known
    heading = re.search(rf"^## `backtrail {name}((?: [^`\n]*)?)`", COMMANDS, re.MULTILINE)
    arguments = [param for param in backtrail.commands[name].params if isinstance(param, click.Argument)]
    assert heading is not None
    assert heading[1].split() == [param.make_metavar(click.Context(backtrail)) for param in arguments]


def test_common_options_are_documented():
    """Those that every command has stand once, before the first section."""
    head = COMMANDS[: COMMANDS.index("## `backtrail")]
    for option in ("--database-url", "--broker-url", "--json", "--help", "--version"):
        assert f"`{option}" in head


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name):
    """In the README's table; its variable follows from its name."""
    assert f"| `{name}` |" in README
    assert f"`{PREFIX}*`" in README


def test_nothing_is_promised_that_is_missing():
    """The README's list of what is not there names no command that is, and every other command of it is there."""
    missing = README[README.index("Not in this version:") :].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z]+)`", missing))
    assert len(named) >= 5
    assert not named & set(backtrail.commands)


def test_the_compose_file_is_careful():
    """Every port is on the loopback, and no password has a default."""
    text = (ROOT / "docker-compose.yml").read_text()
    ports = re.findall(r'ports: \["([^"]+)"', text)
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)
    passwords = re.findall(r"\$\{\w*PASSWORD(.)", text)
    assert len(passwords) >= 8
    assert set(passwords) == {":"}
    assert not re.search(r"PASSWORD:-", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands_of_the_page_are_real(page):
    """Files that are linked exist, blocks say their language, and each command in one could be run as it is written."""
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for block in blocks(text):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        lines = textwrap.dedent(block.text).replace("\\\n", " ").splitlines() if block.language in {"sh", "console"} else []
        for line in lines:
            command = line.removeprefix("$ ")
            if command.startswith("backtrail "):
                _parse(command, f"{page.name}:{block.line}")


def _parse(command: str, where: str) -> None:
    name, *rest = shlex.split(command, comments=True)[1:]
    rest = rest[: rest.index("&")] if "&" in rest else rest
    rest = rest[: rest.index(">")] if ">" in rest else rest
    try:
        backtrail.commands[name].make_context(name, rest)
    except (click.ClickException, KeyError) as error:
        raise AssertionError(f"{where}: {command}: {error}") from error
