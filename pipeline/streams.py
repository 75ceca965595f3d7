"""The standard streams of a command, which may be closed, full, or a pipe that nobody reads.

What a command does to a dataset does not depend on them: `say` and `complain` write what can be
written. `show` is for output that was asked for, such as that of `inspect`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import Any, TextIO

from image_features.errors import ImageFeaturesError
from image_features.pipeline.terminal import PROGRAM, shown


def open_closed_streams() -> None:
    """Gives streams that are closed a file, since the next file to open would be taken for one.

    Reading gets nothing, errors go nowhere, and writing to standard output fails as it did.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or _text(0, "r")
    sys.stdout = sys.stdout or _text(1, "w")
    sys.stderr = sys.stderr or _text(2, "w")


def say(*lines: object) -> None:
    """Writes lines about what was done to standard output, as far as that can be."""
    _try_to_write(sys.stdout, lines)


def complain(sentence: object) -> None:
    """Writes a sentence to standard error, as far as that can be."""
    _try_to_write(sys.stderr, [f"{PROGRAM}: {sentence}"])


def show(*lines: object, exact: bool = False) -> None:
    """Writes lines that were asked for to standard output, and what was printed before.

    Args:
      *lines: The lines.
      exact: Whether they are written as they are, as for programs; otherwise as users may see them.

    Raises:
      ImageFeaturesError: they cannot be written.
      SystemExit: nobody reads them any more, as with `| head`.
    """
    try:
        _write(sys.stdout, lines if exact else map(_line, lines))
    except (OSError, ValueError) as error:
        _forget(sys.stdout)
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise SystemExit(128 + signal.SIGPIPE) from None
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageFeaturesError(f"Standard output cannot be written to: {why}.") from error


def _try_to_write(stream: TextIO, lines: Any) -> None:
    try:
        _write(stream, map(_line, lines))
    except (OSError, ValueError):  # A stream that the caller has closed raises the latter.
        _forget(stream)


def _line(line: object) -> str:
    return shown(str(line))


def _write(stream: TextIO, lines: Any) -> None:
    # Names of files may hold what the encoding of a terminal, or any encoding, has no bytes for.
    encoding = stream.encoding or "utf-8"
    for line in lines:
        stream.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _forget(stream: TextIO) -> None:
    """Drops what a stream could not write, since it would try again at every chance."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
            stream.flush()
        finally:
            os.close(null)


def _text(number: int, mode: str) -> Any:
    return open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)
