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
# A field of a record: all of its items.
FieldValue = Sequence[bytes] | Sequence[int] | npt.NDArray[np.float32]


class Stage(enum.StrEnum):
    """Where a row failed."""

    READ_MANIFEST = "read_manifest"
    FETCH = "fetch"
    DECODE = "decode"
    EXTRACT = "extract"


class Reason(enum.StrEnum):
    """Why a row failed. Dashboards group by these words: extend, never rename."""

    BAD_MANIFEST_ROW = "bad_manifest_row"
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
    """One row of a manifest: an image still to be fetched.

    Attributes:
      uri: Absolute location: a path, `file://`, `gs://`, `http://` or `https://`.
      key: Stable identifier, 32 hexadecimal digits (see `transforms.stores.uris.image_key`).
      source: The manifest or listing that named it.
      row: 1-based row in `source`; 0 for a file that was listed.
      columns: The manifest's other columns, in manifest order.
      shard: Output shard, set by AssignShards; -1 before.
      version: Of the image, where a listing or the manifest tells it (see `stores.versions`).
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
    """The bytes of one image file, as fetched, and which version of it they are."""

    ref: ImageRef
    data: bytes
    attempts: int = 1
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels ready for the model.

    Attributes:
      ref: The row it came from.
      pixels: uint8 [height, width, 3], RGB, at the model's size.
      sha256: Hexadecimal digest of the encoded file.
      format: Pillow's format name in lower case: "jpeg", "png", ...
      width: Width of the original in pixels, after EXIF orientation.
      height: Height of the original in pixels, after EXIF orientation.
      version: Of the encoded file.
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
    """One row of the output; `features` is float32 [num_features]."""

    ref: ImageRef
    features: npt.NDArray[np.float32]
    sha256: str
    format: str
    width: int
    height: int
    version: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageError:
    """One row that failed, for the dead-letter shards."""

    ref: ImageRef
    stage: Stage
    reason: Reason
    message: str
    attempts: int = 1
