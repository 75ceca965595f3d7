"""The versions of many local files at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

# Each thread looks at so many files, without Python's lock.
_FILES_AT_ONCE = 1024


def file_versions(paths: Sequence[str], threads: Executor) -> Any:
    """Looks at files, as `stores.versions.of_file` does at one.

    Args:
      paths: The paths of the files.
      threads: The threads that look.

    Returns:
      A pyarrow string array, the version of each; null where there is none to be told, or where
      looking at one file alone would tell why.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    some = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
    looks = list(threads.map(_look, some))
    sizes, times = (
        pa.chunked_array([look[part] for look in looks], pa.int64()).cast(pa.string())
        for part in range(2)
    )
    return pc.binary_join_element_wise("file", sizes, times, ":")


def _look(paths: list[str]) -> tuple[Any, Any]:
    """Returns the sizes of files and their times of change in nanoseconds."""
    import pyarrow as pa
    from pyarrow import fs

    try:
        files = fs.LocalFileSystem().get_file_info(paths)
    except (OSError, ValueError):  # One that may not be looked at fails all.
        return (pa.nulls(len(paths), pa.int64()),) * 2
    return (
        pa.array([file.size for file in files], pa.int64()),
        pa.array([file.mtime_ns for file in files], pa.int64()),
    )
