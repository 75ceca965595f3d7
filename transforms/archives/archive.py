"""The members of an archive, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from image_features.transforms.archives.member import Taken, Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.stores.members import ArchiveFormat
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason


def read_members(
    file: RangedFile,
    format: ArchiveFormat,
    wanted: Sequence[Wanted],
    *,
    max_bytes: int,
    options: ArchiveOptions,
) -> Iterator[Taken]:
    """Yields members of an archive as they are read, in its order and each once.

    Args:
      file: The archive.
      format: The format of the archive.
      wanted: The members, those with places in the order of these.
      max_bytes: The size of the largest member that is read.
      options: Which members or columns are images.

    Raises:
      FetchError: the archive cannot be read; what was not yielded until then is lost.
      OSError: the disk fails.
    """
    if format is ArchiveFormat.TAR:
        from image_features.transforms.archives.tar import read_tar

        yield from read_tar(file, wanted, max_bytes=max_bytes)
    elif format is ArchiveFormat.PARQUET:
        from image_features.transforms.archives.parquet import read_parquet

        yield from read_parquet(file, wanted, max_bytes=max_bytes, options=options)
    elif format is ArchiveFormat.ZIP:
        from image_features.transforms.archives.zip import read_zip

        yield from read_zip(file, wanted, max_bytes=max_bytes)
    elif format is ArchiveFormat.TFRECORD:
        from image_features.transforms.archives.examples import read_examples

        yield from read_examples(file, wanted, max_bytes=max_bytes, options=options)
    else:
        raise FetchError(Reason.CORRUPT_ARCHIVE, f"{file.shown} is of a kind that is not read.")
