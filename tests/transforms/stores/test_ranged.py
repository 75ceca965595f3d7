"""Archives over a network: how many requests they cost, and what servers do to them."""

import dataclasses
import io
import os
import tarfile
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.transforms.stores import remote_file
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.local import LocalStore
from image_features.transforms.stores.ranged import open_ranged, version_of
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import Reason
from tests.range_server import RangeServer
from tests.raw_server import RawServer, answer

POLICY = HttpPolicy(
    read_timeout=2,
    total_timeout=5,
    retries=RetryPolicy(3, 0.001, 0.002),
    allow_private_hosts=True,
)
DATA = bytes(i * i % 251 for i in range(300_000))
LIES = [
    "unknown",
    "without Content-Range",
    "another range",
    "the beginning",
    "too short",
    "encoded",
    "said to be the whole",
    "in chunks",
    "of unknown size",
]


def opened(location, policy=POLICY):
    return open_ranged(str(location), http=policy)


def large(size):
    return os.urandom(1024) * (size // 1024)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(remote_file, "_HEAD", 1)  # All but the first block is gone back to.
    with RangeServer(DATA) as server:
        yield server


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_a_tar_is_listed_in_one_request_and_a_span_read_in_one(server):
    members = {f"{i:04d}.jpg": large(20_000) for i in range(300)}
    server.data = tar_of(members)
    with opened(server.url()) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        places = {info.name: (info.offset_data, info.size) for info in archive}
    assert list(places) == list(members) and server.asked == ["bytes=0-"]
    server.asked.clear()
    with opened(server.url()) as file:
        for name in list(members)[100:200]:
            file.seek(places[name][0])
            assert file.read(places[name][1]) == members[name]
        assert (file.version, file.size) == ('etag:"1"', len(server.data))
    assert server.asked == [f"bytes={places['0100.jpg'][0]}-"]


def test_a_far_seek_is_another_request_and_a_near_one_is_not(server):
    server.data = large(16 * 2**20)
    with opened(server.url()) as file:
        for at in (0, 500_000, 4_000_000, 10_000_000, 13_000_000, 500_000):
            file.seek(at)
            assert file.read(1000) == server.data[at : at + 1000]
    assert server.asked == ["bytes=0-", "bytes=10000000-", "bytes=500000-"]


@pytest.mark.parametrize("ranges", ["known", "unknown"])
def test_who_looks_at_the_beginning_goes_back_without_a_request(server, ranges, monkeypatch):
    monkeypatch.setattr(remote_file, "_HEAD", 200_000)
    server.ranges = ranges
    with opened(server.url()) as file:
        for size in (4, 100_000, 150_000):
            assert file.read(size) == DATA[:size]
            file.seek(0)
        assert file.read() == DATA
    assert server.asked == ["bytes=0-"]


@pytest.mark.parametrize("comment", [b"", b"comment" * 1000])
def test_a_zip_is_its_directory_and_a_span(server, comment):
    content = io.BytesIO()
    members = {f"{i:04d}.jpg": large(20_000) for i in range(300)}
    with zipfile.ZipFile(content, "w") as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(name, data)
    server.data = content.getvalue()
    with opened(server.url()) as file, zipfile.ZipFile(file) as archive:
        assert len(server.asked) == 1
        for name, data in members.items():
            assert archive.read(name) == data
    assert len(server.asked) == 2
    # The directory's request was read to its end, so that its connection served the next.
    assert len(server.connections) == 1


def test_a_parquet_file_is_its_footer_and_its_columns(server, tmp_path):
    images = [large(20_000) for _ in range(300)]
    table = pa.table({"image": images, "n": range(300), "text": ["x" * 50] * 300})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    server.data = (tmp_path / "a.parquet").read_bytes()
    for location in (server.url(), tmp_path / "a.parquet"):
        with opened(location) as file:
            parquet = pq.ParquetFile(pa.PythonFile(file, "r"))
            groups = [parquet.read_row_group(i, ["image"]) for i in range(3)]
            assert pa.concat_tables(groups)["image"].to_pylist() == images
    assert len(server.asked) <= 4


@pytest.mark.parametrize("ranges", ["known", *LIES])
@pytest.mark.parametrize("suffixes", [True, False])
def test_whatever_a_server_makes_of_a_range_the_bytes_are_right(server, ranges, suffixes):
    server.ranges, server.suffixes = ranges, suffixes
    with opened(server.url()) as file:
        assert file.read(10) == DATA[:10]
        assert file.read() == DATA[10:]
        assert file.read(1) == b""
    with opened(server.url()) as file:
        assert file.seek(0, 2) == file.size == len(DATA)
        for at in (200_000, 100, 299_990, len(DATA), len(DATA) + 5):
            file.seek(at)
            assert file.read(1000) == DATA[at : at + 1000]
        file.seek(-22, 2)
        assert file.read() == DATA[-22:]
        assert file.version == 'etag:"1"'
    assert len(server.asked) < 12


def test_without_ranges_reading_forward_is_one_pass_and_backward_one_more(server, monkeypatch):
    monkeypatch.setattr(remote_file, "_SPOOLED_IN_MEMORY", 1000)
    server.ranges = "unknown"
    server.data = large(5 * 2**20)
    with opened(server.url()) as file:
        for at in (0, 3_000_000, 5_000_000):
            file.seek(at)
            assert file.read(1000) == server.data[at : at + 1000]
        assert server.asked == ["bytes=0-"]
        assert not file.in_parts
        for at in (100, 4_000_000, 50, 5_000_000, 0, 2_500_000) * 10:
            file.seek(at)
            assert file.read(1000) == server.data[at : at + 1000]
        assert server.asked == ["bytes=0-", "whole"]
    monkeypatch.setattr(remote_file, "_MOST_SPOOLED", 2**20)
    with opened(server.url()) as file, pytest.raises(FetchError, match="sends no ranges") as no:
        file.seek(-10, 2)
        file.read()
    assert no.value.reason is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("ranges", ["known", "unknown"])
def test_what_breaks_off_is_taken_up_where_it_did(server, ranges):
    server.ranges = ranges
    server.cuts = [70_000, 0, 150_000]
    with opened(server.url(), dataclasses.replace(POLICY, retries=RetryPolicy(4, 0.001))) as file:
        assert file.read() == DATA
    if ranges == "known":
        assert server.asked == ["bytes=0-", "bytes=70000-", "bytes=70000-", "bytes=220000-"]
    else:
        assert len(server.asked) == 4


def test_progress_counts_and_standing_still_ends(server):
    server.cuts = [10_000] * 25
    with opened(server.url()) as file:
        assert file.read() == DATA
    server.cuts = [10_000] + [0] * 10
    with opened(server.url()) as file:
        with pytest.raises(FetchError, match="the end of its body is missing") as no:
            file.read()
        assert no.value.reason is Reason.CONNECTION_FAILED
        server.cuts.clear()
        file.seek(9_990)
        assert file.read(100) == DATA[9_990:10_090]  # What was not read is no end of the file.
    # As a whole it would come anew for ever.
    server.ranges, server.cuts = "unknown", [100_000] * 50
    with opened(server.url()) as file, pytest.raises(FetchError, match="is missing"):
        file.read()
    assert len(server.cuts) >= 47


def test_a_server_may_send_less_than_was_asked_for(server):
    server.most = 50_000
    with opened(server.url()) as file:
        assert file.read() == DATA
    assert len(server.asked) == 6
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"ETag": 'W/"1"'}, {"ETag": 'W/"2"'}),
        ({"ETag": '"1"'}, {}),
        (
            {"Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"},
            {"Last-Modified": "Tue, 24 Nov 2026 11:00:00 GMT"},
        ),
        ({}, {"size": "changes"}),
    ],
)
@pytest.mark.parametrize("ranges", ["known", "unknown"])
def test_one_version_is_read_or_none(server, before, after, ranges):
    server.ranges, server.validators = ranges, before
    with opened(server.url()) as file:
        assert file.read(1000) == DATA[:1000]
        server.validators = after
        server.data = DATA[::-1] + bytes("size" in after)
        file.seek(250_000)
        assert file.read(10)  # It is the end of the first answer, or of one that is compared.
        file.seek(5)
        with pytest.raises(FetchError, match="has changed while it was read") as no:
            file.read(200_000)
    assert no.value.reason is Reason.READ_FAILED


def test_a_server_without_versions_is_read_by_the_size_of_its_file(server):
    server.validators, server.cuts = {}, [100_000]
    with opened(server.url()) as file:
        assert file.read() == DATA
        assert (file.version, file.size) == ("", len(DATA))
    server.cuts, server.ranges = [100_000], "in chunks"
    with opened(server.url()) as file:
        assert file.read() == DATA


@pytest.mark.parametrize(
    ("statuses", "reason", "requests"),
    [
        ([404], Reason.NOT_FOUND, 1),
        ([410], Reason.NOT_FOUND, 1),
        ([401], Reason.ACCESS_DENIED, 1),
        ([403], Reason.ACCESS_DENIED, 1),
        ([400], Reason.HTTP_ERROR, 1),
        ([204], Reason.HTTP_ERROR, 1),
        ([501], Reason.SERVER_ERROR, 1),
        ([503] * 3, Reason.SERVER_ERROR, 3),
        ([206] * 2, Reason.HTTP_ERROR, 2),  # As a part, and as what should be the whole.
    ],
)
def test_every_status_has_its_reason(server, statuses, reason, requests):
    secret = server.url("a.tar?token=secret")
    for at in (0, 100_000):
        server.asked.clear()
        server.statuses = list(statuses)
        with opened(secret) as file, pytest.raises(FetchError) as no:
            file.seek(at)
            file.read(10)
        assert no.value.reason is reason
        assert len(server.asked) == requests
        assert file.shown in no.value.message and "secret" not in no.value.message


def test_what_may_pass_is_tried_again_in_the_middle_too(server):
    server.statuses = [503, 429]
    with opened(server.url()) as file:
        assert file.read(200_000) == DATA[:200_000]
        server.statuses = [503, 500]
        file.seek(5)
        assert file.read() == DATA[5:]
        server.statuses = [403]
        file.seek(5)
        with pytest.raises(FetchError, match="answered 403"):
            file.read()


@pytest.mark.parametrize("ranges", ["known", "unknown", "without Content-Range"])
def test_an_empty_file_is_empty(server, ranges):
    server.data, server.ranges = b"", ranges
    for whence in (0, 2):
        with opened(server.url()) as file:
            assert file.seek(0, whence) == 0
            assert file.read() == b""
            assert (file.version, file.size) == ('etag:"1"', 0)


def test_a_host_that_is_not_public_is_refused(server):
    with opened(server.url(), HttpPolicy()) as file, pytest.raises(FetchError) as no:
        file.read(1)
    assert no.value.reason is Reason.BLOCKED_HOST
    assert not server.asked


def test_a_redirect_is_followed_for_every_range(server):
    with RawServer({"/a.tar": answer(b"", f"Location: {server.url()}", status="302 F")}) as other:
        with opened(other.url("/a.tar")) as file:
            file.seek(-9, 2)
            assert file.read() == DATA[-9:]
            file.seek(0)
            assert file.read() == DATA
        assert server.asked == ["bytes=-131072", "bytes=0-"]


def test_the_time_is_for_each_mib_and_only_while_somebody_waits():
    policy = dataclasses.replace(POLICY, total_timeout=0.6)
    head = b"HTTP/1.1 206 -\r\nContent-Range: bytes 0-3145727/3145728\r\n\r\n"

    def slowly(client):
        client.sendall(head)
        for _ in range(3):
            time.sleep(0.3)
            client.sendall(bytes(2**20))

    with RawServer({"/a": slowly}) as server:
        with opened(server.url("/a"), policy) as file:
            begun = time.monotonic()
            assert len(file.read()) == 3 * 2**20
            assert time.monotonic() - begun > 0.85
        with opened(server.url("/a"), policy) as file:
            file.read(10)
            time.sleep(0.8)  # The images are being decoded.
            assert len(file.read()) == 3 * 2**20 - 10
        server.scripts["/a"] = server.drips(head)
        begun = time.monotonic()
        with opened(server.url("/a"), policy) as file, pytest.raises(FetchError) as no:
            file.read()
        assert no.value.reason is Reason.TIMEOUT and time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "validators",
    [
        {"ETag": '"1"'},
        {"Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"},
        {"ETag": '"' + "long" * 100 + '"'},
        {},
    ],
)
@pytest.mark.parametrize("ranges", ["known", "unknown"])
def test_the_version_is_that_of_a_loose_file_and_costs_a_byte(server, validators, ranges):
    server.validators, server.ranges = validators, ranges
    loose = HttpClient(dataclasses.replace(POLICY, max_bytes=len(DATA))).read(server.url()).version
    server.asked.clear()
    assert version_of(server.url(), http=POLICY) == loose
    assert server.asked == ["bytes=0-0"]
    for at in (0, 100_000):
        with opened(server.url()) as file:
            file.seek(at)
            assert file.version == loose
            assert file.read(10) == DATA[at : at + 10]
    assert server.asked[1:] == ["bytes=0-", "bytes=100000-"]


def test_questions_for_the_version_share_a_connection(server):
    for _ in range(5):
        version_of(server.url(), http=POLICY)
    assert len(server.connections) == 1


def test_a_local_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(DATA)
    with opened(path) as file:
        assert file.seek(-5, 2) == len(DATA) - 5
        assert file.read() == DATA[-5:]
        assert (file.size, file.in_parts) == (len(DATA), True)
        loose = LocalStore(10**6).read(str(path)).version
        assert file.version == version_of(str(path), http=POLICY) == loose


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", Reason.NOT_FOUND),
        ("file/below", Reason.NOT_FOUND),
        ("", Reason.READ_FAILED),
        ("pipe", Reason.READ_FAILED),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, name, reason):
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(FetchError) as no:
        opened(tmp_path / name)
    assert no.value.reason is reason
    assert before is None or len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("uri", ["ftp://host/a.tar", "file:///a.tar", "://a.tar"])
def test_an_unknown_scheme_is_said(uri):
    with pytest.raises(FetchError) as no:
        opened(uri)
    assert no.value.reason is Reason.UNSUPPORTED_SCHEME


def test_a_large_local_tar_is_listed_soon(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(10_000):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 2000
            archive.addfile(info, io.BytesIO(bytes(2000)))
    with opened(tmp_path / "a.tar") as file:
        begun = time.process_time()
        with tarfile.open(fileobj=file, mode="r:") as archive:
            assert sum(1 for _ in archive) == 10_000
        assert time.process_time() - begun < 2


def test_a_manifest_that_always_breaks_off_there_ends(server):
    server.data, server.cuts = large(2 * 2**20), [1_500_000] * 50
    stream = HttpClient(POLICY).open_stream(server.url())
    with stream, pytest.raises(FetchError, match="the end of its body is missing"):
        stream.read()
    assert server.asked == ["whole"] * POLICY.retries.max_attempts


STEPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(0, 3000), st.integers(-1, 2000)),
    max_size=12,
)


@pytest.mark.parametrize("place", ["disk", "known", "unknown", "of unknown size", "in chunks"])
def test_any_reading_gives_the_bytes_of_the_file(tmp_path, monkeypatch, place):
    # Everything is small, so that all limits are met.
    for name, size in (
        ("READ_THROUGH", 200),
        ("_HEAD", 300),
        ("_END", 150),
        ("_SPOOLED_IN_MEMORY", 1000),
    ):
        monkeypatch.setattr(remote_file, name, size)
    monkeypatch.setattr("image_features.transforms.stores.ranged._BUFFER", 64)
    data = DATA[:2500]
    (tmp_path / "a.tar").write_bytes(data)
    policy = dataclasses.replace(POLICY, retries=RetryPolicy(6, 0.0001))

    with RangeServer(data) as server:
        server.ranges = place
        location = tmp_path / "a.tar" if place == "disk" else server.url()

        @settings(max_examples=40, deadline=None)
        @given(steps=STEPS, cuts=st.lists(st.integers(0, 900), max_size=4))
        def check(steps, cuts):
            server.cuts, expected = list(cuts), io.BytesIO(data)
            server.asked.clear()
            with opened(location, policy) as file:
                for whence, offset, size in steps:
                    at = (offset, offset - 1500, -offset)[whence]
                    if whence == 2 and offset > 2500:
                        continue
                    if whence == 1:
                        at = max(at, -expected.tell())
                    assert file.seek(at, whence) == expected.seek(at, whence)
                    assert file.read(size) == expected.read(size)
                    assert file.tell() == expected.tell()
            assert len(server.asked) <= 3 * len(steps) + len(cuts) + 4

        check()
