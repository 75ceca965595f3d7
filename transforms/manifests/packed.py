"""Archives as manifests: their rows are the images that lie in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from image_features.transforms.archives.ahead_file import received_ahead
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.manifests.columns import Column
from image_features.transforms.manifests.rows import ManifestRow
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import RangedFile


def read_packed(
    file: RangedFile,
    format: ArchiveFormat,
    options: ArchiveOptions,
    *,
    listed: bool = False,
    schema: Mapping[str, Column] | None = None,
) -> Iterator[ManifestRow]:
    """Yields the images of an archive in its order, with their places and versions.

    Damage ends the rows with one that has the reason `corrupt_archive` and names the archive.

    Args:
      file: The archive.
      format: The format of the archive.
      options: Which members or columns are images.
      listed: Whether a listing has the file, so that it may be one of another purpose.
      schema: The run's columns by name, where they are known.

    Raises:
      FetchError: the archive cannot be read.
      OSError: the disk fails.
    """
    if format is ArchiveFormat.TAR:
        from image_features.transforms.manifests.packed_tar import tar_rows

        with received_ahead(file) as ahead:
            yield from tar_rows(ahead, options)
    elif format is ArchiveFormat.ZIP:
        from image_features.transforms.manifests.packed_zip import zip_rows

        yield from zip_rows(file, options)
    elif format is ArchiveFormat.TFRECORD:
        from image_features.transforms.manifests.packed_tfrecord import tfrecord_rows

        with received_ahead(file) as ahead:
            yield from tfrecord_rows(ahead, options, listed=listed, schema=schema or {})
