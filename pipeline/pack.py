"""The packing of images: a collection of loose files becomes a few archives."""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.pipeline.commit.commit_pack import CommitPack
from image_features.pipeline.commit.plan_shards import PlanShards
from image_features.pipeline.config import PackConfig
from image_features.pipeline.dataset.layout import PackLayout
from image_features.transforms.assign_shards import AssignShards
from image_features.transforms.fetch_images import FetchImages, FetchPolicy
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.read_manifest import ReadManifest
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.spill import Spill
from image_features.transforms.write_archives import PackFormat, WriteArchives
from image_features.transforms.write_rows import WriteErrors


@dataclasses.dataclass(frozen=True)
class Packing:
    """A job that fetches images and writes them to archives.

    Attributes:
      run: The configuration.
      layout: The paths of the archives, as the configuration has them.
      manifest: The input to read.
      fetch: The rules by which images are fetched.
      format: The format of the archives.
      keep_secrets: Whether URIs keep their credentials and signatures in the output.
      cpu_threads: The threads of a worker's processor pool; None for one a core.
      resumed: Whether an earlier attempt has left pieces to take over.
      spill: Where references wait for the others of their shard.
    """

    run: PackConfig
    layout: PackLayout
    manifest: ManifestSpec
    fetch: FetchPolicy
    format: PackFormat
    keep_secrets: bool = False
    cpu_threads: int | None = None
    resumed: bool = False
    spill: Spill = Spill()

    def build(self, pipeline: beam.Pipeline) -> Any:
        """Adds the packing to a pipeline; returns the PCollection of its one commit."""
        layout = self.layout
        rows = pipeline | "ReadManifest" >> ReadManifest(spec=self.manifest)
        plan = rows.counts | "PlanShards" >> PlanShards(
            policy=self.run.shards, staging=layout.staging
        )
        num_shards = AsSingleton(plan.num_shards)

        # ImageRef -> EncodedImage -> a sample of an archive, or at any step ImageError.
        assigned = rows.parts | "AssignShards" >> AssignShards(
            num_shards=num_shards,
            sources=self.manifest.sources,
            earlier=EarlierPieces(layout.images) if self.resumed else None,
            spill=self.spill,
        )
        fetched = assigned["refs"] | "FetchImages" >> FetchImages(
            policy=self.fetch, threads=self.cpu_threads
        )
        written = fetched.images | "WriteArchives" >> WriteArchives(
            naming=layout.images,
            format=self.format,
            columns=self.manifest.columns,
            num_shards=num_shards,
            keep_secrets=self.keep_secrets,
            earlier=assigned["earlier"],
        )
        errors = {"Read": rows.errors, "Fetch": fetched.errors, "Write": written.errors}
        error_shards = errors | "WriteErrors" >> WriteErrors(
            naming=layout.errors, num_shards=num_shards, keep_secrets=self.keep_secrets
        )
        return (
            (written.archives, error_shards)
            | "CollectShards" >> beam.Flatten()
            | "CommitPack" >> CommitPack(run=self.run, plan=plan, duplicates=assigned["duplicates"])
        )
