"""What the database says about its collections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backtrail.errors import UnknownName
from backtrail.schema.documents.exact import Data, Document

VALIDATION = {"validator": {}, "validationLevel": "strict", "validationAction": "error"}
"""What a collection has about which nothing was said."""


@dataclass
class Facts:
    """One collection: what was said about its validation, and its indexes' keys by their names."""

    validation: Document = field(default_factory=lambda: dict(VALIDATION))
    indexes: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)


class Catalogue:
    """All collections of a database at one time. The recorder adds what it was asked for, as if it had been done."""

    def __init__(self, database: Data) -> None:
        self.collections: dict[str, Facts] = {}
        for one in database.list_collections():
            name = one["name"]
            if not name.startswith("system."):
                facts = self.collections[name] = Facts(validation(one.get("options", {})))
                if one.get("type") != "view":
                    facts.indexes = {index["name"]: list(index["key"].items()) for index in database[name].list_indexes()}

    def demand(self, name: str) -> Facts:
        """The collection of that name.

        Raises:
            UnknownName: there is none.
        """
        found = self.collections.get(name)
        if found is None:
            raise UnknownName("collection", name, self.collections)
        return found


def validation(options: Document) -> Document:
    """What the options of a collection say about validation, in full."""
    return {name: options.get(name, default) for name, default in VALIDATION.items()}


def current(database: Data, name: str) -> Document | None:
    """The options of a collection as it is now; None where there is none."""
    found = next(iter(database.list_collections(filter={"name": name})), None)
    return None if found is None else dict(found.get("options", {}))
