"""Wrapped secrets on MongoDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import ReplaceOne

from backtrail.stores.base import Transaction
from ledger.journal import chunks
from ledger.keyring import Vault, Wrapped
from ledger.mongo.collections import Document, database_of, first_of, keys_of, session_of


class MongoVault(Vault):
    """Wrapped secrets on MongoDB: the lookup secret with the ledger, the subjects' keys in a database of their own."""

    def lookup(self, tx: Transaction) -> Wrapped | None:
        found = database_of(tx)["lookup"].find_one({"_id": "lookup"}, session=session_of(tx))
        return None if found is None else _wrapped(found)

    def keep_lookup(self, tx: Transaction, wrapped: Wrapped) -> None:
        document = {"_id": "lookup", **_document(wrapped)}
        with first_of("the lookup secret"):
            database_of(tx)["lookup"].replace_one({"_id": "lookup"}, document, upsert=True, session=session_of(tx))

    def hold(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        found = self.find(tx, subjects)
        for part in chunks(sorted(found)):
            # A snapshot has no locks: whoever destroys the key meanwhile conflicts with this.
            keys_of(tx).update_many({"_id": {"$in": list(part)}}, {"$inc": {"uses": 1}}, session=session_of(tx))
        return found

    def find(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        found: dict[str, Wrapped] = {}
        for part in chunks(subjects):
            for document in keys_of(tx).find({"_id": {"$in": list(part)}}, session=session_of(tx)):
                found[document["_id"]] = _wrapped(document)
        return found

    def add(self, tx: Transaction, keys: Mapping[str, Wrapped]) -> None:
        documents: list[Document] = [{"_id": subject, **_document(wrapped)} for subject, wrapped in sorted(keys.items())]
        with first_of("the key of one of these people"):
            keys_of(tx).insert_many(documents, ordered=False, session=session_of(tx))

    def destroy(self, tx: Transaction, subject: str) -> bool:
        return bool(keys_of(tx).delete_one({"_id": subject}, session=session_of(tx)).deleted_count)

    def page(self, tx: Transaction, after: str, limit: int, *, but: str) -> dict[str, Wrapped]:
        where = {"_id": {"$gt": after}, "master": {"$ne": but}}
        found = keys_of(tx).find(where, session=session_of(tx)).sort("_id", 1).limit(limit)
        return {document["_id"]: _wrapped(document) for document in found}

    def replace(self, tx: Transaction, keys: Mapping[str, tuple[Wrapped, Wrapped]]) -> None:
        changes = [ReplaceOne({"_id": one, "secret": old.secret}, _document(new)) for one, (old, new) in keys.items()]
        if changes:
            keys_of(tx).bulk_write(changes, ordered=False, session=session_of(tx))


def _wrapped(document: Document) -> Wrapped:
    # None where somebody took it out.
    return Wrapped(document.get("secret"), document.get("master"))  # type: ignore[arg-type]


def _document(wrapped: Wrapped) -> Document:
    return {"secret": wrapped.secret, "master": wrapped.master}
