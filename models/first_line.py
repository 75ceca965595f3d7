"""The line of a library's error that says what is wrong."""

from __future__ import annotations

import re

# TensorFlow begins the errors of its graphs with the places in the code that made the node.
_PREAMBLE = (
    "Graph execution error",
    "Detected at node",
    "Stack trace",
    "<stack traceback",
    " ",
    "\t",
)
# It names nodes by the paths of functions that it made up itself.
_NODES = re.compile(r"\{\{[^{}]*\}\} ?| ?\[Op:[^\[\]]*\]| ?\[\[[^\[\]]*\]\]")
_LONGEST = 200


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception of TensorFlow's or LiteRT's; pages may follow it."""
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if line.strip() and not line.startswith(_PREAMBLE)]
    found = (telling or lines)[:1]
    if not found:
        return type(error).__name__
    return f"{type(error).__name__}: {_shortened(_NODES.sub('', found[0]).strip())}"


def _shortened(line: str) -> str:
    """Cuts a long line where a sentence ends, or else a word."""
    if len(line) <= _LONGEST:
        return line.rstrip(".")
    start = line[:_LONGEST]
    sentence = start.rfind(". ")
    if sentence > 0:
        return start[:sentence]
    return f"{start.rpartition(' ')[0] or start} ..."
