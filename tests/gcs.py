"""A Cloud Storage emulator on loopback, in this process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def emulator(patch: pytest.MonkeyPatch, bucket: str) -> Iterator[Any]:
    """Gives google-cloud-storage's Bucket of a server that all clients of this process find."""
    from gcp_storage_emulator.server import create_server
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    patch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    patch.setenv("NO_GCE_CHECK", "true")  # Else google.auth waits for a metadata server.
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        yield storage.Client(project="p", credentials=AnonymousCredentials()).bucket(bucket)
    finally:
        server.stop()
