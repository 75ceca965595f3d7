"""A clock that notes every import of a process and its seconds, for `benchmarks.startup`.

Python imports it at its start when its directory is in PYTHONPATH. `-X importtime` would write to
stderr, which the extractor mutes while libraries that remark on things are imported.
"""

import importlib
import os
import threading
import time
from typing import Any

_DIRECTORY = os.environ["IMPORT_CLOCK"]
_LOG = os.open(f"{_DIRECTORY}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_INNER = threading.local()
# The interpreter calls this for a module that is not there yet.
_BOOTSTRAP: Any = importlib._bootstrap
_find_and_load = _BOOTSTRAP._find_and_load


def _timed(name: str, import_: Any) -> Any:
    before = getattr(_INNER, "seconds", 0.0)
    _INNER.seconds = 0.0
    start = time.perf_counter()
    try:
        module = _find_and_load(name, import_)
    except BaseException:
        _INNER.seconds = before + time.perf_counter() - start
        raise
    whole = time.perf_counter() - start
    # A line is written at once and not at the end, since processes end without ceremony.
    os.write(_LOG, f"{whole - _INNER.seconds:.6f} {name}\n".encode())
    _INNER.seconds = before + whole
    return module


_BOOTSTRAP._find_and_load = _timed
