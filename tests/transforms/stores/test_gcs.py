"""Objects in one request each, from an emulator and from a server that misbehaves."""

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c
import pytest

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import ImageRef, Reason
from tests.gcs import Access, emulator

POLICY = FetchPolicy(http=HttpPolicy(retries=RetryPolicy(3, 0), read_timeout=0.5), max_bytes=1000)


def fetch(uri, fetcher=None):
    return (fetcher or Fetcher(POLICY)).fetch(ImageRef(uri, image_key(uri)))


@pytest.fixture(scope="module", params=list(Access))
def bucket(request):
    with pytest.MonkeyPatch.context() as patch, emulator(patch, "images", request.param) as bucket:
        yield bucket


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "deep/er/b c.jpg",
        "ü%2F?x=1#y+z.jpg",
        "/leading.jpg",
        "a//b.jpg",
        "new\nline\t.jpg",
        "100%.jpg",
        "[a]*&key=1;b.jpg",
        "folder.jpg/",
    ],
)
def test_an_object_is_read_whole(bucket, name):
    bucket.blob(name).upload_from_string(b"bytes of " + name.encode())
    assert fetch(f"gs://images/{name}").data == b"bytes of " + name.encode()


def test_a_scheme_may_be_in_capitals(bucket):
    bucket.blob("a.jpg").upload_from_string(b"image")
    assert fetch("GS://images/a.jpg").data == b"image"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("gs://images/absent.jpg", Reason.NOT_FOUND),
        ("gs://no-such-bucket/a.jpg", Reason.NOT_FOUND),
        ("gs://images", Reason.NOT_FOUND),
        ("gs://images/empty", Reason.EMPTY_FILE),
        ("gs://images/large", Reason.TOO_MANY_BYTES),
    ],
)
def test_what_cannot_be_read_says_why(bucket, uri, reason):
    bucket.blob("empty").upload_from_string(b"")
    bucket.blob("large").upload_from_string(b"x" * 1001)
    row = fetch(uri)
    assert row.reason is reason
    assert row.attempts == 1


@pytest.fixture
def server(monkeypatch):
    """Answers in turn what `answers` holds, a status, "slow", "short" or "damaged"; then 200.

    The body and the headers of every answer may be set.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            serving.paths.append(self.path)
            serving.connections.add(self.client_address)
            answer = serving.answers.pop(0) if serving.answers else 200
            if answer == "slow":
                serving.gate.wait(2)
                answer = 200
            body = serving.body
            body = b"OBJECT" if answer == "damaged" else body
            self.send_response(answer if isinstance(answer, int) else 200)
            for name, value in serving.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (answer == "short")))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = answer == "short"

        def log_message(self, *_):
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    serving.answers, serving.paths, serving.connections = [], [], set()
    serving.body, serving.headers = b"object", {}
    serving.gate = threading.Event()
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{serving.server_port}")
    yield serving
    serving.gate.set()
    serving.shutdown()
    serving.server_close()


@pytest.mark.parametrize("trouble", [429, 503, "slow", "short"])
def test_what_may_pass_is_tried_again(server, trouble):
    server.answers = [trouble, trouble]
    row = fetch("gs://b/o")
    assert (row.data, row.attempts) == (b"object", 3)


@pytest.mark.parametrize(
    ("status", "reason", "attempts"),
    [
        (401, Reason.ACCESS_DENIED, 1),
        (403, Reason.ACCESS_DENIED, 1),
        (404, Reason.NOT_FOUND, 1),
        (400, Reason.READ_FAILED, 1),
        (503, Reason.SERVER_ERROR, 3),
    ],
)
def test_every_status_has_its_reason(server, status, reason, attempts):
    server.answers = [status] * 5
    row = fetch("gs://b/o")
    assert (row.reason, row.attempts) == (reason, attempts)


def test_an_object_is_one_request_and_the_connection_is_kept(server):
    fetcher = Fetcher(POLICY)
    for _ in range(5):
        assert fetch("gs://b/some/o", fetcher).data == b"object"
    assert server.paths == ["/storage/v1/b/b/o/some%2Fo?alt=media"] * 5
    assert len(server.connections) == 1
    fetcher.close()


CRC = base64.b64encode(google_crc32c.Checksum(b"object").digest()).decode()


def test_an_object_that_comes_with_another_checksum_is_asked_for_again(server):
    server.headers = {"X-Goog-Hash": f"crc32c={CRC}, md5=AAAA"}
    server.answers = ["damaged"]
    row = fetch("gs://b/o")
    assert (row.data, row.attempts) == (b"object", 2)
    server.answers = ["damaged"] * 3
    row = fetch("gs://b/o")
    assert (row.reason, row.attempts) == (Reason.READ_FAILED, 3)
    assert "another checksum" in row.message


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        # The server has decompressed it, or has not, as for Cache-Control: no-transform. The
        # checksum is that of what is stored.
        (b"object", {"X-Goog-Stored-Content-Encoding": "gzip"}),
        (gzip.compress(b"object", mtime=0), {"Content-Encoding": "gzip"}),
    ],
)
def test_an_object_that_is_stored_compressed_is_read(server, body, headers):
    server.body, server.headers = body, {"X-Goog-Hash": "crc32c=AAAAAA==", **headers}
    row = fetch("gs://b/o")
    assert (row.data, row.attempts) == (b"object", 1)


def test_a_bomb_that_is_stored_compressed_is_too_large(server):
    server.body, server.headers = gzip.compress(bytes(10**7)), {"Content-Encoding": "gzip"}
    assert fetch("gs://b/o").reason is Reason.TOO_MANY_BYTES


def test_what_the_server_says_is_told(server):
    told = "Bucket is a requester pays bucket but no user project provided."
    server.body = json.dumps({"error": {"code": 400, "message": told}}).encode()
    server.answers = [400]
    assert fetch("gs://b/o").message == f"gs://b/o answered 400: {told}"
