"""The ceiling: threads that read, decode and run LiteRT, and nothing around them.

It holds no feature vector longer than a batch, checks nothing, and stops at the first bad file.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from benchmarks.contenders.job import Job, Summary, parse_job

Item = TypeVar("Item")
_BILINEAR = Image.Resampling.BILINEAR


def main() -> None:
    """Reads the files of the manifest."""
    job = parse_job(__doc__)
    run(job, iter(job.paths()), _read)


def run(job: Job, items: Iterator[Item], read: Callable[[Item], bytes]) -> None:
    """Runs one thread a core.

    Args:
      job: The job.
      items: What stands for the images; one thread at a time takes the next.
      read: The function that makes an image's bytes of it, in all threads at once.
    """
    summaries = [Summary() for _ in range(job.cores)]
    failures: list[BaseException] = []
    lock = threading.Lock()

    def work(summary: Summary) -> None:
        try:
            _work(job, items, read, lock, summary)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(summary,)) for summary in summaries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    whole = Summary()
    for summary in summaries:
        whole.merge(summary)
    whole.report()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _work(
    job: Job,
    items: Iterator[Item],
    read: Callable[[Item], bytes],
    lock: threading.Lock,
    summary: Summary,
) -> None:
    interpreter = Interpreter(model_path=str(job.flatbuffer), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]["index"]
    pixels = np.zeros(source["shape"], np.uint8)
    height, width = job.image_size
    size = (width, height)
    while True:
        with lock:
            batch = list(itertools.islice(items, len(pixels)))
        if not batch:
            return
        for row, item in enumerate(batch):
            image = _decode(read(item), size)
            if image.mode != "RGB":
                image = image.convert("RGB")
            pixels[row] = image.resize(size, _BILINEAR)
        interpreter.set_tensor(source["index"], pixels)
        interpreter.invoke()
        summary.add(interpreter.get_tensor(target)[: len(batch)])


def _decode(data: bytes, size: tuple[int, int]) -> Image.Image:
    """Decodes a file by the fastest decoder that there is for its format."""
    # Image.open would first look for the format.
    if data.startswith(b"\xff\xd8"):
        image: Image.Image = JpegImageFile(io.BytesIO(data))
        image.draft("RGB", size)
        return image
    if data.startswith(b"RIFF"):
        from imagecodecs import webp_decode

        return Image.fromarray(webp_decode(data))
    return PngImageFile(io.BytesIO(data))


if __name__ == "__main__":
    main()
