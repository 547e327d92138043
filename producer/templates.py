"""What `backtrail new` writes: a small real example for tables and one for collections, each with its test."""

from __future__ import annotations

from string import Template

ROWS = Template('''\
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

ROWS_TEST = Template('''\
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


DOCUMENTS = Template('''\
"""Gives every user a first and a last name: an example, to be changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backtrail import Entity, Invariant, Keys, Migration, Rows


class $cls(Migration):
    """First and last names of users, in a collection of their own."""

    name = "$name"
    keys = Keys("users", "_id")  # one entity for every user
    reads = (Rows("users", by="_id"),)  # the documents that belong to it
    writes = ("user_names", "users")  # anything else is refused
    invariants = (
        # Must return nothing, at every moment.
        Invariant(
            "everybody has a first name",
            [{"$$match": {"first_name": None}}],
            collection="user_names",
        ),
    )

    def expand(self, schema: Any) -> None:
        """Adds what the migration needs; `expand --undo` takes it back."""
        schema.create_collection(
            "user_names",
            validator={"$$jsonSchema": {"required": ["user_id", "first_name"]}},
            indexes=[{"keys": [("user_id", 1)], "name": "of_user", "unique": True}],
        )

    def migrate(self, user: Entity) -> None:
        """Decides what changes for one user. Pure: no database, clock or chance."""
        row = user.one("users")
        words = (row.get("full_name") or "").split()  # documents may lack a field
        if not words:
            user.remark("a user without a name")  # shown by `notes`
            return
        if len(words) > 2:
            # A guess is worth a note, so that somebody can look it up.
            user.conflict("first_name", values=words[:-1], chosen=words[0])
        names = user.create(
            "user_names",
            {
                "_id": user.new_object_id("names"),  # the same on every run
                "user_id": user.key,
                "first_name": words[0],
                "last_name": " ".join(words[1:]) or None,
            },
        )
        # Dotted names are paths; a row used as a value stands for its _id.
        user.update(row, {"links.names": names})

    def check(self, user: Entity) -> Iterable[str]:
        """Says what is wrong about a migrated user, who is then quarantined."""
        words = (user.one("users").get("full_name") or "").split()
        names = user.one_or_none("user_names")
        kept = [names["first_name"], names["last_name"]] if names else []
        if " ".join(filter(None, kept)) != " ".join(words):
            yield "the names are not the full name any more"
''')

DOCUMENTS_TEST = Template('''\
"""Tries the migration on plain dicts: decided twice, undone, and done again."""

from backtrail.testing import trial

from $module import $cls


def test_names_are_split() -> None:
    """Every user with a name has it in two parts, and a link to it."""
    users = [
        {"_id": 1, "full_name": "Ada Lovelace", "links": {"page": "ada"}},
        {"_id": 2, "full_name": "Plato"},
        {"_id": 3, "full_name": "Johann Sebastian Bach"},
        {"_id": 4},
    ]
    result = trial($cls, {"users": users, "user_names": []})
    assert result.failures == {}
    names = {one.pop("_id"): one for one in result.tables["user_names"]}
    assert list(names.values()) == [
        {"user_id": 1, "first_name": "Ada", "last_name": "Lovelace"},
        {"user_id": 2, "first_name": "Plato", "last_name": None},
        {"user_id": 3, "first_name": "Johann", "last_name": "Sebastian Bach"},
    ]
    ada, plato, bach = names
    assert result.tables["users"] == [
        {**users[0], "links": {"page": "ada", "names": ada}},
        {**users[1], "links": {"names": plato}},
        {**users[2], "links": {"names": bach}},
        users[3],
    ]
    assert [(note.key, note.kind) for note in result.notes] == [
        (3, "conflict"),
        (4, "remark"),
    ]
''')
