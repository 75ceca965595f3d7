"""The store of gs://."""

from __future__ import annotations

from collections.abc import Callable

from image_features.transforms.stores import versions
from image_features.transforms.stores.gcs import GcsClient
from image_features.transforms.stores.retries import RetryPolicy, with_retries
from image_features.transforms.stores.store import Content


class GcsStore:
    """Objects of Cloud Storage, whose versions are their generations.

    Args:
      client: The client that reads.
      retries: When to try again.
      max_bytes: Larger objects fail while they are read.
      sleep: Waits between attempts; a fake in tests.
    """

    def __init__(
        self,
        client: GcsClient,
        retries: RetryPolicy,
        max_bytes: int,
        sleep: Callable[[float], None],
    ) -> None:
        self._client = client
        self._retries = retries
        self._max_bytes = max_bytes
        self._sleep = sleep

    def read(self, uri: str) -> Content:
        """Reads a whole object.

        Raises:
          FetchError: the object cannot be had.
        """
        (data, generation), attempts = with_retries(
            lambda: self._client.read_version(uri, self._max_bytes), self._retries, self._sleep
        )
        return Content(data, versions.of_object(generation), attempts)

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Whether an object has the generation of a version.

        Raises:
          FetchError: the object may not be asked for.
        """
        generation, _ = with_retries(
            lambda: self._client.generation(uri), self._retries, self._sleep
        )
        return versions.of_object(generation) == version

    def close(self) -> None:
        """Closes idle connections."""
        self._client.close()
