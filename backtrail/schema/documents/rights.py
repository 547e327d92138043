"""Whether the database user may do what the steps need, and take it back: asked before the first one is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backtrail.errors import UsageError
from backtrail.schema.documents.exact import Data
from backtrail.schema.documents.refusal import told
from backtrail.schema.step import Step

NEEDED = {
    "create_collection": ("createCollection", "createIndex", "dropCollection"),
    "create_index": ("createIndex", "dropIndex"),
    "set_validator": ("collMod",),
    "insert": ("find", "insert", "remove"),
    "execute": (),
}
"""MongoDB's names of what each operation and its undo do."""


def demand_rights(database: Data, steps: Sequence[Step]) -> None:
    """Nothing, where the user may do all of it.

    Raises:
        UsageError: names the first thing that is not granted.
    """
    with told("expand"):
        said = database.client.admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    if not said.get("authenticatedUsers"):
        return  # a server without passwords
    for step in steps:
        for action in NEEDED[step.operation]:
            if not any(_grants(one, action, database.name, str(step.table)) for one in said["authenticatedUserPrivileges"]):
                raise UsageError(f"{step}: the database user may not do this: grant it {action}, or use the owner's account")


def _grants(privilege: Mapping[str, Any], action: str, database: str, collection: str) -> bool:
    resource = privilege["resource"]
    here = resource.get("db") in ("", database) and resource.get("collection") in ("", collection)
    return action in privilege["actions"] and (here or bool(resource.get("anyResource")))
