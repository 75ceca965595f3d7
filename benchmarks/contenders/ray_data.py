"""Ray Data as its batch inference pages advise: decoding tasks, model actors, Parquet."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import ray
from PIL import Image

from benchmarks.contenders.job import parse_job

Batch = dict[str, Any]

_BATCH_SIZE = 32
_OBJECT_STORE = 512 * 2**20
# Each stage asks for half of every core, so that the two of them keep all cores busy whatever
# they cost. With whole cores one stage waits for the other, and was slower.
_SHARE = 0.5


class Extractor:
    """An actor with the model."""

    def __init__(self, directory: str) -> None:
        from benchmarks.contenders.network import Network

        # One thread is enough, since there are as many actors as cores.
        self._network = Network(directory, intra_op_threads=1).frozen()

    def __call__(self, batch: Batch) -> Batch:
        """Replaces the pixels of a batch by features."""
        import tensorflow as tf

        images = tf.constant(batch["pixels"].astype(np.float32) / 255)
        return {"image/key": batch["path"], "image/features": self._network(images).numpy()}


def main() -> None:
    """Runs the pipeline on a cluster of this machine alone."""
    job = parse_job(__doc__)
    height, width = job.image_size
    ray.init(
        num_cpus=job.cores,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    (
        ray.data.from_items([{"path": path} for path in job.paths()])
        .map_batches(
            functools.partial(_decode, size=(width, height)),
            batch_size=_BATCH_SIZE,
            num_cpus=_SHARE,
        )
        .map_batches(
            Extractor,
            fn_constructor_args=(job.model,),
            batch_size=_BATCH_SIZE,
            num_cpus=_SHARE,
            concurrency=job.cores,
        )
        .write_parquet(str(job.output))
    )


def _decode(batch: Batch, size: tuple[int, int]) -> Batch:
    images = []
    for path in batch["path"]:
        with Image.open(path) as image:
            image.draft("RGB", size)
            resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        images.append(np.asarray(resized))
    return {"path": batch["path"], "pixels": np.stack(images)}


if __name__ == "__main__":
    main()
