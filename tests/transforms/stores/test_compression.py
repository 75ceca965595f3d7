import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from image_features.transforms.manifests.formats import ManifestFormat, format_of
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec, check_whole
from image_features.transforms.stores.compression import DamagedFileError
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy

HTTP = HttpPolicy()
TEXT = b"".join(b"https://x.example/%d/%d.jpg\n" % (i * i % 9973, i) for i in range(20_000))


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def content(path, **options):
    with open_binary(str(path), http=HTTP, **options) as file:
        data = file.read()
    return data


def check(path):
    check_whole(ManifestSpec((Source(str(path), ManifestFormat.TEXT),)))


@pytest.fixture(params=list(COMPRESS))
def suffix(request):
    return request.param


def test_compressed_files_are_read_whatever_they_are_called(tmp_path, suffix):
    compress = COMPRESS[suffix]
    assert format_of(f"m.csv{suffix}") is ManifestFormat.CSV
    for name, data in (
        (f"m.txt{suffix}", compress(TEXT)),
        ("plain.txt", compress(TEXT)),
        (f"two.TXT{suffix.upper()}", compress(TEXT[:1000]) + compress(TEXT[1000:])),
    ):
        (tmp_path / name).write_bytes(data)
        assert content(tmp_path / name) == TEXT
        check(tmp_path / name)
    (tmp_path / "empty").write_bytes(compress(b""))
    assert content(tmp_path / "empty") == b""
    with open_binary(str(tmp_path / "plain.txt"), http=HTTP, seekable=True) as file:
        file.seek(-10, 2)
        assert file.read() == TEXT[-10:]


def test_damage_names_the_file_wherever_it_is(tmp_path, suffix):
    whole = COMPRESS[suffix](TEXT)
    middle = len(whole) // 2
    for damaged in (
        whole[:middle],
        whole[:-1],
        whole[:4],
        whole[:8],
        whole + b"garbage",
        whole + whole[:middle],
        whole[:20] + b"\xff" * 50 + whole[70:],
        TEXT,
        b"",
    ):
        path = tmp_path / f"m.txt{suffix}"
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=r"/m\.txt") as caught:
            check(path)
        assert "\n" not in str(caught.value)


def test_other_compressions_are_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DamagedFileError, match=r"m.csv is compressed as .zip"):
        content(path)
    path.write_bytes(b"BZhang.jpg\nPKzip.jpg\n")
    assert content(path).startswith(b"BZhang")
