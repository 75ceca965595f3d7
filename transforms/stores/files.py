"""Files of runs and manifests, wherever they are: how they are opened, written and removed."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from image_features.system.disks import named_file, sync_directory, sync_file
from image_features.transforms.stores import gcs
from image_features.transforms.stores.compression import Decompressed, decompressed
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import is_http, redact_uri
from image_features.transforms.values import Reason

_SPOOL_BYTES = 16 * 2**20


@contextlib.contextmanager
def open_binary(uri: str, *, http: HttpPolicy, seekable: bool = False) -> Iterator[IO[bytes]]:
    """Opens a location for reading, decompressed if it is compressed as .gz, .bz2, .xz or .zst.

    Args:
      uri: The location: a local path, or one of gs://, http(s) or another of Beam's schemes.
      http: How to fetch over http(s).
      seekable: Whether the file must seek (Parquet does); what cannot seek is then spooled.

    Raises:
      OSError: it cannot be read, or is damaged.
      transforms.stores.retries.FetchError: it cannot be fetched.
    """
    shown = redact_uri(uri)
    with contextlib.ExitStack() as stack:
        if is_http(uri):
            stream = HttpClient(http).open_stream(uri)
        else:
            stream = FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
        plain = cast(BinaryIO, stack.enter_context(contextlib.closing(stream)))
        path = uri.split("?", 1)[0] if is_http(uri) else uri
        file = decompressed(plain, path, shown=shown, strict=not is_http(uri))
        if seekable and (is_http(uri) or isinstance(file, Decompressed)):
            spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))
            shutil.copyfileobj(file, spool)
            spool.seek(0)
            file = cast(BinaryIO, spool)
        yield file


def read_lines(path: str) -> Iterator[bytes]:
    """Yields the lines of a file, with their line ends."""
    # Without a buffer, an object is fetched byte by byte where lines are asked for.
    with contextlib.closing(open_plain(path)) as file, io.BufferedReader(cast(Any, file)) as lines:
        yield from lines


def remove_file(path: str) -> None:
    """Removes a file.

    Raises:
      OSError: it is still there, or was not there.
    """
    if "://" in path:
        FileSystems.delete([path])
    else:
        os.unlink(path)
        sync_directory(os.path.dirname(path))


def remove_files(directory: str) -> None:
    """Removes the files of a directory, but not those of directories within.

    Raises:
      OSError: a file is still there.
    """
    if "://" not in directory:
        for entry in os.scandir(directory):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
    else:
        remove_matches(f"{directory}/*")


def remove_matches(pattern: str) -> None:
    """Removes the files of an object store that a pattern stands for; there may be none.

    Raises:
      OSError: a file is still there.
    """
    if pattern.startswith(gcs.SCHEME):
        FileSystems.delete([pattern])
    else:
        files = FileSystems.match([pattern])[0].metadata_list
        if files:
            FileSystems.delete([file.path for file in files])


def remove_tree(directory: str) -> None:
    """Removes a directory with all that is in it.

    Raises:
      OSError: something is still there.
    """
    if "://" not in directory:
        shutil.rmtree(os.path.realpath(directory))
        if os.path.islink(directory):
            os.unlink(directory)
    elif directory.startswith(gcs.SCHEME):
        # Objects go a hundred at a time by a pattern, but one by one by their names.
        FileSystems.delete([f"{directory}/**"])
    else:
        # Other object stores remove all objects whose names begin so.
        FileSystems.delete([directory if directory.startswith("hdfs://") else f"{directory}/"])


def create(path: str) -> IO[bytes]:
    """Opens a file for writing as it is, without compression by suffix."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_plain(path: str) -> IO[bytes]:
    """Opens a file for reading as it is, without decompression by suffix."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


@contextlib.contextmanager
def create_whole(path: str, part: str, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Opens a file for writing that appears when it is whole, and replaces what was there.

    Object stores show an object when its last byte has come, and keep it. On disks the file has
    another name until then, and its content is flushed first. Its name is not: see `sync_names`.

    Args:
      path: The path of the file.
      part: A free path on the same disk, for the file until it is whole; it is removed if the body
        fails.
      durable: Whether a loss of power must not leave half of the content under the name.
    """
    if "://" in path:
        with create(path) as file:
            yield file
        return
    try:
        with named_file(path):
            with create(part) as file:
                yield file
                if durable:
                    sync_file(file)
            os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def sync_names(directory: str) -> None:
    """Returns when the files that a directory has now would be there after a loss of power.

    Raises:
      OSError: the disk has failed.
    """
    if "://" not in directory:
        sync_directory(directory)


def create_once(path: str, data: bytes, part: str) -> bool:
    """Writes a whole file where there is none; of several writers one succeeds.

    Atomic on local disks (a hard link) and on gs:// (a condition on the generation); on other
    stores two writers at the same moment may both believe that they were first.

    Args:
      path: The path of the file.
      data: The content of the file.
      part: A free path on the same disk, for the file until it is whole.

    Returns:
      Whether the file was written; False if there is one already.

    Raises:
      OSError: the file cannot be written.
      transforms.stores.retries.FetchError: gs:// refuses it.
    """
    if path.startswith(gcs.SCHEME):
        return gcs.create_once(path, data)
    if "://" in path:
        if FileSystems.exists(path):
            return False
        with create(path) as file:
            file.write(data)
        return True
    try:
        with named_file(path), create(part) as file:
            file.write(data)
            sync_file(file)
        written = _link(part, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
    if written:
        sync_directory(os.path.dirname(path))
    return written


def _link(part: str, path: str) -> bool:
    """Gives a file another name, if nothing has it; returns whether it did."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # The disk may know no hard links.
        if os.path.exists(path):
            return False
        os.replace(part, path)
    return True


def cause_of(error: BaseException) -> BaseException:
    """Returns what a file system has failed with, out of what Beam wraps it in."""
    while isinstance(error, BeamIOError) and error.exception_details:
        inner = next(iter(error.exception_details.values()))
        if not isinstance(inner, Exception):
            break
        error = inner
    return error


def reason_of(error: BaseException) -> Reason:
    """Returns the reason for a file system's error.

    Such errors are of many classes, some with an HTTP status in them or in their cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, FetchError):
            return seen.reason
        answer = getattr(seen, "response", None)
        codes = [getattr(seen, "code", None), getattr(seen, "status_code", None)]
        codes.append(getattr(answer, "status_code", None))
        if isinstance(seen, FileNotFoundError) or 404 in codes:
            return Reason.NOT_FOUND
        if isinstance(seen, PermissionError) or 401 in codes or 403 in codes:
            return Reason.ACCESS_DENIED
        if isinstance(seen, BeamIOError) and seen.exception_details:
            details = [e for e in seen.exception_details.values() if isinstance(e, Exception)]
            if details and (reason := reason_of(details[0])) is not Reason.READ_FAILED:
                return reason
        seen = seen.__cause__
    return Reason.READ_FAILED
