"""How the manifests of a run are read, the same way by every worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.formats import ManifestFormat, read_rows
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.manifests.sources import Source
from image_features.transforms.stores.compression import Decompressed
from image_features.transforms.stores.files import open_binary
from image_features.transforms.stores.http import HttpPolicy

_BLOCK = 2**20


@dataclasses.dataclass(frozen=True)
class ManifestSpec:
    """All that a worker needs to read the input the same way every time.

    Attributes:
      sources: The manifests and listings.
      columns: The passed-through columns.
      uri_column: The column that holds the URIs; None looks for one of the usual names.
      http: How manifests are fetched over http(s).
      version_column: The column that holds the images' versions; None if there is none.
      quotes: Whether fields of CSV and TSV may be in quotes; None stands for CSV only.
      archives: Which members or columns of archives are images.
    """

    sources: tuple[Source, ...]
    columns: tuple[Column, ...] = ()
    uri_column: str | None = None
    http: HttpPolicy = HttpPolicy()
    version_column: str | None = None
    quotes: bool | None = None
    archives: ArchiveOptions = ArchiveOptions()

    @property
    def schema(self) -> dict[str, Column]:
        """The passed-through columns by name."""
        return {column.name: column for column in self.columns}


def rows_of(source: Source, format: ManifestFormat, spec: ManifestSpec) -> Iterator[ManifestRow]:
    """Yields the rows of a source that is no listing; raises what `formats.read_rows` does."""
    return read_rows(
        source.location,
        format=format,
        uri_column=spec.uri_column,
        http=spec.http,
        quotes=spec.quotes,
        archives=spec.archives,
        listed=source.listed,
        schema=spec.schema,
    )


def check_whole(spec: ManifestSpec) -> None:
    """Reads the manifests that are compressed to their ends; damage hides all rows behind it.

    Raises:
      OSError, transforms.stores.retries.FetchError: a manifest cannot be read to its end.
    """
    for source in spec.sources:
        if source.format is not None and not source.format.archive:
            with open_binary(source.location, http=spec.http) as file:
                while isinstance(file, Decompressed) and file.read(_BLOCK):
                    pass
