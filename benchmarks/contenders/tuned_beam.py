"""The textbook pipeline as its users end up with it: a Reshuffle, and as many threads as cores."""

from __future__ import annotations

from apache_beam.ml.inference.base import KeyedModelHandler

from benchmarks.contenders.job import parse_job
from benchmarks.contenders.textbook_beam import SignatureHandler, decode_floats, run

if __name__ == "__main__":
    job = parse_job(__doc__)
    handler = KeyedModelHandler(SignatureHandler(job.model))
    run(job, decode=decode_floats, handler=handler, tuned=True)
