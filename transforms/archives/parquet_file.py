"""Parquet files as they are opened and read by groups of rows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

from image_features.errors import ImageFeaturesError
from image_features.transforms.archives.arrow import has_fixed_lists, with_plain_lists
from image_features.transforms.archives.parquet_pages import GuardedPages, PageError
from image_features.transforms.values import Reason

_ARROW_SCHEMA = b"ARROW:schema"
# Columns are read side by side.
_BUFFER = 2**20
_BUFFERS = 32 * 2**20


class DamagedParquetError(ImageFeaturesError, ValueError):
    """A file, or a group of its rows, that cannot be read; the message is a phrase.

    Attributes:
      reason: Why its rows fail.
    """

    def __init__(self, problem: str, reason: Reason = Reason.CORRUPT_ARCHIVE) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class OpenParquet:
    """A Parquet file that is open.

    Attributes:
      parquet: The library's file.
      schema: The schema of its batches.
      pages: The guard of its pages.
      sound: The groups of rows that can be asked about.
      rooms: Memory that pages have lain in, for the next ones.
    """

    parquet: Any
    schema: Any
    pages: GuardedPages
    sound: set[int] = dataclasses.field(default_factory=set)
    rooms: list[Any] = dataclasses.field(default_factory=list)

    @property
    def metadata(self) -> Any:
        """What the footer tells."""
        return self.parquet.metadata

    def group_sizes(self) -> list[int]:
        """Returns the number of rows of each group."""
        metadata = self.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def part(self, group: int, leaf: int) -> Any:
        """Returns what the footer tells of a stored column's part in a group.

        Raises:
          DamagedParquetError: it tells what cannot be.
        """
        if group not in self.sound:
            # Asked about a damaged footer, the library may end the process; asked to read by it,
            # it raises an exception.
            with told_damage(), self.pages.unread():
                next(self.parquet.reader.iter_batches(1, row_groups=[group], use_threads=False), 0)
            self.sound.add(group)
        return self.metadata.row_group(group).column(leaf)

    def chunk(self, group: int, leaf: int) -> tuple[int, int]:
        """Returns where a stored column's part in a group begins and ends.

        Raises:
          DamagedParquetError: it is nowhere.
        """
        part = self.part(group, leaf)
        begin = part.data_page_offset
        if part.has_dictionary_page and 0 < (part.dictionary_page_offset or 0) < begin:
            begin = part.dictionary_page_offset
        if begin < 0 or part.total_compressed_size < 0:
            raise DamagedParquetError("its footer is damaged")
        return begin, begin + part.total_compressed_size

    def batches(self, group: int, leaves: Sequence[int], *, rows: int) -> Iterator[Any]:
        """Yields columns of a group, some rows at a time, whose pages are looked at.

        Args:
          group: The group of rows.
          leaves: The numbers of the columns as they are stored, since names may have dots.
          rows: The rows at a time.

        Raises:
          DamagedParquetError: what is left of the group cannot be read.
        """
        with told_damage():
            self.pages.watch(self.chunk(group, leaf) for leaf in leaves)
            yield from self.parquet.reader.iter_batches(
                rows, row_groups=[group], column_indices=list(leaves), use_threads=False
            )


def open_parquet(file: Any, *, max_bytes: int = 0) -> OpenParquet:
    """Opens a Parquet file.

    Args:
      file: The file.
      max_bytes: The size of the largest value that is read, where pages are watched.

    Raises:
      DamagedParquetError: it is not Parquet, or its footer cannot be.
      Exception: the file itself fails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pages = GuardedPages(file, max_bytes=max_bytes)
    with told_damage():
        parquet = pq.ParquetFile(pages, page_checksum_verification=True)
        schema = parquet.schema_arrow
        if any(map(has_fixed_lists, schema.types)):
            parquet = pq.ParquetFile(
                pages, metadata=as_stored(parquet.metadata), page_checksum_verification=True
            )
            fields = [field.with_type(with_plain_lists(field.type)) for field in schema]
            schema = pa.schema(fields, schema.metadata)
    opened = OpenParquet(parquet, schema, pages)
    if sum(opened.group_sizes()) != opened.metadata.num_rows:
        raise DamagedParquetError("its footer is damaged")
    return opened


def open_guarded(file: Any, *, max_bytes: int) -> OpenParquet:
    """Opens a Parquet file whose pages are looked at before they are read.

    Args:
      file: The file.
      max_bytes: The size of the largest value that is read.

    Raises:
      DamagedParquetError: it is not Parquet, or its footer cannot be.
      Exception: the file itself fails.
    """
    _return_memory()
    opened = open_parquet(file, max_bytes=max_bytes)
    return guarded(opened, opened.metadata)


@functools.cache
def _return_memory() -> None:
    """Lets pages of many megabytes go back to the system; pyarrow's usual pool keeps most of them.

    What the user has chosen for the process stays.
    """
    import pyarrow as pa

    if not os.environ.get("ARROW_DEFAULT_MEMORY_POOL"):
        with contextlib.suppress(NotImplementedError):  # Not every build has it.
            pa.set_memory_pool(pa.jemalloc_memory_pool())


def guarded(opened: OpenParquet, metadata: Any) -> OpenParquet:
    """Returns an open file as it is by other metadata, read in blocks."""
    import pyarrow.parquet as pq

    buffer = max(2**16, min(_BUFFER, _BUFFERS // max(1, metadata.num_columns)))
    with told_damage():
        parquet = pq.ParquetFile(
            opened.pages,
            metadata=metadata,
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=buffer,
        )
    return OpenParquet(parquet, opened.schema, opened.pages, opened.sound)


def as_stored(metadata: Any) -> Any:
    """Returns a file's metadata without the types that Arrow has written beside Parquet's own.

    With them, pyarrow reads no list of a fixed size that has a null for a neighbour.
    """
    import pyarrow.parquet as pq

    data = io.BytesIO()
    metadata.write_metadata_file(data)
    plain = data.getvalue().replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower())
    return pq.read_metadata(io.BytesIO(plain))


@contextlib.contextmanager
def told_damage() -> Iterator[None]:
    """Tells damage by one error, whichever the library has raised.

    Raises:
      DamagedParquetError: a file, or a part of it, cannot be read.
    """
    import pyarrow as pa

    try:
        yield
    except DamagedParquetError:
        raise
    except PageError as error:
        raise DamagedParquetError(str(error), error.reason) from error
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        # What the file itself raises, such as a network's errors, is of other types or has numbers.
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        problem = " ".join(str(error).split()).rstrip(".")
        secret = "crypt" in problem.lower()
        reason = Reason.ENCRYPTED if secret else Reason.CORRUPT_ARCHIVE
        raise DamagedParquetError(problem, reason) from error
