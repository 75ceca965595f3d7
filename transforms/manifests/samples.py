"""Members of .tar and .zip as rows: images with the columns that lie beside them.

Adjacent members whose paths are the same up to the first dot of the file's name are one sample, as
in WebDataset. Each image of a sample is a row; the sample's `.json`, `.txt` and `.cls` are columns
of all of them.
"""

from __future__ import annotations

import codecs
import collections
import logging
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from apache_beam.metrics import Metrics

from image_features.transforms.archives.member import CorruptArchiveError, member_name
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.spans import Spans
from image_features.transforms.manifests.jsonl import ObjectReader
from image_features.transforms.manifests.rows import (
    IMAGE_SUFFIXES,
    UNREADABLE,
    ManifestRow,
    plain,
)
from image_features.transforms.runtime.metrics import NAMESPACE, log_event
from image_features.transforms.stores import versions
from image_features.transforms.stores.members import archive_format, join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.values import ColumnValue, Reason

_LOG = logging.getLogger(__name__)
# What lies beside an image is held until its sample ends.
MAX_SIDECAR = 2**20
_MAX_IMAGES = 1000
_SIDECARS = frozenset({"json", "txt", "cls"})
_ENDS = tuple(f".{extension}" for extension in _SIDECARS)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


class PackedMember(NamedTuple):
    """A member of an archive.

    Attributes:
      name: Its name, as the archive spells it.
      begin: Where it begins, for its place.
      size: The bytes that it takes there.
      detail: What tells its version from others.
      data: The content of what `is_sidecar`; None if it is larger than MAX_SIDECAR.
      passed: What it is, in a plural such as "links", if it is no file; empty for a file.
      problem: Why it cannot be read, in a phrase; empty if it can.
      reason: The reason of the problem.
    """

    name: str
    begin: int
    size: int
    detail: str
    data: bytes | None = None
    passed: str = ""
    problem: str = ""
    reason: Reason = Reason.BAD_MANIFEST_ROW


def sample_name(name: str) -> str:
    """Returns what the names of a sample's members have in common."""
    return _divided(member_name(name))[0]


def is_sidecar(name: str) -> bool:
    """Whether a member has columns for the images beside it, so that it has to be read."""
    return name[-5:].lower().endswith(_ENDS) and _divided(name)[1] in _SIDECARS


def corrupt_row(file: RangedFile, error: CorruptArchiveError) -> ManifestRow:
    """Returns the row that ends those of a damaged archive, whose other images nobody knows."""
    return ManifestRow(0, file.uri, problem=str(error), unread=True, reason=Reason.CORRUPT_ARCHIVE)


def sample_rows(
    file: RangedFile, members: Iterable[PackedMember], options: ArchiveOptions, spans: Spans
) -> Iterator[ManifestRow]:
    """Yields the images among the members of an archive, in its order.

    What is not followed is counted, and told in one line of the log.

    Args:
      file: The archive.
      members: Its members in their order; CorruptArchiveError ends them where it is damaged.
      options: Which members are images.
      spans: Divides the archive.
    """
    suffixes = tuple(f".{suffix.lower().lstrip('.')}" for suffix in options.members)
    passed: collections.Counter[str] = collections.Counter()
    rows = _Rows(file, spans, passed)
    damage = None
    try:
        for member in members:
            name = member_name(member.name)
            if kind := member.passed or _unsafe(name):
                passed[kind] += 1
                continue
            base, extension = _divided(name)
            if base != rows.base or len(rows.images) >= _MAX_IMAGES:
                yield from rows.take(base)
            if _is_image(extension, suffixes):
                rows.images.append(member if name == member.name else member._replace(name=name))
            elif extension in _SIDECARS:
                rows.add_sidecar(extension, member)
    except CorruptArchiveError as error:
        damage = error
    yield from rows.take(None)
    if passed:
        Metrics.counter(NAMESPACE, "read_manifest/passed_over").inc(passed.total())
        log_event(_LOG, "passed_over", archive=file.shown, **passed)
    if damage:
        yield corrupt_row(file, damage)


class _Rows:
    """Makes rows of the sample that is being read.

    Attributes:
      base: What the names of the sample's members have in common; None before the first.
      images: The images of the sample that are not rows yet.
    """

    def __init__(self, file: RangedFile, spans: Spans, passed: collections.Counter[str]) -> None:
        self.base: str | None = None
        self.images: list[PackedMember] = []
        self._file = file
        self._spans = spans
        self._passed = passed
        self._reader = ObjectReader("it")
        self._number = 0
        self._any_image = True
        self._bytes = 0
        self._values: dict[str, ColumnValue] = {}
        self._problem = ""
        self._reason = Reason.BAD_MANIFEST_ROW

    def add_sidecar(self, extension: str, member: PackedMember) -> None:
        """Takes the columns of a member."""
        self._bytes += len(member.data or b"")
        values: dict[str, ColumnValue] = {}
        problem = member.problem
        if not problem and (member.data is None or self._bytes > MAX_SIDECAR):
            problem = f"what lies beside the image is larger than {MAX_SIDECAR} bytes"
        elif not problem and member.data is not None:
            values, problem = _columns(extension, member.data, self._reader)
        for name, value in values.items():
            if name in self._values and self._values[name] != value:
                problem = f"two members beside the image have the column {name!r:.80}"
                value = UNREADABLE
            self._values[name] = value
        if problem:
            # By this value the row fails again where its error is read.
            self._values.setdefault(extension, UNREADABLE)
            if not self._problem:
                self._problem = f"{member_name(member.name)}: {problem}"
                self._reason = member.reason

    def take(self, base: str | None) -> list[ManifestRow]:
        """Returns the images as rows, and begins with the next sample if it is another."""
        images, self.images = self.images, []
        rows = []
        for name, begin, size, detail, _, _, problem, reason in images:
            self._number += 1
            row = ManifestRow(
                self._number,
                join_member(self._file.uri, name),
                self._values.copy(),
                problem or self._problem,
                False,
                reason if problem else self._reason,
                versions.of_member(self._file.version, detail),
                self._spans.place(begin, size),
            )
            rows.append(row)
        self._any_image = self._any_image or bool(images)
        if base != self.base:
            if not self._any_image:
                self._passed["without_image"] += 1
            self.base, self._any_image = base, False
            self._values, self._problem, self._bytes = {}, "", 0
            self._reason = Reason.BAD_MANIFEST_ROW
        return rows


def _columns(
    extension: str, data: bytes, reader: ObjectReader
) -> tuple[dict[str, ColumnValue], str]:
    """Returns the columns of a member beside an image, and what is wrong with it."""
    try:
        if extension != "json":
            text = data.decode()
            number = extension == "cls" and _INTEGER.fullmatch(text.strip())
            return {extension: int(text) if number else text}, ""
        found = reader.read(data.removeprefix(codecs.BOM_UTF8).decode())
    except UnicodeDecodeError:
        return {}, "it is not UTF-8"
    except (ValueError, RecursionError) as error:
        return {}, f"it is not JSON ({error})"
    if not isinstance(found, dict):
        return {}, "it is not a JSON object"
    return {name: plain(value) for name, value in found.items()}, reader.problem


def _divided(name: str) -> tuple[str, str]:
    """Returns a name up to the first dot of the file's name, and what follows in small letters."""
    dot = name.find(".", name.rfind("/") + 2)  # The first letter may be a dot, as of hidden files.
    return (name[:dot], name[dot + 1 :].lower()) if dot >= 0 else (name, "")


def _is_image(extension: str, suffixes: tuple[str, ...]) -> bool:
    extension = f".{extension}"
    if suffixes:
        return extension.endswith(suffixes)
    return extension[extension.rfind(".") :] in IMAGE_SUFFIXES


def _unsafe(name: str) -> str:
    """Returns under what a file is counted that is not looked at; empty for others."""
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        return "unsafe_names"
    # The suffix of an image is none of an archive, unless it is that of a URL's query.
    is_image = name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and "://" not in name
    if not is_image and archive_format(name):
        return "archives"
    # Archives of macOS have such a file beside each file with what no other system keeps of it.
    return "apple_doubles" if name.startswith("._", name.rfind("/") + 1) else ""
