"""Damaged Parquet files."""

from __future__ import annotations

import io
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_features.errors import ImageFeaturesError
from image_features.transforms.manifests.parquet import parquet_columns, read_parquet
from image_features.transforms.manifests.rows import ManifestError
from image_features.transforms.stores.http import HttpPolicy
from tests.transforms.manifests.tables import named


def test_a_damaged_footer_ends_in_a_sentence(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": named(2), "x": range(2)}), path, row_group_size=1)
    # It is another process, since pyarrow would end it.
    run = subprocess.run([sys.executable, "-c", _DAMAGE, path, "3"], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip()) == (0, "told"), run.stderr[-1000:]


_DAMAGE = """
import sys
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.heads import examine
from image_features.transforms.stores.http import HttpPolicy
path, bits = sys.argv[1], map(int, sys.argv[2:])
whole = open(path, "rb").read()
begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
told = ""
for bit in bits:
    for place in range(begin, len(whole) - 8):
        data = bytearray(whole)
        data[place] ^= 1 << bit
        with open(path, "wb") as file:
            file.write(data)
        try:
            examine(find_sources([path]), uri_column=None, declared={}, http=HttpPolicy())
        except ValueError as error:
            assert path in str(error), error
            told = "told" if "footer is damaged" in str(error) else told
print(told)
"""


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table({"uri": named(9000), "x": range(9000)})
    pq.write_table(table, path, compression="none", write_page_checksum=True, row_group_size=4500)
    data = bytearray(path.read_bytes())
    data[data.index(b"8999.jpg")] ^= 1
    path.write_bytes(data)
    assert issubclass(ManifestError, ImageFeaturesError)  # It is told without a traceback.
    rows = list(read_parquet(io.BytesIO(data), str(path), None))
    assert [row.number for row in rows] == list(range(1, 9001))
    assert [row.uri for row in rows[:4500]] == named(4500)
    # Nobody knows which rows of the second group are sound.
    assert all("group of rows that is damaged" in row.problem for row in rows[4500:])
    assert all(row.unread for row in rows[4500:])
    data[data.index(b"10.jpg")] ^= 1
    with pytest.raises(ManifestError, match=r"m.parquet cannot be read"):
        list(read_parquet(io.BytesIO(data), str(path), None))
    for broken in (data[:100], data[:-100], data[:-4] + b"PARE", b"", b"PAR1"):
        path.write_bytes(broken)
        with pytest.raises(ManifestError, match=r"m.parquet cannot be read as Parquet"):
            parquet_columns(str(path), http=HttpPolicy())
