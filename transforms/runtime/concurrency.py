"""Threads within a bundle: many items in flight, bounded in number and bytes."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pathlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from image_features.system.descriptors import fetches_at_once

In = TypeVar("In")
Out = TypeVar("Out")


def in_global_window(row: Any) -> Any:
    """Puts a row that finish_bundle yields into the window that rows of process have."""
    window = GlobalWindow()
    if isinstance(row, TaggedOutput):
        value = WindowedValue(row.value, window.max_timestamp(), [window])
        return TaggedOutput(row.tag, value)
    return WindowedValue(row, window.max_timestamp(), [window])


def available_cores() -> int:
    """Counts the cores that this process may use: a container may have fewer than its machine."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, math.ceil(min(_group_limits(), default=cores))))


def _group_limits(own: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> Iterator[float]:
    """Yields the cores that each control group (version 2) of this process is limited to."""
    try:
        lines = pathlib.Path(own).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::"):
            group = pathlib.PurePosixPath(line[len("0::") :])
            # In a container that sees the names of its machine, its own group is at the root.
            for ancestor in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):
                    limit, period = pathlib.Path(f"{root}{ancestor}", "cpu.max").read_text().split()
                    yield int(limit) / int(period)  # "max" means no limit, and is no number.


class CpuPool(Executor):
    """Threads that compute, and callers that help instead of waiting.

    The pool has one thread fewer than there are cores. With the caller's own, as many threads run
    as there are cores: one more would only take turns with them for the interpreter's lock.

    Attributes:
      threads: The number of threads that compute, the caller's included.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        for number in range(threads - 1):
            threading.Thread(target=self._work, name=f"cpu_{number}", daemon=True).start()

    def submit(self, fn: Callable[..., Out], /, *args: Any, **kwargs: Any) -> Future[Out]:
        """Queues a call, for a thread of the pool or a caller that helps."""
        future: Future[Out] = Future()
        self._tasks.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def help(self) -> bool:
        """Runs one queued call in the caller's thread; tells whether there was one."""
        try:
            future, call = self._tasks.get_nowait()
        except queue.Empty:
            return False
        _fulfil(future, call)
        return True

    def _work(self) -> None:
        while True:
            _fulfil(*self._tasks.get())


def _fulfil(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def cpu_pool(threads: int | None) -> CpuPool:
    """Returns the threads that compute in this process, for every step and bundle.

    Args:
      threads: The number of threads; None for one a core.
    """
    return _cpu_pool(threads or available_cores())


_cpu_pool = functools.cache(CpuPool)


def io_pool(threads: int) -> ThreadPoolExecutor:
    """Returns the threads that wait for storage and servers in this process.

    Args:
      threads: The number of threads, of which there are fewer where few files may be open at once.
    """
    return _io_pool(min(threads, fetches_at_once()))


@functools.cache
def _io_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="io")


class BoundedPool(Generic[In, Out]):
    """Maps a function over the items of a bundle on threads; results come as they are done.

    An item that hangs does not delay the others. A pool is made anew for every bundle, so that a
    bundle that failed leaves nothing to the next.

    Args:
      function: The function that works on an item; it must be safe in several threads.
      executor: The threads that call it.
      helped: The pool that the caller helps while it waits; None lets it wait.
      max_items: The most items that are submitted and not yet yielded.
      min_items: The most such items at first: while results keep the caller waiting, more are
        submitted, up to `max_items`; None begins with these.
      max_bytes: The most bytes of such items together; one that is larger passes alone.
      size_of: Tells the size of a result in bytes; None where it is the size of its item.
      chunk: The number of items that a thread takes together. Short work is mostly spent on
        handing over: a future costs about 20 microseconds, and a switch of threads.
    """

    def __init__(
        self,
        function: Callable[[In], Out],
        *,
        executor: Executor,
        helped: CpuPool | None = None,
        max_items: int,
        min_items: int | None = None,
        max_bytes: int = 2**63,
        size_of: Callable[[Out], int] | None = None,
        chunk: int = 1,
    ) -> None:
        self._function = function
        self._executor = executor
        self._helped = helped
        self._max_items = max_items
        self._limit = min(min_items or max_items, max_items)
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._chunk = min(chunk, self._limit)
        self._waiting: list[tuple[In, int]] = []
        self._done: queue.SimpleQueue[Future[list[tuple[Out, int]]]] = queue.SimpleQueue()
        self._flying = 0
        self._items = 0
        self._bytes = 0
        self._lock = threading.Lock()

    def submit(self, item: In, size: int = 0, *, alone: bool = False) -> Iterator[Out]:
        """Starts an item; yields results that are there, waiting where bounds are reached.

        Args:
          item: The item to work on.
          size: The size of the item in bytes, or a guess at the size of its result.
          alone: Whether the item must not wait for others of its chunk, nor they for it.
        """
        if self._waiting and alone:
            self._start()
        while self._items and self._bytes + size > self._max_bytes:
            yield from self._take()
        while self._items >= self._limit:
            if self._limit < self._max_items and self._done.empty():
                self._limit += 1
            else:
                yield from self._take()
        with self._lock:
            self._bytes += size
        self._items += 1
        self._waiting.append((item, size))
        if alone or len(self._waiting) >= self._chunk:
            self._start()
        while not self._done.empty():
            yield from self._take()

    def drain(self) -> Iterator[Out]:
        """Yields all results that are left."""
        if self._waiting:
            self._start()
        while self._items:
            yield from self._take()

    def _start(self) -> None:
        items, self._waiting = self._waiting, []
        self._flying += 1
        self._executor.submit(self._run, items).add_done_callback(self._done.put)

    def _run(self, items: list[tuple[In, int]]) -> list[tuple[Out, int]]:
        results = []
        for item, size in items:
            result = self._function(item)
            if self._size_of is not None:
                guess, size = size, self._size_of(result)
                with self._lock:
                    self._bytes += size - guess
            results.append((result, size))
        return results

    def _take(self) -> Iterator[Out]:
        if not self._flying:
            self._start()
        # Calls that are not queued any more are run by other threads, and their results will come.
        while self._helped is not None and self._done.empty() and self._helped.help():
            pass
        done = self._done.get()
        self._flying -= 1
        for result, size in done.result():
            with self._lock:
                self._bytes -= size
            self._items -= 1
            yield result
