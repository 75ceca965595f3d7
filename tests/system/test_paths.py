"""Locations as users write them, on any machine."""

from __future__ import annotations

import os
import pwd

import pytest

from image_features.errors import ModelError, UsageError
from image_features.models.cache import cache_root
from image_features.system import paths


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/data/x", "/data/x"),
        ("/data//x/", "/data/x"),
        ("//data/x", "/data/x"),
        ("/data/y/../x", "/data/x"),
        ("x", "{here}/x"),
        ("./x y%20#?[1]", "{here}/x y%20#?[1]"),
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("~nobody-here/x", "{here}/~nobody-here/x"),
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("file:////data/x", "/data/x"),
        ("file://localhost/data/x", "/data/x"),
        ("FILE://LOCALHOST/data/x", "/data/x"),
        ("file:///data/a%20b%23%3F%25", "/data/a b#?%"),
        ("file:///data/x%2Fy", "/data/x/y"),
        ("file:///data/%E4%B8%96%ff", "/data/世\udcff"),
        ("file:///data/世", "/data/世"),
        ("file:///data/a?b#c", "/data/a?b#c"),
        ("file:///", "/"),
        ("file:x", "{here}/file:x"),
        ("gs://bucket/a%20b", "gs://bucket/a%20b"),
        ("GS://Bucket/X", "gs://Bucket/X"),
        ("S3://bucket/x/", "s3://bucket/x/"),
        ("HTTPS://Host/X?y=Z", "https://Host/X?y=Z"),
        ("a://b", "a://b"),
        ("1://b", "{here}/1:/b"),
    ],
)
def test_a_location_means_the_same_everywhere(location, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.absolute(location) == expected.format(here=tmp_path)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("", "is empty"),
        ("file://", "names no path"),
        ("FILE://localhost", "names no path"),
        ("file://host/data", "a file of the machine host"),
        ("file://host:80/data", "host:80"),
        ("file://host", "names no path"),
    ],
)
def test_a_location_that_means_nothing_here_is_refused(location, says):
    with pytest.raises(UsageError, match=says):
        paths.absolute(location)


@pytest.mark.parametrize("home", [None, ""])
def test_without_home_the_password_database_tells(home, monkeypatch):
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("IMAGE_FEATURES_CACHE")
    known = pwd.getpwuid(os.getuid()).pw_dir
    assert paths.absolute("~/x") == os.path.join(known, "x")
    assert cache_root() == os.path.join(known, ".cache", "image-features", "modules")


def test_a_user_whom_nobody_knows_has_no_home(monkeypatch):
    """Such as in a container that is started with `--user 12345`."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("IMAGE_FEATURES_CACHE")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    with pytest.raises(UsageError, match="HOME is not set, and user 2147483643 has no home"):
        paths.absolute("~/x")
    with pytest.raises(ModelError, match="Or set IMAGE_FEATURES_CACHE to a directory"):
        cache_root()
    monkeypatch.setenv("IMAGE_FEATURES_CACHE", "gs://bucket/cache")
    with pytest.raises(ModelError, match="must be a directory of this machine"):
        cache_root()
