"""Images that lie in archives, read by the fetcher and the steps of a run."""

import math
import os
import threading
import time

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.transforms.archives import store as store_module
from image_features.transforms.assign_shards import AssignShards
from image_features.transforms.fetch_images import FetchImages, FetchPolicy
from image_features.transforms.images.fetcher import Fetcher
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.read_manifest import read_all
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.stores import versions
from image_features.transforms.stores.uris import image_key, shard_of
from image_features.transforms.values import (
    EncodedImage,
    ImageError,
    ImageRef,
    PackedRefs,
    Place,
    Reason,
)
from tests import archives

POLICY = FetchPolicy(max_bytes=1000)
MEMBERS = {f"{number}.jpg": bytes([number + 1]) * 50 for number in range(30)}


def refs_of(archive, names, **fields):
    uris = [f"{archive}!/{name}" for name in names]
    return tuple(ImageRef(uri, image_key(uri), **fields) for uri in uris)


def listed(*locations):
    return list(read_all(ManifestSpec(tuple(find_sources(list(map(str, locations)))))))


def test_members_are_read_by_their_places(tmp_path):
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    refs = listed(tmp_path / "a.tar")
    assert [ref.place.span for ref in refs] == [0] * 30
    found = list(Fetcher(POLICY).fetch_packed(PackedRefs(str(tmp_path / "a.tar"), tuple(refs))))
    assert [image.data for image in found] == list(MEMBERS.values())
    # What is read has the version that the listing told, so that another night finds it unchanged.
    assert [image.version for image in found] == [ref.version for ref in refs]
    assert len({ref.version for ref in refs}) == 30


def test_members_are_read_by_their_names(tmp_path):
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    archive = str(tmp_path / "a.tar")
    refs = refs_of(archive, ["7.jpg", "gone.jpg", "3.jpg"])
    fetcher = Fetcher(POLICY)
    found = {row.ref.uri: row for row in fetcher.fetch_packed(PackedRefs(archive, refs))}
    assert found[refs[0].uri].data == MEMBERS["7.jpg"]
    assert found[refs[2].uri].data == MEMBERS["3.jpg"]
    assert found[refs[1].uri].reason is Reason.NOT_FOUND
    assert "gone.jpg is not in the archive" in found[refs[1].uri].message
    # By whichever way it is read, a member has one version.
    (by_place,) = [ref for ref in listed(archive) if ref.uri == refs[0].uri]
    assert fetcher.fetch(refs[0]).version == by_place.version
    assert fetcher.is_unchanged(refs[0].uri, by_place.version)


def test_the_manifests_version_counts(tmp_path):
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    (ref,) = refs_of(tmp_path / "a.tar", ["7.jpg"], version="column:3", row=1)
    assert Fetcher(POLICY).fetch(ref).version == "column:3"


def test_an_archive_is_asked_once_for_its_version(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    opened = []
    plain = store_module.version_of

    def count(uri, **how):
        opened.append(uri)
        time.sleep(0.01)
        return plain(uri, **how)

    refs = listed(tmp_path / "a.tar")
    monkeypatch.setattr(store_module, "version_of", count)
    fetcher = Fetcher(POLICY)

    def ask(ref):
        assert fetcher.is_unchanged(ref.uri, ref.version)
        assert not fetcher.is_unchanged(ref.uri, versions.of_member("other", "1"))
        assert not fetcher.is_unchanged(f"{tmp_path}/gone.tar!/a.jpg", ref.version)

    threads = [threading.Thread(target=ask, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == [str(tmp_path / "a.tar"), str(tmp_path / "gone.tar")]


def test_a_directory_may_be_called_like_an_archive(tmp_path):
    place = tmp_path / "photos.tar!"
    place.mkdir()
    (place / "a.jpg").write_bytes(b"loose")
    (ref,) = listed(place.parent)
    assert ref.uri == f"{place}/a.jpg"
    fetcher = Fetcher(POLICY)
    image = fetcher.fetch(ref)
    assert image.data == b"loose" and image.version.startswith("file:")
    assert fetcher.is_unchanged(ref.uri, image.version)
    # Beside it there may be the archive itself.
    (tmp_path / "photos.tar").write_bytes(archives.tar({"b.jpg": b"packed"}))
    found = {
        row.ref.uri: fetcher.fetch(row.ref).data for row in map(fetcher.fetch, listed(tmp_path))
    }
    assert found == {ref.uri: b"loose", f"{tmp_path}/photos.tar!/b.jpg": b"packed"}
    os.unlink(place / "a.jpg")
    assert fetcher.fetch(ref).reason is Reason.NOT_FOUND


def test_reading_ends_in_time(tmp_path):
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    packed = PackedRefs(str(tmp_path / "a.tar"), tuple(listed(tmp_path / "a.tar")))
    late = list(Fetcher(POLICY).fetch_packed(packed, until=time.monotonic() - 1))
    assert [row.reason for row in late] == [Reason.TIMEOUT] * 30
    assert all(
        isinstance(row, EncodedImage) for row in Fetcher(POLICY).fetch_packed(packed, math.inf)
    )


def test_archives_are_read_once_and_fail_alone(tmp_path):
    """Rows of several shards, of a manifest and of listings, and of an archive that is gone."""
    (tmp_path / "a.tar").write_bytes(archives.tar(MEMBERS))
    (tmp_path / "b.tar").write_bytes(
        archives.tar({"x.jpg": b"x" * 2000, "y.jpg": b"y", "z.jpg": b""})
    )
    (tmp_path / "loose.jpg").write_bytes(b"loose")
    # Two of them name members of a.tar once more.
    (tmp_path / "m.txt").write_text("a.tar!/3.jpg\ngone.tar!/1.jpg\na.tar!/4.jpg\nloose.jpg\n")
    sources = find_sources([str(tmp_path / "m.txt"), str(tmp_path / "*.*r")])
    refs = [row for row in read_all(ManifestSpec(tuple(sources))) if isinstance(row, ImageRef)]
    assert len(refs) == 4 + 33

    def check_refs(rows):
        packed = {row.archive: row.refs for row in rows if isinstance(row, PackedRefs)}
        assert len(packed) == sum(isinstance(row, PackedRefs) for row in rows) == 3
        of_a = packed[str(tmp_path / "a.tar")]
        assert [ref.uri.rpartition("/")[2] for ref in of_a] == list(MEMBERS)
        assert {ref.shard for ref in of_a} == {0, 1, 2}
        assert all(ref.shard == shard_of(ref.key, 3) for ref in of_a)
        # The first mention counts, and the listing tells where it is.
        assert [ref.row for ref in of_a[3:5]] == [1, 3]
        assert all(isinstance(ref.place, Place) for ref in of_a)
        assert {row.uri for row in rows if isinstance(row, ImageRef)} == {f"{tmp_path}/loose.jpg"}

    def check_duplicates(counts):
        assert sum(counts) == 2

    def check_images(images):
        found = {image.ref.uri.rpartition("/")[2]: image.data for image in images}
        assert found == {**MEMBERS, "y.jpg": b"y", "loose.jpg": b"loose"}
        assert len(images) == len(found)

    def check_errors(errors):
        found = sorted((row.ref.uri[len(str(tmp_path)) :], row.reason) for row in errors)
        assert all(isinstance(row, ImageError) for row in errors)
        assert found == [
            ("/b.tar!/x.jpg", Reason.TOO_MANY_BYTES),
            ("/b.tar!/z.jpg", Reason.EMPTY_FILE),
            ("/gone.tar!/1.jpg", Reason.NOT_FOUND),
        ]

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assigned = (
            pipeline
            | beam.Create([RefTable.of(refs, ())], reshuffle=False)
            | AssignShards(
                num_shards=beam.pvalue.AsSingleton(pipeline | "N" >> beam.Create([3])),
                sources=sources,
            )
        )
        rows = assigned["refs"] | FetchImages(policy=POLICY)
        assert_that(assigned["refs"], check_refs, label="Refs")
        assert_that(assigned["duplicates"], check_duplicates, label="Duplicates")
        assert_that(rows.images, check_images, label="Images")
        assert_that(rows.errors, check_errors, label="Errors")
