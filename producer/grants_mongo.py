"""The roles of a production set-up on MongoDB: the ledger's owner, workers and the application apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backtrail.flag import LEDGER
from ledger.mongo.collections import INDEXES
from ledger.rights import ACTIONS, ERASED, FLAG, KEYS, Right, right_of
from producer.needs import Needs, Part, Roles, Statement

Privilege = dict[str, Any]

SCHEMA = ("createCollection", "createIndex", "dropCollection", "dropIndex", "collMod", "listCollections", "listIndexes")
WRITE = ("find", "insert", "update", "remove")

PASSWORD = "passwordPrompt()"  # noqa: S105 -- the function of mongosh that asks for one
"""What stands for a password in what is printed."""


def parts(needs: Needs, roles: Roles, database: str, *, update: bool) -> list[Part]:
    """What is to be run, by whom, in this order.

    Args:
        needs: what the migrations do.
        roles: who is granted what; each user has a role of the same name, and the application a role of its own besides those it has.
        database: the name of the data's database.
        update: the roles and users are there already.
    """
    flag, erasing = f"{roles.application}_flag", f"{roles.worker}_erasing"
    made = [
        (
            roles.owner,
            _owner(database),
            "runs expand and the first command of a new version; it too can only add to what is append-only",
        ),
        (roles.worker, _worker(needs, database), "runs workers and all other commands"),
        (flag, [_privilege(f"{database}{LEDGER}", name, "find") for name in FLAG], "is_migrated"),
        (
            erasing,
            [_privilege(f"{database}{LEDGER}", name, action.value) for name, action in ERASED.items()],
            f"erase in a ledger that is not encrypted: grant it to {roles.worker} for as long as that takes, and to nobody else",
        ),
        *([(roles.reader, _reader(needs, database), "runs status, verify, history and notes")] if roles.reader else []),
    ]
    verb = "updateRole" if update else "createRole"
    statements = [_statement({verb: name, "privileges": privileges, "roles": []}, why) for name, privileges, why in made]
    if not update:
        users = [roles.owner, roles.worker, *([roles.reader] if roles.reader else [])]
        statements += [_statement({"createUser": name, "roles": [name]}, "asks for a password") for name in users]
        statements += [
            _statement({"grantRolesToUser": roles.application, "roles": [flag]}, "the application's user is there already")
        ]
    return [Part("As an administrator of the server, in mongosh", tuple(statements))]


def _privilege(database: str, collection: str, *actions: str) -> Privilege:
    return {"resource": {"db": database, "collection": collection}, "actions": list(actions)}


def _owner(database: str) -> list[Privilege]:
    ledger = f"{database}{LEDGER}"
    changed = [name for name in INDEXES if right_of(name) is not Right.APPEND_ONLY]
    return [
        _privilege(database, "", *WRITE, *SCHEMA),
        _privilege(ledger, "", "createCollection", "createIndex", "find", "insert"),
        *(_privilege(ledger, name, "update") for name in changed),
        _privilege(_keys(database), "", "createCollection", "createIndex", *WRITE),
    ]


def _worker(needs: Needs, database: str) -> list[Privilege]:
    return [*_data(needs, database), *_ledger(database), _privilege(_keys(database), "", *WRITE)]


def _data(needs: Needs, database: str) -> Iterator[Privilege]:
    yield _privilege(database, "", "listCollections")
    for name in needs.tables:
        # A document goes back as it was even where a newer validator would refuse it.
        more = (*WRITE[1:], "bypassDocumentValidation") if name in needs.written else ()
        yield _privilege(database, name, "find", *more, *_statistics(needs, name))


def _statistics(needs: Needs, name: str) -> list[str]:
    return sorted(needs.statistics.get(name, ()))


def _ledger(database: str) -> Iterator[Privilege]:
    for name in INDEXES:
        right = right_of(name)
        actions = [action.value for action in ACTIONS[right]]
        if right is Right.KEPT:
            actions.append("update")  # what is there already is kept by an upsert, which changes nothing
        yield _privilege(f"{database}{LEDGER}", name, *actions)


def _reader(needs: Needs, database: str) -> list[Privilege]:
    return [
        _privilege(database, "", "listCollections"),
        *(_privilege(database, name, "find", *_statistics(needs, name)) for name in needs.tables),
        _privilege(f"{database}{LEDGER}", "", "find"),
        _privilege(_keys(database), "", "find"),
    ]


def _keys(database: str) -> str:
    return f"{database}_{KEYS}"


def _statement(command: Mapping[str, Any], reason: str) -> Statement:
    return Statement(f'db.getSiblingDB("admin").runCommand({_shell(command)})', reason, command)


def _shell(command: Mapping[str, Any]) -> str:
    """The command as mongosh reads it, a privilege a line."""
    fields = {name: _lines(value) if name == "privileges" else json.dumps(value) for name, value in command.items()}
    if "createUser" in command:
        fields["pwd"] = PASSWORD
    return "{ " + ", ".join(f"{name}: {text}" for name, text in fields.items()) + " }"


def _lines(privileges: Sequence[Privilege]) -> str:
    return "[\n" + "".join(f"  {json.dumps(one)},\n" for one in privileges) + "]"
