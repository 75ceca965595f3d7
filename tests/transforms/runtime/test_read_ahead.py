"""Items that are read while earlier ones are worked on."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.runtime.concurrency import CpuPool
from image_features.transforms.runtime.read_ahead import read_ahead


@pytest.fixture(scope="module")
def executor():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def ahead(items, executor, max_bytes=100, helped=None):
    return read_ahead(
        iter(items), executor=executor, helped=helped, max_bytes=max_bytes, size_of=lambda n: n
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 300)))
def test_all_come_in_their_order(executor, items):
    assert list(ahead(items, executor)) == items


def test_no_more_waits_than_may(executor):
    there = []

    def items():
        for _ in range(20):
            there.append(10)
            yield 10

    found = ahead(items(), executor, max_bytes=30)
    next(found)
    time.sleep(0.1)
    # Three wait, and the thread holds the fourth; it goes on when half of them are gone.
    assert len(there) in (4, 5)
    assert len(list(found)) == 19


def test_errors_come_behind_what_came_before(executor):
    def items():
        yield 1
        yield 2
        raise KeyError("gone")

    found = ahead(items(), executor)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(KeyError, match="gone"):
        next(found)


def test_an_early_end_closes_the_items(executor):
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 60
        finally:
            closed.set()

    found = ahead(items(), executor)
    next(found)
    found.close()
    assert closed.wait(5)
    assert executor.submit(lambda: "free").result(5) == "free"


def test_a_caller_that_waits_helps(executor):
    pool, done = CpuPool(1), threading.Event()  # It has no thread but the caller's.
    pool.submit(done.set)

    def items():
        yield 1
        assert done.wait(5)
        yield 2

    assert list(ahead(items(), executor, helped=pool)) == [1, 2]
