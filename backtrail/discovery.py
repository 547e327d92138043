"""Migrations found by name, by `package.module:Class`, or by `path/to/file.py:Class`; and the fingerprint of their code."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from backtrail.decide import place
from backtrail.errors import BacktrailError, UnknownName, UsageError
from backtrail.migration import Migration, validate

GROUP = "backtrail.migrations"


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
    if head.endswith(".py"):
        path = Path(head).resolve()
        module = _load_file(path, fresh=fresh)
        cls = _class_of(module, wanted, text)
        source = f"{path}:{cls.__name__}"
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
        source = text
    validate(cls)
    if source == text and text in announced() and cls.name != text:
        raise UsageError(f"the package announces {text!r}, and its class is named {cls.name!r}: make them equal")
    return Found(cls, source, fingerprint(module))


def _load_file(path: Path, *, fresh: bool) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    name = "backtrail_file_" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    if name in sys.modules and not fresh:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing beside the file hides a package that Backtrail needs
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _unloadable(str(path), error) from error
    return module


def _load_module(name: str, text: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise UsageError(f"no module named {error.name!r} for the migration {text!r}: check the name, or give path/to/file.py:Class") from None
        raise _unloadable(name, error) from error
    except Exception as error:
        raise _unloadable(name, error) from error


def _unloadable(what: str, error: Exception) -> BacktrailError:
    if isinstance(error, BacktrailError):
        return error
    detail = f"{error.msg} in line {error.lineno}" if isinstance(error, SyntaxError) else f"{place(error)} ({error})"
    return UsageError(f"{what} cannot be loaded: {detail}")


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


def fingerprint(module: ModuleType) -> str:
    """SHA-256, in hex, over the code of the migration: its file, and those that it imports from its own folder or below."""
    own = Path(module.__file__ or "").resolve()
    files = {own}
    for other in _imported(module, set()):
        path = Path(getattr(other, "__file__", None) or "").resolve()
        if path.suffix == ".py" and path.is_relative_to(own.parent):
            files.add(path)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(own.parent)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _imported(module: ModuleType, seen: set[str]) -> set[ModuleType]:
    """The modules that the module's own names come from, and so on."""
    found: set[ModuleType] = set()
    folder = Path(module.__file__ or "").resolve().parent
    for value in list(vars(module).values()):
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        other = sys.modules.get(name) if isinstance(name, str) else None
        if other is None or other.__name__ in seen or not getattr(other, "__file__", None):
            continue
        seen.add(other.__name__)
        if Path(str(other.__file__)).resolve().is_relative_to(folder):
            found |= {other} | _imported(other, seen)
    return found
