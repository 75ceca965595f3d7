import os
from concurrent.futures import ThreadPoolExecutor

from image_features.transforms.stores import file_versions as module
from image_features.transforms.stores import versions
from image_features.transforms.stores.file_versions import file_versions

_NAMES = ["a.jpg", "ü 漢.jpg", "a\\b.jpg", "x:y.jpg", "%41?#.jpg", " .jpg ", "n\nl.jpg", "tar!"]
_TIMES = [0, 1, -1, 1_700_000_000_123_456_789, -62_135_596_800_000_000_000 // 10, 10**18 + 7, 5, 6]


def test_many_files_are_looked_at_as_one_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FILES_AT_ONCE", 3)
    paths = []
    for size, (name, time) in enumerate(zip(_NAMES, _TIMES, strict=True)):
        path = tmp_path / name
        path.write_bytes(bytes(size))
        os.utime(path, ns=(time, time))
        paths.append(str(path))
    (tmp_path / "link.jpg").symlink_to(paths[1])
    (tmp_path / "folder").symlink_to(tmp_path)
    paths += [str(tmp_path / "link.jpg"), f"{tmp_path}/folder/./a.jpg", f"{tmp_path}//a.jpg"]
    with ThreadPoolExecutor(2) as threads:
        found = file_versions(paths, threads)
        expected = [versions.of_file(os.stat(path)) for path in paths]
        # Arrow takes this time for none, so that the file is looked at alone.
        expected[_TIMES.index(-1)] = None
        assert found.to_pylist() == expected
        assert file_versions([], threads).to_pylist() == []


def test_what_is_no_file_has_no_version(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a.jpg").write_bytes(b"a")
    gone = [str(tmp_path / "no.jpg"), str(tmp_path), str(tmp_path / "loop"), f"{tmp_path}/a.jpg/b"]
    with ThreadPoolExecutor(2) as threads:
        assert file_versions(gone, threads).to_pylist() == [None] * 4
        # That of its neighbours is then asked for alone.
        mixed = [str(tmp_path / "a.jpg"), str(tmp_path / ("x" * 300)), "a\0b"]
        assert file_versions(mixed, threads).to_pylist() == [None] * 3
