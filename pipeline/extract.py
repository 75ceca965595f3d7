"""The journey of one image, from a manifest's row to a committed shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from image_features.models.engines import PreparedModel
from image_features.pipeline.commit.commit_run import CommitRun
from image_features.pipeline.commit.plan_shards import PlanShards
from image_features.pipeline.config import RunConfig
from image_features.transforms.assign_shards import AssignShards
from image_features.transforms.decode_images import DecodeImages
from image_features.transforms.extract_features import ExtractFeatures
from image_features.transforms.fetch_images import FetchImages, FetchPolicy
from image_features.transforms.manifests.spec import ManifestSpec
from image_features.transforms.measure_features import MeasureFeatures
from image_features.transforms.read_manifest import ReadManifest
from image_features.transforms.shards.earlier_pieces import EarlierPieces
from image_features.transforms.shards.spill import Spill
from image_features.transforms.skip_known import Known, SkipKnown, Skipped
from image_features.transforms.write_removed import WriteRemoved
from image_features.transforms.write_rows import WriteErrors, WriteFeatureShards


@dataclasses.dataclass(frozen=True)
class Extraction:
    """A run that extracts features from images.

    Attributes:
      run: The configuration that every kind of run has.
      manifest: The input to read.
      models: The models to run, by the names under which a row has their vectors.
      fetch: The rules by which images are fetched.
      known: The rows that the dataset has already; None to extract every row.
      keep_secrets: Whether URIs keep their credentials and signatures in the output.
      cpu_threads: The threads that decode and compute within a worker; None for one a core.
      resumed: Whether an earlier attempt has left pieces to take over.
      spill: Where references wait, and what is compared with them.
    """

    run: RunConfig
    manifest: ManifestSpec
    models: Mapping[str, PreparedModel]
    fetch: FetchPolicy
    known: Known | None = None
    keep_secrets: bool = False
    cpu_threads: int | None = None
    resumed: bool = False
    spill: Spill = Spill()

    def build(self, pipeline: beam.Pipeline) -> Any:
        """Adds the extraction to a pipeline; returns the PCollection of its one commit."""
        layout, threads = self.run.layout, self.cpu_threads
        rows = pipeline | "ReadManifest" >> ReadManifest(spec=self.manifest)
        new = self._skip_known(rows)
        plan = rows.counts | "PlanShards" >> PlanShards(
            policy=self.run.shards, staging=layout.staging, left_out=new.unchanged + new.duplicates
        )
        num_shards = AsSingleton(plan.num_shards)

        # ImageRef -> EncodedImage -> DecodedImage -> ImageFeatures, or at any step ImageError.
        assigned = new.refs | "AssignShards" >> AssignShards(
            num_shards=num_shards,
            sources=self.manifest.sources,
            earlier=EarlierPieces(layout.features) if self.resumed else None,
            spill=self.spill,
        )
        fetched = assigned["refs"] | "FetchImages" >> FetchImages(
            policy=self.fetch, threads=threads
        )
        decoded = fetched.images | "DecodeImages" >> DecodeImages(
            policy=self.run.provenance.decode, threads=threads
        )
        extracted = decoded.images | "ExtractFeatures" >> ExtractFeatures(
            model=self.models, threads=threads
        )
        health = extracted.features | "MeasureFeatures" >> MeasureFeatures(
            vectors=self.run.provenance.vectors,
            earlier=assigned["earlier"] if self.resumed else None,
        )

        feature_shards = extracted.features | "WriteFeatureShards" >> WriteFeatureShards(
            naming=layout.features,
            columns=self.manifest.columns,
            vectors=self.run.provenance.vectors,
            num_shards=num_shards,
            keep_secrets=self.keep_secrets,
            earlier=assigned["earlier"],
        )
        steps = {"Read": rows, "Fetch": fetched, "Decode": decoded, "Extract": extracted}
        error_shards = {name: step.errors for name, step in steps.items()} | (
            "WriteErrors"
            >> WriteErrors(
                naming=layout.errors, num_shards=num_shards, keep_secrets=self.keep_secrets
            )
        )
        shards = [feature_shards, error_shards, *self._write_removed(new.removed)]
        return (
            shards
            | "CollectShards" >> beam.Flatten()
            | "CommitRun"
            >> CommitRun(
                run=self.run,
                plan=plan,
                duplicates=(assigned["duplicates"], *new.duplicates),
                unchanged=new.unchanged,
                health=health,
            )
        )

    def _skip_known(self, rows: Any) -> Skipped:
        if not self.known or not self.known.files:
            return Skipped(rows.parts)
        read = {"refs": rows.parts, "errors": rows.errors}
        return read | "SkipKnown" >> SkipKnown(
            known=self.known.kept_in(self.run.layout.staging),
            fetch=self.fetch,
            sources=self.manifest.sources,
            spill=self.spill,
        )

    def _write_removed(self, removed: tuple[Any, ...]) -> Iterator[Any]:
        for rows in removed:
            known_rows = self.known.rows if self.known else 0
            yield rows | "WriteRemoved" >> WriteRemoved(
                naming=self.run.layout.removed, known_rows=known_rows
            )
