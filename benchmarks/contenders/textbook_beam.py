"""Stock Beam as its RunInference pages teach it: Map, RunInference, Map, WriteToTFRecord.

Beam's own TFModelHandlerTensor cannot load a SavedModel under Keras 3, so the handler is the
custom one of those pages. It runs as it is started by default: in memory, with one worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from benchmarks.contenders.job import Job, parse_job

Pixels = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]

_BATCH_SIZE = 32
# "DirectRunner" looks for another runner on the network first.
_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


class SignatureHandler(ModelHandler[Pixels, Features, Any]):
    """Calls a SavedModel's signature on stacked images."""

    def __init__(self, directory: str) -> None:
        super().__init__(min_batch_size=_BATCH_SIZE, max_batch_size=_BATCH_SIZE)
        self._directory = directory

    def load_model(self) -> Any:
        """Loads it, once a process."""
        from benchmarks.contenders.network import Network

        return Network(self._directory)

    def run_inference(
        self,
        batch: Sequence[Pixels],
        model: Any,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Features]:
        """Computes a feature vector for each image."""
        import tensorflow as tf

        return model(tf.constant(np.stack(batch))).numpy()


def main() -> None:
    """Runs the pipeline."""
    job = parse_job(__doc__)
    run(job, decode=decode_floats, handler=KeyedModelHandler(SignatureHandler(job.model)))


def run(
    job: Job,
    *,
    decode: Callable[[str, tuple[int, int]], tuple[str, npt.NDArray[Any]]],
    handler: ModelHandler[Any, Any, Any],
    tuned: bool = False,
) -> None:
    """Runs the pipeline.

    Args:
      job: The job of this contender.
      decode: Makes the path and the pixels that the handler takes of a path and (width, height).
      handler: The handler of RunInference, from such pairs to paths with feature vectors.
      tuned: Whether to run a thread a core, with a Reshuffle that spreads the rows.
    """
    height, width = job.image_size
    options = PipelineOptions(
        runner=_RUNNER,
        direct_running_mode="multi_threading" if tuned else "in_memory",
        direct_num_workers=job.cores if tuned else 1,
    )
    with beam.Pipeline(options=options) as pipeline:
        paths = pipeline | "ReadManifest" >> beam.io.ReadFromText(str(job.manifest))
        if tuned:
            paths = paths | "Spread" >> beam.Reshuffle()
        _ = (
            paths
            | "Decode" >> beam.Map(decode, (width, height))
            | "Extract" >> RunInference(handler)
            | "ToExample" >> beam.MapTuple(_example)
            | "Write"
            >> beam.io.WriteToTFRecord(str(job.output / "features"), file_name_suffix=".tfrecord")
        )


def decode_floats(path: str, size: tuple[int, int]) -> tuple[str, Pixels]:
    """The path, and float32 [height, width, 3] in [0, 1]."""
    path, pixels = decode_bytes(path, size)
    return path, pixels.astype(np.float32) / np.float32(255)


def decode_bytes(path: str, size: tuple[int, int]) -> tuple[str, npt.NDArray[np.uint8]]:
    """The path, and uint8 [height, width, 3]."""
    with open(path, "rb") as file:
        image = Image.open(file).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    return path, np.asarray(image, np.uint8)


def _example(path: str, vector: Features) -> bytes:
    import tensorflow as tf

    feature = {
        "image/key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.encode()])),
        "image/features": tf.train.Feature(float_list=tf.train.FloatList(value=vector)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString())


if __name__ == "__main__":
    main()
