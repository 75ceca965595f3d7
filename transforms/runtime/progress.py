"""How far a local job is: what workers tell the launcher through small files in staging.

It works whatever processes a local runner has. Every worker keeps one file a kind of row under
`staging/progress`, named `KIND.RANDOM`, that holds its count of rows; `total.RANDOM` holds the
number of rows to expect. The counts are an estimate, since a bundle that is retried counts twice,
and only the progress display reads them: a file that cannot be written or read is passed over.
Staging on an object store has no progress.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
import uuid

_DIRECTORY = "progress"
_TOTAL = "total"
_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The rows so far, summed over all workers.

    Attributes:
      done: Rows of features, images in archives, or exported rows, that were written.
      failed: Rows of errors that were written.
      total: Rows to expect; 0 until the manifests are counted.
    """

    done: int
    failed: int
    total: int


class Progress:
    """A worker's count of the rows of one kind.

    Args:
      staging: The run's staging directory.
      kind: The kind of shard that the rows are for; "features", "images", "vectors" and "errors"
        are displayed.
    """

    def __init__(self, staging: str, kind: str) -> None:
        self._staging = staging
        self._kind = kind
        self._count = 0
        self._name = ""
        self._written = 0.0

    def add(self, rows: int = 1) -> None:
        """Counts rows; writes at most once a second."""
        self._count += rows
        if time.monotonic() - self._written > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the count now."""
        if not self._count:
            return
        self._name = self._name or _new_name(self._kind)
        self._written = time.monotonic()
        _write(self._staging, self._name, self._count)


def write_total(staging: str, rows: int) -> None:
    """Tells how many rows there are to write or to fail, once it is known."""
    _write(staging, _new_name(_TOTAL), rows)


def read_snapshot(staging: str) -> Snapshot:
    """Sums what the workers have told."""
    sums = {"features": 0, "images": 0, "vectors": 0, "errors": 0, _TOTAL: 0}
    directory = os.path.join(staging, _DIRECTORY)
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            kind = name.split(".", 1)[0]
            if kind not in sums:  # Removed rows are neither done nor failed.
                continue
            with (
                contextlib.suppress(OSError, ValueError),
                open(os.path.join(directory, name)) as file,
            ):
                value = int(file.read())
                sums[kind] = max(sums[kind], value) if kind == _TOTAL else sums[kind] + value
    done = sums["features"] + sums["images"] + sums["vectors"]
    return Snapshot(done, sums["errors"], sums[_TOTAL])


def clear(staging: str) -> None:
    """Forgets what an earlier attempt at the run has told."""
    if "://" not in staging:
        shutil.rmtree(os.path.join(staging, _DIRECTORY), ignore_errors=True)


def _new_name(kind: str) -> str:
    # A retried bundle or another process of the same worker must not overwrite this one's count.
    return f"{kind}.{uuid.uuid4().hex}"


def _write(staging: str, name: str, value: int) -> None:
    if "://" in staging:
        return
    directory = os.path.join(staging, _DIRECTORY)
    # A lost estimate harms nobody.
    with contextlib.suppress(OSError):
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, name), "w") as file:
            file.write(str(value))
