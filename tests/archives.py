"""Archives for tests, whose bytes are the same each time."""

from __future__ import annotations

import io
import pathlib
import tarfile
import zipfile
from collections.abc import Mapping


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Returns a .tar file of members; `mode` is one of tarfile, such as "w:gz"."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def zipped(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Returns a .zip file of members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # It is of 1980.
            info.compress_type = compression
            archive.writestr(info, data)
    return out.getvalue()


def files(directory: pathlib.Path) -> dict[str, bytes]:
    """Returns the files below a directory by their names in it, sorted."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}
