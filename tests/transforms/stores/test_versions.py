import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_features.transforms.stores import versions
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.retries import FetchError
from tests.http_server import ImageServer

POLICY = HttpPolicy(allow_private_hosts=True)
TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["C"]), min_size=1).map(str.strip)


@given(st.dictionaries(st.sampled_from(["ETag", "Last-Modified", "Content-Length"]), TEXT))
def test_what_a_server_says_is_short_and_tells_its_kind(headers):
    version = versions.of_answer(headers)
    assert len(version) <= 256
    if headers.get("ETag"):
        assert version.startswith(("etag:", "etag-sha256:"))
    elif headers.get("Last-Modified"):
        assert version.startswith(("modified:", "modified-sha256:"))
    else:
        assert version == ""
    for name, value in versions.conditions(version).items():
        assert (name, value) == ("If-None-Match", headers["ETag"])


@pytest.mark.parametrize("value", ["x" * 300, "x" * 299 + "y"])
def test_what_is_too_long_is_told_by_its_hash(value):
    version = versions.of_answer({"ETag": value})
    assert version.startswith("etag-sha256:") and len(version) < 100
    assert version != versions.of_answer({"ETag": value + "z"})
    assert versions.conditions(version) == {}


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (None, ""),
        ("", ""),
        (" ", ""),
        (float("nan"), ""),
        (0, "column:0"),
        ("a", "column:a"),
        (" a ", "column:a"),
    ],
)
def test_a_column_may_be_empty(value, version):
    assert versions.of_column(value) == version


def test_unknown_versions_are_empty():
    assert versions.of_listing(5, None) == versions.of_object("") == versions.of_object(0) == ""


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize(
    "validators",
    [
        {"ETag": '"1"'},
        {"ETag": 'W/"1"'},
        {"Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"},
        {"ETag": '"' + "long" * 100 + '"'},
    ],
)
def test_a_server_is_asked_for_the_version_only(validators, conditional):
    with ImageServer({"a.jpg": b"image" * 1000}) as server:
        server.validators["a.jpg"] = validators
        server.conditional = conditional
        client = HttpClient(POLICY)
        url = server.url("a.jpg")
        fetched = client.read(url)
        assert fetched.version
        server.sent.clear()
        assert client.version(url, fetched.version) == fetched.version
        asked_on_condition = conditional and fetched.version.startswith("etag:")
        assert server.sent["a.jpg"] == (0 if asked_on_condition else 1)
        server.validators["a.jpg"] = {"ETag": '"2"'}
        assert client.version(url, fetched.version) == 'etag:"2"'
        server.validators.clear()
        assert client.version(url, fetched.version) == ""
        # It goes on being useful: connections are given back or closed.
        assert client.read(url).data == b"image" * 1000


def test_an_older_file_that_was_put_back_is_another_version():
    with ImageServer({"a.jpg": b"image"}) as server:
        server.validators["a.jpg"] = {"Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"}
        client = HttpClient(POLICY)
        version = client.read(server.url("a.jpg")).version
        server.files["a.jpg"] = b"another of the same second"
        assert client.version(server.url("a.jpg"), version) != version
        server.files["a.jpg"] = b"image"
        server.validators["a.jpg"] = {"Last-Modified": "Mon, 23 Nov 2026 10:00:00 GMT"}
        assert client.version(server.url("a.jpg"), version) != version


@pytest.mark.parametrize(
    ("known", "answer", "believed"),
    [
        ('etag:"1"', {}, True),
        ('etag:"1"', {"ETag": '"1"'}, True),
        ('etag:"1"', {"ETag": 'W/"1"'}, True),
        ('etag:W/"1"', {"ETag": '"1"'}, True),
        ('etag:"1"', {"ETag": '"2"'}, False),
        ("column:1", {}, False),
        ("modified:Tue, 24 Nov 2026 10:00:00 GMT:5", {}, False),
    ],
)
def test_an_answer_that_nothing_was_modified_must_be_one_to_the_question(known, answer, believed):
    with ImageServer({"a.jpg": b"image"}) as server:
        server.always[304] = answer
        client = HttpClient(POLICY)
        if believed:
            assert client.version(server.url("a.jpg"), known) == known
        else:
            with pytest.raises(FetchError, match="answered 304"):
                client.version(server.url("a.jpg"), known)


def test_a_redirect_is_asked_the_same():
    with ImageServer({"a.jpg": b"image"}) as server:
        server.validators["a.jpg"] = {"ETag": '"1"'}
        client = HttpClient(dataclasses.replace(POLICY, max_redirects=1))
        url = server.url(f"to?{server.url('a.jpg')}")
        version = client.read(url).version
        server.sent.clear()
        assert client.version(url, version) == version == 'etag:"1"'
        assert not server.sent
