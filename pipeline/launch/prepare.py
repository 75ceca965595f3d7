"""The preparation of a run from its options; everything is checked before any work starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from image_features.errors import UsageError
from image_features.models.engines import PreparedModel, image_sizes
from image_features.pipeline.config import Guards, RunConfig, utc_now
from image_features.pipeline.dataset.known_runs import (
    all_runs,
    current_beside,
    known_files,
    merged_into,
    removed_before,
)
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.dataset.provenance import Provenance
from image_features.pipeline.dataset.run import Run
from image_features.pipeline.dataset.series import check_fit, fitting
from image_features.pipeline.extract import Extraction
from image_features.pipeline.launch.attempt import Attempt, State, begin_attempt, find_attempt
from image_features.pipeline.launch.fingerprint import fingerprint
from image_features.pipeline.launch.inputs import Options, archive_options, examine_input
from image_features.pipeline.launch.models import handles, prepare_models
from image_features.pipeline.locations import explain
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.pipeline.runners import runner
from image_features.pipeline.scaling_options import stated_scalings
from image_features.system import descriptors
from image_features.system.paths import absolute
from image_features.transforms.assign_shards import ShardPolicy
from image_features.transforms.fetch_images import FetchPolicy
from image_features.transforms.images.policy import DecodePolicy, check_interpolation
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.skip_known import Known
from image_features.transforms.stores.http import MIB, HttpPolicy
from image_features.transforms.stores.libraries import missing
from image_features.transforms.stores.retries import RetryPolicy
from image_features.transforms.stores.uris import redact_uri


@dataclasses.dataclass(frozen=True)
class AlreadyCommitted:
    """A run that need not be launched.

    Attributes:
      directory: The directory of this very run, made of the same input in the same way.
      merged: The name of the run if it was merged into the one in the directory, else empty.
    """

    directory: str
    merged: str = ""

    def __str__(self) -> str:
        into = f", into which {self.merged} was merged," if self.merged else ""
        return f"{self.directory}{into} is committed already."


def prepare(
    options: FeatureExtractorOptions, beam_options: PipelineOptions
) -> Extraction | AlreadyCommitted:
    """Checks everything that can be checked, and loads the model once.

    Raises:
      UsageError: an argument, the input, the output or the model cannot be used.
    """
    started = utc_now()
    FileSystems.set_options(beam_options)
    _check_options(options)
    _check_named(options)
    inputs, output = [absolute(location) for location in options.input or ()], options.output
    runner.check(beam_options, wait=options.wait, inputs=inputs, output=absolute(output))
    attempt = find_attempt(options.output, options.run_id, compression=options.compression)
    fetch = fetch_policy(options)
    manifest = examine_input(options, fetch.http)
    models = prepare_models(options)
    provenance = _provenance(options, manifest, models, fetch)
    known, guards = None, _guards(options)
    if attempt.state is not State.COMMITTED:
        runs = _earlier_runs(options, attempt.layout, provenance)
        if isinstance(runs, AlreadyCommitted):
            return runs
        if options.incremental:
            known, guards = _go_on(options, attempt, runs, guards)
    begun = begin_attempt(
        attempt,
        fingerprint(
            manifest=manifest,
            models=models,
            decode=provenance.decode,
            keep_secrets=options.keep_uri_secrets,
            incremental=options.incremental,
        ),
        started,
    )
    if begun.state is State.COMMITTED:
        return AlreadyCommitted(begun.layout.directory)
    return Extraction(
        run=RunConfig(
            layout=dataclasses.replace(begun.layout, tombstones=options.tombstone_removed),
            started=started,
            shards=ShardPolicy(options.num_shards, options.images_per_shard or 10_000),
            provenance=provenance,
            guards=guards,
        ),
        manifest=manifest,
        models=models,
        fetch=_fetched_for(fetch, provenance.decode),
        known=known,
        keep_secrets=options.keep_uri_secrets,
        cpu_threads=options.cpu_threads,
        resumed=begun.state is State.BEGUN,
    )


def check_descriptors() -> None:
    """Raises UsageError where too few files may be open for any run."""
    if descriptors.limit() < descriptors.FEWEST:
        raise UsageError(
            f"Only {descriptors.limit()} files may be open at once here, and a run needs "
            f"{descriptors.FEWEST}: raise the limit, as by ulimit -n 1024."
        )


def _check_options(options: FeatureExtractorOptions) -> None:
    check_descriptors()
    for flag in ("input", "output"):
        if not getattr(options, flag) and not (flag == "input" and options.retry_errors):
            raise UsageError(f"--{flag} is missing; see image-features extract --help.")
    if options.input and options.retry_errors:
        raise UsageError("--input and --retry_errors exclude each other; give one.")
    try:
        check_interpolation(options.interpolation, options.antialias == "yes")
    except ValueError as error:
        raise UsageError(f"--antialias={options.antialias} cannot be used: {error}") from error
    if options.num_shards and options.images_per_shard:
        raise UsageError("--num_shards and --images_per_shard exclude each other; give one.")
    for flag in ("verify_content", "tombstone_removed", "max_removed_rate"):
        if getattr(options, flag) not in (None, False) and not options.incremental:
            raise UsageError(f"--{flag} is of use with --incremental only; add it.")
    if options.verify_content and options.decode == "preview":
        raise UsageError(
            "--verify_content compares whole files, of which --decode=preview reads the beginning "
            "and knows no hash: leave one of them out."
        )
    if options.retry_errors:
        for flag in ("tombstone_removed", "max_removed_rate"):
            if getattr(options, flag) not in (None, False):
                raise UsageError(
                    f"--{flag} would count every row that did not fail: leave it out with "
                    "--retry_errors."
                )


def _check_named(options: FeatureExtractorOptions) -> None:
    models = handles(options.model)
    stated_scalings(options, models)
    named = {
        "output": [options.output],
        "model": models.values(),
        "input": options.input or (),
        "retry_errors": [options.retry_errors or ""],
    }
    for flag, locations in named.items():
        check_libraries(locations, f"--{flag}=")


def check_libraries(locations: Iterable[str], shown: str = "") -> None:
    """Raises UsageError where a location needs a library that is not installed.

    Args:
      locations: The locations.
      shown: What the message writes before a location.
    """
    for location in locations:
        if problem := missing(location):
            raise UsageError(f"{shown}{redact_uri(location)} cannot be used: {problem}.")


def fetch_policy(options: Options) -> FetchPolicy:
    """Returns the rules by which images are fetched."""
    http = HttpPolicy(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        total_timeout=options.total_timeout,
        retries=RetryPolicy(max_attempts=options.fetch_attempts),
        max_redirects=options.max_redirects,
        allow_private_hosts=options.allow_private_hosts,
    )
    return FetchPolicy(
        http=http,
        max_bytes=int(options.max_megabytes * MIB),
        threads=options.fetch_threads,
        archives=archive_options(options),
    )


def _fetched_for(fetch: FetchPolicy, decode: DecodePolicy) -> FetchPolicy:
    """Returns how images are fetched so that they can be decoded."""
    return dataclasses.replace(fetch, preview=decode) if decode.decode == "preview" else fetch


def _provenance(
    options: FeatureExtractorOptions,
    manifest: ManifestSpec,
    models: Mapping[str, PreparedModel],
    fetch: FetchPolicy,
) -> Provenance:
    image_size, *further_sizes = image_sizes(models.values())
    decode = DecodePolicy(
        image_size=image_size,
        further_sizes=tuple(further_sizes),
        resize=options.resize,
        decode=options.decode,
        allow_truncated=options.allow_truncated,
        max_pixels=int(options.max_megapixels * 1e6),
        max_bytes=fetch.max_bytes,
        timeout=options.decode_timeout,
        decode_revision=DecodePolicy.NEWEST,
        interpolation=options.interpolation,
        antialias=options.antialias == "yes",
    )
    return Provenance(
        inputs=tuple(redact_uri(source.location) for source in manifest.sources),
        columns=manifest.columns,
        models={
            name: dataclasses.replace(model.identity, handle=redact_uri(model.handle))
            for name, model in models.items()
        },
        decode=decode,
        max_fetch_bytes=fetch.max_bytes,
        archives=fetch.archives,
    )


def _guards(options: FeatureExtractorOptions) -> Guards:
    return Guards(
        max_error_rate=options.max_error_rate,
        min_rows=options.min_rows,
        max_duration=options.max_duration,
        fail_on_drift=options.fail_on_drift,
        drift_threshold=options.drift_threshold,
        max_removed_rate=options.max_removed_rate,
    )


def _earlier_runs(
    options: FeatureExtractorOptions, layout: RunLayout, provenance: Provenance
) -> list[Run] | AlreadyCommitted:
    """Returns the runs that readers will see with the new one, the latest first."""
    try:
        runs = all_runs(layout.dataset)
        merged = merged_into(runs, layout.run_id, provenance) if options.incremental else None
        if merged:
            return AlreadyCommitted(merged.directory, layout.run_id)
        current = current_beside(runs, layout.run_id)
        if not options.new_series:
            check_fit(current, provenance)
        return fitting(current, provenance)
    except (ValueError, OSError) as error:
        raise _cannot_go_on(layout, error) from error


def _go_on(
    options: FeatureExtractorOptions, attempt: Attempt, runs: list[Run], guards: Guards
) -> tuple[Known, Guards]:
    try:
        files = known_files(runs)
    except (ValueError, OSError) as error:
        raise _cannot_go_on(attempt.layout, error) from error
    known = Known(
        files,
        options.verify_content,
        removals=not options.retry_errors,
        hides=options.tombstone_removed,
    )
    unchecked = guards.unchecked
    if guards.max_removed_rate is not None and not any(run.rows for run in runs):
        unchecked += ("--max_removed_rate had nothing to compare with: no earlier rows are there.",)
    return known, dataclasses.replace(
        guards,
        removed_before=removed_before(runs),
        failed_before=runs[0].counts.failed_by_reason if runs else {},
        unchecked=unchecked,
    )


def _cannot_go_on(layout: RunLayout, error: Exception) -> UsageError:
    return UsageError(f"The run cannot join the dataset {layout.dataset}: {explain(error)}.")
