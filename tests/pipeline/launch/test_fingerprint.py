"""What makes two launches attempts at one run."""

import pytest

from image_features.errors import UsageError
from image_features.models.engines import PreparedModel
from image_features.models.identity import ModelIdentity
from image_features.pipeline.launch.fingerprint import fingerprint
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy
from tests import images
from tests.http_server import ImageServer
from tests.range_server import RangeServer

HTTP = HttpPolicy(allow_private_hosts=True, retries=RetryPolicy(1))


@pytest.fixture
def server():
    with ImageServer(
        {"m.csv": b"uri,label\na.jpg,1\n", "a.jpg": images.encode(images.noise(1))}
    ) as s:
        yield s


def of(location, format=ManifestFormat.CSV):
    sources = (Source(location, format),)
    return fingerprint(
        manifest=ManifestSpec(sources, http=HTTP),
        models={"": PreparedModel(ModelIdentity("m", "h", (8, 8), 3))},
        decode=DecodePolicy((8, 8)),
        keep_secrets=False,
    )


def test_a_manifest_on_http_counts_by_its_content(server):
    before = of(server.url("m.csv"))
    assert of(server.url("m.csv")) == before
    # It is the same one, signed again.
    assert of(server.url("m.csv?X-Goog-Signature=1")) == of(server.url("m.csv?X-Goog-Signature=2"))
    server.files["m.csv"] = server.files["m.csv"].replace(b"1", b"2")
    assert of(server.url("m.csv")) != before


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
def test_or_by_the_version_that_its_server_tells(server, name):
    server.validators["m.csv"] = {name: '"one"'}
    before = of(server.url("m.csv"))
    assert of(server.url("m.csv")) == before
    assert server.sent["m.csv"] == 2  # No answer is read to its end for that.
    server.validators["m.csv"] = {name: '"two"'}
    assert of(server.url("m.csv")) != before


@pytest.mark.parametrize("validators", [{}, {"ETag": '"1"'}])
def test_an_archive_is_not_read_for_it(validators):
    with RangeServer(bytes(50 * 2**20)) as server:
        server.validators = validators
        before = of(server.url(), ManifestFormat.TAR)
        assert of(server.url(), ManifestFormat.TAR) == before
        assert server.asked == ["bytes=0-"] * 2
        server.data += b"more"
        if not validators:
            assert of(server.url(), ManifestFormat.TAR) != before


def test_a_manifest_that_has_gone_is_said(server):
    with pytest.raises(UsageError, match=r"The input cannot be read: .* answered 404\."):
        of(server.url("gone.csv"))


def test_a_run_is_not_taken_up_with_a_manifest_that_has_changed(server, extract, capsys):
    options = ["--allow_private_hosts", "--column_types=label:string"]
    extract(server.url("m.csv"), *options, run_id="run")
    extract(server.url("m.csv"), *options, run_id="run")
    server.files["m.csv"] = server.files["m.csv"].replace(b"1", b"2")
    extract(server.url("m.csv"), *options, run_id="run", code=2)
    assert "committed with another input" in capsys.readouterr().err
