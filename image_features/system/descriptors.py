"""How many files and connections this process may have open at once."""

from __future__ import annotations

import errno
import resource
import time
from collections.abc import Callable
from typing import TypeVar

Out = TypeVar("Out")

# A run needs some for its shards, its logs and the engine.
_OTHERS = 48
# A fetch has a connection and may look up a name, while another connection waits for its next one.
_FOR_A_FETCH = 3
FEWEST = 64
_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_WAITS = 300
SECONDS_OF_A_WAIT = 0.2


def limit() -> int:
    """Returns the limit of open files, which `ulimit -n` shows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def fetches_at_once() -> int:
    """Returns how many fetches at once leave enough for everything else."""
    return max(1, (limit() - _OTHERS) // _FOR_A_FETCH)


def has_none(error: BaseException) -> bool:
    """Whether an error is that this process, or this machine, has too many files open."""
    return isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR


def patiently(action: Callable[[], Out], sleep: Callable[[float], None] = time.sleep) -> Out:
    """Does what needs a descriptor, if need be when other files have been closed.

    That a process has none left says nothing about a file, and passes.

    Raises:
      OSError: the action has failed, or there was no descriptor for a minute.
    """
    for _ in range(_WAITS):
        try:
            return action()
        except OSError as error:
            if not has_none(error):
                raise
        sleep(SECONDS_OF_A_WAIT)
    return action()
