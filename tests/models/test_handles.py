"""Every kind of handle, over a real server on the loopback interface."""

from __future__ import annotations

import http.server
import logging
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.files import content_hash
from image_features.models.handles import hub_archive_url, resolve
from image_features.models.weights import bundled_weights, read_weights


class _Handler(http.server.BaseHTTPRequestHandler):
    archive = b""
    requests: list[str]
    failures = 0

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
        elif self.path.startswith("/loop"):
            self._redirect(self.path)
        elif self.path.startswith("/moved"):
            self._redirect("/module.tar.gz")
        elif self.path.startswith("/hub/") and "?tf-hub-format=compressed" not in self.path:
            self.send_error(400)
        elif self.path.startswith("/flaky") and type(self).failures:
            type(self).failures -= 1
            self.send_error(503)
        else:
            cut = self.path.startswith("/broken") and type(self).failures
            type(self).failures -= bool(cut)
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.archive)))
            self.end_headers()
            self.wfile.write(self.archive[:1000] if cut else self.archive)

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def server(archive: str) -> Iterator[tuple[str, type[_Handler]]]:
    """A base URL, and the handler class that records what was asked."""
    handler = type(
        "Handler",
        (_Handler,),
        {"archive": Path(archive).read_bytes(), "requests": [], "failures": 0},
    )
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}", handler
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"<html><body>Sign in</body></html>", "it is a web page"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "it is a TFLite model"),
        (b"\x89HDF\r\n", "not a whole gzipped tar file"),
    ],
)
def test_what_is_downloaded_and_no_archive_is_told(
    content: bytes, words: str, server: tuple[str, type[_Handler]], own_cache: Path
) -> None:
    url, handler = server
    handler.archive = content
    with pytest.raises(ModelError, match=words) as caught:
        resolve(f"{url}/module.tar.gz")
    assert f"{url}/module.tar.gz" in str(caught.value)
    assert os.listdir(own_cache) == []


def test_local_directory_is_used_in_place(tf1_dir: str, own_cache: Path) -> None:
    resolved = resolve(tf1_dir)
    assert (resolved.handle, resolved.directory) == (tf1_dir, tf1_dir)
    assert resolved.content_hash == content_hash(tf1_dir)
    assert len(resolved.content_hash) == 64
    assert not own_cache.exists()


def test_local_archives(tf1_dir: str, archive: str, tmp_path: Path, own_cache: Path) -> None:
    nested = str(tmp_path / "nested.tgz")
    with tarfile.open(nested, "w:gz") as tar:
        tar.add(tf1_dir, arcname="some_module")
    for handle in (archive, nested, f"file://{nested}"):
        resolved = resolve(handle)
        assert resolved.content_hash == content_hash(tf1_dir)
    assert len(os.listdir(own_cache)) == 2
    shutil.copy(nested, tmp_path / "replaced.tgz")
    first = resolve(str(tmp_path / "replaced.tgz")).directory
    shutil.copy(archive, tmp_path / "replaced.tgz")
    assert resolve(str(tmp_path / "replaced.tgz")).directory != first


@pytest.mark.parametrize("path", ["/module.tar.gz", "/hub/mobilenet/3", "/moved.tgz?token=1"])
def test_http_is_fetched_once(
    path: str, server: tuple[str, type[_Handler]], tf1_dir: str, own_cache: Path
) -> None:
    base, handler = server
    first = resolve(base + path)
    count = len(handler.requests)
    assert resolve(base + path) == first
    assert len(handler.requests) == count
    assert first.content_hash == content_hash(tf1_dir)
    assert os.listdir(own_cache) == [os.path.basename(first.directory)]


@pytest.mark.parametrize("path", ["/flaky.tar.gz", "/broken.tar.gz"])
def test_passing_failures_are_retried(
    path: str, server: tuple[str, type[_Handler]], own_cache: Path
) -> None:
    base, handler = server
    handler.failures = 1
    assert resolve(base + path).content_hash
    assert len(handler.requests) == 2


def test_http_refusals(
    server: tuple[str, type[_Handler]], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, handler = server
    with pytest.raises(ModelError, match=r"HTTP 404.*--model=builtin"):
        resolve(f"{base}/missing.tar.gz")
    with pytest.raises(ModelError, match="redirects"):
        resolve(f"{base}/loop.tar.gz")
    assert len(handler.requests) < 20
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_DOWNLOAD_BYTES", 1000)
        with pytest.raises(ModelError, match="larger than 1000 bytes"):
            resolve(f"{base}/big.tar.gz")
    handler.archive = b"<html>Welcome</html>"
    with pytest.raises(ModelError, match="not a whole gzipped tar file"):
        resolve(f"{base}/page.tar.gz")
    assert os.listdir(own_cache) == []


def test_no_network_says_what_to_do(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("image_features.models.download._BACKOFF_SECONDS", 0.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
        with pytest.raises(ModelError, match=r"no network.*--model=/local.*--model=builtin"):
            resolve(f"http://127.0.0.1:{closed.getsockname()[1]}/m.tar.gz")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://tfhub.dev/google/m/3", "https://tfhub.dev/google/m/3?tf-hub-format=compressed"),
        ("https://x/m?a=1", "https://x/m?a=1&tf-hub-format=compressed"),
        ("https://x/m.tar.gz?a=1", "https://x/m.tar.gz?a=1"),
        ("https://x/m?tf-hub-format=compressed", "https://x/m?tf-hub-format=compressed"),
    ],
)
def test_hub_archive_url(url: str, expected: str) -> None:
    assert hub_archive_url(url) == expected


def test_wrong_local_handles(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_text("x")
    for handle, message in [
        (str(tmp_path), r"no saved_model\.pb"),
        (str(tmp_path / "absent"), "There is no model at"),
        (str(tmp_path / "model.h5"), "neither a directory nor"),
        (" ", "is empty"),
    ]:
        with pytest.raises(ModelError, match=message):
            resolve(handle)


def test_unknown_scheme(own_cache: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        resolve("nosuch://bucket/model")
    assert os.listdir(own_cache) == []


def test_untrained_is_the_same_in_every_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, module_cache: Path
) -> None:
    """Two processes race for one cache, and another one is filled by this session."""
    script = (
        "from image_features.models.handles import resolve\n"
        "print(resolve('untrained').content_hash)\n"
    )
    root = Path(__file__).resolve().parents[2]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=root,
            env={**os.environ, "IMAGE_FEATURES_CACHE": str(tmp_path / "shared")},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    with caplog.at_level(logging.WARNING):
        own = resolve("untrained")
    assert "mean NOTHING" in caplog.text
    assert own.directory.startswith(str(module_cache))
    assert [racer.communicate()[0].strip() for racer in racers] == [own.content_hash] * 2
    assert len(os.listdir(tmp_path / "shared")) == 1


def test_builtin_is_quiet_and_trained(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The handle gives the weights in the package, the same on every call, and no warning."""
    with caplog.at_level(logging.WARNING):
        module = resolve("builtin")
        assert resolve("builtin") == module
    assert not [r for r in caplog.records if r.name.startswith("image_features.models")]
    found = read_weights(module.directory)
    assert (found.depth_multiplier, found.image_size) == (0.5, 96)
    for name, array in bundled_weights().arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
