"""What a user reads: text that cannot act on a terminal, pose as another line or show a secret."""

from __future__ import annotations

import sys
import unicodedata
from typing import TextIO

from image_features.transforms.stores.uris import redact_text

PROGRAM = "image-features"


def printable(text: str) -> str:
    """Writes out what a terminal or a page would obey, as Python does: ESC as \\x1b, LF as \\n.

    Names and messages of others may hold control characters, marks that turn the direction of
    writing, and surrogates, which stand for bytes that are no text. Spaces of all kinds stay.
    """
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable() or unicodedata.category(char) == "Zs"
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shown(text: str) -> str:
    """Returns a text as users may see it: printable, and without the secrets of its URLs."""
    return printable(redact_text(text))


def say(text: str) -> None:
    """Prints a line on stdout, whatever it holds and whatever the terminal can show."""
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """Prints a line on stderr, after the name of the program."""
    _print(f"{PROGRAM}: {text}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    line = shown(text).encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=stream, flush=True)
