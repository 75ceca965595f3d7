"""VerifyPacked: which known images of archives have changed, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from image_features.transforms.images.fetcher import Fetcher, FetchPolicy
from image_features.transforms.runtime.metrics import NAMESPACE
from image_features.transforms.runtime.packing import unpack
from image_features.transforms.shards.references import lies_at, ref_of
from image_features.transforms.values import EncodedImage, PackedRefs


class VerifyPacked(beam.PTransform):
    """Reads each span of an archive in one go, to compare the hashes of its images.

    The input has packed rows by their spans, each row with the known SHA-256 behind it. There are
    two tagged outputs: `refs`, ImageRef of those that have changed or cannot be read, and
    `unchanged`, ints to be summed.

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
            >> beam.ParDo(_CompareDoFn(self._fetch)).with_outputs("unchanged", main="refs")
        )


class _CompareDoFn(beam.DoFn):
    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy
        self._unchanged = Metrics.counter(NAMESPACE, "skip_known/unchanged")

    def setup(self) -> None:
        self._fetcher = Fetcher.shared(self._policy)

    def process(self, group: tuple[tuple[str, int], Iterable[bytes]]) -> Iterator[Any]:
        (archive, _), packs = group
        rows = sorted((row for packed in packs for row in unpack(packed)), key=lies_at)
        known = {row[0]: row[-1] for row in rows}
        refs = tuple(ref_of(row[:-1]) for row in rows)
        unchanged = 0
        for image in self._fetcher.fetch_packed(PackedRefs(archive, refs)):
            if isinstance(image, EncodedImage) and _digest(image) == known[image.ref.key]:
                unchanged += 1
            else:
                yield image.ref
        if unchanged:
            self._unchanged.inc(unchanged)
            yield TaggedOutput("unchanged", unchanged)

    def teardown(self) -> None:
        self._fetcher.close()


def _digest(image: EncodedImage) -> bytes:
    return hashlib.sha256(image.data).digest()
