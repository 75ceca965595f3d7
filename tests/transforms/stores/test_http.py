import socket
import time

import pytest

from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.http_guard import is_public
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import Reason
from tests.http_server import ImageServer

POLICY = HttpPolicy(
    connect_timeout=1,
    read_timeout=0.5,
    total_timeout=1,
    retries=RetryPolicy(3, 0.01),
    max_bytes=100_000,
    allow_private_hosts=True,
)


@pytest.fixture(scope="module")
def server():
    with ImageServer({"a.jpg": b"image bytes" * 100, "large": b"x" * 100_001}) as server:
        yield server


def fails(url, policy=POLICY):
    start = time.monotonic()
    with pytest.raises(FetchError) as caught:
        HttpClient(policy).read(url)
    assert time.monotonic() - start < 10
    return caught.value


def test_fetches_over_one_connection(server):
    client = HttpClient(POLICY)
    for _ in range(3):
        assert client.read(server.url("a.jpg")).data == b"image bytes" * 100
    pool = client._session._pools.connection_from_url(server.url(""))
    assert (pool.num_connections, pool.num_requests) == (1, 3)


def test_retries_what_may_pass(server):
    fetched = HttpClient(POLICY).read(server.url("flaky/2/a.jpg"))
    assert (fetched.data, fetched.attempts) == (b"image bytes" * 100, 3)


@pytest.mark.parametrize(
    ("asked", "waits"), [("3", [3]), ("99", [99]), ("999", []), ("soon", [0]), ("\xb2", [0])]
)
def test_honours_retry_after_within_the_deadline(server, asked, waits):
    waited = []
    policy = HttpPolicy(retries=RetryPolicy(2, 0, 7), allow_private_hosts=True)
    with pytest.raises(FetchError) as caught:
        HttpClient(policy, sleep=waited.append).read(server.url(f"later/{asked}"))
    assert waited == waits
    assert ("no time left" in caught.value.message) is (waits == [])


@pytest.mark.parametrize(
    ("path", "reason", "attempts"),
    [
        ("missing.jpg", Reason.NOT_FOUND, 1),
        ("status/410", Reason.NOT_FOUND, 1),
        ("status/403", Reason.ACCESS_DENIED, 1),
        ("status/418", Reason.HTTP_ERROR, 1),
        ("status/501", Reason.SERVER_ERROR, 1),
        ("flaky/9/a.jpg", Reason.SERVER_ERROR, 3),
        ("endless", Reason.TOO_MANY_BYTES, 1),
        ("large", Reason.TOO_MANY_BYTES, 1),
        ("loop", Reason.TOO_MANY_REDIRECTS, 1),
        ("to?ftp://example.com/a.jpg", Reason.UNSUPPORTED_SCHEME, 1),
        ("slow", Reason.TIMEOUT, 2),
        ("drip", Reason.TIMEOUT, 1),
        ("dripping-headers", Reason.TIMEOUT, 1),
        ("short/a.jpg", Reason.CONNECTION_FAILED, 3),
    ],
)
def test_each_trouble_has_its_reason(server, path, reason, attempts):
    error = fails(server.url(path))
    assert (error.reason, error.attempts) == (reason, attempts)


def test_nobody_listening_and_no_such_host():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert fails(f"http://127.0.0.1:{port}/").reason is Reason.CONNECTION_FAILED
    assert fails("http://no-such-host.invalid/").reason is Reason.CONNECTION_FAILED


@pytest.mark.parametrize("url", ["http://", "http:///a.jpg", "http://h:99999/", "http://[::1/"])
def test_an_invalid_url_is_an_error_row(url):
    assert fails(url).reason is Reason.CONNECTION_FAILED


def test_private_hosts_are_refused_also_behind_a_name_or_a_redirect(server):
    guarded = HttpPolicy(retries=RetryPolicy(1))
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0", "2130706433"):
        error = fails(f"http://{host}:{server.port}/a.jpg", guarded)
        assert error.reason is Reason.BLOCKED_HOST, host
    assert fails("http://169.254.169.254/computeMetadata/v1/", guarded).reason is (
        Reason.BLOCKED_HOST
    )


def test_a_redirect_is_guarded_too(server, monkeypatch):
    # Only the first hop's address is declared public; the redirect leads to another.
    from image_features.transforms.stores import http_guard

    monkeypatch.setattr(http_guard, "is_public", lambda address: address == "127.0.0.1")
    error = fails(server.url(f"to?http://127.0.0.2:{server.port}/a.jpg"), HttpPolicy())
    assert error.reason is Reason.BLOCKED_HOST


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert is_public(address) is public


def test_credentials_are_sent_and_never_told(server):
    client = HttpClient(POLICY)
    url = f"http://user:hunter2@127.0.0.1:{server.port}/missing.jpg?X-Goog-Signature=abc&a=1"
    with pytest.raises(FetchError) as caught:
        client.read(url)
    sent = {name.lower(): value for name, value in server.headers.items()}
    assert sent["authorization"] == "Basic dXNlcjpodW50ZXIy"
    assert "hunter2" not in caught.value.message
    assert "abc" not in caught.value.message
    assert "a=1" in caught.value.message


def test_a_stream_reads_whole_bodies(server):
    with HttpClient(POLICY).open_stream(server.url("large")) as stream:
        assert stream.read() == b"x" * 100_001
