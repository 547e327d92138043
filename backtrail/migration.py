"""What a migration is: which entities, which rows belong to one, and how they change."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from backtrail.errors import AuthorMistake, UnknownName, UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from backtrail.entity import Entity

NAME = re.compile(r"[a-z0-9-]+\Z")


@dataclass(frozen=True, init=False)
class Keys:
    """Where entities come from: one for each distinct value of the columns.

    Args:
        table: the table, `schema.table` where it is not in the default schema.
        columns: the column or columns whose values name an entity; several make a tuple. None of an entity's columns, or not all, is NULL.
        where: which rows count: equality, None for NULL or absent, a list for any of.
        key: turns the column's value (or tuple of values) into the entity's key.
    """

    table: str
    columns: tuple[str, ...]
    where: Mapping[str, Any] = field(default_factory=dict)
    key: Callable[[Any], Any] | None = None

    def __init__(
        self, table: str, *columns: str, where: Mapping[str, Any] | None = None, key: Callable[[Any], Any] | None = None
    ) -> None:
        if not columns:
            raise AuthorMistake(f"Keys({table!r}) names no column: Keys({table!r}, 'id')")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "columns", tuple(columns))
        object.__setattr__(self, "where", dict(where or {}))
        object.__setattr__(self, "key", key)


@dataclass(frozen=True, init=False)
class Rows:
    """Which rows of a table belong to an entity.

    Args:
        table: the table, `schema.table` where it is not in the default schema.
        by: the column or columns that hold the entity's key, or the value of the rows named in `via`.
        via: `name.column` of rows that are read before: their column holds the value of `by`.
        name: what `entity.rows` calls them; default the table.
        columns: only these (and key columns) are read: such rows are not locked, can be copied, not changed, and only
            these columns count for staleness.
        key: turns the entity's key into the value looked for.
    """

    table: str
    by: tuple[str, ...]
    via: tuple[str, str] | None
    name: str
    columns: tuple[str, ...] | None
    key: Callable[[Any], Any] | None

    def __init__(
        self,
        table: str,
        by: str | Sequence[str],
        *,
        via: str | None = None,
        name: str | None = None,
        columns: Sequence[str] | None = None,
        key: Callable[[Any], Any] | None = None,
    ) -> None:
        path: tuple[str, str] | None = None
        if via is not None:
            source, dot, column = via.rpartition(".")
            if not dot or not source or not column:
                raise AuthorMistake(f"Rows({table!r}, via={via!r}): write via='name.column', as in 'contexts.id'")
            path = (source, column)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "by", (by,) if isinstance(by, str) else tuple(by))
        object.__setattr__(self, "via", path)
        object.__setattr__(self, "name", name or table)
        object.__setattr__(self, "columns", None if columns is None else tuple(columns))
        object.__setattr__(self, "key", key)


@dataclass(frozen=True)
class Invariant:
    """Something that must be true at every moment: its query (or pipeline over a collection) returns nothing."""

    name: str
    query: str | Sequence[Mapping[str, Any]]
    collection: str | None = None


class Migration:
    """The base of an author's migration; the class attributes say what, `migrate` says how."""

    name: ClassVar[str]
    keys: ClassVar[Keys | tuple[Keys, ...]]
    reads: ClassVar[tuple[Rows, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()
    invariants: ClassVar[tuple[Invariant, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    subject: ClassVar[tuple[str, ...] | str | None] = None
    params: Any = None

    def migrate(self, entity: Entity, /) -> None:
        """Decides the changes of one entity, through the entity's own methods. Pure."""
        raise AuthorMistake(f"{type(self).__name__} has no migrate(self, entity)")

    def check(self, entity: Entity, /) -> Iterable[str]:
        """A message for everything that is wrong about a migrated entity."""
        return ()

    def account(self, entity: Entity, /) -> Mapping[str, int]:
        """What became of the fields this entity had: `{"in": n, …}`, where the others add up to `in`. Summed up by `verify`."""
        return {}

    def expand(self, schema: Any, /) -> None:
        """Adds what the migration needs, by Alembic's operations, each of which is recorded and can be taken back."""

    def contract(self, schema: Any, /) -> None:
        """The late step: validates, tightens, drops the old."""

    @classmethod
    def all_keys(cls) -> tuple[Keys, ...]:
        """The `keys` as a tuple, however they were written."""
        return (cls.keys,) if isinstance(cls.keys, Keys) else tuple(cls.keys)

    @classmethod
    def params_model(cls) -> type[BaseModel] | None:
        """The pydantic model that the class annotates `params` with, if any."""
        owner = next((base for base in cls.__mro__ if "params" in inspect.get_annotations(base)), Migration)
        if owner is Migration:
            return None
        from pydantic import BaseModel  # takes longer than the rest of this module, and where it is needed it is there already

        model = inspect.get_annotations(owner)["params"]
        if isinstance(model, str):
            # Only this one is resolved: others may name what is imported for type checkers alone.
            stub = type(owner.__name__, (), {"__annotations__": {"params": model}, "__module__": owner.__module__})
            try:
                model = typing.get_type_hints(stub)["params"]
            except NameError as error:
                raise UsageError(
                    f"migration {cls.__name__}: params is annotated with {model}, which its module does not hold"
                ) from error
        return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def bound(cls: type[Migration], params: Mapping[str, Any]) -> type[Migration]:
    """The migration with the values of parameters in the names of its tables: `{name}` in keys, reads, writes and invariants.

    Args:
        cls: the migration.
        params: values of its parameters; those left out have the model's defaults.
    """
    model = cls.params_model()
    if model is None:
        return cls
    defaults = {name: field.default for name, field in model.model_fields.items()}
    texts = {f"{{{name}}}": value for name, value in {**defaults, **params}.items() if isinstance(value, str)}

    def filled(text: Any) -> Any:
        if isinstance(text, str):
            for name, value in texts.items():
                text = text.replace(name, value)
            return text
        if isinstance(text, Mapping):
            return {name: filled(value) for name, value in text.items()}
        return type(text)(map(filled, text)) if isinstance(text, (list, tuple)) else text

    names = {
        "keys": tuple(Keys(filled(one.table), *one.columns, where=one.where, key=one.key) for one in cls.all_keys()),
        "reads": tuple(_named(rows, filled) for rows in cls.reads),
        "writes": tuple(map(filled, cls.writes)),
        "invariants": tuple(replace(one, query=filled(one.query), collection=filled(one.collection)) for one in cls.invariants),
    }
    same = all(names[name] == tuple(getattr(cls, name)) for name in ("reads", "writes", "invariants"))
    if same and names["keys"] == cls.all_keys():
        return cls
    return type(cls.__name__, (cls,), {**names, "__module__": cls.__module__, "__doc__": cls.__doc__})


def _named(rows: Rows, filled: Callable[[Any], Any]) -> Rows:
    new = Rows(filled(rows.table), rows.by, name=filled(rows.name), columns=rows.columns, key=rows.key)
    if rows.via is not None:
        object.__setattr__(new, "via", (filled(rows.via[0]), rows.via[1]))  # cut where it was
    return new


def _cut_via(rows: Rows, via: tuple[str, str], seen: set[str], where: str) -> None:
    """Cuts `via` behind the name of an earlier read: names may have dots in them, and so may paths into documents."""
    whole = ".".join(via)
    names = [name for name in seen if whole.startswith(f"{name}.")]
    if not names:
        raise UnknownName(f"earlier read for via of {rows.name!r} in {where}", via[0], seen)
    name = max(names, key=len)
    object.__setattr__(rows, "via", (name, whole[len(name) + 1 :]))


def validate(cls: type[Migration]) -> None:
    """Nothing, where the class is a migration that can run.

    Raises:
        UsageError: names what is missing or cannot be meant so.
    """
    where = f"migration {cls.__name__}"
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not NAME.match(name):
        raise UsageError(f"{where}: name = {name!r} must be lower-case letters, digits and hyphens, as in 'split-names'")
    if not getattr(cls, "keys", None):
        raise UsageError(f"{where}: keys is missing, as in keys = Keys('users', 'id')")
    if cls.migrate is Migration.migrate:
        raise UsageError(f"{where}: it has no migrate(self, entity)")
    for attribute in ("reads", "writes", "invariants", "requires"):
        value = getattr(cls, attribute)
        if isinstance(value, str) or not isinstance(value, (tuple, list)):
            raise UsageError(f"{where}: {attribute} must be a tuple, as in {attribute} = (…,)")
    for attribute, kind in (("reads", Rows), ("writes", str), ("invariants", Invariant), ("requires", str)):
        for item in getattr(cls, attribute):
            if not isinstance(item, kind):
                raise UsageError(f"{where}: {attribute} holds {item!r}, which is no {kind.__name__}")
    seen: set[str] = set()
    for rows in cls.reads:
        if rows.name in seen:
            raise UsageError(f"{where}: two reads are called {rows.name!r}; give one a name=")
        if rows.via:
            _cut_via(rows, rows.via, seen, where)
        seen.add(rows.name)
    widths = {len(keys.columns) for keys in cls.all_keys() if keys.key is None}
    if len(widths) > 1:
        raise UsageError(f"{where}: its Keys have different numbers of columns; give key= to make them alike")
