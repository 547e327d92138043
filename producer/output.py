"""Standard output and standard error as commands write to them: any text can be, and where it cannot go on, that is said."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from backtrail.errors import BacktrailError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CLOSED = 141
"""The exit code where whoever read our output did not want all of it: as of a program that SIGPIPE ends."""


class OutputLost(BacktrailError):
    """What a command has to say cannot be written; what it did, it has done."""


class _Output(io.FileIO):
    """Standard output.

    That it is closed or full is told by no OSError: click and rich take one of a closed pipe for their own affair, and end the process
    with an exit code that means something else here.
    """

    lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        """How many bytes were written; once some could not be, all are taken for written: they are tried again at the very end."""
        if self.lost:
            return len(memoryview(data))
        try:
            return super().write(data)
        except BrokenPipeError:
            self.lost = True
            raise SystemExit(CLOSED) from None
        except OSError as error:
            self.lost = True
            raise OutputLost(f"standard output cannot be written: {error.strerror}") from None


class _Asides(io.FileIO):
    """Standard error: nobody can be told that it cannot be written, and nothing ends for it."""

    def write(self, data: ReadableBuffer, /) -> int:
        """How many bytes were written, or lost."""
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))


def prepare() -> None:
    """Nothing; both streams of this process are such ones. Those that somebody else has put there, a test say, stay."""
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(sys.stdout, 1, _Output)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2, _Asides)


def _stream(old: TextIO | None, number: int, kind: type[io.FileIO]) -> TextIO:
    if not isinstance(old, io.TextIOWrapper):  # None, where whoever started us closed it
        _open_nowhere(number)
    return io.TextIOWrapper(
        io.BufferedWriter(kind(number, "w", closefd=False)),
        encoding=getattr(old, "encoding", "utf-8"),
        errors="backslashreplace",  # a key or a reason may be of any language, whatever the terminal can show
        line_buffering=getattr(old, "line_buffering", True),
        write_through=getattr(old, "write_through", False),
    )


def _open_nowhere(number: int) -> None:
    """Nothing; what is written there is gone: left free, the number would be that of the next file or connection."""
    handle = os.open(os.devnull, os.O_WRONLY)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)
    os.set_inheritable(number, True)  # noqa: FBT003 -- it takes it by position only


def holds_all_text(stream: TextIO) -> bool:
    """Whether every character can be written to it as it is."""
    return stream.encoding is None or codecs.lookup(stream.encoding).name.startswith("utf-")
