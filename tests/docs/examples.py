"""The examples of the documentation, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "deploy").glob("*/README.md")),
]
_PROGRAM = re.compile(r"^(\$ |.*;\s*(do )?)?(?P<command>image-features .*)$")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?:(?: {4}.*)?\n)+")


def named(page: Path) -> str:
    """Returns a page's path as test ids show it."""
    return str(page.relative_to(ROOT))


def python_blocks(page: Path) -> list[str]:
    """Returns the Python blocks of a page."""
    return [text for language, text in _FENCE.findall(page.read_text()) if language == "python"]


def shell_blocks(page: Path) -> list[str]:
    """Returns the indented blocks of a page that call our command, without their indentation."""
    text = _FENCE.sub("", page.read_text())
    blocks = (re.sub(r"^ {4}", "", b, flags=re.M).strip("\n") for b in _INDENTED.findall(text))
    return [block for block in blocks if commands(block)]


def commands(block: str) -> list[list[str]]:
    """Returns the calls of our command in a block, or in a sentence, each as its arguments."""
    lines = block.replace("\\\n", " ").splitlines()
    found = (match for line in lines if (match := _PROGRAM.match(line)))
    return [arguments for match in found if (arguments := _split(match["command"]))]


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Yields the calls of our command within the sentences of a page."""
    text = _FENCE.sub("", page.read_text())
    for code in re.findall(r"`(image-features [^`]+)`", text):
        yield _split(code.replace("\n", " "))


def _split(command: str) -> list[str]:
    """Splits a command as a shell does; `...` stands for more options and is left out."""
    words = shlex.shlex(command, posix=True, punctuation_chars="|;&")
    words.whitespace_split = True
    arguments = []
    for word in words:
        if set(word) <= set("|;&"):
            break
        arguments.append(word)
    return [word for word in arguments[1:] if word != "..."]
