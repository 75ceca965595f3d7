"""The processor time that one thread takes to list and to read images in archives.

python -m benchmarks.unpacking --images=DIR [--formats tar parquet tfrecord zip] [--count=1200]
    [--repeats=5] [--http] [--json=FILE]

The archives are those of `benchmarks.packed`, local ones in the page cache; `loose` are the files
themselves. Each is listed, made tables of references as a worker makes them of a listing, and read
in turn, and the least times are given, which other work on the machine disturbs little. Nothing is
decoded. `--http` lists the archives from a server, too, and
tells the time of the thread that lists apart from that of the process.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

from benchmarks import corpus, measure, stores
from benchmarks.extraction import make_parser, report
from benchmarks.packing import WRITERS
from image_features.transforms.archives.options import FOUND
from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.manifests.heads import examine
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.plain import PlainRows
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import find_sources
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.read_manifest import read_blocks
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.table_packer import TablePacker
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.values import EncodedImage, ImageError, ImageRef, PackedRefs

_HTTP = HttpPolicy(allow_private_hosts=True)
_CLOCKS = {"thread": time.thread_time, "process": time.process_time}


def main() -> None:
    """Prints a row for loose files and one for every format."""
    parser = make_parser(__doc__)
    parser.add_argument("--formats", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--count", type=int, default=1200, help="The images of an archive.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--http", action="store_true", help="Lists over http, too.")
    options = parser.parse_args()
    fetcher = Fetcher(FetchPolicy())
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        manifest = corpus.repeat(options.images, options.count, scratch / "links")
        loose = [ImageRef(path, path) for path in manifest.read_text().splitlines()]
        seconds = _least(lambda: _read(map(fetcher.fetch, loose)), options.repeats)
        rows: list[dict[str, object]] = [_row("loose", 0, seconds, options.count)]
        for form in options.formats:
            path = scratch / f"a.{form}"
            command = [sys.executable, "-m", "benchmarks.packing", f"--manifest={manifest}"]
            measure.run([*command, f"--archive={path}"])
            packed = _packed(str(path))
            listing = _least(lambda path=path: _list(str(path)), options.repeats)
            spec = _spec(str(path))
            tables = _least(lambda spec=spec: _pack(spec), options.repeats)
            reading = _least(
                lambda packed=packed: _read(fetcher.fetch_packed(packed)), options.repeats
            )
            rows.append(_row(form, listing, reading, options.count))
            rows[-1]["tables_us"] = _us(tables, options.count)
            if options.http:
                with _served(str(path), scratch) as uri:
                    for name, clock in _CLOCKS.items():
                        seconds = _least(lambda uri=uri: _list(uri), options.repeats, clock)
                        rows[-1][f"http_{name}_us"] = _us(seconds, options.count)
            path.unlink()
    report(rows, options.json, machine=measure.machine(), count=options.count)


@contextlib.contextmanager
def _served(path: str, scratch: pathlib.Path) -> Iterator[str]:
    with stores.http([path], scratch) as store:
        store.delay(0)
        yield store.uris[0]


def _list(path: str) -> list[ManifestRow]:
    if path.endswith(".parquet"):
        return list(ParquetInput(path, _HTTP, None, FOUND, listed=False).rows())
    with open_ranged(path, http=_HTTP) as file:
        return list(read_packed(file, ArchiveFormat(path.rpartition(".")[2]), FOUND))


def _spec(path: str) -> ManifestSpec:
    sources = find_sources([path])
    return examine(sources, uri_column=None, declared={}, http=_HTTP).spec


def _pack(spec: ManifestSpec) -> None:
    """Lists an archive into tables of references."""
    (source,) = spec.sources
    packer = TablePacker(spec.columns)
    tables: list[RefTable] = []
    for row in read_blocks(source, spec):
        if isinstance(row, ImageRef):
            tables += packer.add(row)
        elif isinstance(row, PlainRows):
            tables += packer.add_rows(row, source.location)
        else:
            raise RuntimeError(f"{source.location} has a row that is no image")
    tables += packer.rest()


def _packed(path: str) -> PackedRefs:
    refs = [
        ImageRef(row.uri, row.uri, path, row.number, version=row.version, place=row.place)
        for row in _list(path)
    ]
    return PackedRefs(path, tuple(refs))


def _read(images: Iterable[EncodedImage | ImageError]) -> None:
    for image in images:
        if isinstance(image, ImageError):
            raise RuntimeError(image.message)


def _least(
    action: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Returns the seconds of processor time of the fastest of some calls."""
    times = []
    for _ in range(repeats):
        start = clock()
        action()
        times.append(clock() - start)
    return min(times)


def _row(form: str, listing: float, reading: float, count: int) -> dict[str, object]:
    return {
        "form": form,
        "listing_us": _us(listing, count),
        "reading_us": _us(reading, count),
    }


def _us(seconds: float, count: int) -> float:
    """Returns the microseconds of each of some images."""
    return round(1e6 * seconds / count, 1)


if __name__ == "__main__":
    main()
