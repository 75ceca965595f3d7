"""Notifications, by a real server on loopback."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.pipeline.cli import main as cli
from image_features.pipeline.cli.extract import notify_address
from image_features.pipeline.cli.parsing import parse_extract
from image_features.pipeline.dataset.run import read_record
from image_features.pipeline.launch import notify as notification
from image_features.pipeline.launch.notify import notify
from image_features.pipeline.options import FeatureExtractorOptions
from tests import images
from tests.http_server import QuietServer


class Hook:
    """Takes posts, after a number of answers with other states."""

    def __init__(self, *states):
        self.states = list(states)
        self.posts = []
        self.waits = []

    def __enter__(self):
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format, *args):
                pass

            def do_POST(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.append((self.path, self.headers, json.loads(data)))
                self.send_response(hook.states.pop(0) if hook.states else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self):
        return f"127.0.0.1:{self._server.server_address[1]}"

    def notify(self, message):
        url = f"http://me:secret%21@{self.address}/hook/secret?token=secret"
        return notify(url, message, sleep=self.waits.append)


def test_a_message_arrives_as_json_with_the_users_name():
    with Hook() as hook:
        assert hook.notify({"a": [1, "\u00e9"]})
    ((path, headers, message),) = hook.posts
    assert (path, message) == ("/hook/secret?token=secret", {"a": [1, "\u00e9"]})
    assert headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].split()[1]) == b"me:secret!"


@pytest.mark.parametrize(
    ("states", "posts", "taken"),
    [
        ([503, 429], 3, True),
        ([500] * 4, 4, False),
        ([404], 1, False),
        ([302], 1, False),
    ],
)
def test_what_may_pass_is_tried_again(caplog, states, posts, taken):
    with Hook(*states) as hook:
        assert hook.notify({}) is taken
        assert len(hook.posts) == posts
        assert len(hook.waits) == posts - 1
        assert f"http://{hook.address} answered" in caplog.text or taken
    assert "secret" not in caplog.text


def test_nobody_there_is_a_warning_without_secrets(caplog):
    with Hook() as hook:
        pass
    assert hook.notify({}) is False
    assert f"http://{hook.address} cannot be connected to" in caplog.text
    assert "secret" not in caplog.text


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    (directory / "a.jpg").write_bytes(images.encode(images.noise(1)))
    return directory


def test_a_commit_and_a_failure_are_posted(extract, photos, monkeypatch):
    posted = []
    monkeypatch.setattr(notification, "notify", lambda url, run, **_: posted.append((url, run)))
    run = extract(photos, "--notify=http://hook/x", run_id="good")
    assert posted.pop() == (
        "http://hook/x",
        {**read_record(str(run)), "state": "COMMITTED"},
    )
    run = extract(photos, "--notify=http://hook/x", "--min_rows=5", run_id="guarded", code=5)
    ((_, message),) = posted
    assert message["run_id"] == "guarded" and message["directory"] == str(run)
    assert (message["state"], message["exit_code"]) == ("STOPPED_BY_GUARD", 5)
    assert "--min_rows=5" in message["error"]
    assert message["started"] < message["finished"]


def test_a_run_does_not_fail_because_nobody_listens(extract, photos):
    with Hook(404) as hook:
        extract(photos, f"--notify=http://{hook.address}/")
    assert len(hook.posts) == 1


def test_only_one_who_waits_can_notify(photos, tmp_path, capsys):
    arguments = [f"--input={photos}", f"--output={tmp_path}/out"]
    assert cli.main(["extract", *arguments, "--notify=http://hook", "--no_wait"]) == 2
    assert "--notify needs someone who waits" in capsys.readouterr().err
    assert cli.main(["extract", *arguments, "--notify=secret.example"]) == 2
    said = capsys.readouterr().err
    assert "http://" in said and "secret" not in said


def test_the_address_may_be_in_a_variable(extract, photos, monkeypatch):
    """Others see a process's command line, and not its variables."""
    with Hook() as named, Hook() as other:
        monkeypatch.setenv("IMAGE_FEATURES_NOTIFY", f"http://{other.address}/hush")
        run = extract(photos, run_id="good")
        extract(photos, "--min_rows=5", run_id="guarded", code=5)
        extract(photos, f"--notify=http://{named.address}/", run_id="named")
    assert [path for path, _, _ in other.posts] == ["/hush", "/hush"]
    assert other.posts[0][2] == {**read_record(str(run)), "state": "COMMITTED"}
    assert other.posts[1][2]["state"] == "STOPPED_BY_GUARD"
    assert [message["run_id"] for _, _, message in named.posts] == ["named"]


def test_a_variable_is_ignored_where_nobody_waits(monkeypatch):
    for value in ("http://hook/hush", "hush"):
        monkeypatch.setenv("IMAGE_FEATURES_NOTIFY", value)
        options, _ = parse_extract(["--no_wait", "--output=x"])
        assert notify_address(options.notify, wait=options.wait) is None
    monkeypatch.setenv("IMAGE_FEATURES_NOTIFY", "")
    options, _ = parse_extract(["--output=x"])
    assert notify_address(options.notify, wait=options.wait) is None


def test_a_variable_that_is_no_address_is_refused(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IMAGE_FEATURES_NOTIFY", "secret.example")
    assert cli.main(["extract", f"--input={photos}", f"--output={tmp_path}/out"]) == 2
    said = capsys.readouterr().err
    assert "IMAGE_FEATURES_NOTIFY" in said and "http://" in said and "secret" not in said
    assert not (tmp_path / "out").exists()


def test_engines_are_not_told_the_address():
    options, beam_options = parse_extract(["--notify=http://hook/hush", "--output=x"])
    assert notify_address(options.notify, wait=True) == "http://hook/hush"
    assert beam_options.view_as(FeatureExtractorOptions).notify is None
    assert beam_options.get_all_options()["notify"] is None
    assert "hush" not in str(PipelineOptions.get_all_options(beam_options))
