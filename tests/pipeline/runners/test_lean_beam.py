"""What a command imports of Beam, and what can still be had afterwards."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from image_features.pipeline.cli.parsing import _beams_options
from image_features.pipeline.runners.lean_beam import needs_clouds

_UNNEEDED = {
    "absl",
    "apitools",
    "beartype",
    "beartype.door",
    "bson",
    "cryptography.fernet",
    "dill",
    "google.api_core",
    "google.auth",
    "google.cloud.bigquery",
    "google.cloud.dataflow",
    "google.cloud.pubsub",
    "google.cloud.storage",
    "google.pubsub_v1",
    "keras",
    "oauth2client",
    "pandas",
    "pydoc",
    "pymongo",
    "pyparsing",
    "requests",
    "tensorflow",
    "yaml.reader",
}
_MOST_MODULES = 1350  # A run imports some 1200; with the clients of clouds it was 2700.
_AFTERWARDS = """
import json
from image_features.pipeline.runners.lean_beam import import_beam
import_beam()
import sys
import image_features.pipeline.cli.extract
import image_features.pipeline.launch.job
import image_features.pipeline.launch.prepare
import pyarrow
pyarrow.table({"a": pyarrow.array(["b"])})
imported = sorted(name for name, module in sys.modules.items() if module)
from apache_beam.internal import http_client
from apache_beam.transforms import external, util
from apache_beam.typehints import typehints
from apache_beam.utils.timestamp import Timestamp
late = {
    "compared": [typehints.is_consistent_with(a, b) for a, b in ((bool, int), (str, int))],
    "not comparable": typehints.is_consistent_with(0.5, int),
    "encrypted": util.Fernet(b"A" * 43 + b"=").decrypt(
        util.Fernet(b"A" * 43 + b"=").encrypt(b"text")).decode(),
    "requested": type(http_client.get_new_http()).__module__,
    "written": external.yaml.dump({"a": 1}),
    "dated": Timestamp.from_rfc3339("1970-01-01T00:00:07Z").micros,
    "real": [name for name in ("beartype.door", "cryptography.fernet", "pyparsing", "yaml.nodes")
             if getattr(sys.modules.get(name), "__file__", None)],
}
from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems
from image_features.pipeline.cli.parsing import _beams_options
schemes = sorted(system.scheme() or "" for system in FileSystem.get_all_subclasses())
gcs = [FileSystems.get_filesystem("gs://bucket/object") for _ in range(2)]
from apache_beam.utils import retry
from apache_beam.internal.gcp import auth
import google.cloud.storage, pandas, apache_beam.io.gcp.bigquery, apache_beam.io.gcp.pubsub
print(json.dumps({
    "imported": imported,
    "late": late,
    "options": sorted(option.__name__ for option in _beams_options()),
    "schemes": schemes,
    "gcs": [f"{type(one).__module__}.{type(one).__name__}" for one in gcs],
    "retried": [retry.HttpError.__name__, retry.GoogleAPICallError.__name__],
    "auth": auth._GOOGLE_AUTH_AVAILABLE,
}))
"""


@pytest.fixture(scope="module")
def afterwards() -> dict[str, object]:
    """What a process has that has imported Beam without the clients."""
    command = [sys.executable, "-c", _AFTERWARDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    return dict(json.loads(done.stdout))


def test_a_run_imports_no_client_that_it_does_not_need(afterwards):
    imported = set(afterwards["imported"])
    assert {"apache_beam", "image_features.transforms.extract_features"} <= imported
    assert not imported & _UNNEEDED


def test_a_run_imports_few_modules(afterwards):
    assert len(afterwards["imported"]) < _MOST_MODULES


def test_all_options_of_beam_are_known(afterwards):
    assert afterwards["options"] == sorted(option.__name__ for option in _beams_options())


def test_all_file_systems_of_beam_are_there(afterwards):
    assert {"gs", "s3", "hdfs", "azfs"} <= set(afterwards["schemes"])
    assert afterwards["gcs"] == ["apache_beam.io.gcp.gcsfilesystem.GCSFileSystem"] * 2


def test_what_beam_imports_for_nothing_comes_when_it_is_used(afterwards):
    assert afterwards["late"] == {
        "compared": [True, False],
        "not comparable": False,
        "encrypted": "text",
        "requested": "httplib2",
        "written": "a: 1\n",
        "dated": 7_000_000,
        "real": ["beartype.door", "cryptography.fernet", "pyparsing", "yaml.nodes"],
    }


def test_failures_of_clouds_are_tried_again_once_clients_are_there(afterwards):
    assert afterwards["retried"] == ["HttpError", "GoogleAPICallError"]
    assert afterwards["auth"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["extract", "--input=a.csv", "--output=out"], False),
        (["extract", "--input=GS://bucket/a.csv"], True),
        (["extract", "--runner", "DataflowRunner"], True),
        (["extract", "--input=s3://bucket/a.csv", "--runner=FlinkRunner"], False),
    ],
)
def test_who_needs_clouds(arguments, expected):
    assert needs_clouds(arguments) is expected
