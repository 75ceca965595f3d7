"""What is left out around a bundle is nothing that its steps need."""

from __future__ import annotations

import bz2
import threading

import apache_beam as beam
import pytest
from apache_beam.internal import cloudpickle_pickler, pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import statecache, statesampler

from image_features.pipeline.runners.bundles import QuickCompression, brief_bundles, deep_size
from image_features.pipeline.runners.local_runner import LocalRunner


def test_steps_travel_whatever_has_compressed_them():
    before = pickler.dumps({"a": [1, 2]})
    with brief_bundles():
        within = pickler.dumps({"a": [1, 2]})
        assert pickler.loads(within) == pickler.loads(before) == {"a": [1, 2]}
    assert within != before and cloudpickle_pickler.bz2 is bz2


@pytest.mark.parametrize("data", [b"", b"BZh", b"BZh9" * 1000, bytes(range(256))])
def test_compression_gives_back_what_it_got(data):
    assert QuickCompression.decompress(QuickCompression.compress(data, compresslevel=9)) == data
    assert QuickCompression.decompress(bz2.compress(data)) == data


class _Value:
    def __init__(self):
        self.parts = [b"a" * 5000, {"b": (1.5, "c" * 3000)}, len, threading, _Value]


@pytest.mark.parametrize("value", [5, b"a" * 10_000, [["b" * 100] * 3, {"c": 1.5}], _Value()])
def test_sizes_are_those_that_beam_finds(value):
    assert deep_size(value) == pytest.approx(statecache.get_deep_size(value), rel=0.05)


class _Samplers(beam.DoFn):
    def process(self, element):
        assert statesampler.get_current_tracker() is not None
        # A thread without a name of its own has that of its function.
        yield sum(thread.name.endswith("(run)") for thread in threading.enumerate())


@pytest.mark.parametrize(("runner", "samplers"), [(FnApiRunner, 1), (LocalRunner, 0)])
def test_no_thread_watches_a_bundle(capsys, runner, samplers):
    with beam.Pipeline(runner=runner(), options=PipelineOptions([])) as pipeline:
        pipeline | beam.Create([1]) | beam.ParDo(_Samplers()) | beam.Map(print)
    assert capsys.readouterr().out.split()[-1] == str(samplers)


def test_counters_of_steps_are_counted():
    pipeline = beam.Pipeline(runner=LocalRunner(), options=PipelineOptions([]))

    def count(element):
        beam.metrics.Metrics.counter("test", "elements").inc()
        return element

    pipeline | beam.Create(range(7)) | beam.Map(count)
    (counter,) = pipeline.run().metrics().query()["counters"]
    assert counter.committed == 7
