"""The same images in archives, which the usual programs have written.

python -m benchmarks.packing --manifest=FILE --archive=FILE.tar|.parquet|.tfrecord|.zip

That is done in a process of its own, whose libraries would share pages with what is measured.
"""

from __future__ import annotations

import argparse
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Mapping

# It is what the package datasets puts into a row group of images.
_ROWS_IN_GROUP = 100

# Images by their names, as an archive has them.
_Images = Iterator[tuple[str, bytes]]


def main() -> None:
    """Writes an archive of the files that a text manifest names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manifest", required=True, type=pathlib.Path)
    parser.add_argument("--archive", required=True, type=pathlib.Path)
    options = parser.parse_args()
    WRITERS[options.archive.suffix[1:]](_images(options.manifest), options.archive)


def _images(manifest: pathlib.Path) -> _Images:
    for line in manifest.read_text().splitlines():
        path = pathlib.Path(line)
        yield f"{path.parent.name}/{path.stem}.jpg", path.read_bytes()


def _write_tar(images: _Images, archive: pathlib.Path) -> None:
    from webdataset import TarWriter

    with TarWriter(str(archive)) as out:
        for name, data in images:
            out.write({"__key__": name.removesuffix(".jpg"), "jpg": data})


def _write_parquet(images: _Images, archive: pathlib.Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows: list[dict[str, object]] = []
    with parquet.ParquetWriter(archive, pa.schema({"image": image})) as out:
        for name, data in images:
            rows.append({"bytes": data, "path": name})
            if len(rows) == _ROWS_IN_GROUP:
                out.write_table(pa.table({"image": pa.array(rows, image)}))
                rows = []
        if rows:
            out.write_table(pa.table({"image": pa.array(rows, image)}))


def _write_tfrecord(images: _Images, archive: pathlib.Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(archive)) as out:
        for name, data in images:
            feature = {"image/encoded": data, "image/filename": name.encode()}
            example = tf.train.Example()
            for key, value in feature.items():
                example.features.feature[key].bytes_list.value.append(value)
            out.write(example.SerializeToString())


def _write_zip(images: _Images, archive: pathlib.Path) -> None:
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in images:
            out.writestr(name, data)


# The writers by the suffix of their archives.
WRITERS: Mapping[str, Callable[[_Images, pathlib.Path], None]] = {
    "tar": _write_tar,
    "parquet": _write_parquet,
    "tfrecord": _write_tfrecord,
    "zip": _write_zip,
}


if __name__ == "__main__":
    main()
