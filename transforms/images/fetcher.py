"""The bytes of one image, from wherever it is."""

from __future__ import annotations

import dataclasses
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from image_features.system import descriptors
from image_features.transforms.archives.member import Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.store import ArchiveStore
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.preview import find_preview
from image_features.transforms.stores import beam, versions
from image_features.transforms.stores.gcs import GcsClient
from image_features.transforms.stores.gcs_store import GcsStore
from image_features.transforms.stores.http import MIB, HttpClient, HttpPolicy
from image_features.transforms.stores.local import LocalStore
from image_features.transforms.stores.members import split_member
from image_features.transforms.stores.reach import readable_scheme
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.store import Content, Excerpt, Read, Store
from image_features.transforms.stores.uris import redact_text, redact_uri
from image_features.transforms.values import (
    EncodedImage,
    ImageError,
    ImageRef,
    PackedRefs,
    Reason,
    Stage,
)


@dataclasses.dataclass(frozen=True)
class FetchPolicy:
    """How images are fetched.

    Attributes:
      http: How patient and how trusting over http(s).
      max_bytes: The size of the largest file that is read; larger ones fail.
      threads: The most fetches at once within a worker, which begins with an eighth of them and
        takes more while it waits for data.
      max_bytes_in_flight: The most bytes that are fetched ahead of the decoder. A fetch that goes
        on counts as much as images have had on average.
      archives: Which members or columns of archives are images.
      preview: How the previews of cameras are decoded, so that no more of a file is read than its
        preview where that is enough; None to read all of every file.
    """

    http: HttpPolicy = HttpPolicy()
    max_bytes: int = 50 * MIB
    threads: int = 256
    max_bytes_in_flight: int = 256 * MIB
    archives: ArchiveOptions = ArchiveOptions()
    preview: DecodePolicy | None = None


class Fetcher:
    """Fetches one image at a time, from any thread; never raises.

    Args:
      policy: How images are fetched.
      sleep: Waits between attempts; a fake in tests.
    """

    _shared: ClassVar[dict[FetchPolicy, Fetcher]] = {}
    _sharing: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, policy: FetchPolicy, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._policy = policy
        self._sleep = sleep
        self._users = 1
        self._local = LocalStore(policy.max_bytes)
        self._remote = _remote_stores(policy, sleep)
        self._archives = ArchiveStore(
            policy.http, max_bytes=policy.max_bytes, options=policy.archives, sleep=sleep
        )

    @classmethod
    def shared(cls, policy: FetchPolicy) -> Fetcher:
        """Returns the fetcher of this process for a policy, which closes when its last user does.

        A step has an instance for every bundle at a time. Had each its own connections, they would
        take all descriptors.
        """
        with cls._sharing:
            fetcher = cls._shared.get(policy)
            if fetcher is None:
                fetcher = cls._shared[policy] = cls(policy)
            else:
                fetcher._users += 1
            return fetcher

    def fetch(self, ref: ImageRef) -> EncodedImage | ImageError:
        """Returns the image's bytes, or the error row that stands for it."""
        if packed := split_member(ref.uri):
            (image,) = self.fetch_packed(PackedRefs(packed[0], (ref,)))
            return image
        return self._fetch_file(ref)

    def fetch_packed(
        self, packed: PackedRefs, until: float = math.inf
    ) -> Iterator[EncodedImage | ImageError]:
        """Yields the images of an archive as it is read, each with its bytes or its error.

        Args:
          packed: The images.
          until: When reading ends, by the monotonic clock; what is left then has timed out.
        """
        wanted = [
            Wanted(member[1] if (member := split_member(ref.uri)) else "", ref.place)
            for ref in packed.refs
        ]
        for number, content in self._archives.read(packed.archive, wanted, until):
            ref = packed.refs[number]
            if not isinstance(content, FetchError):
                # As below: what was told before is never newer.
                version = ref.version or content.version
                yield EncodedImage(ref, content.data, content.attempts, version)
            elif _may_be_a_file(ref) and isinstance(file := self._fetch_file(ref), EncodedImage):
                yield file
            else:
                yield _error(ref, content)

    def is_unchanged(self, uri: str, version: str) -> bool:
        """Whether a location still holds a version of an image; never raises.

        The answer is no where it cannot be told: the image is fetched then, and if that fails it
        is the failure of that row.
        """
        try:
            packed = split_member(uri)
            if packed and versions.is_of_member(version):
                return self._archives.is_unchanged(packed[0], version)
            return self._store(uri).is_unchanged(uri, version)
        except Exception:
            return False

    def close(self) -> None:
        """Closes idle connections, when nobody else uses this fetcher."""
        with self._sharing:
            self._users -= 1
            if self._users > 0:
                return
            if self._shared.get(self._policy) is self:
                del self._shared[self._policy]
        for store in self._remote.values():
            store.close()

    def _fetch_file(self, ref: ImageRef) -> EncodedImage | ImageError:
        uri = ref.uri
        try:
            data, version, attempts, preview = self._read(uri)
            if not data:
                raise FetchError(Reason.EMPTY_FILE, f"{redact_uri(uri)} is empty.", attempts)
            # A version that was told before the fetch is never newer than what was fetched.
            return EncodedImage(ref, data, attempts, ref.version or version, preview)
        except FetchError as error:
            return _error(ref, error)
        except Exception as error:  # The failure of one row must not fail others.
            message = f"{redact_uri(uri)} cannot be read: {redact_text(str(error))[:300]}"
            return _error(ref, FetchError(Reason.READ_FAILED, message))

    def _read(self, uri: str) -> Content:
        """Reads a file, if need be when other files of this process have been closed."""
        look = self._look if self._policy.preview else None
        return descriptors.patiently(lambda: self._store(uri).read(uri, look), self._sleep)

    def _look(self, read: Read) -> Excerpt | None:
        """Tells what of a file is enough, by decoding it: what fails here can still be read."""
        assert self._policy.preview is not None
        found = find_preview(read, self._policy.preview)
        return found[0] if found else None

    def _store(self, uri: str) -> Store:
        scheme = readable_scheme(uri)
        return self._remote[scheme] if scheme else self._local


def _remote_stores(policy: FetchPolicy, sleep: Callable[[float], None]) -> dict[str, Store]:
    """The stores by their schemes, in lower case."""
    http = dataclasses.replace(policy.http, max_bytes=policy.max_bytes)
    web = HttpClient(http, sleep=sleep)
    objects = GcsClient(
        connect_timeout=http.connect_timeout,
        read_timeout=http.read_timeout,
        pool_size=policy.threads,
    )
    others = beam.BeamStore(http.retries, policy.max_bytes, sleep)
    return {
        "http": web,
        "https": web,
        "gs": GcsStore(objects, http.retries, policy.max_bytes, sleep),
        **dict.fromkeys(beam.SCHEMES, others),
    }


def _may_be_a_file(ref: ImageRef) -> bool:
    """Whether what looks like a member may be a file: directories may be called `photos.tar!`."""
    if ref.place is not None:
        return False
    return ref.row == 0 if "://" in ref.uri else os.path.isfile(ref.uri)


def _error(ref: ImageRef, error: FetchError) -> ImageError:
    return ImageError(ref, Stage.FETCH, error.reason, error.message, error.attempts)
