"""A new migration and its test, ready to run: a small real example, for its author to change."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from backtrail.errors import UsageError
from producer.templates import DOCUMENTS, DOCUMENTS_TEST, ROWS, ROWS_TEST

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
TAKEN = {"Any", "Entity", "Invariant", "Iterable", "Keys", "Migration", "Rows"}
"""The names that the new file imports, which its class cannot have as well."""


def create(name: str, folder: Path, *, documents: bool = False) -> list[Path]:
    """The files written: the migration called `name`, and its test.

    Args:
        name: of the migration.
        folder: where the files go.
        documents: whether it is one of collections.

    Raises:
        UsageError: the name cannot be one, a file is there already, or the folder cannot be written.
    """
    module, cls = names(name)
    code, test = (DOCUMENTS, DOCUMENTS_TEST) if documents else (ROWS, ROWS_TEST)
    texts = {
        folder / f"{module}.py": code.substitute(name=name, cls=cls),
        folder / f"test_{module}.py": test.substitute(module=module, cls=cls),
    }
    for path in texts:
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists already and is not overwritten: take another name, or move it away")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:  # x: nor is one that came this very moment
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    return written


def names(name: str) -> tuple[str, str]:
    """The module and the class of a migration called `name`.

    Raises:
        UsageError: with a name that would do.
    """
    if not NAME.match(name):
        slug = "-".join(re.findall("[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()))
        mend = slug if NAME.match(slug) else f"migrate-{slug}" if slug else "split-names"
        raise UsageError(f"{name!r} is no name of a migration: lower-case words joined by hyphens, as in {mend}")
    module = name.replace("-", "_")
    cls = "".join(word.capitalize() for word in name.split("-"))
    # A file of such a name would be imported by everybody else instead of the real one.
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in packages_distributions() or cls in TAKEN:
        raise UsageError(f"{name!r} is a name that Python or Backtrail use themselves: say what it does, as in {name}-of-users")
    return module, cls
