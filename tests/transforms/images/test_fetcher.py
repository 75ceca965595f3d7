import pytest

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, Reason

POLICY = FetchPolicy(max_bytes=1000)


def fetch(uri):
    return Fetcher(POLICY).fetch(ImageRef(str(uri), image_key(str(uri))))


def test_local_files(tmp_path):
    (tmp_path / "a[1].jpg.gz").write_bytes(b"bytes as they are")
    row = fetch(tmp_path / "a[1].jpg.gz")
    assert isinstance(row, EncodedImage)
    assert row.data == b"bytes as they are"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", Reason.NOT_FOUND),
        ("large", Reason.TOO_MANY_BYTES),
        ("large/under-a-file", Reason.NOT_FOUND),
        ("", Reason.READ_FAILED),
        ("nul\0byte", Reason.READ_FAILED),
        ("x" * 5000, Reason.READ_FAILED),
    ],
)
def test_local_trouble(tmp_path, name, reason):
    (tmp_path / "large").write_bytes(b"x" * 1001)
    row = fetch(f"{tmp_path}/{name}")
    assert isinstance(row, ImageError)
    assert row.reason is reason


def test_devices_are_not_read():
    assert fetch("/dev/zero").reason is Reason.READ_FAILED


@pytest.mark.parametrize("uri", ["ftp://host/a.jpg", "file:///a.jpg", "://a.jpg"])
def test_an_unknown_scheme_is_not_a_path(uri):
    row = fetch(uri)
    assert row.reason is Reason.UNSUPPORTED_SCHEME
    assert not Fetcher(POLICY).is_unchanged(uri, "file:1:1")


def test_a_changed_file_is_not_unchanged(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    fetcher, version = Fetcher(POLICY), fetch(path).version
    assert version and fetcher.is_unchanged(str(path), version)
    path.write_bytes(b"longer")
    assert not fetcher.is_unchanged(str(path), version)
    path.unlink()
    assert not fetcher.is_unchanged(str(path), version)
