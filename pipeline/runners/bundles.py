"""What Beam spends on each bundle, where the runner and its only worker are one process.

A small job has some thirty bundles, most of them of one element.
"""

from __future__ import annotations

import bz2
import contextlib
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import objsize
from apache_beam.internal import cloudpickle_pickler
from apache_beam.runners.worker import statecache, statesampler

from image_features.pipeline.runners.kept_views import replaced

_BZIP2 = b"BZh"


class QuickCompression:
    """Stands for bz2, which takes half a millisecond for what zlib does in a tenth of it."""

    @staticmethod
    def compress(data: bytes, compresslevel: int = 9) -> bytes:
        """Compresses what this process will read, at whatever level."""
        return zlib.compress(data, 1)

    @staticmethod
    def decompress(data: bytes) -> bytes:
        """Decompresses also what was compressed by bz2."""
        return bz2.decompress(data) if data.startswith(_BZIP2) else zlib.decompress(data)


@contextlib.contextmanager
def brief_bundles() -> Iterator[None]:
    """Keeps bundles short: steps travel within the process, and nobody asks what takes how long.

    Beam's sampler of the time in each step is a thread of its own for every bundle, which ends only
    when it next looks. Our steps count their own time.
    """
    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (cloudpickle_pickler, "bz2", lambda _: QuickCompression),
            (statesampler.StateSampler, "start", lambda _: _start),
            (statesampler.StateSampler, "stop", lambda _: _stop),
            (statecache, "get_deep_size", lambda _: deep_size),
        ):
            stack.enter_context(replaced(owner, name, value))
        yield


def _start(sampler: Any) -> None:
    sampler.tracked_thread = threading.current_thread()
    statesampler.set_current_tracker(sampler)
    sampler.started = True


def _stop(sampler: Any) -> None:
    statesampler.set_current_tracker(None)
    sampler.finished = True


def deep_size(*objects: Any) -> int:
    """Returns the bytes that values of the cache take, without a look at every module first.

    Modules and classes are not gone into, so that nothing of theirs is reached.
    """
    return int(
        objsize.get_deep_size(
            *objects,
            get_size_func=statecache._size_func,
            get_referents_func=statecache._get_referents_func,
            filter_func=statecache._filter_func,
            exclude_modules_globals=False,
        )
    )
