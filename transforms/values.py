"""The values that flow through the pipeline, and the closed vocabulary of failures."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scalar = int | float | bool | str | bytes
ColumnValue = Scalar | list[Scalar] | None
Columns = tuple[tuple[str, ColumnValue], ...]
# A field of a record is the list of its items.
FieldValue = Sequence[bytes] | Sequence[int] | npt.NDArray[np.float32]


class Stage(enum.StrEnum):
    """The step at which a row failed."""

    READ_MANIFEST = "read_manifest"
    FETCH = "fetch"
    DECODE = "decode"
    EXTRACT = "extract"


class Reason(enum.StrEnum):
    """Why a row failed.

    Dashboards group by these words: more may be added, but none may be renamed.
    """

    BAD_MANIFEST_ROW = "bad_manifest_row"
    URI_TOO_LONG = "uri_too_long"
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    BLOCKED_HOST = "blocked_host"
    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    HTTP_ERROR = "http_error"
    SERVER_ERROR = "server_error"
    READ_FAILED = "read_failed"
    CORRUPT_ARCHIVE = "corrupt_archive"
    ENCRYPTED = "encrypted"
    MISSING_LIBRARY = "missing_library"
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_COSTLY = "too_costly"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_UNAVAILABLE = "decoder_unavailable"
    INFERENCE_FAILED = "inference_failed"
    NOT_FINITE = "not_finite"


class Cause(enum.StrEnum):
    """What a failure tells of: the row, or something around it that fails every row alike."""

    ROW = "row"
    NETWORK = "network"
    RIGHTS = "rights"
    MACHINE = "machine"
    MODEL = "model"
    INSTALLATION = "installation"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a reason tells of, and what to do about it.

    Attributes:
      cause: What is at fault.
      remedy: The way out, in a phrase for the user; empty where the row itself has to change.
    """

    cause: Cause
    remedy: str = ""


# A test fails where a new reason is missing here. Where most rows fail by one cause other than
# themselves, the run tells of its surroundings and not of the images, and is not committed.
DIAGNOSES: Mapping[Reason, Diagnosis] = {
    Reason.BAD_MANIFEST_ROW: Diagnosis(Cause.ROW, "correct the manifest, or --column_types"),
    Reason.URI_TOO_LONG: Diagnosis(Cause.ROW),
    Reason.UNSUPPORTED_SCHEME: Diagnosis(Cause.ROW, "copy the images to a store that can be read"),
    Reason.NOT_FOUND: Diagnosis(Cause.ROW, "check the manifest's addresses"),
    Reason.ACCESS_DENIED: Diagnosis(Cause.RIGHTS, "check the credentials and what they may do"),
    Reason.BLOCKED_HOST: Diagnosis(Cause.ROW, "--allow_private_hosts, if you trust the manifest"),
    Reason.CONNECTION_FAILED: Diagnosis(Cause.NETWORK, "check the network and the server"),
    Reason.TIMEOUT: Diagnosis(Cause.NETWORK, "--read_timeout, --total_timeout, --fetch_threads"),
    Reason.TOO_MANY_REDIRECTS: Diagnosis(Cause.ROW, "--max_redirects"),
    Reason.HTTP_ERROR: Diagnosis(Cause.NETWORK, "see what the server answers, and --fetch_threads"),
    Reason.SERVER_ERROR: Diagnosis(Cause.NETWORK, "try later, or with fewer --fetch_threads"),
    Reason.READ_FAILED: Diagnosis(Cause.MACHINE, "check the disk or store, and its settings"),
    Reason.CORRUPT_ARCHIVE: Diagnosis(Cause.ROW, "copy the archive again, then --retry_errors"),
    Reason.ENCRYPTED: Diagnosis(Cause.ROW, "pack the images again without a password"),
    Reason.MISSING_LIBRARY: Diagnosis(Cause.INSTALLATION),
    Reason.EMPTY_FILE: Diagnosis(Cause.ROW),
    Reason.TOO_MANY_BYTES: Diagnosis(Cause.ROW, "--max_megabytes"),
    Reason.TOO_MANY_PIXELS: Diagnosis(Cause.ROW, "--max_megapixels"),
    Reason.TOO_COSTLY: Diagnosis(Cause.ROW, "--decode_timeout, --max_megapixels"),
    Reason.UNSUPPORTED_FORMAT: Diagnosis(Cause.ROW, "convert them, as to JPEG or PNG"),
    Reason.UNSUPPORTED_PIXELS: Diagnosis(Cause.ROW, "convert them, as to PNG of 8 bits"),
    Reason.NOT_AN_IMAGE: Diagnosis(Cause.ROW, "check what the addresses lead to"),
    Reason.TRUNCATED: Diagnosis(Cause.ROW, "--allow_truncated takes what there is"),
    Reason.CORRUPT: Diagnosis(Cause.ROW),
    Reason.DECODER_CRASHED: Diagnosis(Cause.ROW),
    Reason.DECODER_UNAVAILABLE: Diagnosis(
        Cause.MACHINE, "let workers start processes (descriptors, processes, memory)"
    ),
    Reason.INFERENCE_FAILED: Diagnosis(Cause.MODEL, "try a smaller --batch_size, or --engine"),
    Reason.NOT_FINITE: Diagnosis(Cause.MODEL, "try --precision=float32, or another model"),
}


def cause_of(reason: str) -> Cause:
    """Returns what a reason tells of; one of another version's words counts as the row's."""
    return DIAGNOSES[Reason(reason)].cause if reason in DIAGNOSES else Cause.ROW


class Place(NamedTuple):
    """Where in its archive an image lies.

    Attributes:
      span: The part of the archive that is read together, from 0.
      begin: Where the image begins, or its entry: an offset in bytes, or a row.
      size: The bytes that it takes there, as far as the archive tells before it is read.
    """

    span: int
    begin: int
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRef:
    """One row of a manifest: an image that is still to be fetched.

    Attributes:
      uri: The absolute location: a path, `file://`, `gs://`, `http://` or `https://`;
        of an image in an archive the archive's, `!/` and the member (see `stores.members`).
      key: The stable identifier, 32 hexadecimal digits (see `transforms.stores.uris.image_key`).
      source: The manifest or listing that names the image.
      row: The 1-based row in `source`; 0 for a file that was listed.
      columns: The manifest's other columns, in manifest order.
      shard: The output shard, set by AssignShards; -1 before.
      version: The version of the image (see `stores.versions`); empty where neither a listing nor
        the manifest tells it.
      place: Where in its archive the image lies; None for a file of its own, and where only the
        archive itself tells.
    """

    uri: str
    key: str
    source: str = ""
    row: int = 0
    columns: Columns = ()
    shard: int = -1
    version: str = ""
    place: Place | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class PackedRefs:
    """Images of one archive that are read together.

    Attributes:
      archive: The location of the archive.
      refs: The images, in the order in which they lie there.
    """

    archive: str
    refs: tuple[ImageRef, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of one image file, as they were fetched.

    Attributes:
      ref: The row that names the image.
      data: All bytes of the file; only the first ones where a preview stands for the picture.
      attempts: Tries that the fetch took.
      version: Which version of the image the bytes are; empty if unknown.
      preview: The bytes of that preview; empty where all of the file is there.
    """

    ref: ImageRef
    data: bytes
    attempts: int = 1
    version: str = ""
    preview: bytes = b""

    @property
    def size(self) -> int:
        """The number of bytes that were fetched."""
        return len(self.data) + len(self.preview)


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels ready for the model.

    Attributes:
      ref: The row that names the image.
      pixels: uint8 [height, width, 3], RGB, at the model's size.
      sha256: The digest of the encoded file, hexadecimal; empty where a preview stands for it.
      format: Pillow's name of the format in lower case: "jpeg", "png", ...
      width: The width of the original in pixels, after EXIF orientation.
      height: The height of the original in pixels, after EXIF orientation.
      version: The version of the encoded file; empty if unknown.
      further: The same pixels at the sizes of further models, one array for each.
    """

    ref: ImageRef
    pixels: npt.NDArray[np.uint8]
    sha256: str
    format: str
    width: int
    height: int
    version: str = ""
    further: tuple[npt.NDArray[np.uint8], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFeatures:
    """One row of the output: a DecodedImage with features in place of its pixels.

    Attributes:
      ref: The row that names the image.
      features: float32 [num_features], of several models one vector after the other.
      sha256: The digest of the encoded file, hexadecimal; empty where a preview stands for it.
      format: Pillow's name of the format in lower case.
      width: The width of the original in pixels, after EXIF orientation.
      height: The height of the original in pixels, after EXIF orientation.
      version: The version of the encoded file; empty if unknown.
    """

    ref: ImageRef
    features: npt.NDArray[np.float32]
    sha256: str
    format: str
    width: int
    height: int
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageError:
    """One row that failed: a dead letter.

    Attributes:
      ref: The row, as far as it could be read.
      stage: The step that it failed at.
      reason: Why it failed, in a word of the closed vocabulary.
      message: What went wrong, in a sentence for the user.
      attempts: Tries that the fetch took.
      unread: Whether the row could not be taken apart, so that nobody knows which image it names.
    """

    ref: ImageRef
    stage: Stage
    reason: Reason
    message: str
    attempts: int = 1
    unread: bool = False
