import errno
import os

import pytest

from image_features.transforms.manifests.formats import ManifestFormat
from image_features.transforms.manifests.sources import Source, find_sources, list_images


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


def test_a_manifest_counts_once_however_it_is_named(tmp_path, monkeypatch):
    tmp_path /= "above/here"
    tmp_path.mkdir(parents=True)
    for name in ("a.csv", "b.csv.gz"):
        (tmp_path / name).write_text("uri\n")
    (tmp_path / "b.txt").write_text("a.jpg\n")
    monkeypatch.chdir(tmp_path)
    named = [
        "a.csv",
        f"{tmp_path}/*.csv",
        "./../*/a.csv",
        "[b].csv.gz",
        "*.csv.gz",
        f"{tmp_path}//a.csv",
    ]
    found = [source.location for source in find_sources(named)]
    assert found == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv.gz"]


def test_what_can_be_read_only_once_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "m.txt")
    end, other = os.pipe()
    (tmp_path / "link.txt").symlink_to(tmp_path / "m.txt")
    names = [f"{tmp_path}/m.txt", f"{tmp_path}/*.txt", f"{tmp_path}/link.txt"]
    for name in [*names, f"/dev/fd/{end}", f"/proc/self/fd/{end}", "/dev/null"]:
        with pytest.raises(ValueError, match=r"is no file but a pipe or the like"):
            find_sources([name], ManifestFormat.TEXT)
    with pytest.raises(ValueError, match=r"is no file but a pipe or the like"):
        find_sources([f"/dev/fd/{end}"])
    os.close(end)
    os.close(other)


def test_a_file_behind_a_descriptor_is_read_under_its_name(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("uri\na.jpg\n")
    with open(path) as file:
        found = find_sources([f"/dev/fd/{file.fileno()}"])
    assert found == [Source(str(path), ManifestFormat.CSV)]


def test_directories_with_the_suffix_of_a_manifest(tmp_path):
    (tmp_path / "m.csv").mkdir()
    (tmp_path / "m.csv" / "part-0.csv").write_text("uri\na.jpg\n")
    with pytest.raises(ValueError, match=r"holds no image; .*m.csv/\*\.csv"):
        find_sources([str(tmp_path / "m.csv")])
    with pytest.raises(ValueError, match="No file matches"):
        find_sources([str(tmp_path / "*.csv")])
    (tmp_path / "m.csv" / "a.jpg").write_bytes(b"x")
    assert find_sources([str(tmp_path / "m.csv")]) == [Source(str(tmp_path / "m.csv"), None)]


@pytest.mark.parametrize("name", ["m.txt", "", "*.txt"])
def test_names_that_are_not_utf8_are_refused(tmp_path, name):
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(directory)
    with open(f"{directory}/m.txt", "w") as file:
        file.write("a.jpg\n")
    with pytest.raises(ValueError, match=r"caf\\udce9.* is not UTF-8"):
        find_sources([f"{directory}/{name}"])
