"""URIs of what lies in archives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.stores import versions
from image_features.transforms.stores.members import (
    ArchiveFormat,
    archive_format,
    join_member,
    split_member,
)
from image_features.transforms.stores.uris import (
    canonical_uri,
    image_key,
    redact_text,
    redact_uri,
    resolve_uri,
)

ARCHIVES = st.sampled_from(
    [
        "/data/photos.tar",
        "gs://bucket/a b.TGZ",
        "https://host/a.zip?token=secret",
        "data-00000-of-00010.tfrecord.gz",
        "/data/odd!/x!/a.parquet",
    ]
)


@given(ARCHIVES, st.text(max_size=30))
def test_what_is_joined_comes_apart(archive, member):
    assert split_member(join_member(archive, member)) == (archive, member)


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("a.tar!/b.jpg", ("a.tar", "b.jpg")),
        ("a.tar!/b.zip!/c.jpg", ("a.tar", "b.zip!/c.jpg")),
        ("dir!/a.tar.zst!/b.jpg", ("dir!/a.tar.zst", "b.jpg")),
        ("https://h/a.tar?v=1!/b.jpg", ("https://h/a.tar?v=1", "b.jpg")),
        ("a.parquet!/row/17", ("a.parquet", "row/17")),
        ("x.tfrecord-00000-of-00002!/row/1", ("x.tfrecord-00000-of-00002", "row/1")),
        ("dir!/b.jpg", None),
        ("a.tar", None),
        ("!/b.jpg", None),
        ("/d/a.tar?x!/b.jpg", None),
        ("gs://b/a.tar?x!/b.jpg", None),
        ("x.jpg!/a.tar", None),
    ],
)
def test_only_what_stands_behind_an_archive_is_a_member(uri, parts):
    assert split_member(uri) == parts


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.tar", ArchiveFormat.TAR),
        ("a.tar.gz", ArchiveFormat.TAR),
        ("a.tgz", ArchiveFormat.TAR),
        ("A.ZIP", ArchiveFormat.ZIP),
        ("train-00001-of-00100.parquet", ArchiveFormat.PARQUET),
        ("x.tfrecord-00000-of-00002", ArchiveFormat.TFRECORD),
        ("x.tfrecord-00000-of-00002.gz", ArchiveFormat.TFRECORD),
        ("x.tar.jpg", None),
        ("tar", None),
        ("photos.targets", None),
    ],
)
def test_names_of_archives(name, format):
    assert archive_format(name) is format
    assert archive_format(f"https://h/{name}?x=1") is format


def test_no_name_takes_long():
    uri = "a.tar" + ".gz" * 100_000 + "!" * 1000
    assert split_member(uri + "!/b.jpg") is None


def test_members_are_resolved_and_identified_by_their_archives():
    assert resolve_uri("a.tar!/../b.jpg", "/data/m.csv") == "/data/a.tar!/../b.jpg"
    assert resolve_uri("../a.tar!/b//c", "/data/x/m.csv") == "/data/a.tar!/b//c"
    assert resolve_uri("file:///d/a%20b.tar!/b%20c", "/m.csv") == "/d/a b.tar!/b%20c"
    assert (
        resolve_uri("a.tar?v=1!/b.jpg", "https://h/d/m.csv?t=2") == "https://h/d/a.tar?v=1!/b.jpg"
    )
    signed = "https://u:p@h/a.tar?X-Goog-Signature=1&v=2!/b?c=1#d"
    assert canonical_uri(signed) == "https://h/a.tar?v=2!/b?c=1#d"
    assert image_key(signed) == image_key("https://h/a.tar?X-Goog-Signature=other&v=2!/b?c=1#d")


def test_secrets_of_archives_are_hidden():
    shown = "https://h/a.tar?token=REDACTED!/b.jpg"
    assert redact_uri("https://h/a.tar?token=abc!/b.jpg") == shown
    assert redact_text("from https://h/a.tar?token=abc!/b.jpg it") == f"from {shown} it"
    assert redact_uri("/d/a.tar!/me@home?token=1") == "/d/a.tar!/me@home?token=1"


def test_versions_of_members_tell_their_archives():
    version = versions.of_member('etag:"a"', "12:ab")
    assert versions.is_of_member(version) and version.endswith(":12:ab")
    assert versions.is_of_archive(version, 'etag:"a"')
    assert not versions.is_of_archive(version, 'etag:"b"')
    assert not versions.is_of_archive(version, "")
    assert versions.of_member("", "12:ab") == ""
    assert not versions.is_of_member("file:1:2")
    long = versions.of_member('etag:"a"', "x:" * 1000)
    assert versions.is_of_member(long) and len(long) < 300
    assert versions.is_of_archive(long, 'etag:"a"')
