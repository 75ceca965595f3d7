"""The ceiling of an export: one process that reads the shards and writes them to one Parquet file.

python -m benchmarks.export_loop DATASET FILE

It sorts nothing, divides nothing among files, hashes nothing that it writes, and has no way back
when it fails.
"""

from __future__ import annotations

import argparse

import pyarrow as pa
import pyarrow.parquet as pq

from image_features.pipeline.dataset.latest_rows import LatestRows
from image_features.pipeline.dataset.records import Block
from image_features.pipeline.dataset.series import open_series

_TEXTS = ("key", "uri", "sha256", "format")
_NUMBERS = ("width", "height")


def main() -> None:
    """Writes the file, and prints the number of its rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset")
    parser.add_argument("file")
    options = parser.parse_args()
    rows = 0
    writer = None
    for block in LatestRows(open_series(options.dataset).runs).seen():
        table = _table(block)
        writer = writer or pq.ParquetWriter(options.file, table.schema, compression="zstd")
        writer.write_table(table)
        rows += len(table)
    if writer:
        writer.close()
    print(rows)


def _table(block: Block) -> pa.Table:
    columns = {name: [row.text(f"image/{name}") for row in block.records] for name in _TEXTS}
    numbers = {name: [row.number(f"image/{name}") for row in block.records] for name in _NUMBERS}
    width = block.features.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.features.reshape(-1)), width)
    return pa.table({**columns, **numbers, "vector": vectors})


if __name__ == "__main__":
    main()
