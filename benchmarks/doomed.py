"""Runs a command of image-features that is killed at its nth change of a file.

python -m benchmarks.doomed PLACE COUNTER MOMENT COMMAND...

The changes below PLACE are counted: files that are opened to be written, links, renames, removals
and new directories. At the one with the number MOMENT, before it is made, the whole process group
gets SIGKILL: every step of a commit is then a moment that can be drawn, however short it is. With
MOMENT 0 nothing happens. The number of changes so far is always in the file COUNTER.
"""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import sys

_CHANGES = frozenset({"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Takes its own arguments away, and runs the rest as `python -m image_features` would."""
    place, counter, moment = os.path.join(sys.argv[1], ""), sys.argv[2], int(sys.argv[3])
    del sys.argv[1:4]
    descriptor = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    numbers = itertools.count(1)  # Threads may ask at once, and each gets its own.

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if not _changes(event, arguments, place):
            return
        number = next(numbers)
        if number == moment:
            os.killpg(0, signal.SIGKILL)
        os.pwrite(descriptor, b"%d\n" % number, 0)

    sys.addaudithook(look)
    runpy.run_module("image_features", run_name="__main__", alter_sys=True)


def _changes(event: str, arguments: tuple[object, ...], place: str) -> bool:
    if event == "open":
        if not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
            return False
    elif event not in _CHANGES:
        return False
    # What is named relative to a directory's descriptor is what a tree's removal removes.
    path = arguments[0]
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return isinstance(path, str) and (path.startswith(place) or not os.path.isabs(path))


if __name__ == "__main__":
    main()
