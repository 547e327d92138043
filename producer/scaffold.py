"""A new migration and its test, ready to run: a small real example, for its author to change."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template

from backtrail.errors import UsageError

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
TAKEN = {"Any", "Entity", "Invariant", "Iterable", "Keys", "Migration", "Rows"}
"""The names that the new file imports, which its class cannot have as well."""

MIGRATION = Template('''\
"""Gives every user a first and a last name: an example, to be changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from backtrail import Entity, Invariant, Keys, Migration, Rows


class $cls(Migration):
    """First and last names of users, in a table of their own."""

    name = "$name"
    keys = Keys("users", "id")  # one entity for every users.id
    reads = (Rows("users", by="id"),)  # the rows that belong to it
    writes = ("user_names",)  # anything else is refused
    invariants = (
        # Must return nothing, at every moment.
        Invariant(
            "everybody has a first name",
            "SELECT user_id FROM user_names WHERE first_name IS NULL",
        ),
    )

    def expand(self, schema: Any) -> None:
        """Adds what the migration needs; `expand --undo` takes it back."""
        schema.create_table(
            "user_names",
            # Of the same type as users.id, and not counted up by itself.
            sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("first_name", sa.Text),
            sa.Column("last_name", sa.Text),
        )

    def migrate(self, user: Entity) -> None:
        """Decides what changes for one user. Pure: no database, clock or chance."""
        row = user.one("users")
        words = (row["full_name"] or "").split()
        if not words:
            user.remark("a user without a name")  # shown by `notes`
            return
        if len(words) > 2:
            # A guess is worth a note, so that somebody can look it up.
            user.conflict("first_name", values=words[:-1], chosen=words[0])
        user.create(
            "user_names",
            {
                "user_id": user.key,
                "first_name": words[0],
                "last_name": " ".join(words[1:]) or None,
            },
        )

    def check(self, user: Entity) -> Iterable[str]:
        """Says what is wrong about a migrated user, who is then quarantined."""
        words = (user.one("users")["full_name"] or "").split()
        names = user.one_or_none("user_names")
        kept = [names["first_name"], names["last_name"]] if names else []
        if " ".join(filter(None, kept)) != " ".join(words):
            yield "the names are not the full name any more"
''')

TEST = Template('''\
"""Tries the migration on plain dicts: decided twice, undone, and done again."""

from backtrail.testing import trial

from $module import $cls


def test_names_are_split() -> None:
    """Every user with a name has it in two parts."""
    users = [
        {"id": 1, "full_name": "Ada Lovelace"},
        {"id": 2, "full_name": "Plato"},
        {"id": 3, "full_name": "Johann Sebastian Bach"},
        {"id": 4, "full_name": None},
    ]
    columns = ["user_id", "first_name", "last_name"]
    result = trial(
        $cls,
        {"users": users, "user_names": []},
        primary_keys={"user_names": ["user_id"]},
        columns={"user_names": columns},
    )
    assert result.failures == {}
    assert result.tables["users"] == users
    assert result.tables["user_names"] == [
        {"user_id": 1, "first_name": "Ada", "last_name": "Lovelace"},
        {"user_id": 2, "first_name": "Plato", "last_name": None},
        {"user_id": 3, "first_name": "Johann", "last_name": "Sebastian Bach"},
    ]
    assert [(note.key, note.kind) for note in result.notes] == [
        (3, "conflict"),
        (4, "remark"),
    ]
''')


def create(name: str, folder: Path) -> list[Path]:
    """The files written: the migration called `name`, and its test.

    Raises:
        UsageError: the name cannot be one, a file is there already, or the folder cannot be written.
    """
    module, cls = names(name)
    texts = {
        folder / f"{module}.py": MIGRATION.substitute(name=name, cls=cls),
        folder / f"test_{module}.py": TEST.substitute(module=module, cls=cls),
    }
    for path in texts:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already and is not overwritten: take another name, or move it away")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:  # x: nor is one that came this very moment
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    return written


def names(name: str) -> tuple[str, str]:
    """The module and the class of a migration called `name`.

    Raises:
        UsageError: with a name that would do.
    """
    if not NAME.match(name):
        slug = "-".join(re.findall("[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()))
        mend = slug if NAME.match(slug) else f"migrate-{slug}" if slug else "split-names"
        raise UsageError(f"{name!r} is no name of a migration: lower-case words joined by hyphens, as in {mend}")
    module = name.replace("-", "_")
    cls = "".join(word.capitalize() for word in name.split("-"))
    # A file of such a name would be imported by everybody else instead of the real one.
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in packages_distributions() or cls in TAKEN:
        raise UsageError(f"{name!r} is a name that Python or Backtrail use themselves: say what it does, as in {name}-of-users")
    return module, cls
