"""One deadline for all of a fetch, whatever its server does, by a fake clock and by real drips."""

import contextlib
import socket
import time

import pytest

from image_features.errors import ModelError
from image_features.models.download import download_http
from image_features.pipeline.launch.notify import notify
from image_features.system import timed_sockets
from image_features.system.deadlines import Deadline
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.retries import (
    FetchError,
    PassingError,
    RetryPolicy,
    with_retries,
)
from image_features.transforms.values import Reason
from tests.raw_server import RawServer, answer

POLICY = HttpPolicy(
    connect_timeout=0.4,
    read_timeout=0.4,
    total_timeout=0.5,
    retries=RetryPolicy(4, 0.01, 0.02),
    allow_private_hosts=True,
)
HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "status": (b"", b"H"),
    "headers": (HEAD + b"X: ", b"y"),
    "header-lines": (HEAD, b"X: y\r\n"),
    "length": (HEAD + b"Content-Length: 9999\r\n\r\n", b"x"),
    "no-length": (HEAD + b"\r\n", b"x"),
    "closing-chunks": (
        HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
    ),
    "chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b"x"),
    "chunk-size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0", b"x"),
}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@contextlib.contextmanager
def takes_about(seconds):
    begun = time.monotonic()
    yield
    assert seconds * 0.9 < time.monotonic() - begun < seconds + 0.4


@pytest.mark.parametrize("drip", DRIPS)
def test_a_drip_ends_at_the_deadline(drip):
    begin, piece = DRIPS[drip]
    with RawServer({}) as server:
        server.scripts["/a"] = server.drips(begin, piece)
        with takes_about(0.5), pytest.raises(FetchError, match=r"longer than 0\.5 s in all") as no:
            HttpClient(POLICY).read(server.url("/a"))
        assert (no.value.reason, no.value.attempts) == (Reason.TIMEOUT, 1)


def test_a_drip_ends_a_manifest_a_notification_and_a_model(tmp_path, caplog):
    begin, piece = DRIPS["closing-chunks"]
    with RawServer({}) as server:
        server.scripts["/a"] = server.drips(begin, piece)
        with takes_about(0.5), pytest.raises(FetchError, match="in all"):
            HttpClient(POLICY).open_stream(server.url("/a")).read()
        with takes_about(0.5), pytest.raises(ModelError, match="cannot be downloaded"):
            download_http(server.url("/a"), str(tmp_path / "m"), seconds=0.5)
        assert notify(server.url("/a"), {}, policy=POLICY)  # What it says is of no interest.
        server.scripts["/a"] = server.scripts["/secret"] = server.drips(*DRIPS["headers"])
        with takes_about(0.5):
            assert not notify(server.url("/secret"), {}, policy=POLICY)
        with takes_about(0.5), pytest.raises(ModelError, match="cannot be downloaded"):
            download_http(server.url("/a"), str(tmp_path / "m"), seconds=0.5)
    assert "secret" not in caplog.text


def test_a_manifest_may_take_as_long_as_it_goes_on():
    def three_mib(client):
        client.sendall(HEAD + b"\r\n")
        for _ in range(3):
            client.sendall(bytes(2**20))
            time.sleep(0.3)

    with RawServer({"/a": three_mib}) as server, takes_about(0.9):
        assert len(HttpClient(POLICY).open_stream(server.url("/a")).read()) == 3 * 2**20


def test_waits_and_attempts_share_the_deadline():
    clock = Clock()
    busy = answer(status="503 Busy", length=True).replace(
        b"\r\n\r\n", b"\r\nRetry-After: 50\r\n\r\n"
    )
    policy = HttpPolicy(allow_private_hosts=True, retries=RetryPolicy(9))
    with RawServer({"/a": busy}) as server:
        with pytest.raises(FetchError, match=r"503\. There is no time left") as caught:
            HttpClient(policy, sleep=clock.sleep, clock=clock).read(server.url("/a"))
        # After 50 s and 100 s, but not after 150 s of 120 s.
        assert (caught.value.attempts, server.hits["/a"], clock.now) == (3, 3, 200.0)


def test_no_wait_goes_beyond_a_deadline():
    clock = Clock()

    def fail():
        clock.sleep(3)
        raise PassingError(Reason.SERVER_ERROR, "busy", 1.0)

    deadline = Deadline(10, clock)
    with pytest.raises(FetchError) as caught:
        with_retries(fail, RetryPolicy(99, 0), clock.sleep, deadline)
    assert (caught.value.attempts, clock.now, deadline.left()) == (3, 111.0, -1.0)
    deadline.renew()
    assert (deadline.left(), deadline.at_most(3), deadline.at_most(30)) == (10.0, 3, 10.0)


def test_redirects_share_the_deadline():
    def later(client):
        time.sleep(0.2)
        client.sendall(answer(b"", "Location: /a?" + "x" * hits.pop(), status="302 F"))

    hits = list(range(9))
    with (
        RawServer({f"/a{query}": later for query in ["", *[f"?{'x' * i}" for i in range(9)]]}) as s,
        takes_about(0.5),
        pytest.raises(FetchError, match="in all"),
    ):
        HttpClient(POLICY).read(s.url("/a"))


def test_all_addresses_of_a_host_share_the_time_to_connect(monkeypatch):
    """A listener whose queue is full is as silent as an address where nobody is."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        port = full.getsockname()[1]
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        dead = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))] * 12
        found = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: dead)
        with takes_about(0.5), pytest.raises(FetchError) as caught:
            HttpClient(POLICY).read("http://many.example/")
        assert caught.value.reason is Reason.TIMEOUT
        monkeypatch.setattr(socket, "getaddrinfo", found)
        with RawServer({"/": answer(b"alive")}) as server:
            alive = [
                *dead[:3],
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: alive)
            assert HttpClient(POLICY).read("http://many.example/").data == b"alive"


def test_a_name_that_is_not_resolved_holds_nobody(monkeypatch):
    def hang(host, port, family=0, type=0, proto=0, flags=0):
        if flags:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        time.sleep(1.0)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with takes_about(0.5), pytest.raises(FetchError, match="in all"):
        HttpClient(POLICY).read("http://slow.example/")
    monkeypatch.setattr(timed_sockets, "_LOOKUPS", timed_sockets.threading.Semaphore(0))
    with takes_about(0.5), pytest.raises(FetchError, match="in all"):
        HttpClient(POLICY).read("http://slow.example/")


def test_a_handshake_that_hangs_ends_too():
    with RawServer({}) as server, takes_about(0.5), pytest.raises(FetchError) as caught:
        HttpClient(POLICY).read(f"https://{server.host}/")
    assert caught.value.reason is Reason.TIMEOUT
