"""What migrations do with the data's tables, whoever is to be granted it; and what grants are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backtrail.discovery import Found, find
from backtrail.errors import UnknownName
from backtrail.migration import Invariant, Migration


@dataclass(frozen=True)
class Roles:
    """Who is granted what. Nobody is two of them."""

    owner: str = "backtrail_owner"
    """Runs `expand` and upgrades, and so owns the ledger."""
    worker: str = "backtrail_worker"
    """Runs workers and all other commands."""
    application: str = "application"
    """Asks `is_migrated`; it is there already."""
    reader: str | None = None
    """Runs `status`, `verify`, `history` and `notes`."""


@dataclass(frozen=True)
class Statement:
    """One thing to run, and why."""

    text: str
    reason: str
    command: Mapping[str, Any] | None = None
    """On MongoDB, the command that the text says; a user's password is left out."""


@dataclass(frozen=True)
class Part:
    """Statements that somebody runs together."""

    title: str
    statements: tuple[Statement, ...]


@dataclass
class Needs:
    """What the migrations do with the data's tables."""

    names: tuple[str, ...] = ()
    """Of the migrations."""
    read: set[str] = field(default_factory=set)
    """Every table that is looked at."""
    locked: dict[str, set[str]] = field(default_factory=dict)
    """Tables whose rows are locked while an entity is decided, with the columns by which they are found."""
    written: set[str] = field(default_factory=set)
    """Every table that is written."""
    statistics: dict[str, set[str]] = field(default_factory=dict)
    """On MongoDB, collections of which an invariant asks more than their documents, with the actions that this needs."""

    @property
    def tables(self) -> list[str]:
        """All of them, in the order of their names."""
        return sorted(self.read | self.written)


def needs_of(migrations: Iterable[Found], params: Mapping[str, str]) -> Needs:
    """What these migrations need, with the tables that the parameters name.

    Raises:
        UnknownName: none of them has such a parameter.
    """
    found = list(migrations)
    models = [one.cls.params_model() for one in found]
    known = {name for model in models if model is not None for name in model.model_fields}
    for name in params:
        if name not in known:
            raise UnknownName(f"parameter of {', '.join(one.name for one in found)}", name, known)
    needs = Needs(tuple(one.name for one in found))
    for one, model in zip(found, models, strict=True):
        own = {name: value for name, value in params.items() if model is not None and name in model.model_fields}
        one.instance(own)
        _add(needs, one.bound(own).cls)
    return needs


STATISTICS = {"collStats", "indexStats"}
"""Stages of MongoDB that need an action of their own name."""


def _add(needs: Needs, cls: type[Migration]) -> None:
    needs.read.update(keys.table for keys in cls.all_keys())
    for rows in cls.reads:
        needs.read.add(rows.table)
        if rows.columns is None:
            needs.locked.setdefault(rows.table, set()).update(rows.by[:1])
    needs.written.update(cls.writes)
    for invariant in cls.invariants:
        needs.read.update(asked(invariant))
        if not isinstance(invariant.query, str) and invariant.collection is not None:
            wanted = {name.removeprefix("$") for stage in invariant.query for name in stage} & STATISTICS
            needs.statistics.setdefault(invariant.collection, set()).update(wanted)
    for name in cls.requires:
        # What it must have come to is asked of its own sources.
        needs.read.update(keys.table for keys in _keys_of(name))


def _keys_of(name: str) -> Sequence[Any]:
    try:
        return find(name).cls.all_keys()
    except UnknownName:
        return ()  # it was found by a path, and is to be named beside the one that requires it


_NAME = r'(?:(?:"(?:[^"]|"")+"|[\w$]+)(?:\.(?:"(?:[^"]|"")+"|[\w$]+))?)(?![\w$.])(?!\s*\()'
_ALIAS = r"(?:\s+(?:AS\s+)?(?!(?:AS|CROSS|FULL|GROUP|HAVING|INNER|JOIN|LEFT|LIMIT|NATURAL|ORDER|RIGHT|UNION|USING|WHERE)\b)\w+)?"
TABLES = re.compile(rf"\b(?:FROM|JOIN)\s+(?:ONLY\s+)?({_NAME}(?:{_ALIAS}\s*,\s*(?:ONLY\s+)?{_NAME})*)", re.IGNORECASE)
ONE = re.compile(rf"(?:^|,)\s*(?:ONLY\s+)?({_NAME})", re.IGNORECASE)
NAMED = re.compile(
    r'(?:\bWITH(?:\s+RECURSIVE)?|,)\s+("(?:[^"]|"")+"|\w+)\s*(?:\([^()]*\)\s*)?AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?\(',
    re.IGNORECASE,
)


def asked(invariant: Invariant) -> set[str]:
    """The tables that an invariant looks at: those after FROM and JOIN, or those of its pipeline."""
    if isinstance(invariant.query, str):
        plain = re.sub(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", " ", invariant.query, flags=re.DOTALL)
        found = {_bare(name) for some in TABLES.findall(plain) for name in ONE.findall(some)}
        return found - {_bare(name) for name in NAMED.findall(plain)}
    here = {invariant.collection} if invariant.collection else set()
    return here | set(_collections(invariant.query))


def _bare(name: str) -> str:
    return name.replace('""', "\0").replace('"', "").replace("\0", '"')


def _collections(stage: Any) -> Iterator[str]:
    """The collections that `$lookup`, `$graphLookup` and `$unionWith` name, however deep."""
    if isinstance(stage, Mapping):
        for name, value in stage.items():
            if name in ("$lookup", "$graphLookup", "$unionWith"):
                other = value.get("from", value.get("coll")) if isinstance(value, Mapping) else value
                yield from [other] if isinstance(other, str) else []
            yield from _collections(value)
    elif isinstance(stage, (list, tuple)):
        for one in stage:
            yield from _collections(one)
