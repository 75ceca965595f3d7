"""The lease by which one launcher at a time works on a run.

A claim is a file in staging with a holder and a time. It is made where there is none, renewed
while the holder lives, and taken over when its time is past. On gs:// each of these is on the
condition of the object's generation, on disks it is under a lock of the file beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import RunHeldError
from image_features.pipeline.dataset.holder import is_killed, this_process
from image_features.pipeline.dataset.layout import CLAIM_FILE
from image_features.system.disks import sync_file
from image_features.transforms.stores import gcs
from image_features.transforms.stores.files import remove_file

_LOG = logging.getLogger(__name__)
LEASE_SECONDS = 120.0
_BEATS_A_LEASE = 4
_MAX_BYTES = 2**16


class Claim:
    """A launcher's claim to a run.

    Args:
      staging: The staging directory of the run.
      lease: The time after its last sign of life when a holder counts as dead, in seconds.
    """

    def __init__(self, staging: str, *, lease: float = LEASE_SECONDS) -> None:
        self._path = FileSystems.join(staging, CLAIM_FILE)
        self._lease = lease
        self._holder = uuid.uuid4().hex
        self._since = _clock(time.time())
        self._generation = 0
        self._stop = threading.Event()

    def take(self) -> None:
        """Takes the run, if it is free or its holder is dead.

        Raises:
          RunHeldError: the run has another holder, whom the message names.
        """
        if not self._possible:
            return
        with self._locked():
            found = self._read()
            if found and found["holder"] != self._holder and not _is_dead(found):
                left = found["expires"] - time.time()
                raise RunHeldError(
                    f"{found['host']} (process {found['process']}) works on it since "
                    f"{found.get('since', 'earlier')}; its claim ends in {left:.0f} s unless it is "
                    "renewed"
                )
            if not self._write():
                raise RunHeldError("another launcher took it at this moment")

    @property
    def _possible(self) -> bool:
        # Beam cannot use conditions of other object stores.
        return "://" not in self._path or self._path.startswith(gcs.SCHEME)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renews the claim while the body runs, and gives it up after it."""
        thread = threading.Thread(target=self._renew, name="claim", daemon=True)
        if self._possible:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            if self._possible:
                thread.join(timeout=5)
                self.give_up()

    def give_up(self) -> None:
        """Lets others take the run at once; a claim that is gone with its staging stays gone."""
        with contextlib.suppress(Exception), self._locked():
            found = self._read()
            if found and found["holder"] == self._holder:
                remove_file(self._path)

    def _renew(self) -> None:
        while not self._stop.wait(self._lease / _BEATS_A_LEASE):
            try:
                with self._locked():
                    found = self._read()
                    if not found:
                        return
                    if found["holder"] != self._holder or not self._write():
                        _LOG.error("The run was taken over by another launcher: %s", found)
                        return
            except FileNotFoundError:
                return  # The job has committed, and has removed its staging directory.
            except Exception as error:  # The next renewal may come through.
                _LOG.warning("The claim to the run could not be renewed: %s", error)

    def _read(self) -> dict[str, Any]:
        data = b""
        if self._path.startswith(gcs.SCHEME):
            with gcs.patient() as client:
                self._generation = client.generation(self._path)
                if self._generation:
                    data = client.read(self._path, _MAX_BYTES)
        else:
            with contextlib.suppress(FileNotFoundError), open(self._path, "rb") as file:
                data = file.read()
        return _claim_in(data)

    def _write(self) -> bool:
        details = {"since": self._since, "expires": time.time() + self._lease}
        data = json.dumps({"holder": self._holder, **this_process(), **details}).encode()
        if self._path.startswith(gcs.SCHEME):
            with gcs.patient() as client:
                written = client.write(self._path, data, self._generation) is not None
            # An attempt may have succeeded whose answer was lost.
            return written or self._read().get("holder") == self._holder
        part = f"{self._path}.{self._holder}"
        try:
            with open(part, "wb") as file:
                file.write(data)
                sync_file(file)
            os.replace(part, self._path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if "://" in self._path:
            yield
            return
        with open(f"{self._path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def is_held(staging: str) -> bool:
    """Tells whether somebody works on the run with this staging directory."""
    found = Claim(staging)._read()
    return bool(found) and not _is_dead(found)


def _claim_in(data: bytes) -> dict[str, Any]:
    """Returns what a claim file says; nothing, and so nobody's, if a crash has spoiled it."""
    try:
        found = dict(json.loads(data))
        int(found["process"]), float(found["expires"])
        return found if {"holder", "host"} <= found.keys() else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _is_dead(found: dict[str, Any]) -> bool:
    # The lease of a holder that was killed on this machine need not run out first.
    return bool(time.time() > found["expires"] or is_killed(found))
