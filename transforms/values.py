"""The values that flow through the pipeline, and the closed vocabulary of failures."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

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
    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    INFERENCE_FAILED = "inference_failed"
    NOT_FINITE = "not_finite"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRef:
    """One row of a manifest: an image that is still to be fetched.

    Attributes:
      uri: The absolute location: a path, `file://`, `gs://`, `http://` or `https://`.
      key: The stable identifier, 32 hexadecimal digits (see `transforms.stores.uris.image_key`).
      source: The manifest or listing that names the image.
      row: The 1-based row in `source`; 0 for a file that was listed.
      columns: The manifest's other columns, in manifest order.
      shard: The output shard, set by AssignShards; -1 before.
      version: The version of the image (see `stores.versions`); empty where neither a listing nor
        the manifest tells it.
    """

    uri: str
    key: str
    source: str = ""
    row: int = 0
    columns: Columns = ()
    shard: int = -1
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedImage:
    """The bytes of one image file, as they were fetched.

    Attributes:
      ref: The row that names the image.
      data: All bytes of the file.
      attempts: Tries that the fetch took.
      version: Which version of the image the bytes are; empty if unknown.
    """

    ref: ImageRef
    data: bytes
    attempts: int = 1
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels ready for the model.

    Attributes:
      ref: The row that names the image.
      pixels: uint8 [height, width, 3], RGB, at the model's size.
      sha256: The digest of the encoded file, hexadecimal.
      format: Pillow's name of the format in lower case: "jpeg", "png", ...
      width: The width of the original in pixels, after EXIF orientation.
      height: The height of the original in pixels, after EXIF orientation.
      version: The version of the encoded file; empty if unknown.
    """

    ref: ImageRef
    pixels: npt.NDArray[np.uint8]
    sha256: str
    format: str
    width: int
    height: int
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFeatures:
    """One row of the output: a DecodedImage with features in place of its pixels.

    Attributes:
      ref: The row that names the image.
      features: float32 [num_features].
      sha256: The digest of the encoded file, hexadecimal.
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
