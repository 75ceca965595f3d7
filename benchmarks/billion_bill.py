"""The arithmetic of a billion images on Dataflow: bytes, objects, requests and dollars.

python -m benchmarks.billion_bill [--rows=1000000000] [--images_per_shard=10000] [--workers=100]

Bytes of a row are measured here, with the functions that write it. Prices and the cost of
computing are those of docs/performance.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import pickle
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks import measure
from benchmarks.projection import MILLION, Collection, Prices
from image_features.transforms.assign_shards import error_shards, shards_together
from image_features.transforms.shards.index import index_file, index_note
from image_features.transforms.shards.known_index import count_partitions, split_table
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.staging import StagedPiece
from image_features.transforms.stores.uris import image_key
from image_features.transforms.values import ImageRef

_MEASURED = 50_000
# As `ref_table` and `known_files` take them together.
_REFS_TOGETHER = 65_536
_KNOWN_TOGETHER = 1_000_000
# Of docs/performance.md: a worker of four vCPUs, and the dollars for it, for a million images.
_IMAGES_AN_HOUR = 6_700_000
_USD_MACHINES = 0.05


def bytes_of_a_row(rows: int, shards: int) -> dict[str, float]:
    """Measures what a row takes in the index, and on its way through the shuffles.

    There the rows that are read together are divided, so that what goes to one of many shards or
    partitions is a small table of its own.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(_MEASURED)]
    uris = [f"gs://photos/2026/{name}.jpg" for name in names]
    keyed = sorted((image_key(uri), uri) for uri in uris)
    digests = [hashlib.sha256(uri.encode()).hexdigest() for _, uri in keyed]
    versions = [f"g17{int(digest[:12], 16) % 10**14:014d}" for digest in digests]
    notes = [
        index_note(digest, version, uri)
        for digest, version, (_, uri) in zip(digests, versions, keyed, strict=True)
    ]
    index = index_file(np.array([key.encode() for key, _ in keyed], "S32"), notes)
    read = pq.read_table(io.BytesIO(index), columns=["key", "version"])
    numbers = np.arange(_MEASURED)
    known = pa.table(
        {
            "key": read["key"],
            "validator": read["version"].cast(pa.binary()),
            "age": pa.array(np.zeros(_MEASURED, np.int32)),
            "file": pa.array((numbers // 10_000).astype(np.int32)),
            "row": pa.array((numbers % 10_000).astype(np.uint32)),
        }
    )
    # So many rows are read together, and divided among so many.
    of_group = max(1, _REFS_TOGETHER * shards_together(shards) // shards)
    met = max(1, _REFS_TOGETHER // max(256, count_partitions(rows)))
    of_partition = max(1, _KNOWN_TOGETHER // count_partitions(rows))
    refs = [ImageRef(uri, image_key(uri), "m", row) for row, uri in enumerate(uris)]
    parts = split_table(known, max(1, _MEASURED // of_partition))
    piece = StagedPiece(12345, f"gs://bucket/out/run/.staging/features-{'0' * 50}", {"": 256})
    return {
        "index": len(index) / _MEASURED,
        "reference": len(RefTable.of(refs[:of_group], ()).packed()) / of_group,
        "compared reference": len(RefTable.of(refs[:met], ()).packed()) / met,
        "known": sum(len(part) for _, part in parts) / _MEASURED,
        "piece": len(pickle.dumps(piece)) / 256,
    }


def bill(
    rows: int, images_per_shard: int, sizes: dict[str, float], prices: Prices
) -> Iterator[dict[str, object]]:
    """Yields the lines of the bill."""
    images = Collection(rows, images_per_shard=images_per_shard)
    shards, loose = math.ceil(rows / images_per_shard), images.loose()

    def line(what: str, count: float, unit: str, dollars: float | None = None) -> dict[str, object]:
        return {
            "what": what,
            "count": f"{count:,.0f}",
            "unit": unit,
            "usd": "" if dollars is None else f"{dollars:,.2f}",
        }

    def shuffle(what: str, size: float) -> dict[str, object]:
        return line(what, rows * size / 1e9, "GB", rows * size / 1e9 * prices.shuffle)

    reading, pieces = (each * rows / MILLION for each in loose.dollars(prices))
    objects = 2 * shards + error_shards(shards)
    yield line("images read", rows * loose.inputs, "requests", reading)
    yield line("bytes of images", rows * images.image_bytes / 1e12, "TB")
    yield shuffle("references to shards", sizes["reference"])
    yield shuffle("names of pieces to shards", sizes["piece"])
    yield line("pieces written", rows * loose.writes, "objects", pieces)
    yield line("shards, indexes, errors", objects, "objects", objects * prices.puts / 1000)
    yield line("bytes of shards", rows * images.row_bytes / 1e12, "TB")
    yield line("bytes of indexes", rows * sizes["index"] / 1e9, "GB")
    yield line("machines", rows / _IMAGES_AN_HOUR, "hours", _USD_MACHINES * rows / MILLION)
    yield shuffle("a later night: known rows to partitions", sizes["known"])
    yield shuffle("a later night: references to partitions", sizes["compared reference"])
    yield line("partitions of known rows", count_partitions(rows), "keys")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the bill."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--images_per_shard", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100, help="Of four vCPUs each.")
    options = parser.parse_args(argv)
    shards = math.ceil(options.rows / options.images_per_shard)
    sizes = bytes_of_a_row(options.rows, shards)
    print(", ".join(f"{name} {size:.1f}" for name, size in sizes.items()), "bytes a row")
    measure.print_table(list(bill(options.rows, options.images_per_shard, sizes, Prices())))
    hours = options.rows / _IMAGES_AN_HOUR / options.workers
    rate = options.rows / hours / 3600
    print(f"{options.workers} workers take {hours:.2f} hours, and ask for {rate:,.0f} images/s")


if __name__ == "__main__":
    main()
