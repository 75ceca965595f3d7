"""The preparation of a packing; everything is checked before any work starts."""

from __future__ import annotations

import argparse
import fnmatch
from typing import cast

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import UsageError
from image_features.pipeline.config import Guards, PackConfig, utc_now
from image_features.pipeline.dataset.layout import PackLayout
from image_features.pipeline.launch.attempt import State, begin_attempt, find_pack
from image_features.pipeline.launch.fingerprint import pack_fingerprint
from image_features.pipeline.launch.inputs import examine_input
from image_features.pipeline.launch.prepare import (
    AlreadyCommitted,
    check_descriptors,
    check_libraries,
    fetch_policy,
)
from image_features.pipeline.locations import real
from image_features.pipeline.pack import Packing
from image_features.pipeline.runners import runner
from image_features.system.paths import absolute
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.manifests.columns import Kind
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.shards.tar_content import SOURCE_URI
from image_features.transforms.stores.uris import redact_uri
from image_features.transforms.write_archives import PackFormat


def prepare_pack(
    options: argparse.Namespace, beam_options: PipelineOptions
) -> Packing | AlreadyCommitted:
    """Checks everything that can be checked before images are fetched.

    Args:
      options: The options of the command `pack`.
      beam_options: The options of the engine.

    Raises:
      UsageError: an argument, the input or the output cannot be used.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    check_descriptors()
    check_libraries([*options.input, options.output])
    inputs, output = [absolute(location) for location in options.input], absolute(options.output)
    runner.check(beam_options, wait=options.wait, inputs=inputs, output=output)
    format = PackFormat(options.format)
    attempt = find_pack(options.output, suffix=f".{format}")
    fetch = fetch_policy(options)
    manifest = examine_input(options, fetch.http)
    _check_source_uri(manifest)
    _check_apart(manifest, cast(PackLayout, attempt.layout))
    made = {
        "format": str(format),
        "images_per_archive": options.images_per_archive,
        "keep_uri_secrets": options.keep_uri_secrets,
        "max_fetch_bytes": fetch.max_bytes,
    }
    begun = begin_attempt(attempt, pack_fingerprint(manifest=manifest, made=made), started)
    layout = cast(PackLayout, begun.layout)
    if begun.state is State.COMMITTED:
        return AlreadyCommitted(layout.directory)
    return Packing(
        run=PackConfig(
            layout,
            started,
            ShardPolicy(images_per_shard=options.images_per_archive),
            {
                "input": [redact_uri(source.location) for source in manifest.sources],
                "columns": [column.to_json() for column in manifest.columns],
                **made,
            },
            guards=Guards(
                max_error_rate=options.max_error_rate,
                min_rows=options.min_rows,
                max_duration=options.max_duration,
                achieved="rows could be packed",
            ),
        ),
        layout=layout,
        manifest=manifest,
        fetch=fetch,
        format=format,
        keep_secrets=options.keep_uri_secrets,
        resumed=begun.state is State.BEGUN,
    )


def _check_apart(manifest: ManifestSpec, layout: PackLayout) -> None:
    """Makes sure that no listing of the input finds the archives, which a later attempt would pack.

    Raises:
      UsageError: one may.
    """
    archive = real(layout.path(layout.images.name(0, 1)))
    for source in manifest.sources:
        if source.format is None and _lists(real(source.location), archive):
            raise UsageError(
                f"The archives in {layout.directory} would be a part of the input "
                f"{redact_uri(source.location)}; name a directory outside of it."
            )


def _lists(location: str, path: str) -> bool:
    """Tells whether a directory or a glob lists a file, or may list it."""
    if path.startswith(f"{location.rstrip('/')}/"):
        return True
    if "**" in location:
        return fnmatch.fnmatchcase(path, location)
    parts, names = location.split("/"), path.split("/")
    return len(parts) == len(names) and all(map(fnmatch.fnmatchcase, names, parts))


def _check_source_uri(manifest: ManifestSpec) -> None:
    """Makes sure that the column which tells where images first came from can do so."""
    column = manifest.schema.get(SOURCE_URI)
    if column is not None and (column.kind is not Kind.STRING or column.repeated):
        raise UsageError(
            f"The input has a column {SOURCE_URI!r} of the type {column}, where archives tell the "
            "URI that an image came from; rename it."
        )
