"""Objects of Cloud Storage, read and written with the application's credentials."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.stores import gcs
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.values import ImageRef, Reason
from tests.http_server import QuietServer

POLICY = FetchPolicy(http=HttpPolicy(retries=RetryPolicy(3, 0)))
TOKEN = "a-token"


class Handler(BaseHTTPRequestHandler):
    """Cloud Storage and its sign-in: what has no token is denied."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            self.server.signed_in += 1
            answer = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3599}
            return self._answer(200, json.dumps(answer).encode())
        if self._is_denied():
            return self._answer(401, b"who?")
        self.server.objects.append(body)
        return self._answer(200, b'{"generation": "7"}')

    def do_GET(self):
        self.server.connections.add(self.client_address)
        denied = self._is_denied()
        self._answer(401 if denied else 200, b"who?" if denied else b"object")

    def _is_denied(self):
        return self.headers.get("Authorization") != f"Bearer {TOKEN}"

    def _answer(self, status, data):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    serving = QuietServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    serving.signed_in, serving.objects, serving.connections = 0, [], set()
    threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(gcs, "_ENDPOINT", f"http://127.0.0.1:{serving.server_port}")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def key(server, tmp_path, monkeypatch):
    """A service account's key, where the application looks for it; its path."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "p",
                "private_key_id": "1",
                "private_key": private.decode(),
                "client_email": "worker@p.iam.gserviceaccount.com",
                "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


def test_images_are_read_and_the_connection_is_kept(server, key):
    fetcher = Fetcher(POLICY)
    for number in range(3):
        assert fetcher.fetch(ImageRef(f"gs://b/{number}", "")).data == b"object"
    fetcher.close()
    assert server.signed_in == 1
    assert len(server.connections) == 1


def test_a_commit_is_written(server, key):
    assert gcs.create_once("gs://b/run.json", b"{}")
    (body,) = server.objects
    assert b'"name": "run.json"' in body and b"{}" in body


def test_credentials_that_come_late_are_found(server, key, monkeypatch):
    """Without them a worker is anonymous, but not for ever."""
    hidden = key.rename(key.with_name("hidden"))
    fetcher = Fetcher(POLICY)
    denied = fetcher.fetch(ImageRef("gs://b/1", ""))
    assert (denied.reason, denied.attempts) == (Reason.ACCESS_DENIED, 1)
    hidden.rename(key)
    denied = fetcher.fetch(ImageRef("gs://b/1", ""))
    assert denied.reason is Reason.ACCESS_DENIED  # They are not looked for all the time.
    monkeypatch.setattr(gcs, "_LOOK_AGAIN_SECONDS", 0.0)
    found = fetcher.fetch(ImageRef("gs://b/1", ""))
    assert (found.data, found.attempts) == (b"object", 2)
    fetcher.close()


def test_where_there_are_none_what_is_denied_stays_so(server, key, monkeypatch):
    key.unlink()
    monkeypatch.setattr(gcs, "_LOOK_AGAIN_SECONDS", 0.0)
    fetcher = Fetcher(POLICY)
    row = fetcher.fetch(ImageRef("gs://b/1", ""))
    assert (row.reason, row.attempts) == (Reason.ACCESS_DENIED, 3)
    fetcher.close()
