"""The journey of one image, from a manifest's row to a committed shard."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.commit.commit_run import CommitRun, PlanShards
from image_features.pipeline.config import ExtractConfig
from image_features.transforms.assign_shards import AssignShards
from image_features.transforms.decode_images import DecodeImages
from image_features.transforms.extract_features import ExtractFeatures
from image_features.transforms.fetch_images import FetchImages
from image_features.transforms.measure_features import MeasureFeatures
from image_features.transforms.read_manifest import ReadManifest
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.skip_known import SkipKnown
from image_features.transforms.write_removed import WriteRemoved
from image_features.transforms.write_rows import WriteErrors, WriteFeatureShards


def build(pipeline: beam.Pipeline, config: ExtractConfig) -> Any:
    """Adds the extraction to a pipeline; returns the PCollection of its one commit."""
    rows = pipeline | "ReadManifest" >> ReadManifest(spec=config.manifest)
    skipped = None
    if config.known and config.skips:
        skipped = {"refs": rows.refs, "errors": rows.errors} | "SkipKnown" >> SkipKnown(
            known=config.known, fetch=config.fetch
        )
    plan = rows.counts | "PlanShards" >> PlanShards(config=config, skipped=skipped)
    num_shards = AsSingleton(plan.num_shards)

    assigned = (skipped or rows).refs | "AssignShards" >> AssignShards(
        num_shards=num_shards,
        earlier=EarlierPieces(config.layout.features) if config.resumed else None,
    )
    fetched = assigned["refs"] | "FetchImages" >> FetchImages(
        policy=config.fetch, threads=config.cpu_threads
    )
    decoded = fetched.images | "DecodeImages" >> DecodeImages(
        policy=config.decode, threads=config.cpu_threads
    )
    extracted = decoded.images | "ExtractFeatures" >> ExtractFeatures(
        model=config.model, threads=config.cpu_threads
    )

    health = extracted.features | "MeasureFeatures" >> MeasureFeatures(
        num_features=config.model.num_features,
        earlier=assigned["earlier"] if config.resumed else None,
    )
    feature_shards = extracted.features | "WriteFeatureShards" >> WriteFeatureShards(
        naming=config.layout.features,
        columns=config.manifest.columns,
        num_shards=num_shards,
        keep_secrets=config.keep_secrets,
        earlier=assigned["earlier"],
    )
    failures = {
        "Read": rows.errors,
        "Fetch": fetched.errors,
        "Decode": decoded.errors,
        "Extract": extracted.errors,
    }
    error_shards = failures | "WriteErrors" >> WriteErrors(
        naming=config.layout.errors, num_shards=num_shards, keep_secrets=config.keep_secrets
    )

    shards = [feature_shards, error_shards]
    if skipped is not None and config.known and config.known.removals:
        shards.append(
            skipped.removed
            | "WriteRemoved"
            >> WriteRemoved(naming=config.layout.removed, known_rows=config.known.rows)
        )
    return (
        shards
        | "CollectShards" >> beam.Flatten()
        | "CommitRun"
        >> CommitRun(
            config=config,
            rows_read=plan.rows_read,
            duplicates=assigned["duplicates"],
            health=health,
            skipped=skipped,
        )
    )
