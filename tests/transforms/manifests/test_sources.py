import errno
import os

import pytest

from image_features.transforms.manifests.sources import find_sources, list_images


def listed(path):
    (source,) = find_sources([str(path)])
    return [uri for uri, _ in list_images(source)]


@pytest.fixture
def unlistable(tmp_path, monkeypatch):
    """Two directories of an image each; listing the second fails with an error of this number."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"x")

    def fails(number):
        scan = os.scandir

        def scandir(path):
            if str(path).endswith("there"):
                raise OSError(number, os.strerror(number), str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return fails


def test_a_directory_that_goes_meanwhile_is_gone(tmp_path, unlistable):
    unlistable(errno.ENOENT)
    assert listed(tmp_path) == [f"{tmp_path}/here/a.jpg"]


def test_a_directory_that_cannot_be_listed_is_not_empty(tmp_path, unlistable):
    unlistable(errno.ESTALE)
    with pytest.raises(OSError, match="Stale file handle"):
        listed(tmp_path)


@pytest.mark.parametrize("name", ["missing.csv", "missing", "nothing-*.csv"])
def test_what_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"does not exist|matches"):
        find_sources([str(tmp_path / name)])
