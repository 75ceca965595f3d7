"""Google's sign-in on loopback: tokens, and files of credentials that ask for them here."""

from __future__ import annotations

import functools
import json
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.http_server import QuietServer

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


class SignIn:
    """A server of tokens.

    Attributes:
      granted: The tokens that were given; each is another.
      valid: Those of them that are taken, which a test may revoke.
      lifetime: The seconds that a token lasts.
      delay: The seconds that an answer takes.
      impersonated_as: The accounts that tokens were asked for in the name of another one.
      answers: Statuses that are answered in the place of the next tokens, with their bodies.
    """

    def __init__(self) -> None:
        self.granted: list[str] = []
        self.valid: set[str] = set()
        self.lifetime = 3599
        self.delay = 0.0
        self.impersonated_as: list[str] = []
        self.answers: list[tuple[int, Mapping[str, Any]]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> SignIn:
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"place": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def is_known(self, authorization: str | None) -> bool:
        """Tells whether a header has a token that is taken."""
        return (authorization or "").removeprefix("Bearer ") in self.valid

    def revoke(self) -> None:
        """Makes all tokens worthless before their time."""
        self.valid.clear()

    def answer(self) -> tuple[int, Mapping[str, Any]]:
        """Gives a token, or the next of the other answers."""
        time.sleep(self.delay)
        with self._lock:
            if self.answers:
                return self.answers.pop(0)
            token = f"token-{len(self.granted)}"
            self.granted.append(token)
            self.valid.add(token)
            more = {"token_type": "Bearer", "expires_in": self.lifetime}
            return 200, {"access_token": token, **more}

    def replace_googles_own(self, patch: pytest.MonkeyPatch) -> None:
        """Makes this process ask here for what files of credentials cannot name another place."""
        patch.setattr(
            "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{self.url}/token"
        )
        patch.setattr("google.auth.iam._IAM_ENDPOINT", self.url + "/impersonate/{}")
        patch.setattr(
            "google.auth.external_account.Credentials.get_project_id", lambda *_, **__: None
        )

    def service_account(self, path: pathlib.Path) -> pathlib.Path:
        """Writes the key of a service account."""
        account = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": _private_key(),
            "client_email": "worker@p.iam.gserviceaccount.com",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(account))
        return path

    def authorized_user(self, path: pathlib.Path) -> pathlib.Path:
        """Writes what `gcloud auth application-default login` leaves."""
        user = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
        place = {"type": "authorized_user", "token_uri": f"{self.url}/token"}
        path.write_text(json.dumps({**place, **user}))
        return path

    def impersonated(self, path: pathlib.Path) -> pathlib.Path:
        """Writes what `gcloud auth application-default login --impersonate-...` leaves."""
        url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        source = self.authorized_user(path.with_name("source.json"))
        account = {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": f"{url}worker@p.com:generateAccessToken",
            "source_credentials": json.loads(source.read_text()),
        }
        path.write_text(json.dumps(account))
        return path

    def external_account(self, path: pathlib.Path) -> pathlib.Path:
        """Writes the credentials of another cloud, whose token is traded for ours."""
        subject = path.with_name("subject")
        subject.write_text("a-foreign-token")
        account = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{self.url}/token",
            "credential_source": {"file": str(subject)},
        }
        path.write_text(json.dumps(account))
        return path


class _Handler(BaseHTTPRequestHandler):
    place: SignIn
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path.startswith("/impersonate/"):
            assert self.place.is_known(self.headers["Authorization"])
            self.place.impersonated_as.append(self.path.rpartition("/")[2])
        else:
            assert urllib.parse.parse_qs(form)["grant_type"]
        status, answer = self.place.answer()
        if self.path.startswith("/impersonate/"):
            over = time.gmtime(time.time() + self.place.lifetime)
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", over)
            answer = {"accessToken": answer["access_token"], "expireTime": expires}
        data = json.dumps({"issued_token_type": "t", **answer}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@functools.cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()
