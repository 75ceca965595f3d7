import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.concurrency import OrderedPool


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 50), max_size=60),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 60),
)
def test_order_is_kept_and_bounds_hold(items, threads, max_items, max_bytes):
    worst = 0
    pool = OrderedPool(lambda item: item, threads=threads, max_items=max_items, max_bytes=max_bytes)
    out = []
    for item in items:
        out += pool.submit(item, item)
        worst = max(worst, len(pool._flying))
        assert pool.bytes <= max(max_bytes, max(items))
    out += pool.drain()
    pool.close()
    assert out == items
    assert worst <= max_items


def test_items_run_at_once():
    barrier = threading.Barrier(4, timeout=10)
    pool = OrderedPool(lambda _: barrier.wait(), threads=4, max_items=8)
    out = [result for item in range(4) for result in pool.submit(item)] + list(pool.drain())
    assert sorted(out) == [0, 1, 2, 3]
    pool.close()


def test_a_failure_reaches_the_caller():
    pool = OrderedPool(lambda x: 1 // x, threads=1, max_items=2)
    with pytest.raises(ZeroDivisionError):
        list(pool.submit(0))
        list(pool.drain())
    pool.close()


def test_latency_is_hidden():
    pool = OrderedPool(lambda _: time.sleep(0.05), threads=16, max_items=32)
    start = time.monotonic()
    for item in range(64):
        list(pool.submit(item))
    list(pool.drain())
    assert time.monotonic() - start < 64 * 0.05 / 4
    pool.close()


def test_results_count_by_their_own_size():
    pool = OrderedPool(lambda n: b"x" * n, threads=1, max_items=10, max_bytes=100, size_of=len)
    gate = threading.Event()
    blocker = OrderedPool(lambda n: gate.wait() and b"x" * n, threads=1, max_items=10)
    assert [len(result) for n in (80, 80, 80) for result in pool.submit(n, 1)] + [
        len(result) for result in pool.drain()
    ] == [80, 80, 80]
    assert list(blocker.submit(1, 1)) == []
    assert blocker.bytes == 1
    gate.set()
    assert list(blocker.drain()) == [b"x"]
    pool.close()
    blocker.close()
