"""The migration whose ledgers were frozen. What it decides must stay as it is: every later version is asked again what it would decide."""

from __future__ import annotations

from backtrail import Entity, Keys, Migration, Rows


class Frozen(Migration):
    """Creates, updates and deletes rows of each user."""

    name = "frozen"
    keys = Keys("users", "number")
    reads = (Rows("users", by="number"), Rows("remarks", by="user"))
    writes = ("users", "remarks", "people")

    def migrate(self, user: Entity) -> None:
        row = user.one("users")
        if row["name"] == "Nobody":
            user.create("people", {"tag": row["tag"], "first": None, "title": None, "note": ""})
            return
        first, _, last = row["name"].partition(" ")
        title = user.recall("title", str.title, row["name"])
        texts = [remark["text"] for remark in user.rows("remarks")]
        user.create("people", {"tag": row["tag"], "first": first, "title": title, "note": "".join(texts)})
        for remark in user.rows("remarks"):
            user.delete(remark)
        user.update(row, {"score": row["score"] + 1, "name": last or first})
        if not last:
            user.conflict("last", values=[first], chosen=None)
        user.remark("split", words=len(row["name"].split()))

    def check(self, user: Entity) -> list[str]:
        return [] if all(person["first"] for person in user.rows("people")) else ["a person without a name"]
