"""What reading a manifest costs: microseconds of processor time a row, and memory.

python -m benchmarks.manifests [--rows 1000000] [--ways ...] [--formats ...] [--json=FILE]

Manifests of absolute URIs are written here, all but `text` and `relative` with a column of integers
and one of text. Each is read in a process of its own, to packed tables of references with their
keys, in these ways:

- `rows`: row by row, as what is not plainly sound is read.
- `columns`: as a worker reads a whole manifest.
- `parts`: as workers read it in parts, one after the other here, with the look that divides it.
- `pyarrow`, `polars`: the file by that library, on one thread, to a table and nothing else.

`csv quoted` has all fields in quotes, `csv odd` doubled quotes in every tenth row.
`peak_mib` is what reading adds to the memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from benchmarks import measure
from benchmarks.extraction import report

_FORMATS = ("text", "relative", "csv", "csv quoted", "csv odd", "tsv", "jsonl", "parquet")
_WAYS = ("rows", "columns", "parts", "pyarrow", "polars")


def main() -> None:
    """Prints a row for each format and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", choices=_FORMATS, default=list(_FORMATS))
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=list(_WAYS))
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="Writes it all there.")
    parser.add_argument("--read", nargs=3, help=argparse.SUPPRESS)  # What a child does.
    options = parser.parse_args()
    if options.read:
        way, format, path = options.read
        print(json.dumps(_read(way, format, path)))
        return
    machine = measure.machine()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for format in options.formats:
            path = _write(pathlib.Path(scratch), format, options.rows)
            for way in options.ways:
                row = {"format": format, "way": way, **_child(way, format, path)}
                row["us_a_row"] = round(row.pop("cpu_seconds") / options.rows * 1e6, 2)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
            path.unlink()
    report(rows, options.json, machine=machine)


def _child(way: str, format: str, path: pathlib.Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.manifests", "--read", way, format, str(path)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write(folder: pathlib.Path, format: str, rows: int) -> pathlib.Path:
    """Writes a manifest; returns its path."""
    suffix = {"text": "txt", "relative": "txt"}.get(format, format.split()[0])
    path = folder / f"manifest.{suffix}"
    if format == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        uris, labels, splits = zip(*map(_row, range(rows)), strict=True)
        table = pa.table({"uri": uris, "label": labels, "split": splits})
        pq.write_table(table, path, row_group_size=100_000)
        return path
    with path.open("w") as file:
        if suffix in ("csv", "tsv"):
            header = ["uri", "label", "split"]
            file.write(("\t" if suffix == "tsv" else ",").join(header) + "\n")
        file.writelines(_line(format, number) for number in range(rows))
    return path


def _row(number: int) -> tuple[str, int, str]:
    folder = f"photos/2026/november/{number % 997:03}"
    name = f"{folder}/{number * 2654435761 % 2**32:08x}-{number:09}.jpg"
    return f"https://images.example.com/{name}", number % 1000, "train" if number % 10 else "test"


def _line(format: str, number: int) -> str:
    uri, label, split = _row(number)
    if format == "relative":
        return uri.removeprefix("https://images.example.com/") + "\n"
    if format == "text":
        return uri + "\n"
    if format == "jsonl":
        return json.dumps({"uri": uri, "label": label, "split": split}) + "\n"
    if format == "tsv":
        return f"{uri}\t{label}\t{split}\n"
    if format == "csv quoted":
        return f'"{uri}","{label}","{split}"\n'
    if format == "csv odd" and not number % 10:
        return f'{uri},{label},"{split}, or ""not"""\n'
    return f"{uri},{label},{split}\n"


def _read(way: str, format: str, path: str) -> dict[str, float]:
    """Reads a manifest in this process; returns what it costs."""
    read = {"pyarrow": _by_pyarrow, "polars": _by_polars}.get(way) or _by_us(way, path)
    before = _peak_mib()
    began, clock = time.process_time(), time.monotonic()
    parts = read(format, path)
    return {
        "parts": parts,
        "cpu_seconds": time.process_time() - began,
        "seconds": round(time.monotonic() - clock, 2),
        "peak_mib": _peak_mib() - before,
    }


def _peak_mib() -> int:
    """Returns the most memory that this process had; Linux counts that of its parent elsewhere."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _by_us(way: str, path: str) -> Callable[[str, str], int]:
    from image_features.transforms.manifests.columns import parse_column_types
    from image_features.transforms.manifests.heads import examine
    from image_features.transforms.manifests.plain import PlainRows
    from image_features.transforms.manifests.ranges import divide
    from image_features.transforms.manifests.sources import Source, find_sources
    from image_features.transforms.manifests.spec import ManifestSpec
    from image_features.transforms.read_manifest import read_blocks, read_source
    from image_features.transforms.shards.ref_table import RefTable
    from image_features.transforms.shards.table_packer import TablePacker
    from image_features.transforms.stores.http import HttpPolicy
    from image_features.transforms.values import ImageRef

    def tables(sources: list[Source], spec: ManifestSpec) -> Iterator[RefTable]:
        for source in sources:
            packer = TablePacker(spec.columns)
            for row in read_source(source, spec) if way == "rows" else read_blocks(source, spec):
                if isinstance(row, PlainRows):
                    yield from packer.add_rows(row, source.location)
                else:
                    assert isinstance(row, ImageRef), row
                    yield from packer.add(row)
            yield from packer.rest()

    def read(format: str, path: str) -> int:
        sources = divide(spec.sources[0], spec) if way == "parts" else list(spec.sources)
        for table in tables(sources, spec):
            table.packed()
        return len(sources)

    declared = {} if path.endswith(".txt") else parse_column_types("label:int64")
    found = examine(find_sources([path]), uri_column=None, declared=declared, http=HttpPolicy())
    spec = found.spec
    return read


def _by_pyarrow(format: str, path: str) -> int:
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.json
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    if format == "parquet":
        pq.read_table(path, use_threads=False)
    elif format == "jsonl":
        options = pyarrow.json.ReadOptions(use_threads=False)
        pyarrow.json.read_json(path, read_options=options)
    else:
        lines = path.endswith(".txt")
        csv.read_csv(
            path,
            read_options=csv.ReadOptions(
                use_threads=False, column_names=["uri"] if lines else None
            ),
            parse_options=csv.ParseOptions(
                delimiter="\t" if format == "tsv" else ",", quote_char=False if lines else '"'
            ),
        )
    return 1


def _by_polars(format: str, path: str) -> int:
    import polars

    if format == "parquet":
        polars.read_parquet(path)
    elif format == "jsonl":
        polars.read_ndjson(path)
    elif path.endswith(".txt"):
        polars.read_csv(path, has_header=False, quote_char=None)
    else:
        polars.read_csv(path, separator="\t" if format == "tsv" else ",")
    return 1


if __name__ == "__main__":
    main()
