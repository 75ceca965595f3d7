"""Downloads of model files, over http(s) and through Beam's file systems."""

from __future__ import annotations

import logging
import os
import posixpath
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from image_features.errors import ModelError
from image_features.models import limits
from image_features.models.addresses import shown
from image_features.system.deadlines import Deadline

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 2**20
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_SECONDS_FOR_A_MIB = 120.0  # A server that is slower than this will not send a model to its end.
_RETRIES = 3  # The retries for each of: connecting, reading, a status that asks for them.
_REDIRECTS = 10
_BACKOFF_SECONDS = 0.3  # Waits 0, 0.6, 1.2 seconds between the attempts.
_RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504, 509, *range(520, 531))
_WAY_OUT = (
    "if this machine has no network, download the module elsewhere and pass "
    "--model=/local/directory, or pass --model=builtin, whose weights come with the package"
)


def download_http(url: str, path: str, *, seconds: float = _SECONDS_FOR_A_MIB) -> None:
    """Downloads a URL to a new local file.

    The environment's proxy settings are honoured.

    Args:
      url: The http(s) address.
      path: The path of the file.
      seconds: The most that each MiB may take, the first one with all that precedes it.

    Raises:
      ModelError: The server cannot be reached or refuses, or the file is too large.
    """
    import urllib3

    from image_features.system.timed_connections import DeadlineError, terms

    retries = urllib3.Retry(
        total=_RETRIES + _REDIRECTS,
        connect=_RETRIES,
        read=_RETRIES,
        status=_RETRIES,
        redirect=_REDIRECTS,
        backoff_factor=_BACKOFF_SECONDS,
        status_forcelist=_RETRY_STATUSES,
        respect_retry_after_header=False,  # A server may ask for hours.
    )
    timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
    _log.info("Downloads the model %s.", shown(url))
    last: Exception | None = None
    with _pools(url) as pools:
        for _ in range(_RETRIES):  # A connection that breaks half way starts afresh.
            deadline = Deadline(seconds)
            try:
                with terms(deadline):
                    response = pools.request(
                        "GET", url, preload_content=False, retries=retries, timeout=timeout
                    )
                try:
                    if response.status != 200:
                        raise ModelError(
                            f"The model {shown(url)!r} cannot be downloaded: the server answered "
                            f"HTTP {response.status}; check the address, or {_WAY_OUT}."
                        )
                    _write(_body(response, deadline), path, url)
                    return
                finally:
                    response.close()
            except urllib3.exceptions.HTTPError as error:
                last = error
                if deadline.left() <= 0 or not isinstance(
                    error,
                    urllib3.exceptions.ProtocolError | urllib3.exceptions.ReadTimeoutError,
                ):
                    break
            except (DeadlineError, TimeoutError):
                last = TimeoutError("the server is too slow")
                break
    raise ModelError(f"The model {shown(url)!r} cannot be downloaded ({_why(last)}); {_WAY_OUT}.")


def _why(error: Exception | None) -> str:
    """Says why a download failed; the error's own text may hold the whole address."""
    import urllib3

    if isinstance(error, urllib3.exceptions.MaxRetryError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return str(error)
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its host is unknown"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "its host cannot be connected to"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "its host does not answer in time"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"its host has no valid certificate: {error}"
    if isinstance(error, urllib3.exceptions.ResponseError):
        return str(error)  # It has been redirected too often, or the server kept failing.
    if isinstance(error, urllib3.exceptions.LocationParseError):
        return "it is not a valid URL"
    return f"the download broke off: {type(error).__name__}"


def _pools(url: str) -> Any:
    """Returns connections that keep their deadline, over the proxy that the environment names."""
    import urllib3

    from image_features.system.timed_connections import TimedHttp, TimedHttps
    from image_features.system.timed_sockets import tls

    class HttpPool(urllib3.HTTPConnectionPool):
        ConnectionCls = TimedHttp

    class HttpsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TimedHttps

    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        pools: urllib3.PoolManager = urllib3.ProxyManager(proxy, ssl_context=tls())
    else:
        pools = urllib3.PoolManager(ssl_context=tls())
    pools.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return pools


def _body(response: Any, deadline: Deadline) -> Iterator[bytes]:
    received = 0
    while block := response.read1(_CHUNK_BYTES, decode_content=False):
        received += len(block)
        if received >= _CHUNK_BYTES:
            deadline.renew()
            received = 0
        yield block


def copy_remote_file(uri: str, path: str) -> None:
    """Copies one file of a Beam file system, such as gs://, to a new local file.

    Raises:
      ModelError: The file cannot be read, or is too large.
    """
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    try:
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            _write(iter(lambda: file.read(_CHUNK_BYTES), b""), path, uri)
    except ModelError:
        raise
    except Exception as error:  # Each file system has its own exceptions.
        raise _unreadable(uri, error) from error


def copy_remote_directory(uri: str, directory: str) -> None:
    """Copies a directory tree of a Beam file system into an existing local directory.

    Raises:
      ModelError: The directory is empty, cannot be read, or is too large.
    """
    from apache_beam.io.filesystems import FileSystems

    base = uri.rstrip("/") + "/"
    try:
        found = FileSystems.match([base + "**"])[0].metadata_list
    except Exception as error:  # Each file system has its own exceptions.
        raise _unreadable(uri, error) from error
    files = [(item.path, item.size_in_bytes) for item in found if not item.path.endswith("/")]
    if not files and FileSystems.exists(uri):
        raise ModelError(
            f"The model {shown(uri)!r} is a file, and no archive by its name; name the directory "
            "that holds saved_model.pb, or a .tar.gz of one. A file of another form can be copied "
            "here and made a module with `image-features model convert`."
        )
    if not files:
        raise ModelError(
            f"There are no files in the model directory {shown(uri)!r}; check the name, and "
            "that this "
            "account may list the bucket."
        )
    total = sum(size for _, size in files)
    if len(files) > limits.MAX_MEMBERS or total > limits.MAX_DOWNLOAD_BYTES:
        raise ModelError(
            f"The model directory {shown(uri)!r} has more than {limits.MAX_MEMBERS} files or "
            f"{limits.MAX_DOWNLOAD_BYTES} bytes; name the directory of one module."
        )
    for path, _ in files:
        relative = posixpath.normpath(path.removeprefix(base))
        if relative.startswith(("/", "..")) or not path.startswith(base):
            raise ModelError(
                f"The model directory {shown(uri)!r} holds {path!r}, which leads outside it; "
                "remove that object from the bucket."
            )
        target = os.path.join(directory, *relative.split("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        copy_remote_file(path, target)


def _write(chunks: Iterable[bytes] | Iterator[bytes], path: str, source: str) -> None:
    total = 0
    with open(path, "wb") as file:
        for chunk in chunks:
            total += len(chunk)
            if total > limits.MAX_DOWNLOAD_BYTES:
                raise ModelError(
                    f"The model {shown(source)!r} is larger than {limits.MAX_DOWNLOAD_BYTES} "
                    "bytes, "
                    "which no feature model needs; check that the address names the right file."
                )
            file.write(chunk)


def _unreadable(uri: str, error: Exception) -> ModelError:
    lines = str(error).replace(uri, shown(uri)).strip().splitlines() or [type(error).__name__]
    return ModelError(
        f"The model {shown(uri)!r} cannot be read ({lines[0][:300]}); check the name, the "
        "permissions "
        f"and the credentials of this machine; {_WAY_OUT}."
    )
