"""A shard's index: key, version, content hash and URI of its rows, in their order, as Parquet.

An incremental run reads what a dataset has from indexes, without features: some 60 bytes a row.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from image_features.transforms.shards.shard_file import damaged
from image_features.transforms.stores.files import open_plain

INDEX_KIND = "index"
# A note is a file's SHA-256, the length of its version, the version and the URI.
_NOTE = struct.Struct("<32sH")


def index_note(sha256: str, version: str, uri: str) -> bytes:
    """Returns what a row tells its shard's index, for the piece that it is in."""
    encoded = version.encode()
    return _NOTE.pack(bytes.fromhex(sha256), len(encoded)) + encoded + uri.encode()


def index_file(keys: npt.NDArray[np.bytes_], notes: Sequence[bytes]) -> bytes:
    """Returns the bytes of a shard's index.

    Args:
      keys: bytes32 [rows], hexadecimal digits.
      notes: What `index_note` gave for each row, [rows].
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    hashes, versions, uris = [], [], []
    for note in notes:
        digest, length = _NOTE.unpack_from(note)
        end = _NOTE.size + length
        hashes.append(digest)
        versions.append(note[_NOTE.size : end])
        uris.append(note[end:])
    table = pa.table(
        {
            "key": pa.array([bytes.fromhex(key.decode()) for key in keys.tolist()], pa.binary(16)),
            "version": pa.array(versions, pa.binary()).cast(pa.string()),
            "sha256": pa.array(hashes, pa.binary(32)),
            "uri": pa.array(uris, pa.binary()).cast(pa.string()),
        }
    )
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        compression="zstd",
        # Hashes do not compress, and no two are the same.
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    return out.getvalue()


def read_index(path: str, columns: Sequence[str], sha256: str = "") -> Any:
    """Reads columns of an index.

    Args:
      path: The path of the index.
      columns: The names of the columns.
      sha256: The digest of the file, hexadecimal; empty to believe it as it is.

    Returns:
      A pyarrow.Table: `key` binary(16), `version` string, `sha256` binary(32), `uri` string.

    Raises:
      DamagedRunError: the file is not an index as it was written.
      OSError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = read_verified(path, sha256)
    try:
        return pq.read_table(io.BytesIO(data), columns=list(columns))
    except (pa.ArrowException, OSError) as error:  # Decompression fails with the latter.
        raise damaged(path, error) from error


def read_verified(path: str, sha256: str) -> bytes:
    """Reads a whole file that decides which rows there are, so that a wrong one would hide some.

    Raises:
      ValueError: the file has another digest.
      OSError: the file cannot be read.
    """
    with open_plain(path) as file:
        data = file.read()
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise damaged(path, ValueError("it is not the file that was committed"))
    return data


def key_array(column: Any) -> npt.NDArray[np.bytes_]:
    """Returns the keys of a table, bytes16 [rows]; of its hashes, bytes32 [rows]."""
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    width = column.type.byte_width
    # NumPy copies what is no text in a fraction of the time.
    parts = [
        np.frombuffer(chunk.buffers()[1], f"V{width}", len(chunk), width * chunk.offset)
        for chunk in chunks
        if len(chunk)
    ]
    if not parts:
        return np.empty(0, f"S{width}")
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)).view(f"S{width}")
