"""What servers answer, byte by byte, and what is read of it."""

import dataclasses
import gzip
import socket
import time
import zlib

import pytest

from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import Reason
from tests.raw_server import RawServer, answer, chunked

DATA = bytes(range(256)) * 20
POLICY = HttpPolicy(
    connect_timeout=1,
    read_timeout=0.5,
    total_timeout=2,
    retries=RetryPolicy(3, 0.01, 0.02),
    max_bytes=100_000,
    allow_private_hosts=True,
)
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
SHORT = DATA[:1000]


def raw_deflate(data):
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


READ = {
    "/plain": answer(DATA),
    "/http10": b"HTTP/1.0 200 OK\r\n\r\n" + DATA,
    "/lines": b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(DATA) + DATA,
    "/no-reason": answer(DATA, status="200"),
    "/non-authoritative": answer(DATA, status="203 Non-Authoritative"),
    "/chunked": answer(chunked(DATA), "Transfer-Encoding: chunked", length=False),
    "/chunked-and-length": answer(
        chunked(DATA), "Content-Length: 5", "Transfer-Encoding: Chunked", length=False
    ),
    "/chunked-and-close": answer(
        chunked(DATA), "Transfer-Encoding: chunked", "Connection: close", length=False
    ),
    "/length-twice": answer(DATA, f"Content-Length: {len(DATA)}"),
    "/length-list": answer(DATA, f"Content-Length: {len(DATA)}, {len(DATA)}", length=False),
    "/length-negative": answer(DATA, "Content-Length: -1", "Connection: close", length=False),
    "/length-words": answer(DATA, "Content-Length: \u00b2", "Connection: close", length=False),
    "/continue": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(DATA),
    "/hints": HINTS * 3 + b"HTTP/1.1 102 Processing\r\n\r\n" + answer(DATA),
    "/gzip": answer(gzip.compress(DATA), "Content-Encoding: GZip"),
    "/gzip-members": answer(
        gzip.compress(DATA[:9]) + gzip.compress(DATA[9:]) + b"\0\0\0", "Content-Encoding: x-gzip"
    ),
    "/gzip-chunked": answer(
        chunked(gzip.compress(DATA)),
        "Transfer-Encoding: chunked",
        "Content-Encoding: gzip",
        length=False,
    ),
    "/zlib": answer(zlib.compress(DATA), "Content-Encoding: deflate"),
    "/deflate": answer(raw_deflate(DATA), "Content-Encoding: deflate"),
    "/twice": answer(zlib.compress(gzip.compress(DATA)), "Content-Encoding: gzip, deflate"),
    "/identity": answer(DATA, "Content-Encoding: identity"),
    "/aws": answer(DATA, "Content-Encoding: aws-chunked"),
    "/fields": answer(
        DATA, 'Content-Disposition: attachment; filename="\u65e5.jpg"', "X-Bad\u00e9: 1"
    ),
    "/no-colon": answer(DATA, "not a field", f"Content-Length: {len(DATA)}"),
    "/long-field": answer(DATA, "X: " + "a" * 200_000, "X: " + "b" * 65536),
    "/continued": answer(DATA, "X: a", " ETag: b", "Content-Encoding:", "  identity"),
    "/many-fields": answer(DATA, *[f"X-{i}: y" for i in range(5000)]),
    "/cookies": answer(DATA, *[f"Set-Cookie: a{i}=b" for i in range(60)]),
    "/loc-utf8": answer(b"", "Location: /caf\u00e9/\u65e5.jpg", status="302 Found"),
    "/caf%C3%A9/%E6%97%A5.jpg": answer(DATA),
    "/loc-latin": b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n\r\n",
    "/caf%E9": answer(DATA),
    "/loc-space": answer(b"", "Location: /sp ace/a b.jpg", status="301 Moved"),
    "/sp%20ace/a%20b.jpg": answer(DATA),
    "/loc-percent": answer(b"", "Location: /100%/a%20b%2fc", status="307 T"),
    "/100%25/a%20b%2Fc": answer(DATA),
    "/a/b/loc-relative": answer(b"moved", "Location: ../../plain#part", status="308 P"),
}


@pytest.fixture(scope="module")
def server():
    with RawServer(READ) as server:
        yield server


@pytest.mark.parametrize("target", READ)
def test_is_read_as_other_clients_do(server, target):
    found = HttpClient(POLICY).read(server.url(target))
    assert (found.data, found.attempts) == (DATA, 1)


def test_a_manifest_is_read_as_an_image_is(server):
    for target in READ:
        with HttpClient(POLICY).open_stream(server.url(target)) as stream:
            assert stream.read() == DATA, target


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/100% of%20it.jpg", "/100%25%20of%20it.jpg"),
        ("/a%2Fb%zz?q=1%&r=%41", "/a%2Fb%25zz?q=1%25&r=%41"),
        ("/\u65e5 b.jpg?\u00e9=#part", "/%E6%97%A5%20b.jpg?%C3%A9="),
        ("/%E6%97%A5.jpg", "/%E6%97%A5.jpg"),
        ("/%e6+b,c;d@e:f|g.jpg", "/%E6+b,c;d@e:f%7Cg.jpg"),
        ("?only=query", "/?only=query"),
        ("", "/"),
    ],
)
def test_a_url_is_sent_as_people_write_it(path, sent):
    with RawServer({sent: answer(b"x")}) as server:
        assert HttpClient(POLICY).read(f"HTTP://{server.host}{path}").data == b"x"
        assert list(server.hits) == [sent]


def test_a_manifest_that_breaks_off_is_read_on():
    cut = f"Content-Length: {len(DATA)}"
    tag = 'ETag: "1"'
    halves = [answer(DATA[:n], cut, tag, "Connection: close", length=False) for n in (99, 0, 700)]
    with RawServer({"/a": [*halves, answer(DATA, tag)]}) as server:
        client = HttpClient(dataclasses.replace(POLICY, retries=RetryPolicy(4, 0.01)))
        with client.open_stream(server.url("/a")) as stream:
            assert stream.read() == DATA
        server.scripts["/b"] = [halves[0], answer(DATA, 'ETag: "2"')]
        with pytest.raises(FetchError, match="has changed while it was read"):
            client.open_stream(server.url("/b")).read()
        server.scripts["/c"] = halves[2]
        with pytest.raises(FetchError, match="the end of its body is missing"):
            client.open_stream(server.url("/c")).read()
        assert server.hits["/c"] == 4


BROKEN = {
    "/cut": (answer(SHORT, "Content-Length: 5120", "Connection: close", length=False), "missing"),
    "/chunk-cut": (
        answer(b"%x\r\n" % len(DATA) + SHORT, "Transfer-Encoding: chunked", "Connection: close"),
        "missing",
    ),
    "/chunk-end-cut": (
        answer(chunked(DATA)[:-15], "Transfer-Encoding: chunked", "Connection: close"),
        "missing",
    ),
    "/gzip-cut": (answer(gzip.compress(DATA)[:-20], "Content-Encoding: gzip"), "has no end"),
    "/one-byte-of-gzip": (answer(b"\x1f", "Content-Encoding: gzip"), "has no end"),
    "/silence": (lambda client: None, "without an answer"),
    "/reset": (reset, "reset"),
    "/http09": (lambda client: client.sendall(DATA), "speaks no HTTP"),
    "/long-head": (answer(DATA, *["X: " + "a" * 70_000] * 20), "its head has no end"),
    "/long-field": (answer(DATA, "ETag: " + "a" * 70_000), "its head has no end"),
    "/fields": (answer(DATA, *["ETag: y"] * 150), "too many header fields"),
    "/hints": (HINTS * 1000 + answer(DATA), "broke off"),
}


@pytest.mark.parametrize("target", BROKEN)
def test_what_broke_off_is_tried_again(target):
    script, why = BROKEN[target]
    with RawServer({target: [script, script, answer(DATA)]}) as server:
        found = HttpClient(POLICY).read(server.url(target))
        assert (found.data, found.attempts) == (DATA, 3)
        server.scripts[target] = script
        with pytest.raises(FetchError, match=why) as caught:
            HttpClient(POLICY).read(server.url(target))
        assert (caught.value.reason, caught.value.attempts) == (Reason.CONNECTION_FAILED, 3)


REFUSED = {
    "/204": (answer(status="204 No Content", length=False), Reason.HTTP_ERROR, "not the whole"),
    "/205": (answer(status="205 Reset"), Reason.HTTP_ERROR, "not the whole"),
    "/206": (
        answer(DATA, "Content-Range: bytes 0-5119/9000", status="206 Partial Content"),
        Reason.HTTP_ERROR,
        "206, which is not the whole",
    ),
    "/304": (answer(status="304 Not Modified", length=False), Reason.HTTP_ERROR, "answered 304"),
    "/300": (answer(status="300 Multiple Choices"), Reason.HTTP_ERROR, "answered 300"),
    "/302": (answer(status="302 Found"), Reason.HTTP_ERROR, "302 without a Location"),
    "/302-empty": (answer(b"", "Location: ", status="302 F"), Reason.HTTP_ERROR, "without a Loc"),
    "/to-file": (
        answer(b"", "Location: file:///etc/passwd", status="302 F"),
        Reason.UNSUPPORTED_SCHEME,
        "not http",
    ),
    "/to-nowhere": (
        answer(b"", "Location: http://[nowhere/", status="302 F"),
        Reason.HTTP_ERROR,
        "no valid URL",
    ),
    "/to-itself": (answer(b"", "Location: #x", status="302"), Reason.TOO_MANY_REDIRECTS, "circle"),
    "/lengths": (answer(DATA, "Content-Length: 7"), Reason.HTTP_ERROR, "more than one"),
    "/br": (answer(DATA, "Content-Encoding: br"), Reason.HTTP_ERROR, "Content-Encoding br"),
    "/not-gzip": (answer(DATA, "Content-Encoding: gzip"), Reason.READ_FAILED, "said to be gzip"),
    "/often": (answer(DATA, "Content-Encoding: " + "gzip," * 9), Reason.HTTP_ERROR, "9 times"),
    "/transfer": (
        answer(DATA, "Transfer-Encoding: gzip, chunked", "Connection: close", length=False),
        Reason.HTTP_ERROR,
        "Transfer-Encoding gzip, chunked",
    ),
    "/bomb": (
        answer(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip"),
        Reason.TOO_MANY_BYTES,
        "larger than 100000",
    ),
    "/bomb-in-bomb": (
        answer(
            gzip.compress(gzip.compress(bytes(50_000_000))), "Content-Encoding: gzip, gzip"
        ),
        Reason.TOO_MANY_BYTES,
        "larger than 100000",
    ),
    "/members": (
        answer(gzip.compress(gzip.compress(b"") * 500_000), "Content-Encoding: gzip, gzip"),
        Reason.TIMEOUT,
        "longer than 0.3 s",
    ),
}  # fmt: skip


@pytest.mark.parametrize("target", REFUSED)
def test_what_is_no_image_is_an_error_at_once(target):
    script, reason, why = REFUSED[target]
    policy = POLICY
    if reason is Reason.TIMEOUT:
        policy = HttpPolicy(total_timeout=0.3, allow_private_hosts=True)
    with RawServer({target: script}) as server:
        begun = time.monotonic()
        with pytest.raises(FetchError, match=why) as caught:
            HttpClient(policy).read(server.url(target))
        assert (caught.value.reason, caught.value.attempts) == (reason, 1)
        assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "status", [408, 420, 425, 429, 500, 502, 503, 504, 507, 509, 520, 522, 524, 530, 598]
)
def test_what_may_pass_is_asked_for_again(status):
    script = [answer(b"busy", status=f"{status} X"), answer(DATA)]
    with RawServer({"/a": script}) as server:
        assert HttpClient(POLICY).read(server.url("/a")).attempts == 2
        assert server.connections == 1


def test_a_connection_that_its_server_closes_is_replaced_at_once():
    """It says nothing about the request, which is the first one that the server sees."""

    def one_and_close(client):
        client.sendall(answer(DATA))
        time.sleep(0.02)

    def one_and_close_late(client):
        client.sendall(answer(DATA))
        client.recv(10)  # The next request arrives, and is not answered.

    with RawServer({"/a": [one_and_close, one_and_close_late, answer(DATA)]}) as server:
        client = HttpClient(POLICY)
        for _ in range(3):
            assert client.read(server.url("/a")).attempts == 1
            time.sleep(0.05)
        assert server.connections == 3


@pytest.mark.parametrize("late", [False, True])
def test_what_follows_a_body_is_not_the_next_answer(late):
    other = answer(b"other")

    def trailing(client):
        client.sendall(answer(DATA) + (b"" if late else other))
        if late:
            time.sleep(0.05)
            client.sendall(other)
        client.recv(1)

    with RawServer({"/a": trailing, "/b": answer(b"right")}) as server:
        client = HttpClient(POLICY)
        assert client.read(server.url("/a")).data == DATA
        time.sleep(0.1)
        assert client.read(server.url("/b")).data == b"right"
