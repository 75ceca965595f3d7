"""Sheaves: parts for many shards in one file, of which each is read alone.

    CRC-32C u32 | parts u64 | directory: (shard u64, begin u64, size u64) a part | the parts

All numbers are little-endian, and the checksum is of what lies between it and the parts. Rows of
archives come for all shards in turn: with a file for each shard, a store would take more for
writing these than for the images.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from image_features.transforms.stores.files import create_whole, open_plain
from image_features.transforms.stores.gcs import SCHEME
from image_features.transforms.stores.gcs_ranges import shared_client
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import with_retries

PREFIX = "sheaf-"
_LOCATION = re.compile(rf"(.*/{PREFIX}[^/#]+)#([0-9]+)\+([0-9]+)", re.DOTALL)
_HEAD = struct.Struct("<IQ")
# What the directory has of a part.
ENTRY = np.dtype([("shard", "<u8"), ("begin", "<u8"), ("size", "<u8")])


class BrokenSheafError(OSError):
    """A file is not a whole sheaf."""


def are_read_alone(directory: str) -> bool:
    """Whether a part of a file in a directory costs no more than a file of its own."""
    return "://" not in directory or _is_object(directory)


def write_sheaf(path: str, parts: Mapping[int, bytes], unfinished: str) -> list[str]:
    """Writes the parts of shards as a file; returns their locations.

    Args:
      path: The path of the file, whose name begins with `PREFIX`.
      parts: The parts by their shards.
      unfinished: A free path on the same disk, for the file until it is whole.
    """
    directory = np.empty(len(parts), ENTRY)
    directory["shard"] = list(parts)
    directory["size"] = sizes = [len(part) for part in parts.values()]
    directory["begin"] = _HEAD.size + directory.nbytes + np.cumsum([0, *sizes[:-1]])
    told = _HEAD.pack(0, len(parts))[4:] + directory.tobytes()
    with create_whole(path, unfinished, durable=False) as file:
        file.write(google_crc32c.value(told).to_bytes(4, "little") + told)
        for part in parts.values():
            file.write(part)
    return [location_of(path, entry) for entry in directory]


def read_directory(path: str) -> npt.NDArray[np.void]:
    """Returns the directory of a sheaf: `shard`, `begin` and `size` of each part.

    Raises:
      BrokenSheafError: the file is not what was written.
      OSError: the file cannot be read.
    """
    head = _read(path, 0, _HEAD.size)
    checksum, count = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
    told = _read(path, _HEAD.size, count * ENTRY.itemsize) if count < 2**32 else b""
    whole = len(head) == _HEAD.size and len(told) == count * ENTRY.itemsize
    if not whole or google_crc32c.value(head[4:] + told) != checksum:
        raise BrokenSheafError(f"The directory of {path} does not match its checksum.")
    directory: npt.NDArray[np.void] = np.frombuffer(told, ENTRY)
    return directory


def location_of(path: str, entry: Any) -> str:
    """Returns the location of a part by its entry in the directory."""
    return f"{path}#{entry['begin']}+{entry['size']}"


def is_part(location: str) -> bool:
    """Whether a location is that of a part, and not of a file."""
    return _LOCATION.fullmatch(location) is not None


def read_part(location: str) -> bytes:
    """Returns a part, or as much of it as the file has.

    Raises:
      OSError: the file cannot be read.
    """
    found = _LOCATION.fullmatch(location)
    if not found:
        raise ValueError(f"{location} is not the location of a part.")
    return _read(found[1], int(found[2]), int(found[3]))


def _is_object(path: str) -> bool:
    return path.lower().startswith(SCHEME)


def _read(path: str, begin: int, size: int) -> bytes:
    if not size:
        return b""
    if _is_object(path):
        policy = HttpPolicy()
        return with_retries(
            lambda: _read_object(path, begin, size, policy), policy.retries, time.sleep
        )[0]
    with open_plain(path) as file:
        file.seek(begin)
        return file.read(size)


def _read_object(uri: str, begin: int, size: int, policy: HttpPolicy) -> bytes:
    """Reads a part of an object in one request, where Beam would read some MiB from there on."""
    client = shared_client(policy.connect_timeout, policy.read_timeout)
    with client.part(uri, f"bytes={begin}-{begin + size - 1}", "") as response:
        data: bytes = response.read() if response.status != 416 else b""
        return data[begin : begin + size] if response.status == 200 else data
