"""What a user reads: text that cannot act on a terminal, pose as another line or show a secret."""

from __future__ import annotations

import unicodedata

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
