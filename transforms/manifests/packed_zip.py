"""The rows of .zip files."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from image_features.transforms.archives.member import NotAnArchiveError
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.spans import Spans
from image_features.transforms.archives.zip_entries import ZipEntry
from image_features.transforms.archives.zip_reader import ZipReader
from image_features.transforms.manifests.rows import ManifestError, ManifestRow
from image_features.transforms.manifests.samples import (
    MAX_SIDECAR,
    PackedMember,
    is_sidecar,
    sample_name,
    sample_rows,
)
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason

# A letter of a drive, or a backslash that begins a path.
_WINDOWS_ROOT = re.compile(r"(?:[A-Za-z]:)?\\|[A-Za-z]:/")


def zip_rows(file: RangedFile, options: ArchiveOptions) -> Iterator[ManifestRow]:
    """Yields the images of a .zip file in the order in which they lie there.

    Raises:
      ManifestError: the file is no .zip file.
    """
    try:
        reader = ZipReader(file, max_bytes=MAX_SIDECAR)
        # Of what cannot be read in parts, each part would cost all that comes before, too.
        spans = Spans(whole=bool(reader.size) and not file.in_parts)
        yield from sample_rows(file, _members(reader), options, spans)
    except NotAnArchiveError as error:
        raise ManifestError(str(error)) from error


def _members(reader: ZipReader) -> Iterator[PackedMember]:
    for entries in reader.entries():
        ends = [*(entry.begin for entry in entries), reader.size][1:]
        files = [pair for pair in zip(entries, ends, strict=False) if not pair[0].is_directory]
        if any(is_sidecar(entry.name) for entry, _ in files):
            # Other than in .tar, what belongs together may lie anywhere.
            firsts: dict[str, int] = {}
            for entry, _ in files:
                firsts.setdefault(sample_name(entry.name), len(firsts))
            files.sort(key=lambda pair: firsts[sample_name(pair[0].name)])
        for entry, end in files:
            yield _member(reader, entry, end)


def _member(reader: ZipReader, entry: ZipEntry, end: int) -> PackedMember:
    passed = "links" if stat.S_ISLNK(entry.mode) else ""
    if not passed and stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG):
        passed = "devices"
    if _WINDOWS_ROOT.match(entry.name) or ".." in entry.name.split("\\"):
        passed = "unsafe_names"
    member = PackedMember(entry.name, entry.begin, entry.packed, entry.detail, passed=passed)
    if passed:
        return member
    if not reader.holds(entry):
        problem = f"its entry lies outside of the archive, at byte {entry.begin}"
        return member._replace(problem=problem, reason=Reason.CORRUPT_ARCHIVE)
    if not is_sidecar(entry.name):
        return member
    data, _ = reader.read(entry.name, (entry.begin, entry.packed, end), lambda *_: entry)
    if not isinstance(data, FetchError):
        return member._replace(data=data)
    if data.reason is Reason.TOO_MANY_BYTES:
        return member
    return member._replace(problem=data.message.rstrip("."), reason=data.reason)
