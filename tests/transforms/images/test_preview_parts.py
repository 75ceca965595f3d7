"""No more of a file is read than its preview, and all of it where that is not enough."""

import dataclasses
import hashlib

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from PIL import Image

from image_features.transforms.decode_images import DecodeImages
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.reader import decode
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, Reason
from tests.gcs import Access, emulator
from tests.images import encode, noise
from tests.images.camera import Exif, photograph
from tests.range_server import RangeServer

DECODE = DecodePolicy((96, 96), decode="preview")
POLICY = FetchPolicy(
    http=HttpPolicy(retries=RetryPolicy(3, 0), allow_private_hosts=True), preview=DECODE
)
FIRST = 64 * 1024


def grainy():
    """Draws a picture of which a row takes as many bytes as one of a photograph."""
    grain = np.random.default_rng(0).integers(-20, 20, (960, 1280, 3))
    plain = np.asarray(noise(0, 1280, 960)).astype(int)
    return Image.fromarray((plain + grain).clip(0, 255).astype(np.uint8))


PICTURE = grainy()
SMALL = encode(PICTURE.resize((160, 120)))
LARGE = encode(PICTURE.resize((480, 360)))
WITH = photograph(PICTURE, Exif(SMALL), quality=90)
WITHOUT = photograph(PICTURE, Exif(), quality=90)
BEHIND = photograph(PICTURE, Exif(), [LARGE], quality=90)


def fetch(uri, policy=POLICY):
    fetcher = Fetcher(policy, sleep=lambda _: None)
    try:
        return fetcher.fetch(ImageRef(uri, image_key(uri)))
    finally:
        fetcher.close()


def fetch_from(server, policy=POLICY):
    return fetch(f"http://127.0.0.1:{server.port}/a.jpg", policy)


def check(row, data):
    """Makes sure that what was fetched has the pixels that the whole file has."""
    assert isinstance(row, EncodedImage), row
    seen, whole = decode(row, DECODE), decode_image(data, DECODE)
    assert (seen.pixels == whole.pixels).all() and seen.of_preview == whole.of_preview
    assert seen.of_preview == bool(row.preview) or row.data == data


@pytest.mark.parametrize(
    ("data", "asked", "size"),
    [
        (WITH, [f"bytes=0-{FIRST - 1}"], FIRST + len(SMALL)),
        (WITHOUT, [f"bytes=0-{FIRST - 1}", f"bytes={FIRST}-{len(WITHOUT) - 1}"], len(WITHOUT)),
        (
            BEHIND,
            [f"bytes=0-{FIRST - 1}", f"bytes={len(BEHIND) - len(LARGE)}-{len(BEHIND) - 1}"],
            FIRST + len(LARGE),
        ),
        (SMALL, [f"bytes=0-{FIRST - 1}"], len(SMALL)),
    ],
)
def test_what_is_asked_for(data, asked, size):
    assert len(WITHOUT) > 3 * FIRST
    with RangeServer(data) as server:
        row = fetch_from(server)
    check(row, data)
    assert (server.asked, row.size) == (asked, size)
    assert row.version == 'etag:"1"' and row.attempts == 1
    assert len(server.connections) == 1  # It is used again.


@pytest.mark.parametrize("data", [WITH, WITHOUT, BEHIND], ids=["with", "without", "behind"])
@pytest.mark.parametrize(
    "ranges",
    [
        "unknown",
        "in chunks",
        "another range",
        "the beginning",
        "too short",
        "encoded",
        "of unknown size",
        "without Content-Range",
        "said to be the whole",
    ],
)
def test_servers_that_lie_cost_no_more_than_a_request(ranges, data):
    with RangeServer(data) as server:
        server.ranges = ranges
        row = fetch_from(server)
    check(row, data)
    assert len(server.asked) <= 3


@pytest.mark.parametrize("validators", [{}, {"ETag": 'W/"1"'}, {"Last-Modified": "yesterday"}])
def test_parts_of_one_version_only_are_put_together(validators):
    with RangeServer(WITHOUT) as server:
        server.validators = validators
        check(fetch_from(server), WITHOUT)
    assert ("whole" in server.asked) is (not validators)


@pytest.mark.parametrize("ranges", ["known", "unknown"])
def test_a_file_that_changes_meanwhile_is_read_again(ranges):
    changed = photograph(noise(1, 1280, 960), Exif(), quality=95)
    with RangeServer(WITHOUT) as server:
        answers = [({"ETag": '"1"'}, WITHOUT, "known"), ({"ETag": '"2"'}, changed, ranges)]

        class Asked(list):
            def append(self, asked):
                super().append(asked)
                now = answers[min(len(self), 2) - 1]
                server.validators, server.data, server.ranges = now

        server.asked = Asked()
        row = fetch_from(server)
    check(row, changed)
    assert row.version == 'etag:"2"'
    assert len(server.asked) == (2 if ranges == "unknown" else 3)


@pytest.mark.parametrize(
    ("statuses", "asked"), [([400], 2), ([405], 2), ([503], 2), ([503, 503], 3), ([416], 2)]
)
def test_failures_of_ranges_alone_lose_nothing(statuses, asked):
    with RangeServer(WITH) as server:
        server.statuses = statuses
        check(fetch_from(server), WITH)
    assert server.asked[1:] == ["whole"] * (asked - 1)


def test_bodies_that_break_off_are_read_again():
    for data in (WITH, WITHOUT):
        with RangeServer(data) as server:
            server.cuts = [1000]
            check(fetch_from(server), data)
            assert server.asked[1:] == ["whole"]


def test_previews_behind_the_end_of_the_file_are_none():
    cut = BEHIND[: -len(LARGE) - 100]
    with RangeServer(cut) as server:
        row = fetch_from(server)
    assert row.data == cut and len(server.asked) == 2


def test_limits_hold_before_the_rest_is_read():
    policy = dataclasses.replace(POLICY, max_bytes=FIRST + 1000)
    for data in (WITH, WITHOUT):
        for ranges in ("known", "unknown"):
            with RangeServer(data) as server:
                server.ranges = ranges
                row = fetch_from(server, policy)
            assert isinstance(row, ImageError) and row.reason is Reason.TOO_MANY_BYTES
            assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "reason"), [(404, Reason.NOT_FOUND), (403, Reason.ACCESS_DENIED)]
)
def test_refusals_are_those_of_a_fast_decode(status, reason):
    with RangeServer(WITH) as server:
        server.statuses = [status] * 9
        assert fetch_from(server).reason is reason
        assert len(server.asked) == 1
    with RangeServer(b"") as server:
        assert fetch_from(server).reason is Reason.EMPTY_FILE


def test_local_files_are_read_in_parts(tmp_path):
    for data, size in ((WITH, FIRST + len(SMALL)), (WITHOUT, len(WITHOUT)), (SMALL, len(SMALL))):
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        row = fetch(str(path))
        check(row, data)
        assert row.size == size and row.version.startswith(f"file:{len(data)}:")


def test_objects_are_read_in_parts():
    with pytest.MonkeyPatch.context() as patch, emulator(patch, "cameras", Access.EMULATOR) as to:
        for data in (WITH, WITHOUT, BEHIND):
            to.blob("a.jpg").upload_from_string(data)
            row = fetch("gs://cameras/a.jpg")
            check(row, data)
        assert fetch("gs://cameras/b.jpg").reason is Reason.NOT_FOUND


def test_rows_of_previews_have_no_hash_and_are_counted():
    given = {"part": (WITH[:FIRST], SMALL), "whole": (WITH, b""), "without": (WITHOUT, b"")}
    images = [
        EncodedImage(ImageRef(name, image_key(name)), data, preview=preview)
        for name, (data, preview) in given.items()
    ]
    pipeline = beam.Pipeline(FnApiRunner())
    decoded = pipeline | beam.Create(images) | DecodeImages(policy=DECODE, threads=1)
    hashes = decoded.images | beam.Map(lambda row: (row.ref.uri, row.sha256))
    wanted = {"part": "", "whole": "", "without": hashlib.sha256(WITHOUT).hexdigest()}
    assert_that(hashes, equal_to(wanted.items()))
    metrics = pipeline.run().metrics()
    (counter,) = metrics.query(MetricsFilter().with_name("decode/previews"))["counters"]
    assert counter.committed == 2
