"""What a URI names: how it is resolved and identified, and how the secrets in it are hidden."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import posixpath
import re
from urllib.parse import urljoin

from image_features.errors import UsageError
from image_features.system.paths import is_file_uri, path_of
from image_features.transforms.stores.members import join_member, split_member

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
# Looking for the whole of a URL, its scheme first, would take quadratic time in a long line.
_UP_TO_SPACE = re.compile(r"[^\s'\"<>]*")
REDACTED = "REDACTED"
_HIDDEN = rf"\1={REDACTED}"

# What follows these schemes is the name of a file, in which `?`, `&` and `#` mean nothing.
_NAMES = frozenset({"gs", "s3", "hdfs", "azfs", "file"})
_NAMES_AT_END = re.compile(f"(?<![a-z0-9+.-])(?:{'|'.join(sorted(_NAMES))})$")

# These parameters sign a URL without changing what it names: signed URLs V2 and V4 of Google Cloud
# Storage, signatures V2 and V4 of Amazon S3.
_SIGNING_PREFIXES = ("x-goog-", "x-amz-")
_SIGNING = frozenset({"googleaccessid", "awsaccesskeyid", "signature", "expires"})
# These belong to shared access signatures of Azure; the short names mean this only beside `sig`.
_AZURE = frozenset(
    [
        "sv",
        "se",
        "sr",
        "sp",
        "sig",
        "st",
        "spr",
        "ss",
        "srt",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "sip",
    ]
)
_SECRET = frozenset(
    [
        "token",
        "access_token",
        "auth",
        "auth_token",
        "authorization",
        "api_key",
        "apikey",
        "api-key",
        "key",
        "sig",
        "secret",
        "client_secret",
        "password",
        "sslpassword",
        "passwd",
        "pwd",
        "signature",
        "sas",
        "jwt",
        "session",
        "sessionid",
    ]
)


def _parameters(names: frozenset[str]) -> re.Pattern[str]:
    """Returns what finds parameters of a query by their names, and those that sign a URL."""
    prefixes = [f"{re.escape(prefix)}[^=&]*" for prefix in _SIGNING_PREFIXES]
    either = "|".join([*prefixes, *map(re.escape, sorted(names))])
    return re.compile(f"((?<![^&])(?=[^&=])(?:{either}))=[^&]*", re.IGNORECASE)


_SECRETS = _parameters(_SECRET | _SIGNING)
_SECRETS_OF_AZURE = _parameters(_SECRET | _SIGNING | _AZURE)
_IS_OF_AZURE = re.compile("(?<![^&])sig(?![^=&])", re.IGNORECASE)


def is_http(uri: str) -> bool:
    """Whether a location is fetched over http(s)."""
    return uri.lower().startswith(("http://", "https://"))


def resolve_uri(uri: str, base: str) -> str:
    """Makes a manifest's URI absolute.

    Args:
      uri: A URI, an absolute path, or a path relative to the manifest.
      base: The location of the manifest.
    """
    if packed := split_member(uri):
        return join_member(resolve_uri(packed[0], base), packed[1])
    if is_file_uri(uri):
        # What names no file of this machine stays as it is, and cannot be fetched.
        with contextlib.suppress(UsageError):
            return path_of(uri)
        return uri
    if _SCHEME.match(uri) or uri.startswith("/"):
        return uri
    if base.lower().startswith(("http://", "https://")):
        return urljoin(base.split("#", 1)[0].split("?", 1)[0], uri)
    directory, _, _ = base.rpartition("/")
    scheme = _SCHEME.match(directory + "/")
    if scheme:
        # Objects know no "..": the name stays as it is spelled, apart from a leading "./".
        return f"{directory}/{uri.removeprefix('./')}"
    return posixpath.normpath(posixpath.join(directory, uri))


def canonical_uri(uri: str) -> str:
    """Drops what does not change which image a URL names: its user, fragment and signature."""
    if packed := split_member(uri):
        return join_member(_canonical_archive(packed[0]), packed[1])
    if not uri.lower().startswith(("http://", "https://")):
        return uri
    head, query = _split_query(uri.split("#", 1)[0])
    parts = query.split("&") if query else []
    names = {_name(part) for part in parts}
    azure = _AZURE if "sig" in names else frozenset()
    kept = [part for part in parts if not _is_signing(_name(part)) and _name(part) not in azure]
    return _without_user(head, "") + ("?" + "&".join(kept) if kept else "")


@functools.lru_cache(64)  # Each member of an archive has it.
def _canonical_archive(location: str) -> str:
    return canonical_uri(location)


def image_key(uri: str) -> str:
    """Returns the stable id of an image: 32 hexadecimal digits of its canonical URI's SHA-256."""
    return key_of_text(canonical_uri(uri))


def key_of_text(text: str) -> str:
    """Returns an id by any text, for a row that names no image."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def redact_uri(uri: str) -> str:
    """Replaces credentials, signatures and secret-looking parameters of a URL; never raises.

    The name of a file or object stays as it is.
    """
    if packed := split_member(uri):
        return join_member(redact_uri(packed[0]), packed[1])
    scheme = _SCHEME.match(uri)
    if not scheme:
        return uri
    if scheme[0][: -len("://")].lower() in _NAMES:
        return _without_user(uri, REDACTED + "@")
    body, hash_, fragment = uri.partition("#")
    head, mark, query = body.partition("?")
    secrets = _SECRETS_OF_AZURE if _IS_OF_AZURE.search(query) else _SECRETS
    if fragment and "=" in fragment:
        fragment = REDACTED
    return (
        f"{_without_user(head, REDACTED + '@')}{mark}{secrets.sub(_HIDDEN, query)}{hash_}{fragment}"
    )


def redact_text(text: str) -> str:
    """Redacts every URL inside a message."""
    shown = []
    done = end = 0
    while (at := text.find("://", done)) >= 0:
        if at >= end:
            word = _UP_TO_SPACE.match(text, at)
            end = word.end() if word else at
        found = _NAMES_AT_END.search(text[max(0, at - 8) : at].lower())
        # Another URL may follow a name after a comma, or the like.
        stop = text.find("://", at + 1, end) if found else -1
        stop = end if stop < 0 else stop
        rest = text[at:stop]
        if not found or "@" in rest:
            scheme = found[0] if found else "http"
            rest = redact_uri(f"{scheme}{rest}")[len(scheme) :]
        shown += [text[done:at], rest]
        done = stop
    return "".join([*shown, text[done:]])


def shard_of(key: str, num_shards: int) -> int:
    """Returns the shard of a key, which is the same on every machine."""
    return int(key, 16) % num_shards


def _split_query(uri: str) -> tuple[str, str]:
    head, _, query = uri.partition("?")
    return head, query


def _name(part: str) -> str:
    return part.split("=", 1)[0].lower()


def _is_signing(name: str) -> bool:
    return name in _SIGNING or name.startswith(_SIGNING_PREFIXES)


def _without_user(head: str, instead: str) -> str:
    scheme, separator, rest = head.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" not in authority:
        return head
    return f"{scheme}{separator}{instead}{authority.rpartition('@')[2]}{slash}{path}"
