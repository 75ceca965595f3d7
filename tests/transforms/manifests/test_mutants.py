"""Damaged manifests of every format end in rows, error rows, or one sentence about the file."""

import gzip
import json
import random
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import check_whole
from image_features.transforms.read_manifest import read_source
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.values import ImageError, ImageRef

HTTP = HttpPolicy()
MUTANTS = 42
SPLICES = [b"", b"\0", b'"', b"\n", b"\r", b"\xff", b"\xef\xbb\xbf", b'\\ud800"', b",,", b"{", b"#"]


def rows(count=60):
    return [
        {"uri": f"images/{n}.jpg", "label": n, "caption": f"Number {n}, of {count}"}
        for n in range(count)
    ]


def manifest(format):
    if format == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows()), sink, row_group_size=20)
        return sink.getvalue().to_pybytes()
    if format == "jsonl":
        lines = [json.dumps(row) for row in rows()]
    elif format == "txt":
        lines = [row["uri"] for row in rows()]
    else:
        quote, delimiter = ('"', ",") if format == "csv" else ("", "\t")
        lines = [delimiter.join(["uri", "label", "caption"])]
        lines += [
            delimiter.join([row["uri"], str(row["label"]), f"{quote}{row['caption']}{quote}"])
            for row in rows()
        ]
    return "\n".join(lines).encode()


def mutated(data, source):
    """Cuts, flips, drops, doubles, swaps or splices somewhere, once to three times."""
    for _ in range(source.randrange(1, 4)):
        start = source.randrange(len(data)) if data else 0
        end = min(len(data), start + source.choice([1, 2, 8, 100]))
        middle = data[start:end]
        middle = source.choice(
            [
                bytes(byte ^ (1 << source.randrange(8)) for byte in middle),
                source.randbytes(len(middle)),
                source.choice(SPLICES),
                middle + middle,
                middle[::-1],
                b"",
            ]
        )
        cut = source.random() < 0.15
        data = data[:start] + middle + (b"" if cut else data[end:])
    return data


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("format", ["txt", "csv", "tsv", "jsonl", "parquet"])
def test_mutants_end_in_rows_or_a_sentence(tmp_path, format, gz):
    source = random.Random(f"{format}{gz}")
    whole = manifest(format)
    path = tmp_path / f"m.{format}{gz}"
    told = read = 0
    for _ in range(MUTANTS):
        # Damage before the compression is someone else's; damage after it is the disk's.
        late = gz and source.random() < 0.6
        data = whole if late else mutated(whole, source)
        data = gzip.compress(data) if gz else data
        path.write_bytes(mutated(data, source) if late else data)
        begun = time.monotonic()
        try:
            sources = find_sources([str(path)])
            spec = examine(sources, uri_column=None, declared={}, http=HTTP).spec
            check_whole(spec)
        except (ValueError, OSError) as error:
            # The command shows it as it is.
            assert str(path) in str(error), repr(error)
            assert len(str(error)) < 1000
            assert not isinstance(error, UnicodeError), repr(error)
            told += 1
            continue
        found = list(read_source(sources[0], spec))
        assert all(isinstance(row, ImageRef | ImageError) for row in found)
        numbers = [row.ref.row if isinstance(row, ImageError) else row.row for row in found]
        assert numbers == sorted(set(numbers))
        assert time.monotonic() - begun < 2
        read += 1
    assert told + read == MUTANTS
    assert read or format == "parquet"  # Its bytes are all of use.
