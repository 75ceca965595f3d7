"""The formats of manifests, told by suffixes."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping

from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.delimited import read_delimited
from image_features.transforms.manifests.delimited_table import Dialect
from image_features.transforms.manifests.jsonl import read_jsonl
from image_features.transforms.manifests.packed import read_packed
from image_features.transforms.manifests.packed_parquet import ParquetInput
from image_features.transforms.manifests.rows import ManifestError, ManifestRow
from image_features.transforms.manifests.text import read_text
from image_features.transforms.stores.compression import without_suffix
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.members import ArchiveFormat, archive_format
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.uris import is_http, redact_uri


class ManifestFormat(enum.StrEnum):
    """The formats that a manifest may have."""

    TEXT = "text"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    TAR = "tar"
    ZIP = "zip"
    TFRECORD = "tfrecord"

    @property
    def archive(self) -> ArchiveFormat | None:
        """The format of an archive that is no manifest beside; None for the others."""
        return None if self is ManifestFormat.PARQUET else _ARCHIVES.get(str(self))


_ARCHIVES = {str(format): format for format in ArchiveFormat}
_SUFFIXES = {
    "txt": ManifestFormat.TEXT,
    "lst": ManifestFormat.TEXT,
    "list": ManifestFormat.TEXT,
    "csv": ManifestFormat.CSV,
    "tsv": ManifestFormat.TSV,
    "jsonl": ManifestFormat.JSONL,
    "ndjson": ManifestFormat.JSONL,
    "parquet": ManifestFormat.PARQUET,
}


def format_of(location: str) -> ManifestFormat | None:
    """Returns the format that a location's suffix names, or None if it names none."""
    path = location.split("?", 1)[0] if is_http(location) else location
    name = without_suffix(path.lower().rsplit("/", 1)[-1])
    if archive := archive_format(path):
        return ManifestFormat(str(archive))
    return _SUFFIXES.get(name.rsplit(".", 1)[-1]) if "." in name else None


def read_rows(
    location: str,
    *,
    format: ManifestFormat,
    uri_column: str | None,
    http: HttpPolicy,
    quotes: bool | None = None,
    archives: ArchiveOptions = FOUND,
    listed: bool = False,
    schema: Mapping[str, Column] | None = None,
) -> Iterator[ManifestRow]:
    """Yields the rows of a manifest; blank lines and comments are no rows.

    Those of an archive are the images in it.

    Args:
      location: The location of the manifest.
      format: The format of the manifest.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      http: How to fetch it over http(s).
      quotes: Whether fields of CSV and TSV may be in quotes; None stands for CSV only.
      archives: Which members or columns of archives are images.
      listed: Whether a listing has it, so that it may be a file of another purpose.
      schema: The run's columns by name, where they are known.

    Raises:
      ManifestError: the file is not what its format says, or lacks the URI column.
      OSError, transforms.stores.retries.FetchError: the file cannot be read to its end.
    """
    if format.archive:
        with open_ranged(location, http=http) as archive:
            yield from read_packed(archive, format.archive, archives, listed=listed, schema=schema)
        return
    with told(location):
        if format is ManifestFormat.PARQUET:
            yield from ParquetInput(location, http, uri_column, archives, listed).rows()
            return
        with open_binary(location, http=http) as file:
            if format is ManifestFormat.TEXT:
                yield from read_text(file, location)
            elif format is ManifestFormat.JSONL:
                yield from read_jsonl(file, location, uri_column)
            else:
                yield from read_delimited(file, location, uri_column, dialect_of(format, quotes))


def dialect_of(format: ManifestFormat, quotes: bool | None) -> Dialect:
    """Returns how fields of CSV or TSV are told from each other; see `read_rows`."""
    is_csv = format is ManifestFormat.CSV
    return Dialect("," if is_csv else "\t", is_csv if quotes is None else quotes)


@contextlib.contextmanager
def told(location: str) -> Iterator[None]:
    """Says of a manifest that cannot be read which one it is."""
    try:
        yield
    except (OSError, ValueError) as error:
        shown = redact_uri(location)
        if location in str(error) or shown in str(error):
            raise
        problem = " ".join(str(error).split()) or type(error).__name__
        raise ManifestError(f"{shown} cannot be read: {problem}.") from error
