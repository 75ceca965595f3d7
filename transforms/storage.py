"""Opens files wherever they are: local, gs:// and http(s), gzip or not; writes and renames them."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.http import HttpClient, HttpPolicy

_SPOOL_BYTES = 16 * 2**20


def is_http(uri: str) -> bool:
    """Whether a location is fetched over http(s)."""
    return uri.lower().startswith(("http://", "https://"))


@contextlib.contextmanager
def open_binary(uri: str, *, http: HttpPolicy, seekable: bool = False) -> Iterator[IO[bytes]]:
    """Opens a location for reading, decompressed if its name ends in .gz.

    Args:
      uri: A local path, gs:// or http(s) location.
      http: How to fetch over http(s).
      seekable: Whether the file must seek (Parquet); a remote stream is then spooled.

    Raises:
      OSError: it cannot be read.
      transforms.retries.FetchError: it cannot be fetched.
    """
    with contextlib.ExitStack() as stack:
        if is_http(uri):
            file = cast(
                BinaryIO, stack.enter_context(contextlib.closing(HttpClient(http).open_stream(uri)))
            )
        else:
            file = stack.enter_context(
                FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
            )
        path = uri.split("?", 1)[0] if is_http(uri) else uri
        if path.lower().endswith(".gz"):
            file = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif seekable and is_http(uri):
            spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
            shutil.copyfileobj(file, spool)
            spool.seek(0)
            file = cast(BinaryIO, spool)
        yield file


def create(path: str) -> IO[bytes]:
    """Opens a file for writing as it is, without compression by suffix."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_plain(path: str) -> IO[bytes]:
    """Opens a file for reading as it is, without decompression by suffix."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def replace(source: str, target: str) -> None:
    """Renames over whatever is there; atomic on local disks and for one object."""
    if "://" in target:
        FileSystems.rename([source], [target])
    else:
        os.replace(source, target)
