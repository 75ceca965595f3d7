"""Archives on gs:// and on Beam's other file systems, and with few descriptors."""

import dataclasses
import io
import zipfile

import pytest
from apache_beam.io.filesystems import FileSystems

from image_features.transforms.archives.options import FOUND
from image_features.transforms.archives.store import ArchiveStore
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.stores import gcs_ranges, remote_file, versions
from image_features.transforms.stores.beam import BeamFile
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.ranged import RangedFile, open_ranged, version_of
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import Reason
from tests.gcs import Access, emulator
from tests.range_server import RangeServer
from tests.transforms.stores.test_http_connections import no_descriptor_for

POLICY = HttpPolicy(
    read_timeout=2,
    total_timeout=5,
    retries=RetryPolicy(3, 0.001, 0.002),
    allow_private_hosts=True,
)
DATA = bytes(i * i % 251 for i in range(300_000))


def opened(uri):
    return open_ranged(uri, http=POLICY)


@pytest.fixture(scope="module", params=[Access.SERVICE_ACCOUNT, Access.EMULATOR])
def bucket(request):
    with pytest.MonkeyPatch.context() as patch, emulator(patch, "images", request.param) as bucket:
        yield bucket


def test_an_object_is_read_in_parts(bucket, monkeypatch):
    monkeypatch.setattr(remote_file, "READ_THROUGH", 1000)
    bucket.blob("deep/a b.zip").upload_from_string(DATA)
    with opened("gs://images/deep/a b.zip") as file:
        for at in (0, 200_000, 100, 299_990, 300_000, 400_000):
            file.seek(at)
            assert file.read(1000) == DATA[at : at + 1000]
        assert file.size == len(DATA) and file.in_parts
        assert file.seek(-7, 2) == len(DATA) - 7 and file.read() == DATA[-7:]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.jpg", DATA)
    bucket.blob("a.zip").upload_from_string(content.getvalue())
    with opened("GS://images/a.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("a.jpg") == DATA


@pytest.mark.parametrize(
    "uri", ["gs://images/absent.tar", "gs://no-such-bucket/a.tar", "gs://images"]
)
def test_an_object_that_is_not_there_is_not_found(bucket, uri):
    for ask in (lambda: opened(uri).read(1), lambda: version_of(uri, http=POLICY)):
        with pytest.raises(FetchError) as no:
            ask()
        assert no.value.reason is Reason.NOT_FOUND
        assert uri in no.value.message


@pytest.fixture
def storage(monkeypatch):
    """A server that answers as Cloud Storage does, byte for byte where it matters."""
    gcs_ranges.shared_client.cache_clear()
    monkeypatch.setattr(remote_file, "_HEAD", 1)
    with RangeServer(DATA) as server:
        server.validators = {"X-Goog-Generation": "7", "ETag": "CAc="}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url("")[:-1])
        yield server
    gcs_ranges.shared_client.cache_clear()


def test_the_generation_is_kept_to(storage):
    assert version_of("gs://b/a.tar", http=POLICY) == versions.of_object(7)
    with opened("gs://b/a.tar") as file:
        assert file.version == versions.of_object(7)
        storage.cuts = [100_000]
        file.seek(0)
        assert file.read() == DATA
        storage.validators["X-Goog-Generation"] = "8"
        file.seek(0)
        with pytest.raises(FetchError, match="has changed while it was read"):
            file.read()
        storage.statuses = [412]  # What it says to a condition on another generation.
        with pytest.raises(FetchError, match="has changed while it was read") as no:
            file.read()
        assert no.value.reason is Reason.READ_FAILED
    assert storage.asked[0] == "bytes=0-0"
    assert storage.paths[0] == "/storage/v1/b/b/o/a.tar?alt=media"
    assert set(storage.paths[2:]) == {"/storage/v1/b/b/o/a.tar?alt=media&ifGenerationMatch=7"}


def test_objects_share_the_connections_of_a_process(storage):
    for _ in range(4):
        with opened("gs://b/a.tar") as file:
            assert file.seek(0, 2) == len(DATA)
            file.seek(0)
            assert file.read() == DATA
    assert len(storage.connections) == 1
    assert storage.asked == ["bytes=-131072", "bytes=0-"] * 4


@pytest.mark.parametrize(
    ("statuses", "reason", "requests"),
    [
        ([403], Reason.ACCESS_DENIED, 1),
        ([401], Reason.ACCESS_DENIED, 1),
        ([404], Reason.NOT_FOUND, 1),
        ([503] * 3, Reason.SERVER_ERROR, 3),
    ],
)
def test_every_status_of_an_object_has_its_reason(storage, statuses, reason, requests):
    storage.statuses = list(statuses)
    with opened("gs://b/a.tar") as file, pytest.raises(FetchError) as no:
        file.read()
    assert (no.value.reason, len(storage.asked)) == (reason, requests)


def test_an_object_that_is_stored_compressed_is_read_as_a_whole(storage):
    storage.ranges = "unknown"  # As it does for what it decompresses on the way.
    with opened("gs://b/a.tar") as file:
        file.seek(150_000)
        assert file.read(10) == DATA[150_000:150_010]
        assert not file.in_parts
        file.seek(5)
        assert file.read() == DATA[5:]


def test_an_archive_is_asked_once_whether_it_is_the_same():
    with RangeServer(DATA) as server:
        store = ArchiveStore(POLICY, max_bytes=10**6, options=FOUND)
        member = versions.of_member('etag:"1"', "10:20")
        assert all(store.is_unchanged(server.url(), member) for _ in range(100))
        assert server.asked == ["bytes=0-0"]
        assert not store.is_unchanged(server.url(), versions.of_member('etag:"2"', "10:20"))
        fetcher = Fetcher(dataclasses.replace(FetchPolicy(), http=POLICY))
        assert fetcher.is_unchanged(server.url() + "!/a.jpg", member)
        server.statuses = [503] * 100
        asked = len(server.asked)
        assert not any(fetcher.is_unchanged(server.url("b.tar!/a.jpg"), member) for _ in range(100))
        assert len(server.asked) == asked + POLICY.retries.max_attempts


@pytest.fixture
def failing(monkeypatch):
    """Failures of Beam's next calls."""
    failures, plain = [], FileSystems.open

    def opens(*arguments, **options):
        if failures:
            raise failures.pop()
        file = plain(*arguments, **options)
        read = file.read

        class Failing:
            seek, tell, close = file.seek, file.tell, file.close

            def read(self, size):
                if failures:
                    raise failures.pop()
                return read(size)

        return Failing()

    monkeypatch.setattr(FileSystems, "open", opens)
    return failures


def test_other_file_systems_are_read_in_parts_without_a_version(tmp_path, failing):
    (tmp_path / "a.tar").write_bytes(DATA)
    raw = BeamFile(str(tmp_path / "a.tar"), POLICY.retries, lambda _: None)
    with RangedFile(raw, "s3://b/a.tar", 10_000) as file:
        for at in (0, 200_000, 100, 299_990, 300_000):
            failing[:] = [RuntimeError("busy")] * 2
            file.seek(at)
            assert file.read(1000) == DATA[at : at + 1000]
        assert file.seek(-5, 2) == len(DATA) - 5 and file.read() == DATA[-5:]
        assert (file.version, file.size, file.in_parts) == ("", len(DATA), True)
        failing[:] = [RuntimeError("busy")] * 3
        file.seek(100_000)
        with pytest.raises(FetchError, match="busy"):
            file.read(10)
    raw = BeamFile(str(tmp_path / "absent"), POLICY.retries, lambda _: None)
    failing.clear()
    with RangedFile(raw, "s3://b/absent", 10_000) as file, pytest.raises(FetchError) as no:
        file.read()
    assert no.value.reason is Reason.NOT_FOUND


def test_an_archive_waits_for_a_descriptor(tmp_path):
    (tmp_path / "a.tar").write_bytes(DATA)
    with RangeServer(DATA) as server:
        for location in (str(tmp_path / "a.tar"), server.url()):
            with no_descriptor_for(0.5), opened(location) as file:
                head = file.read(10)
            assert head == DATA[:10]
