import threading
import time

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from image_features.transforms import fetch_images as fetch_module
from image_features.transforms.fetch_images import FetchImages, FetchPolicy
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.local import LocalStore
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import ImageRef, Reason
from tests.http_server import ImageServer

POLICY = FetchPolicy(
    http=HttpPolicy(retries=RetryPolicy(2, 0), allow_private_hosts=True), max_bytes=1000
)


def test_each_comes_once_and_failures_stand_aside():
    with ImageServer({f"{i}": bytes([i]) * 10 for i in range(100)}) as server:
        uris = [server.url(str(i)) for i in range(0, 200, 2)]
        refs = [ImageRef(uri, image_key(uri)) for uri in uris]

        def check(images):
            assert sorted(image.data[0] for image in images) == list(range(0, 100, 2))

        def check_errors(errors):
            assert sorted(error.ref.uri for error in errors) == sorted(uris[50:])
            assert {error.reason for error in errors} == {Reason.NOT_FOUND}

        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            rows = pipeline | beam.Create(refs, reshuffle=False) | FetchImages(policy=POLICY)
            assert_that(rows.images, check, label="Images")
            assert_that(rows.errors, check_errors, label="Errors")


def test_slow_disks_get_threads(tmp_path, monkeypatch):
    """Reads that take long leave the bundle's own thread, and overlap."""
    for i in range(200):
        (tmp_path / str(i)).write_bytes(b"x")
    threads = set()
    plain = LocalStore.read

    def slow(store, path, look=None):
        threads.add(threading.current_thread().name)
        time.sleep(0.02)
        return plain(store, path, look)

    monkeypatch.setattr(LocalStore, "read", slow)
    do_fn = fetch_module._FetchDoFn(POLICY, 1)
    do_fn.setup()
    do_fn.start_bundle()
    start = time.monotonic()
    refs = [ImageRef(str(tmp_path / str(i)), image_key(str(i))) for i in range(200)]
    rows = [row for ref in refs for row in do_fn.process(ref)]
    rows += [windowed.value for windowed in do_fn.finish_bundle()]
    assert sorted(row.ref.uri for row in rows) == sorted(ref.uri for ref in refs)
    assert time.monotonic() - start < 200 * 0.02 / 2
    assert len(threads) > 4
    do_fn.teardown()
