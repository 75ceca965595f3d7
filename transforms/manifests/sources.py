"""What names images: manifests, directories and globs."""

from __future__ import annotations

import dataclasses
import functools
import glob as local_glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.system.paths import absolute
from image_features.transforms.manifests.formats import ManifestFormat, format_of
from image_features.transforms.manifests.rows import IMAGE_SUFFIXES, Part
from image_features.transforms.stores import versions
from image_features.transforms.stores.members import ArchiveFormat, archive_format
from image_features.transforms.stores.uris import is_http
from image_features.transforms.values import Columns

# These name what this process has open, and other files in other processes.
_DESCRIPTORS = ("/dev/stdin", "/dev/fd/", "/proc/")
_ARRAY_RECORD = re.compile(r"\.array_record(?:-\d+-of-\d+)?$", re.IGNORECASE)
_NO_ARRAY_RECORDS = (
    "holds ArrayRecord files, which are not read; tensorflow_datasets makes TFRecord files of a "
    "data set with file_format='tfrecord'"
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A manifest, an archive or a listing, which names images.

    Attributes:
      location: The location of a manifest, or of a directory or glob of images.
      format: The manifest's format; None for a directory or glob of images.
      listed: Whether a listing or a manifest has it, so that it may be a file of another purpose.
      named: Whether a row of a manifest names it, which is lost if it holds no image.
      columns: What the row that names an archive says of all images in it.
      part: The part of a manifest that is meant; None for all of it.
    """

    location: str
    format: ManifestFormat | None
    listed: bool = False
    named: bool = False
    columns: Columns = ()
    part: Part | None = None


def find_sources(locations: Sequence[str], format: ManifestFormat | None = None) -> list[Source]:
    """Tells manifests from listings, and expands globs of manifests.

    A suffix of .txt, .csv, .tsv, .jsonl or .parquet, compressed or not, makes a manifest, one of
    .tar, .zip or .tfrecord an archive; a directory or any other glob lists images and archives.

    Args:
      locations: The locations, as the user gives them.
      format: The format of every manifest; None tells it by its suffix.

    Raises:
      ValueError: a location is neither, or cannot be read by several processes.
    """
    sources: list[Source] = []
    for location in locations:
        location = _behind_descriptor(absolute(location))
        _check_name(location)
        suffix_format = format_of(location)
        if is_http(location):
            sources.append(Source(location, format or suffix_format or ManifestFormat.TEXT))
        elif _has_wildcard(location):
            if not (format or suffix_format):
                sources.append(Source(location, None))
                continue
            matches = FileSystems.match([location])[0].metadata_list
            if not matches:
                raise ValueError(f"No file matches --input={location}.")
            paths = sorted(match.path for match in matches)
            for path in paths:
                _check_name(path)
                _check_manifest(path)
            sources += [Source(p, format or format_of(p) or ManifestFormat.TEXT) for p in paths]
        elif _is_directory(location):
            listing = Source(location, None)
            if (format or suffix_format) and next(list_sources(listing), None) is None:
                suffix = str(format or suffix_format).replace("text", "txt")
                raise ValueError(
                    f"--input={location} is a directory and holds no image; name the manifests in "
                    f"it, as by {location.rstrip('/')}/*.{suffix}"
                )
            sources.append(listing)
        elif not FileSystems.exists(location):
            raise ValueError(f"--input={location} does not exist.")
        elif format or suffix_format:
            _check_manifest(location)
            sources.append(Source(location, format or suffix_format))
        elif _ARRAY_RECORD.search(location):
            raise ValueError(f"--input={location} {_NO_ARRAY_RECORDS}")
        elif _is_image(location):
            raise ValueError(
                f"--input={location} is one image; give a directory, a glob or a manifest."
            )
        else:
            _check_manifest(location)
            raise ValueError(
                f"--input={location} has no known suffix; say --input_format=text, csv, tsv, "
                "jsonl, parquet, tar, zip or tfrecord."
            )
    for source in sources:
        _check_archive_name(source)
    return list(dict.fromkeys(sources))  # Globs may overlap.


def _behind_descriptor(location: str) -> str:
    """Returns the file behind what a shell hands to a command, as for `<`, if it is one."""
    behind = os.path.realpath(location) if location.startswith(_DESCRIPTORS) else location
    return behind if os.path.exists(behind) else location


def _check_archive_name(source: Source) -> None:
    """Raises ValueError if an archive is not called one, by which its images are found again.

    Records are found by their numbers, whatever their file is called.
    """
    format = source.format.archive if source.format else None
    called = archive_format(source.location)
    if format and called is not format and (called or format is not ArchiveFormat.TFRECORD):
        raise ValueError(
            f"--input={source.location} cannot be read as {format}, since its name does not say "
            f"so, by which its images are known: give it a name that ends in .{format}"
        )


def _check_name(location: str) -> None:
    try:
        location.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The name of --input={location!r} is not UTF-8, which records need: rename it"
        ) from error


def _check_manifest(path: str) -> None:
    """Raises ValueError if a manifest on a disk is no file, which all workers can read."""
    if "://" in path:
        return
    if path.startswith(_DESCRIPTORS) or not os.path.isfile(path):
        raise ValueError(
            f"--input={path} is no file but a pipe or the like, which can be read only once; "
            "write it to a file first, since a run reads its manifests several times"
        )


def list_images(source: Source) -> Iterator[tuple[str, str]]:
    """Yields the image files of a directory (recursively) or a glob, as they are listed.

    Beside each is its version, or an empty text on disks, whose listings tell none.
    """
    return (found for found in list_sources(source) if not isinstance(found, Source))


def list_archives(source: Source, most: int) -> Iterator[Source]:
    """Yields the archives among the first so many files of a directory or a glob."""
    listed = itertools.islice(list_sources(source), most)
    return (found for found in listed if isinstance(found, Source))


def check_read(sources: Sequence[Source]) -> None:
    """Tells of files of images whose format is not read, where listings have no others.

    Raises:
      ValueError: there are such files.
    """
    for source in sources:
        listed = _list_files(source.location) if source.format is None else ()
        if any(_ARRAY_RECORD.search(path) for path, _ in listed):
            raise ValueError(f"--input={source.location} {_NO_ARRAY_RECORDS}")


def list_sources(source: Source) -> Iterator[tuple[str, str] | Source]:
    """Yields what `list_images` does, and the archives between them."""
    any_image = _has_wildcard(source.location)
    for path, version in _list_files(source.location):
        if _ARRAY_RECORD.search(path):
            continue
        if archive := archive_format(path):
            yield Source(path, ManifestFormat(str(archive)), listed=True)
        elif any_image or _is_image(path):
            yield path, version


def _list_files(location: str) -> Iterator[tuple[str, str]]:
    if _has_wildcard(location):
        filesystem = FileSystems.get_filesystem(location)
        if "://" in location:
            prefix = location[: min(location.find(c) for c in "*?[" if c in location)]
            metadata = filesystem.match_files(filesystem._list(prefix), location)
            yield from map(_listed, metadata)
        else:
            found = local_glob.iglob(location, recursive=True)
            yield from ((path, "") for path in found if os.path.isfile(path))
    elif "://" in location:
        filesystem = FileSystems.get_filesystem(location)
        for file in filesystem._list(location.rstrip("/") + "/"):
            yield _listed(file)
    else:
        raises = functools.partial(_unlisted, location)
        for directory, _, names in os.walk(location, onerror=raises):
            yield from ((os.path.join(directory, name), "") for name in names)


def _unlisted(location: str, error: OSError) -> None:
    """Raises the error of a directory below that cannot be listed, unless it has gone meanwhile.

    Passed over, its images would be taken for removed.
    """
    if not isinstance(error, FileNotFoundError) or error.filename == location:
        raise error


def _listed(file: Any) -> tuple[str, str]:
    return file.path, versions.of_listing(file.size_in_bytes, file.last_updated_in_seconds)


def _has_wildcard(location: str) -> bool:
    return any(c in location for c in "*?[") and not os.path.exists(location)


def _is_directory(location: str) -> bool:
    if "://" not in location:
        return os.path.isdir(location)
    if FileSystems.exists(location.rstrip("/")) and not location.endswith("/"):
        return False
    listing = FileSystems.get_filesystem(location)._list(location.rstrip("/") + "/")
    return next(iter(listing), None) is not None


def _is_image(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES
