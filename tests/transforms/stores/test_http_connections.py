"""How many connections and descriptors fetches take, and how TLS fails."""

import contextlib
import dataclasses
import datetime
import ipaddress
import os
import resource
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from image_features.system import descriptors, timed_sockets
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.runtime.concurrency import io_pool
from image_features.transforms.stores import http_connections
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.http_connections import IDLE, IdleConnections
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import EncodedImage, ImageRef, Reason
from tests.raw_server import RawServer, answer

POLICY = HttpPolicy(allow_private_hosts=True, retries=RetryPolicy(2, 0.01))


@pytest.fixture
def idle(monkeypatch):
    """Idle connections of this test only, of which there may be three."""
    own = IdleConnections(3)
    monkeypatch.setattr(http_connections, "IDLE", own)
    yield own
    own.close()


def test_idle_connections_of_all_hosts_together_are_bounded(idle):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(RawServer({"/": answer(b"x")}, address=f"127.0.0.{i}"))
            for i in range(1, 6)
        ]
        clients = [HttpClient(POLICY), HttpClient(POLICY)]
        for server in (*servers, servers[4], servers[2], servers[0]):
            for client in clients:
                assert client.read(server.url("/")).data == b"x"
            assert len(idle) <= 3
        # The last three were kept, for both clients; the first had to go.
        assert [server.connections for server in servers] == [2, 1, 1, 1, 1]


def test_a_guarded_client_takes_no_connection_of_one_that_trusts(idle):
    with RawServer({"/": answer(b"x")}) as server:
        assert HttpClient(POLICY).read(server.url("/")).data == b"x"
        with pytest.raises(FetchError) as caught:
            HttpClient(HttpPolicy()).read(server.url("/"))
        assert caught.value.reason is Reason.BLOCKED_HOST


def test_a_step_has_one_fetcher_a_process():
    policy = FetchPolicy(http=POLICY)
    first, second = Fetcher.shared(policy), Fetcher.shared(policy)
    assert first is second and first is not Fetcher(policy)
    with RawServer({"/": answer(b"x")}) as server:
        assert isinstance(first.fetch(ImageRef(server.url("/"), "k")), EncodedImage)
        before = len(IDLE)
        second.close()
        assert len(IDLE) == before > 0  # The first one goes on.
        first.close()
        assert len(IDLE) == 0
    third = Fetcher.shared(policy)
    assert third is not first
    third.close()


@pytest.mark.parametrize(
    ("limit", "fetches"),
    [(64, 5), (256, 69), (1024, 325), (10, 1), (resource.RLIM_INFINITY, 2**18)],
)
def test_as_many_fetches_at_once_as_there_are_descriptors_for(monkeypatch, limit, fetches):
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (limit, limit))
    assert descriptors.fetches_at_once() >= fetches
    assert 3 * descriptors.fetches_at_once() < max(limit, 4) or limit < 0
    assert io_pool(256)._max_workers == min(256, descriptors.fetches_at_once())


@contextlib.contextmanager
def no_descriptor_for(seconds):
    """Takes all descriptors of this process, and gives them back after a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(map(int, os.listdir("/dev/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))

        def free():
            time.sleep(seconds)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        thread = threading.Thread(target=free)
        thread.start()
        yield
        thread.join()
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_fetch_waits_for_a_descriptor(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"local")
    with no_descriptor_for(0.5):
        begun = time.monotonic()
        row = Fetcher(FetchPolicy()).fetch(ImageRef(str(tmp_path / "a.jpg"), "k"))
        assert time.monotonic() - begun > 0.4
    assert row.data == b"local"
    for host, why in (("127.0.0.1", "Connection refused"), ("no.invalid", "unknown host")):
        with no_descriptor_for(0.5), pytest.raises(FetchError, match=why):
            begun = time.monotonic()
            HttpClient(POLICY).read(f"http://{host}:1/")
        assert time.monotonic() - begun > 0.4
    with no_descriptor_for(0.5), pytest.raises(FetchError, match="too many files are open"):
        HttpClient(dataclasses.replace(POLICY, connect_timeout=0.1)).read("http://127.0.0.1:1/")


def certificate(directory, name, *, days, host="127.0.0.1"):
    """Writes a certificate that signs itself, with its key; returns its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = directory / name
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(path)


@pytest.mark.parametrize(
    ("days", "host", "trusted", "why"),
    [
        (9, "127.0.0.1", True, None),
        (9, "127.0.0.1", False, "self-signed certificate"),
        (-9, "127.0.0.1", True, "certificate has expired"),
        (9, "127.0.0.9", True, "IP address mismatch"),
    ],
)
def test_a_certificate_is_checked_and_the_way_out_is_said(
    tmp_path, monkeypatch, days, host, trusted, why
):
    path = certificate(tmp_path, "c.pem", days=days, host=host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", path)
    timed_sockets.tls.cache_clear()
    try:
        with RawServer({"/": answer(b"x")}, tls=context) as server:
            if why is None:
                assert HttpClient(POLICY).read(server.url("/")).data == b"x"
                return
            with pytest.raises(FetchError, match=why) as caught:
                HttpClient(POLICY).read(server.url("/"))
            assert (caught.value.reason, caught.value.attempts) == (Reason.CONNECTION_FAILED, 1)
            assert "SSL_CERT_FILE" in caught.value.message
    finally:
        timed_sockets.tls.cache_clear()


def test_a_drip_within_tls_ends_at_the_deadline(tmp_path, monkeypatch):
    path = certificate(tmp_path, "c.pem", days=9)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    monkeypatch.setenv("SSL_CERT_FILE", path)
    timed_sockets.tls.cache_clear()
    with RawServer({}, tls=context) as server:
        server.scripts["/"] = server.drips(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
        begun = time.monotonic()
        with pytest.raises(FetchError, match=r"longer than 0\.5 s in all"):
            HttpClient(dataclasses.replace(POLICY, total_timeout=0.5)).read(server.url("/"))
        assert time.monotonic() - begun < 1
    timed_sockets.tls.cache_clear()


def test_a_server_without_tls_is_said_to_have_none():
    def plain(client):
        client.sendall(answer(b"x"))

    with RawServer({}) as server:
        server._answer = lambda client, lines: plain(client)
        with pytest.raises(FetchError, match="speaks no TLS with us") as caught:
            HttpClient(POLICY).read(f"https://{server.host}/")
        assert caught.value.attempts == 2
