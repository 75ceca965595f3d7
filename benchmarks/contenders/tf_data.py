"""A tf.data loop by hand, as TensorFlow's performance guide advises, to TFRecords.

The guide's points: parallel maps with AUTOTUNE, work in batches, prefetch. Beyond it: the JPEG
decoder scales by whole steps as far as the model's size allows, with its fast inverse transform;
the model's variables are folded into its graph; and batches run side by side, each on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmarks.contenders.job import Job, parse_job
from benchmarks.contenders.network import Network

_BATCH_SIZE = 32
_RATIOS = (1, 2, 4, 8)  # tf.io.decode_jpeg can divide both sides by these.


def main() -> None:
    """Runs the loop."""
    job = parse_job(__doc__)
    job.output.mkdir(parents=True)
    network = Network(job.model, intra_op_threads=1).frozen()
    with tf.io.TFRecordWriter(str(job.output / "features.tfrecord")) as writer:
        for names, features in _dataset(job, network).as_numpy_iterator():
            for name, vector in zip(names, features, strict=True):
                writer.write(_example(name, vector))


def _dataset(job: Job, network: Callable[[Any], Any]) -> tf.data.Dataset:
    height, width = job.image_size

    def load(path: Any) -> tuple[Any, Any]:
        data = tf.io.read_file(path)
        shape = tf.image.extract_jpeg_shape(data)
        fits = tf.minimum(shape[0] // height, shape[1] // width)
        # The ratio is an attribute of the operation, so that each ratio has its own.
        step = tf.reduce_sum(tf.cast(fits >= _RATIOS[1:], tf.int32))
        image = tf.switch_case(
            step,
            [
                lambda ratio=ratio: tf.io.decode_jpeg(
                    data, channels=3, ratio=ratio, dct_method="INTEGER_FAST"
                )
                for ratio in _RATIOS
            ],
        )
        image.set_shape([None, None, 3])
        return path, tf.image.resize(image, [height, width], antialias=True) / 255.0

    return (
        tf.data.Dataset.from_tensor_slices(job.paths())
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .batch(_BATCH_SIZE)
        .map(
            lambda paths, images: (paths, network(images)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .prefetch(tf.data.AUTOTUNE)
    )


def _example(name: bytes, vector: Any) -> bytes:
    feature = {
        "image/key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name])),
        "image/features": tf.train.Feature(float_list=tf.train.FloatList(value=vector)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString())


if __name__ == "__main__":
    main()
