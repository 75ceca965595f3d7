"""The store of gs://."""

from __future__ import annotations

import math
from collections.abc import Callable

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.gcs import GcsClient
from image_features.transforms.stores.gcs_answers import is_intact
from image_features.transforms.stores.gcs_ranges import GcsRanges
from image_features.transforms.stores.part_reader import read_enough
from image_features.transforms.stores.retries import PassingError, RetryPolicy, with_retries
from image_features.transforms.stores.store import Content, Look
from image_features.transforms.values import Reason


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

    def read(self, uri: str, look: Look | None = None) -> Content:
        """Reads a whole object, or what is enough of it, which the first attempt asks for.

        Raises:
          FetchError: the object cannot be had.
        """
        looks = [look] if look else []

        def fetch() -> Content:
            if looks and (content := self._read_enough(uri, looks.pop())):
                return content
            data, generation = self._client.read_version(uri, self._max_bytes)
            return Content(data, versions.of_object(generation))

        content, attempts = with_retries(fetch, self._retries, self._sleep)
        return content._replace(attempts=attempts)

    def _read_enough(self, uri: str, look: Look) -> Content | None:
        ranges = GcsRanges(uri, self._client)
        found = read_enough(ranges, look, Deadline(math.inf), self._max_bytes)
        if found is None:
            return None
        content, headers = found
        # The checksum is that of the whole, which has come in parts.
        if not content.preview and not is_intact(content.data, headers):
            raise PassingError(Reason.READ_FAILED, f"{uri} came with another checksum.")
        return content

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
