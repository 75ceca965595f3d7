"""Objects of Cloud Storage, read and written with the application's credentials."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.cli import main as cli
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.stores import gcs
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import FetchError, RetryPolicy
from image_features.transforms.values import ImageRef, Reason
from tests.http_server import QuietServer
from tests.sign_in import VARIABLE, SignIn

POLICY = FetchPolicy(http=HttpPolicy(retries=RetryPolicy(3, 0), read_timeout=0.5))


class Handler(BaseHTTPRequestHandler):
    """Cloud Storage: what has no token that is taken is denied, unless all is public."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_denied():
            return self._answer(401, b"who?")
        self.server.objects.append(body)
        return self._answer(200, b'{"generation": "7"}')

    def do_GET(self):
        self.server.connections.add(self.client_address)
        denied = self._is_denied()
        self._answer(401 if denied else 200, b"who?" if denied else b"object")

    def _is_denied(self):
        if self.server.is_public and "Authorization" not in self.headers:
            return False
        return not self.server.sign_in.is_known(self.headers["Authorization"])

    def _answer(self, status, data):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def sign_in():
    with SignIn() as place:
        yield place


@pytest.fixture
def server(sign_in, monkeypatch, tmp_path):
    serving = QuietServer(("127.0.0.1", 0), Handler)
    serving.daemon_threads = True
    serving.sign_in, serving.is_public = sign_in, False
    serving.objects, serving.connections = [], set()
    threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", f"http://127.0.0.1:{serving.server_port}/")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    sign_in.replace_googles_own(monkeypatch)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def key(server, sign_in, tmp_path, monkeypatch):
    """A service account's key, where the application looks for it; its path."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key.json"))
    return sign_in.service_account(tmp_path / "key.json")


@pytest.fixture
def fetch():
    fetcher = Fetcher(POLICY)
    yield lambda name="o": fetcher.fetch(ImageRef(f"gs://b/{name}", ""))
    fetcher.close()


@pytest.mark.parametrize("kind", ["service_account", "authorized_user", "external_account"])
def test_images_are_read_and_the_connection_is_kept(
    server, sign_in, tmp_path, monkeypatch, fetch, kind
):
    monkeypatch.setenv(VARIABLE, str(getattr(sign_in, kind)(tmp_path / "key.json")))
    for number in range(3):
        assert fetch(number).data == b"object"
    assert len(sign_in.granted) == 1
    assert len(server.connections) == 1


def test_an_account_that_stands_for_another(server, sign_in, tmp_path, monkeypatch, fetch):
    monkeypatch.setenv(VARIABLE, str(sign_in.impersonated(tmp_path / "key.json")))
    assert fetch().data == b"object"
    assert sign_in.impersonated_as == ["worker@p.com"]


def test_images_are_read_as_the_account_that_beam_impersonates(server, sign_in, key, fetch):
    options = PipelineOptions(["--impersonate_service_account=between@p.com,reader@p.com"])
    FileSystems.set_options(options)
    try:
        assert fetch().data == b"object"
    finally:
        FileSystems.set_options(PipelineOptions([]))
    assert sign_in.impersonated_as == ["reader@p.com"]


def test_what_gcloud_leaves_is_found(server, sign_in, tmp_path, monkeypatch, fetch):
    config = tmp_path / "gcloud"
    config.mkdir()
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(config))
    sign_in.authorized_user(config / "application_default_credentials.json")
    assert fetch().data == b"object"


def test_a_commit_is_written(server, key):
    assert gcs.create_once("gs://b/run.json", b"{}")
    (body,) = server.objects
    assert b'"name": "run.json"' in body and b"{}" in body


def test_a_token_is_renewed_when_its_time_is_over(server, sign_in, key, fetch):
    sign_in.lifetime = 1
    assert [fetch().data for _ in range(3)] == [b"object"] * 3
    assert len(sign_in.granted) == 3


def test_a_token_that_is_refused_is_renewed(server, sign_in, key, fetch):
    assert fetch().data == b"object"
    sign_in.revoke()
    row = fetch()
    assert (row.data, row.attempts) == (b"object", 1)
    assert len(sign_in.granted) == 2


def test_many_threads_take_one_token(server, sign_in, key, fetch):
    sign_in.delay = 0.2
    with ThreadPoolExecutor(32) as pool:
        assert {row.data for row in pool.map(fetch, range(64))} == {b"object"}
    assert len(sign_in.granted) == 1


def test_a_sign_in_that_is_down_is_waited_for(server, sign_in, key, fetch):
    sign_in.answers = [(503, {})]
    assert fetch().data == b"object"


def test_a_sign_in_that_hangs_ends_with_the_timeout(server, sign_in, key, fetch):
    sign_in.delay = 3.0
    row = fetch()
    assert (row.reason, row.attempts) == (Reason.READ_FAILED, 3)
    assert "timed out" in row.message


def test_credentials_that_are_refused_are_not_tried_again(server, sign_in, key, fetch):
    sign_in.answers = [(400, {"error": "invalid_grant", "error_description": "Expired."})] * 2
    row = fetch()
    assert (row.reason, row.attempts) == (Reason.ACCESS_DENIED, 1)
    assert "invalid_grant" in row.message
    with pytest.raises(FetchError, match="invalid_grant"):
        gcs.create_once("gs://b/run.json", b"{}")


def test_a_failure_of_the_search_for_credentials_may_pass(server, key, monkeypatch, fetch):
    """It asks the network, too, for credentials of other clouds."""
    import google.auth

    tried, default = [], google.auth.default

    def fails_once(**options):
        tried.append(options)
        if len(tried) == 1:
            raise ConnectionError("no network")
        return default(**options)

    monkeypatch.setattr(google.auth, "default", fails_once)
    row = fetch()
    assert (row.data, row.attempts) == (b"object", 2)


@pytest.mark.parametrize("is_public", [True, False])
def test_anonymous_credentials(server, monkeypatch, fetch, is_public):
    from google.auth.credentials import AnonymousCredentials

    monkeypatch.setattr("google.auth.default", lambda **_: (AnonymousCredentials(), "p"))
    server.is_public = is_public
    row = fetch()
    if is_public:
        assert row.data == b"object"
    else:
        assert (row.reason, row.attempts) == (Reason.ACCESS_DENIED, 1)


def test_credentials_that_come_late_are_found(server, key, monkeypatch, fetch):
    """Without them a worker is anonymous, but not for ever."""
    hidden = key.rename(key.with_name("hidden"))
    denied = fetch()
    assert (denied.reason, denied.attempts) == (Reason.ACCESS_DENIED, 1)
    hidden.rename(key)
    assert fetch().reason is Reason.ACCESS_DENIED  # They are not looked for all the time.
    monkeypatch.setattr(gcs, "_LOOK_AGAIN_SECONDS", 0.0)
    found = fetch()
    assert (found.data, found.attempts) == (b"object", 2)


def test_where_there_are_none_what_is_denied_stays_so(server, monkeypatch, fetch):
    monkeypatch.setattr(gcs, "_LOOK_AGAIN_SECONDS", 0.0)
    row = fetch()
    assert (row.reason, row.attempts) == (Reason.ACCESS_DENIED, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "was not found"),
        ("", "not a valid json"),
        ('{"type": "service_account"', "not a valid json"),
        ('{"type": "service_account"}', "client_email"),
        ('{"type": "a_new_kind"}', "a_new_kind"),
        ("[]", "'list'"),
        (json.dumps({"type": "authorized_user"}), "refresh_token"),
        (b"\xff\xfe", "utf"),
    ],
)
@pytest.mark.parametrize("by", ["variable", "gcloud"])
def test_damaged_credentials_are_said_before_any_work(
    server, tmp_path, monkeypatch, capsys, content, says, by
):
    path = tmp_path / "application_default_credentials.json"
    if by == "variable":
        monkeypatch.setenv(VARIABLE, str(path))
    elif content is None:
        return
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main(["inspect", "gs://b/dataset"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error
    assert f"The Google credentials in {path} cannot be used" in error
    assert says in error.lower()
