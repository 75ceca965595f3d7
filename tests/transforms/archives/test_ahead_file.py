"""Archives that are received while they are listed."""

import io
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.archives import ahead_file
from image_features.transforms.archives.ahead_file import received_ahead
from image_features.transforms.stores import remote_file
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from tests.range_server import RangeServer

POLICY = HttpPolicy(
    read_timeout=2, total_timeout=5, retries=RetryPolicy(6, 0.0001), allow_private_hosts=True
)
DATA = bytes(i * i % 251 for i in range(2500))
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 3000), st.integers(-1, 2000)),
    max_size=8,
)


@pytest.fixture
def server():
    with RangeServer(DATA) as server:
        yield server


def opened(server):
    return open_ranged(server.url(), http=POLICY)


def is_read():
    return any(thread.name.startswith("ahead") for thread in threading.enumerate())


@pytest.mark.parametrize("ranges", ["known", "unknown", "of unknown size"])
def test_any_reading_gives_the_bytes_of_the_file(server, monkeypatch, ranges):
    # Everything is small, so that all limits are met.
    for module, name, size in (
        (remote_file, "_HEAD", 300),
        (remote_file, "_END", 150),
        (ahead_file, "READ_THROUGH", 200),
        (ahead_file, "_BUFFER", 64),
        (ahead_file, "_PART", 100),
        (ahead_file, "_MAX_AHEAD", 500),
    ):
        monkeypatch.setattr(module, name, size)
    monkeypatch.setattr("image_features.transforms.stores.http_body.BLOCK", 50)
    server.ranges = ranges

    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, cuts=st.lists(st.integers(0, 900), max_size=3))
    def check(steps, cuts):
        server.cuts, expected = list(cuts), io.BytesIO(DATA)
        with opened(server) as file, received_ahead(file) as ahead:
            for whence, offset, size in steps:
                at = (offset, max(offset - 1500, -expected.tell()), -min(offset, 2500))[whence]
                assert ahead.seek(at, whence) == expected.seek(at, whence)
                assert ahead.read(size) == expected.read(size)
                assert ahead.tell() == expected.tell()
            assert (ahead.version, ahead.in_parts) == (file.version, file.in_parts)
            assert ahead.size == file.size
        assert not is_read()

    check()


def test_reading_forward_is_one_request_and_a_far_seek_another(server):
    server.data = bytes(24 * 2**20)
    with opened(server) as file, received_ahead(file) as ahead:
        for begin in range(0, 6 * 2**20, 100_000):
            ahead.seek(begin)
            ahead.read(1000)
        assert server.asked == ["bytes=0-"]
        ahead.seek(23 * 2**20)
        assert len(ahead.read()) == 2**20 and server.asked[1:] == [f"bytes={23 * 2**20}-"]


def test_what_came_before_a_failure_is_read_before_it(server):
    server.data, server.validators, server.ranges = bytes(3_000_000), {}, "unknown"
    server.cuts = [2_500_000] * 6
    with opened(server) as file, received_ahead(file) as ahead:
        assert ahead.read(2_400_000) == bytes(2_400_000)
        with pytest.raises(FetchError, match="the end of its body is missing"):
            ahead.read()
    assert not is_read()


def test_the_thread_ends_with_who_wants_no_more(server):
    server.data = bytes(12 * 2**20)
    with opened(server) as file, received_ahead(file) as ahead:
        ahead.read(10)
        assert is_read()
    assert not is_read()


def test_a_local_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    with open_ranged(str(path), http=POLICY) as file, received_ahead(file) as ahead:
        assert ahead is file
