"""The fingerprint of a run, a hash of everything that its bytes depend on but the images.

Attempts at a run with one fingerprint may share what they have made.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from typing import Any

from apache_beam.io.filesystems import FileSystems

from image_features.errors import UsageError
from image_features.models.engines import PreparedModel
from image_features.models.scaling import Scaling
from image_features.transforms.images.policy import DECODING_PACKAGES, DecodePolicy
from image_features.transforms.manifests.sources import Source
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.stores.http import HttpClient, HttpPolicy
from image_features.transforms.stores.ranged import open_ranged
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.stores.uris import canonical_uri, is_http

_PACKAGES = ("ai-edge-litert", "tensorflow", "numpy", "pillow")


def fingerprint(
    *,
    manifest: ManifestSpec,
    models: Mapping[str, PreparedModel],
    decode: DecodePolicy,
    keep_secrets: bool,
    incremental: bool = False,
) -> str:
    """Returns 16 hexadecimal digits that attempts at the same run have in common.

    A manifest counts by its size and time of change, over http(s) by the version that its server
    tells, or else by its content. A listing counts by its name only: images that come or go are
    rows of the next attempt like others. Where an image changes between two attempts, either
    version may be taken.

    Raises:
      UsageError: a manifest on http(s) cannot be fetched any more.
    """
    parts: dict[str, Any] = {
        "sources": [_identity(source, manifest.http) for source in manifest.sources],
        "uri_column": manifest.uri_column,
        "columns": [column.to_json() for column in manifest.columns],
        **_of_models(models),
        "decode": decode.to_json(),
        "keep_secrets": keep_secrets,
        "incremental": incremental,
        "versions": [_version(package) for package in _PACKAGES],
    }
    if manifest.quotes is not None:  # Earlier versions did not know of it.
        parts["quotes"] = manifest.quotes
    parts.update(manifest.archives.to_json())
    if decode.decode_revision > 1:
        parts["versions"] += [_version(package) for package in DECODING_PACKAGES]
    return hash_of(parts)


def pack_fingerprint(*, manifest: ManifestSpec, made: Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits that attempts at the same packing have in common.

    Args:
      manifest: The input.
      made: How it is packed.

    Raises:
      UsageError: a manifest on http(s) cannot be fetched any more.
    """
    parts = {
        "sources": [_identity(source, manifest.http) for source in manifest.sources],
        "uri_column": manifest.uri_column,
        "columns": [column.to_json() for column in manifest.columns],
        "quotes": manifest.quotes,
        **manifest.archives.to_json(),
        **made,
        "versions": [_version("pyarrow")],
    }
    return hash_of(parts)


def hash_of(parts: Any) -> str:
    """Returns a hash of what JSON tells of some parts, 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_models(models: Mapping[str, PreparedModel]) -> dict[str, Any]:
    """Returns what tells the models; versions up to 0.2 knew one of them, and no scaling."""
    told: dict[str, list[Any]] = {}
    for name, model in models.items():
        told[name] = [model.content_hash, str(model.engine), str(model.precision)]
        if model.identity.scaling != Scaling():
            told[name].append(model.identity.scaling.to_json())
    return {"model": told[""]} if told.keys() == {""} else {"models": told}


def _identity(source: Source, http: HttpPolicy) -> list[Any]:
    if is_http(source.location):
        # It may be signed anew for every attempt.
        return [canonical_uri(source.location), source.format, _served(source, http)]
    identity: list[Any] = [source.location, source.format]
    if source.format is not None and "://" not in source.location:
        status = os.stat(source.location)
        identity += [status.st_size, status.st_mtime]
    elif source.format is not None:
        for file in FileSystems.match([source.location])[0].metadata_list:
            identity += [file.size_in_bytes, file.last_updated_in_seconds]
    return identity


def _served(source: Source, http: HttpPolicy) -> str:
    """Returns the version of what is served now, or a hash of it if the server tells none.

    Of an archive it is the size instead, since it may be too large to be read for this.
    """
    location, client = source.location, HttpClient(http)
    try:
        if source.format is not None and source.format.archive:
            with open_ranged(location, http=http) as archive:
                return archive.version or f"size:{archive.size}"
        if version := client.version(location, ""):
            return version
        with contextlib.closing(client.open_stream(location)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FetchError as error:
        raise UsageError(f"The input cannot be read: {error}") from error


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""
