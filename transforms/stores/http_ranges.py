"""Files on http(s) in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from image_features.system.deadlines import Deadline
from image_features.transforms.stores import versions
from image_features.transforms.stores.http_session import HttpPolicy, HttpSession
from image_features.transforms.stores.uris import redact_uri


class HttpRanges:
    """A file of http:// or https://, by the guarded requests that images are fetched with.

    Args:
      url: The location of the file.
      policy: How patient and how trusting requests are.
    """

    def __init__(self, url: str, policy: HttpPolicy) -> None:
        self.shown = redact_uri(url)
        self._url = url
        self._session = HttpSession(policy)

    @contextlib.contextmanager
    def ask(self, span: str, version: str, deadline: Deadline) -> Iterator[Any]:
        """Requests a part, as `Ranges.ask` does; its caller compares the versions."""
        response = self._session.get(self._url, deadline, {"Range": span} if span else None)
        try:
            self._session.check_status(self._url, response, in_part=bool(span))
            yield response
        finally:
            response.close()  # One that was read to its end has given back its connection.

    def version(self, headers: Mapping[str, str], size: int | None) -> str:
        """Returns the version that an answer with the whole file would tell."""
        # Of a part the length is another one.
        length = headers.get("Content-Length", "") if "Content-Range" not in headers else ""
        told = {name: headers.get(name, "") for name in ("ETag", "Last-Modified")}
        return versions.of_answer({**told, "Content-Length": length if size is None else str(size)})
