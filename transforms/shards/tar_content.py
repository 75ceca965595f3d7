"""Shards that are .tar files, as WebDataset reads them: of each image a file and its row.

KEY.jpg    the bytes of the image as they were fetched
KEY.json   {"source_uri": ..., the manifest's other columns}
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tarfile
from collections.abc import Iterator

from image_features.transforms.manifests.jsonl import encode_bytes
from image_features.transforms.manifests.samples import MAX_SIDECAR
from image_features.transforms.shards.samples import Sample, sample_stream
from image_features.transforms.shards.shard_content import HashingSink, Rows

SOURCE_URI = "source_uri"


@dataclasses.dataclass(frozen=True)
class TarContent:
    """Samples as members of a tar file."""

    @contextlib.contextmanager
    def open(self, sink: HashingSink, rows: int) -> Iterator[Rows]:
        """Begins a file."""
        # Names have 36 characters and sizes fit in eight digits, so that any reader knows headers
        # of 1988; nothing in them tells of the machine or of the time.
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.USTAR_FORMAT) as archive:  # type: ignore[call-overload]

            def add(sample: Sample) -> None:
                _add(archive, sample.name, sample.data)
                _add(archive, f"{sample.key}.json", _row(sample))

            with sample_stream(add).whole() as stream:
                yield stream


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def row_problem(sample: Sample) -> str:
    """Says why the row of an image cannot be read out of a tar file again; empty if it can."""
    size = len(_row(sample))
    if size <= MAX_SIDECAR:
        return ""
    return (
        f"The row's columns take {size} bytes as JSON, and {MAX_SIDECAR} are read beside an image "
        "of a .tar file: pack it with --format=parquet, or with smaller columns."
    )


def _row(sample: Sample) -> bytes:
    row = {SOURCE_URI: sample.uri, **dict(sample.columns)}
    text = json.dumps(row, default=encode_bytes, ensure_ascii=False)
    return text.encode("utf-8", "replace")
