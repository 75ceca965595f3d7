"""The rows of .tar files."""

from __future__ import annotations

from collections.abc import Iterator

from image_features.transforms.archives.member import NotAnArchiveError
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.spans import Spans
from image_features.transforms.archives.tape import Tape
from image_features.transforms.archives.tar import detail_of, list_tar, place_of
from image_features.transforms.archives.tar_headers import TarMember
from image_features.transforms.manifests.rows import ManifestError, ManifestRow
from image_features.transforms.manifests.samples import (
    MAX_SIDECAR,
    PackedMember,
    is_sidecar,
    sample_rows,
)
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.values import Reason


def tar_rows(file: RangedFile, options: ArchiveOptions) -> Iterator[ManifestRow]:
    """Yields the images of a .tar file, as `manifests.packed.read_packed` does.

    Raises:
      ManifestError: the file is no .tar file.
    """
    try:
        tape = Tape(file)
        spans = Spans(whole=tape.compressed or not file.in_parts)
        yield from sample_rows(file, _members(tape), options, spans)
    except NotAnArchiveError as error:
        raise ManifestError(str(error)) from error


def _members(tape: Tape) -> Iterator[PackedMember]:
    for member, data in list_tar(tape, _is_held):
        if member.kind != "directories":
            begin, size = place_of(member)
            yield PackedMember(
                member.name,
                begin,
                size,
                detail_of(member),
                data,
                member.kind,
                member.problem,
                Reason.UNSUPPORTED_FORMAT if member.problem else Reason.BAD_MANIFEST_ROW,
            )


def _is_held(member: TarMember) -> bool:
    return not member.kind and member.size <= MAX_SIDECAR and is_sidecar(member.name)
