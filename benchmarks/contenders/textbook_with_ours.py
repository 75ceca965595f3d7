"""The textbook pipeline with this package's handler in the place of the hand-written one."""

from __future__ import annotations

from apache_beam.ml.inference.base import KeyedModelHandler

from benchmarks.contenders.job import parse_job
from benchmarks.contenders.textbook_beam import decode_bytes, run
from image_features.transforms.inference.model_handler import FeatureVectorModelHandler

if __name__ == "__main__":
    job = parse_job(__doc__)
    handler = KeyedModelHandler(FeatureVectorModelHandler(job.model)).with_postprocess_fn(
        lambda keyed: (keyed[0], keyed[1].inference)
    )
    run(job, decode=decode_bytes, handler=handler)
