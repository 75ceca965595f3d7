"""The line of a library's error that says what is wrong."""

from __future__ import annotations

# TensorFlow begins the errors of its graphs with the places in the code that made the node.
_PREAMBLE = (
    "Graph execution error",
    "Detected at node",
    "Stack trace",
    "<stack traceback",
    " ",
    "\t",
)


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception of TensorFlow's or LiteRT's; pages may follow it."""
    lines = str(error).strip().splitlines()
    telling = [line for line in lines if line.strip() and not line.startswith(_PREAMBLE)]
    found = (telling or lines)[:1]
    return f"{type(error).__name__}: {found[0][:200]}" if found else type(error).__name__
