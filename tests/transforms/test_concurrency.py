import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.concurrency import OrderedPool, cpu_pool


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 60),
    st.integers(1, 10),
)
def test_order_is_kept_and_bounds_hold(items, threads, max_items, max_bytes, chunk):
    with ThreadPoolExecutor(threads) as executor:
        pool = OrderedPool(
            lambda item: item,
            executor=executor,
            max_items=max_items,
            max_bytes=max_bytes,
            chunk=chunk,
        )
        out = []
        for n, (item, alone) in enumerate(items):
            out += pool.submit(item, item, alone=alone)
            assert n + 1 - len(out) <= max_items
            assert pool.bytes <= max(max_bytes, max(item for item, _ in items))
        out += pool.drain()
        assert out == [item for item, _ in items]
        assert pool.bytes == 0


def test_items_run_at_once():
    barrier = threading.Barrier(4, timeout=10)
    with ThreadPoolExecutor(4) as executor:
        pool = OrderedPool(lambda _: barrier.wait(), executor=executor, max_items=8)
        out = [result for item in range(4) for result in pool.submit(item)] + list(pool.drain())
    assert sorted(out) == [0, 1, 2, 3]


def test_one_that_is_alone_waits_for_nobody():
    begun = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        pool = OrderedPool(lambda _: begun.set(), executor=executor, max_items=8, chunk=8)
        list(pool.submit(0))
        assert not begun.wait(0.05)
        list(pool.submit(1, alone=True))
        assert begun.wait(10)
        assert len(list(pool.drain())) < 3


def test_a_chunk_runs_on_one_thread():
    with ThreadPoolExecutor(4) as executor:
        pool = OrderedPool(
            lambda _: (time.sleep(0.01), threading.get_ident())[1],
            executor=executor,
            max_items=8,
            chunk=4,
        )
        threads = [t for item in range(8) for t in pool.submit(item)] + list(pool.drain())
    assert len(set(threads[:4])) == len(set(threads[4:])) == 1
    assert len(set(threads)) == 2


def test_a_failure_reaches_the_caller():
    with ThreadPoolExecutor(1) as executor:
        pool = OrderedPool(lambda x: 1 // x, executor=executor, max_items=2)
        with pytest.raises(ZeroDivisionError):
            list(pool.submit(0))
            list(pool.drain())


def test_latency_is_hidden():
    with ThreadPoolExecutor(16) as executor:
        pool = OrderedPool(lambda _: time.sleep(0.05), executor=executor, max_items=32)
        start = time.monotonic()
        for item in range(64):
            list(pool.submit(item))
        list(pool.drain())
        assert time.monotonic() - start < 64 * 0.05 / 4


def test_results_count_by_their_own_size():
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        pool = OrderedPool(
            lambda n: b"x" * n, executor=executor, max_items=10, max_bytes=100, size_of=len
        )
        assert [len(result) for n in (80, 80, 80) for result in pool.submit(n, 1)] + [
            len(result) for result in pool.drain()
        ] == [80, 80, 80]
        blocked = OrderedPool(
            lambda n: gate.wait() and b"x" * n, executor=executor, max_items=10, size_of=len
        )
        assert list(blocked.submit(7, 1)) == []
        assert blocked.bytes == 1
        gate.set()
        assert list(blocked.drain()) == [b"x" * 7]
        assert blocked.bytes == 0


def test_the_process_has_one_pool():
    assert cpu_pool(2) is cpu_pool(2)
