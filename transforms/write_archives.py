"""WriteArchives: the bytes of images into archives, each beside the row that names it."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.images.headers.others import refusal
from image_features.transforms.images.headers.recognise import extension_of
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.rows import IMAGE_SUFFIXES
from image_features.transforms.runtime.metrics import dead_letter
from image_features.transforms.shards.naming import ShardNaming
from image_features.transforms.shards.parquet_content import ParquetContent
from image_features.transforms.shards.samples import Sample
from image_features.transforms.shards.shard_content import ShardContent
from image_features.transforms.shards.staging import ShardRow
from image_features.transforms.shards.tar_content import SOURCE_URI, TarContent, row_problem
from image_features.transforms.shards.write_shards import WriteShards
from image_features.transforms.stores.uris import is_http, redact_uri
from image_features.transforms.values import EncodedImage, ImageError, Reason, Stage

# Each piece is written and read once, so that on object stores larger ones cost less.
_PIECE_BYTES = 16 * 2**20


class PackFormat(enum.StrEnum):
    """The formats of archives that are written."""

    TAR = "tar"
    PARQUET = "parquet"

    def content(self, columns: tuple[Column, ...]) -> ShardContent:
        """Returns what writes archives of the format.

        Args:
          columns: The manifest's columns.
        """
        if self is PackFormat.TAR:
            return TarContent()
        return ParquetContent(tuple(column for column in columns if column.name != SOURCE_URI))


class Written(NamedTuple):
    """The PCollections of the archives and of the rows that are not in them.

    Attributes:
      archives: A PCollection[ShardFile].
      errors: A PCollection[ImageError] of files that no reader would take for images.
    """

    archives: Any
    errors: Any


class WriteArchives(beam.PTransform):
    """Writes EncodedImage to archives; nothing is decoded, and the bytes stay as they are.

    Args:
      naming: Where the archives go.
      format: The format of the archives.
      columns: The manifest's columns.
      num_shards: The number of archives, a side input.
      keep_secrets: Whether URIs keep their credentials and signatures.
      earlier: A PCollection[StagedPiece] of images that an earlier attempt has fetched.
    """

    def __init__(
        self,
        *,
        naming: ShardNaming,
        format: PackFormat,
        columns: tuple[Column, ...],
        num_shards: Any,
        keep_secrets: bool = False,
        earlier: Any = None,
    ) -> None:
        super().__init__()
        self._naming = naming
        self._format = format
        self._content = format.content(columns)
        self._num_shards = num_shards
        self._keep_secrets = keep_secrets
        self._earlier = earlier

    def expand(self, images: Any) -> Written:
        named = images | "NameImages" >> beam.ParDo(
            _NameDoFn(self._format, self._keep_secrets)
        ).with_outputs("errors", main="rows")
        archives = named.rows | "WriteShards" >> WriteShards(
            naming=self._naming,
            num_shards=self._num_shards,
            earlier=self._earlier,
            content=self._content,
            piece_bytes=_PIECE_BYTES,
        )
        return Written(archives, named.errors)


class _NameDoFn(beam.DoFn):
    def __init__(self, format: PackFormat, keep_secrets: bool) -> None:
        self._format = format
        self._keep_secrets = keep_secrets

    def process(self, image: EncodedImage) -> Iterator[Any]:
        ref = image.ref
        extension = extension_of(image.data) or _suffix_of(ref.uri)
        if not extension:
            # Readers of archives pass such members over: the row would be lost without a word.
            refused = refusal(image.data)
            yield _failed(image, refused.reason, refused.message)
            return
        columns: Mapping[str, Any] = dict(ref.columns)
        # Images that are packed again still say where they first came from.
        uri = columns.get(SOURCE_URI) or (ref.uri if self._keep_secrets else redact_uri(ref.uri))
        others = tuple((name, value) for name, value in ref.columns if name != SOURCE_URI)
        sample = Sample(ref.key, extension, uri, others, image.data)
        problem = row_problem(sample) if self._format is PackFormat.TAR else ""
        if problem:
            yield _failed(image, Reason.BAD_MANIFEST_ROW, problem)
            return
        yield ShardRow(ref.shard, ref.key, sample.to_bytes())


def _failed(image: EncodedImage, reason: Reason, message: str) -> TaggedOutput:
    return dead_letter(ImageError(image.ref, Stage.DECODE, reason, message, image.attempts))


def _suffix_of(uri: str) -> str:
    """Returns the extension of a URI if it is one of images, without its dot; else nothing."""
    path = uri.partition("#")[0].partition("?")[0] if is_http(uri) else uri
    suffix = os.path.splitext(path)[1].lower()
    return suffix[1:] if suffix in IMAGE_SUFFIXES else ""
