"""VerifyPacked: which known images of archives have changed, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.runtime.metrics import NAMESPACE
from image_features.transforms.shards.ref_coder import giving_tables
from image_features.transforms.shards.ref_table import RefTable
from image_features.transforms.shards.references import lies_at
from image_features.transforms.values import EncodedImage, PackedRefs


class VerifyPacked(beam.PTransform):
    """Reads each span of an archive in one go, to compare the hashes of its images.

    The input has packed RefTables by their spans, each with the known SHA-256 of its rows. There
    are two tagged outputs: `refs`, packed RefTables of those that have changed or cannot be read,
    and `unchanged`, ints to be summed.

    Args:
      fetch: How archives are read.
    """

    def __init__(self, *, fetch: FetchPolicy) -> None:
        super().__init__()
        self._fetch = fetch

    def expand(self, rows: Any) -> Any:
        return (
            rows
            | "GroupByArchive" >> beam.GroupByKey()
            | "Compare"
            >> giving_tables(beam.ParDo(_CompareDoFn(self._fetch))).with_outputs(
                "unchanged", main="refs"
            )
        )


# References, packed, and the known SHA-256 of each.
_Pack = tuple[bytes, list[bytes]]


class _CompareDoFn(beam.DoFn):
    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy
        self._unchanged = Metrics.counter(NAMESPACE, "skip_known/unchanged")

    def setup(self) -> None:
        self._fetcher = Fetcher.shared(self._policy)

    def process(self, group: tuple[tuple[str, int], Iterable[_Pack]]) -> Iterator[Any]:
        (archive, _), packs = group
        packs = list(packs)
        table = RefTable.unpacked(refs for refs, _ in packs)
        hashes = (digest for _, digests in packs for digest in digests)
        refs = list(table.refs())
        known = {ref.key: digest for ref, digest in zip(refs, hashes, strict=True)}
        refs.sort(key=lies_at)
        same = {
            image.ref.key
            for image in self._fetcher.fetch_packed(PackedRefs(archive, tuple(refs)))
            if isinstance(image, EncodedImage) and _digest(image) == known[image.ref.key]
        }
        changed = np.array([key not in same for key in known], np.bool_)
        if changed.any():
            yield table.take(changed)
        unchanged = len(same)
        if unchanged:
            self._unchanged.inc(unchanged)
            yield TaggedOutput("unchanged", unchanged)

    def teardown(self) -> None:
        self._fetcher.close()


def _digest(image: EncodedImage) -> bytes:
    return hashlib.sha256(image.data).digest()
