"""Migrations found by name, by `package.module:Class`, or by `path/to/file.py:Class`; and the fingerprint of their code."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from backtrail.decide import place
from backtrail.errors import BacktrailError, UnknownName, UsageError
from backtrail.migration import Migration, bound, validate

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "backtrail.migrations"

OURS = ("backtrail", "ledger", "producer", "worker")
"""The packages of Backtrail itself, which are no part of an author's code even where they lie below the author's folder."""

WITH_US = ("pydantic", "sqlalchemy", "typing_extensions")
"""What an author imports for `params` and `expand`: it comes with Backtrail, and decides nothing about an entity."""


@dataclass(frozen=True)
class Found:
    """A migration's class, where it was found, and the fingerprint of its code."""

    cls: type[Migration]
    source: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The migration's name."""
        return self.cls.name

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(self.cls) or "").split("\n", 1)[0]

    def bound(self, params: Mapping[str, Any]) -> Found:
        """The same with the values of parameters in the names of its tables."""
        return replace(self, cls=bound(self.cls, params))

    def instance(self, params: dict[str, Any]) -> Migration:
        """The migration with its parameters.

        Raises:
            UsageError: a parameter is unknown, missing or of another type.
        """
        migration = self.cls()
        model = self.cls.params_model()
        if model is None:
            if params:
                raise UsageError(f"{self.name} takes no parameters, so --param {next(iter(params))}=… cannot be meant")
            return migration
        from pydantic import ValidationError  # with the model it is there already; without one it need not be

        unknown = [name for name in params if name not in model.model_fields]
        if unknown:
            raise UnknownName(f"parameter of {self.name}", unknown[0], model.model_fields)
        try:
            migration.params = model.model_validate(params)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise UsageError(f"--param {'.'.join(map(str, first['loc']))}=… of {self.name}: {first['msg']}") from None
        return migration


def announced() -> dict[str, EntryPoint]:
    """The migrations that installed packages announce, by name."""
    from importlib.metadata import entry_points  # it brings a good deal with it, and most commands never come here

    return {point.name: point for point in entry_points(group=GROUP)}


def find(text: str, *, fresh: bool = False) -> Found:
    """The migration that the text names.

    Args:
        text: a name, `package.module:Class`, or `path/to/file.py:Class` (the class may be left out where there is only one).
        fresh: a file is read again, also if it was loaded before.

    Raises:
        UsageError: it names none, or the migration cannot run.
    """
    head, _, wanted = text.rpartition(":") if ":" in text else (text, "", "")
    head = head or text
    name = None
    if head.endswith(".py"):
        path = Path(
            os.path.realpath(head)
        )  # as resolve() does, but for links in a circle, at which that ends with an error of no name
        module = _load_file(path, fresh=fresh)
        cls = _class_of(module, wanted, text)
        source = f"{path}:{wanted or cls.__name__}"
    elif wanted:
        module = _load_module(head, text)
        cls = _class_of(module, wanted, text)
        source = text
    else:
        points = announced()
        if text not in points:
            raise UnknownName("migration", text, points)
        module = _load_module(points[text].module, text)
        cls = _class_of(module, points[text].attr, text)
        source = name = text
    validate(cls)
    if name is not None and cls.name != name:
        raise UsageError(f"the package announces {text!r}, and its class is named {cls.name!r}: make them equal")
    return Found(cls, source, fingerprint(module))


def _load_file(path: Path, *, fresh: bool) -> ModuleType:
    try:
        if not path.is_file():
            raise UsageError(f"there is no file {path}")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    name = "backtrail_file_" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    if name in sys.modules and not fresh:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UsageError(f"{path} is no Python file")
    _forget(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing beside the file hides a package that Backtrail needs
    try:
        with _no_bytecode():
            exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(module))  # noqa: S102 -- the author's file, which somebody named
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _unloadable(str(path), error) from error
    return module


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """In the block, no file's bytecode is kept: it is known by size and second only, and an author's file changes faster."""
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = kept


def _forget(name: str) -> None:
    """Nothing; the file's module and those beside it that it was made of are loaded anew when they are next asked for."""
    code = _codes.pop(name, None)
    old = set() if code is None else code.files
    for other, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and old and Path(file).resolve() in old:
            del sys.modules[other]
    importlib.invalidate_caches()
    linecache.checkcache()


def _load_module(name: str, text: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"no module named {error.name!r} for the migration {text!r}: check the name, or give path/to/file.py:Class"
            ) from None
        raise _unloadable(name, error) from error
    except (Exception, SystemExit) as error:
        raise _unloadable(name, error) from error


def _unloadable(what: str, error: BaseException) -> BacktrailError:
    if isinstance(error, BacktrailError):
        return error
    if isinstance(error, SyntaxError):
        detail = f"{error.msg} in line {error.lineno} of {Path(error.filename or what).name}"
    else:
        detail = f"{place(error)} ({error})"
    return UsageError(f"{what} cannot be loaded: {' '.join(detail.split())}")


def _class_of(module: ModuleType, name: str, text: str) -> type[Migration]:
    own = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Migration) and value.__module__ == module.__name__
    }
    if name:
        cls = getattr(module, name, None)
        if not (isinstance(cls, type) and issubclass(cls, Migration)):
            raise UnknownName(f"migration class in {text.rpartition(':')[0]}", name, own)
        return cls
    if len(own) != 1:
        raise UsageError(f"{text} holds {len(own)} migrations ({', '.join(own) or 'none'}): say which, as in {text}:ClassName")
    return next(iter(own.values()))


@dataclass(frozen=True)
class Code:
    """What a module was made of when it was first met here."""

    module: ModuleType
    files: frozenset[Path]
    digest: str


_codes: dict[str, Code] = {}
"""By the module's name. A file on disk may be another by now, and a worker must not take the code it runs for that one."""


def fingerprint(module: ModuleType) -> str:
    """SHA-256, in hex, over the code of the migration: its file, those that it imports of its own, and the versions of others' packages.

    Its own are those from its folder or below; where it is a module of a package, from anywhere in that package.
    """
    code = _codes.get(module.__name__)
    if code is None or code.module is not module:
        with _no_bytecode():  # a module of which a name is asked is loaded for it
            code = _codes[module.__name__] = _code(module)
    return code.digest


def _code(module: ModuleType) -> Code:
    own = Path(module.__file__ or "").resolve()
    package = module.__package__ or ""
    root = _root(own, package)
    files: dict[Path, bytes] = {}
    others: set[str] = set()
    todo = [(own, package), *_beside(root, module.__name__, iter([package] if package else []))]
    while todo:
        path, package = todo.pop()
        if path not in files:
            files[path] = path.read_bytes()
            names = list(_imports(files[path], package))
            todo += _beside(root, module.__name__, iter(names))
            others.update(name.partition(".")[0] for name in names)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{Path(os.path.relpath(path, own.parent)).as_posix()}\0".encode() + files[path] + b"\0")
    for release in sorted(_releases(others)):
        digest.update(f"{release}\0".encode())
    return Code(module, frozenset(files), digest.hexdigest())


def _root(own: Path, package: str) -> Path:
    """Where the author's code lies: the folder of the whole package, or of the file that is of none."""
    parts = package.split(".")
    if not package or parts[0] in OURS or len(parts) > len(own.parents):
        return own.parent
    return own.parents[len(parts) - 1]


def _releases(names: set[str]) -> set[str]:
    """The installed packages that those top-level modules are of, with their versions; none of those that come with Backtrail."""
    names = names - sys.stdlib_module_names - {*OURS, *WITH_US, ""}
    if not names:
        return set()
    from importlib.metadata import version

    found = {name for top in names for name in _distributions().get(top, ())}
    return {f"{name}=={version(name)}" for name in found}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _imports(source: bytes, package: str) -> Iterator[str]:
    """The names of all modules that the source may import, wherever in it; some name no module."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            base = "." * node.level + (node.module or "")
            if node.level > len(package.split(".")):
                continue
            base = importlib.util.resolve_name(base, package) if node.level else base
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _beside(folder: Path, own: str, names: Iterator[str]) -> list[tuple[Path, str]]:
    """The files, and the packages they are in, of those of the modules that lie in the folder or below."""
    found = []
    for name in names:
        parts = name.split(".")
        top = parts[0]
        if (top in OURS and top != own.partition(".")[0]) or not any(_meet(folder, place) for place in _places(top)):
            continue
        for at in range(1, len(parts) + 1):
            spec = _spec(".".join(parts[:at]))
            path = Path(spec.origin).resolve() if spec is not None and spec.origin else None
            if spec is not None and path is not None and path.suffix == ".py" and _within(folder, path):
                found.append((path, spec.parent or ""))
    return found


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None  # an attribute and no module, or one that cannot be loaded


def _places(name: str) -> list[Path]:
    spec = _spec(name)
    if spec is None:
        return []
    return [Path(place).resolve() for place in (*(spec.submodule_search_locations or ()), *filter(None, [spec.origin]))]


def _within(folder: Path, path: Path) -> bool:
    """Whether the path is the author's own: below the folder, and in no environment that lies there too."""
    return path.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(path.relative_to(folder).parts)


def _meet(folder: Path, path: Path) -> bool:
    return _within(folder, path) or folder.is_relative_to(path)
