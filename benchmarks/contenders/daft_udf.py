"""Daft as its image pages advise: expressions up to the pixels, a class with the model, Parquet."""

from __future__ import annotations

from typing import Any

import daft
import numpy as np
from daft.functions import decode_image, download, resize

from benchmarks.contenders.job import parse_job

_BATCH_SIZE = 32
# The number of rows that move together; more of them took more time and memory.
_MORSEL = 64


@daft.cls
class Extractor:
    """The model, which is loaded once."""

    def __init__(self, directory: str) -> None:
        from benchmarks.contenders.network import Network

        self._network = Network(directory).frozen()

    @daft.method.batch(
        return_dtype=daft.DataType.list(daft.DataType.float32()), batch_size=_BATCH_SIZE
    )
    def extract(self, images: daft.Series) -> Any:
        """Computes features of images of the model's size."""
        import tensorflow as tf

        pixels = np.stack(images.to_pylist()).astype(np.float32) / 255
        return list(self._network(tf.constant(pixels)).numpy())


def main() -> None:
    """Runs the query."""
    job = parse_job(__doc__)
    height, width = job.image_size
    images = daft.from_pydict({"image/key": job.paths()}).into_batches(_MORSEL)
    pixels = resize(decode_image(download(images["image/key"])), width, height)
    features = Extractor(job.model).extract(pixels)
    images.select(images["image/key"], features.alias("image/features")).write_parquet(
        str(job.output)
    )


if __name__ == "__main__":
    main()
