"""Files that keep a decoder busy, and programs that decode in an interpreter of their own."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import sys
import zlib
from typing import Any

import image_features

_ROOT = pathlib.Path(image_features.__file__).parents[1]
_PIECE = 2**20


def heavy_png(side: int = 8000) -> bytes:
    """Returns a black PNG, RGBA of 16 bits: a second or more for a core, in two megabytes."""
    size = side * (1 + side * 8)
    packer = zlib.compressobj(1)
    start = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(_PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)
    pieces, rest = divmod(size - 1, _PIECE)
    last = packer.compress(bytes(rest)) + packer.flush()
    checksum = struct.pack(">I", (size % 65521) << 16 | 1)  # Adler-32 of zeros.
    data = start + piece * pieces + last[:-4] + checksum
    head = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def start(
    program: str,
    *arguments: object,
    flags: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    cwd: pathlib.Path | None = None,
    **environment: object,
) -> subprocess.Popen[str]:
    """Starts a program of Python that may import this package, maybe by another one."""
    env = {"PYTHONPATH": str(_ROOT)} | {key: str(value) for key, value in environment.items()}
    return subprocess.Popen(
        [*prefix, sys.executable, *flags, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str, *arguments: object, **options: Any) -> tuple[int, str, str]:
    """Runs a program of Python; returns its exit code, its output and its errors."""
    process = start(program, *arguments, **options)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err
