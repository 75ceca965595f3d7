"""How many files and connections this process may have open at once."""

from __future__ import annotations

import resource

# A run needs some for its shards, its logs and the engine.
_OTHERS = 48
# A fetch has a connection and may look up a name, while another connection waits for its next one.
_FOR_A_FETCH = 3
FEWEST = 64


def limit() -> int:
    """Returns the limit of open files, which `ulimit -n` shows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def fetches_at_once() -> int:
    """Returns how many fetches at once leave enough for everything else."""
    return max(1, (limit() - _OTHERS) // _FOR_A_FETCH)
