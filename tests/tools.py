"""Programs that tests run against, from public registries, kept between runs."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NoReturn

import pytest

CACHE = pathlib.Path(
    os.environ.get("IMAGE_FEATURES_TOOLS", "~/.cache/image-features-tools")
).expanduser()
# Tags of the Go module proxy.
FAKE_GCS_SERVER = "github.com/fsouza/fake-gcs-server@v1.54.0"
BEAM = importlib.metadata.version("apache-beam")
PRISM = f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{BEAM}"
# Google's provider asks for much; its Dataflow and Cloud Storage import only this.
GOOGLE = ["gcloud-aio-auth", "gcloud-aio-storage", "gcsfs", "google-api-python-client"]
GOOGLE += ["google-auth-httplib2", "google-cloud-dataflow-client", "google-cloud-secret-manager"]


def missing(reason: str) -> NoReturn:
    """Skips a test, or fails it where everything has to be there."""
    if os.environ.get("IMAGE_FEATURES_REQUIRE_ENGINES"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str:
    """Returns the path of a program of this machine."""
    return shutil.which(name) or missing(f"There is no {name} on the PATH.")


@functools.cache
def imagemagick() -> str:
    """Returns the path of ImageMagick's convert; other programs have that name too."""
    for name in ("convert-im6.q16", "convert", "magick"):
        for folder in os.get_exec_path():
            path = shutil.which(name, path=folder)
            if path and _says(path, "-version").startswith("Version: ImageMagick"):
                return path
    return missing("There is no ImageMagick on the PATH: apt-get install imagemagick.")


@functools.cache
def vips() -> str:
    """Returns the path of libvips' program."""
    path = shutil.which("vips")
    if path and _says(path, "--version").startswith("vips-"):
        return path
    return missing("There is no vips on the PATH: apt-get install libvips-tools.")


def _says(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, errors="replace")
    return done.stdout


def _made(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """Makes a file or directory once, in one of several processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            try:
                make(part)
            except (subprocess.CalledProcessError, OSError) as error:
                output = getattr(error, "stderr", None) or b""
                missing(f"{path.name} cannot be made: {error} {output.decode()[-500:]}")
            part.rename(path)
    return path


@functools.cache
def go_program(module: str) -> str:
    """Builds a Go program from its module's tag; returns its path."""
    location, _, version = module.partition("@")
    name = location.rpartition("/")[2]
    go = program("go")

    def build(part: pathlib.Path) -> None:
        variables = {**os.environ, "GOBIN": str(part), "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
        subprocess.run([go, "install", module], env=variables, check=True, capture_output=True)

    return str(_made(CACHE / f"{name}-{version}", build) / name)


@functools.cache
def flink_job_server() -> str:
    """Makes one jar of Beam's job server for Flink and all that it needs, from Maven Central."""
    maven, source = program("mvn"), pathlib.Path(__file__).parent / "engines" / "job_server.xml"

    def build(part: pathlib.Path) -> None:
        part.mkdir()
        shutil.copy(source, part / "pom.xml")
        command = [maven, "--batch-mode", "--quiet", "package"]
        subprocess.run(command, cwd=part, check=True, capture_output=True)

    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    return str(_made(CACHE / f"job-server-{digest}", build) / "target" / "job-server.jar")


@functools.cache
def airflow() -> pathlib.Path:
    """Makes an environment with Airflow as deploy/airflow tells; returns its programs."""
    source = pathlib.Path(__file__).parents[1] / "deploy" / "airflow"
    pinned = [source / name for name in ("requirements.txt", "requirements-google.txt")]
    constraints = source / "constraints.txt"
    told = b"".join(path.read_bytes() for path in (*pinned, constraints))
    digest = hashlib.sha256(told + repr((sys.version_info[:2], GOOGLE)).encode()).hexdigest()[:12]
    home = CACHE / f"airflow-{digest}"

    def install(part: pathlib.Path) -> None:
        # An environment cannot be moved, so a file in it tells that it is complete.
        for arguments in (
            ["venv", "--clear", str(home)],
            ["--requirement", str(pinned[0])],
            ["--no-deps", "--requirement", str(pinned[1])],
            ["--constraint", str(constraints), *GOOGLE],
        ):
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            command = [sys.executable, "-m"] if arguments[0] == "venv" else pip
            subprocess.run([*command, *arguments], check=True, capture_output=True)
        part.touch()

    _made(CACHE / f"airflow-{digest}.complete", install)
    return home / "bin"


def free_port() -> int:
    """Finds a TCP port of loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} was waited for in vain."
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Tells whether an HTTP server answers at all."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
