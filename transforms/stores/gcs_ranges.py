"""Objects of Cloud Storage in parts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.gcs import GcsClient
from image_features.transforms.stores.uris import redact_uri

_KEPT_CONNECTIONS = 64


class GcsRanges:
    """An object of gs://, of which all parts have one generation.

    Args:
      uri: The location of the object.
      client: The client that makes the requests.
    """

    def __init__(self, uri: str, client: GcsClient) -> None:
        self.shown = redact_uri(uri)
        self._uri = uri
        self._client = client

    @contextlib.contextmanager
    def ask(self, span: str, version: str, deadline: Deadline) -> Iterator[Any]:
        """Requests a part of the generation, as `Ranges.ask` does."""
        _, _, generation = version.partition(":")
        with self._client.part(self._uri, span, generation) as response:
            yield response

    def version(self, headers: Mapping[str, str], size: int | None) -> str:
        """Returns the generation that an answer tells."""
        return versions.of_object(headers.get("X-Goog-Generation", ""))


@functools.cache
def shared_client(connect_timeout: float, read_timeout: float) -> GcsClient:
    """Returns the client of this process: each has tokens and connections of its own."""
    return GcsClient(
        connect_timeout=connect_timeout, read_timeout=read_timeout, pool_size=_KEPT_CONNECTIONS
    )
