import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.runtime import concurrency
from image_features.transforms.runtime.concurrency import (
    BoundedPool,
    CpuPool,
    available_cores,
    cpu_pool,
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=60),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 60),
    st.integers(1, 10),
)
def test_nothing_is_lost_and_bounds_hold(items, threads, max_items, max_bytes, chunk):
    with ThreadPoolExecutor(threads) as executor:
        pool = BoundedPool(
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
            assert pool._bytes <= max(max_bytes, max(item for item, _ in items))
        out += pool.drain()
        assert sorted(out) == sorted(item for item, _ in items)
        assert pool._bytes == 0


def test_items_run_at_once():
    barrier = threading.Barrier(4, timeout=10)
    with ThreadPoolExecutor(4) as executor:
        pool = BoundedPool(lambda _: barrier.wait(), executor=executor, max_items=8)
        out = [result for item in range(4) for result in pool.submit(item)] + list(pool.drain())
    assert sorted(out) == [0, 1, 2, 3]


def test_one_that_is_alone_waits_for_nobody():
    begun = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        pool = BoundedPool(lambda _: begun.set(), executor=executor, max_items=8, chunk=8)
        list(pool.submit(0))
        assert not begun.wait(0.05)
        list(pool.submit(1, alone=True))
        assert begun.wait(10)
        assert len(list(pool.drain())) < 3


def test_a_chunk_runs_on_one_thread():
    with ThreadPoolExecutor(4) as executor:
        pool = BoundedPool(
            lambda _: (time.sleep(0.01), threading.get_ident())[1],
            executor=executor,
            max_items=8,
            chunk=4,
        )
        threads = [t for item in range(8) for t in pool.submit(item)] + list(pool.drain())
    assert len(set(threads[:4])) == len(set(threads[4:])) == 1
    assert len(set(threads)) == 2


def test_one_that_hangs_keeps_nobody_waiting():
    gate = threading.Event()
    with ThreadPoolExecutor(2) as executor:
        pool = BoundedPool(
            lambda item: (gate.wait() if item == 0 else None, item)[1],
            executor=executor,
            max_items=4,
        )
        out = [result for item in range(50) for result in pool.submit(item)]
        assert 0 not in out
        assert len(out) >= 46
        gate.set()
        assert sorted(out + list(pool.drain())) == list(range(50))


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 4), (0.05, 16)])
def test_more_are_in_flight_while_results_keep_waiting(seconds, most):
    worst = 0
    with ThreadPoolExecutor(16) as executor:
        pool = BoundedPool(
            lambda _: time.sleep(seconds), executor=executor, min_items=2, max_items=16
        )
        for _ in range(64):
            list(pool.submit(0))
            worst = max(worst, pool._items)
            if not seconds:
                while pool._done.empty() and pool._items:
                    time.sleep(0.001)
        list(pool.drain())
    assert worst <= most
    assert worst == 16 or not seconds


def test_a_failure_reaches_the_caller():
    with ThreadPoolExecutor(1) as executor:
        pool = BoundedPool(lambda x: 1 // x, executor=executor, max_items=2)
        with pytest.raises(ZeroDivisionError):
            list(pool.submit(0))
            list(pool.drain())


def test_latency_is_hidden():
    with ThreadPoolExecutor(16) as executor:
        pool = BoundedPool(lambda _: time.sleep(0.05), executor=executor, max_items=32)
        start = time.monotonic()
        for item in range(64):
            list(pool.submit(item))
        list(pool.drain())
        assert time.monotonic() - start < 64 * 0.05 / 4


def test_results_count_by_their_own_size():
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        pool = BoundedPool(
            lambda n: b"x" * n, executor=executor, max_items=10, max_bytes=100, size_of=len
        )
        assert [len(result) for n in (80, 80, 80) for result in pool.submit(n, 1)] + [
            len(result) for result in pool.drain()
        ] == [80, 80, 80]
        blocked = BoundedPool(
            lambda n: gate.wait() and b"x" * n, executor=executor, max_items=10, size_of=len
        )
        assert list(blocked.submit(7, 1)) == []
        assert blocked._bytes == 1
        gate.set()
        assert list(blocked.drain()) == [b"x" * 7]
        assert blocked._bytes == 0


def test_the_process_has_one_pool():
    assert cpu_pool(2) is cpu_pool(2)


def test_a_caller_that_waits_helps():
    pool = CpuPool(1)  # No thread but the caller's.
    bounded = BoundedPool(
        lambda item: (item, threading.current_thread()),
        executor=pool,
        helped=pool,
        max_items=3,
        chunk=2,
    )
    out = [result for item in range(20) for result in bounded.submit(item)]
    out += bounded.drain()
    assert sorted(item for item, _ in out) == list(range(20))
    assert {thread for _, thread in out} == {threading.current_thread()}
    assert not pool.help()


def test_a_failure_in_a_helper_reaches_its_own_caller():
    pool = CpuPool(1)
    failing = pool.submit(lambda: 1 // 0)
    fine = pool.submit(lambda: 1)
    assert pool.help()
    assert pool.help()
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert fine.result() == 1


@pytest.mark.parametrize(
    ("group", "limits", "cores"),
    [
        ("/a/b", {}, 64),
        ("/a/b", {"a/b": "max 100000"}, 64),
        ("/a/b", {"a/b": "200000 100000"}, 2),
        ("/a/b", {"a/b": "150000 100000"}, 2),
        ("/a/b", {"a/b": "5000 100000"}, 1),
        ("/a/b", {"a/b": "400000 100000", "a": "300000 100000"}, 3),
        ("/", {".": "200000 100000"}, 2),
        # The path is the machine's, and this container's own group is mounted at the root.
        ("/kubepods/x", {".": "200000 100000"}, 2),
        ("/a", {"a": "6400000 10000"}, 64),
        ("/a", {"a": "?"}, 64),
    ],
)
def test_a_containers_limit_counts(tmp_path, monkeypatch, group, limits, cores):
    own = tmp_path / "own"
    own.write_text(f"9:name=systemd:/elsewhere\n0::{group}\n")
    for place, text in limits.items():
        (tmp_path / "groups" / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / place / "cpu.max").write_text(f"{text}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    found = concurrency._group_limits(str(own), str(tmp_path / "groups"))
    monkeypatch.setattr(concurrency, "_group_limits", lambda: found)
    assert available_cores() == cores


def test_without_control_groups_all_cores_count(tmp_path):
    assert list(concurrency._group_limits(str(tmp_path / "none"))) == []
    assert available_cores() <= os.cpu_count()
