"""The memory of decoding: bounded in a process, bounded in a child, and no pixels are made up."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_features.transforms.images.memory import MemoryGate
from tests import images
from tests.transforms.images.heavy import run

ENCODINGS = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg_in_tiff": ("TIFF", {"compression": "jpeg"}),
    "jpeg2000": ("JPEG2000", {}),
    "avif": ("AVIF", {"speed": 10}),
}
needs_limits = pytest.mark.skipif(
    sys.platform != "linux", reason="Only Linux counts all memory against RLIMIT_DATA."
)

# A process for each file and limit ends with 0 if the pixels are those without a limit, with 1 if
# there are none; a library may end it. None of them has memory left from another.
_WITH_LITTLE = """
import os, pathlib, sys
from image_features.transforms.images import child
from image_features.transforms.images.policy import DecodePolicy
policy = DecodePolicy((16, 16), decode="exact", allow_truncated=sys.argv[2] == "lenient")
def in_fork(work):
    process = os.fork()
    if not process:
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    data, pixels = path.read_bytes(), pathlib.Path(sys.argv[1] + "_" + path.name)
    def keep():
        pixels.write_bytes(child._decode(data, policy)[1])
        return 0
    def compare():
        child.memory_for = lambda pixels: int(limit * 2**20)
        answer, seen = child._decode(data, policy)
        return 1 if "reason" in answer else 0 if seen == pixels.read_bytes() else 2
    in_fork(keep)
    codes = []
    for limit in (0.01, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 64):
        codes.append(in_fork(compare))
    print(path.name, *codes)
"""


@needs_limits
@pytest.mark.parametrize("leniency", ["strict", "lenient"])
def test_a_decoder_that_gets_too_little_memory_gives_no_pixels_or_the_right_ones(
    tmp_path, leniency
):
    picture = images.noise(1, 600, 600)
    for name, (format, options) in ENCODINGS.items():
        (tmp_path / name).write_bytes(images.encode(picture, format, **options))
    code, out, err = run(_WITH_LITTLE, tmp_path, leniency)
    assert code == 0 and "Traceback" not in err, err  # libtiff has its say.
    codes = {line.split()[0]: [int(code) for code in line.split()[1:]] for line in out.splitlines()}
    assert set(codes) == set(ENCODINGS)
    for name, seen in codes.items():
        if (name, leniency) != ("jpeg2000", "lenient"):  # Its decoder calls both a broken stream.
            assert 2 not in seen, (name, seen)
        assert seen[0] != 0, (name, seen)  # The limit holds.
        assert seen[-1] == 0, (name, seen)


@needs_limits
def test_the_limit_holds_for_numpy_and_pillow_alike():
    program = """
import numpy as np
from PIL import Image
from image_features.transforms.images.child import _limit_memory
_limit_memory(64 * 2**20)
assert np.ones(2**20, np.uint8).all()
for make in (lambda: np.ones(2**27, np.uint8), lambda: Image.new("RGB", (2**13, 2**13)),
             lambda: bytes(2**27), lambda: bytearray(2**27)):
    try:
        make()
    except MemoryError:
        continue
    raise AssertionError
"""
    assert run(program) == (0, "", "")


def test_the_memory_of_a_child_grows_no_more_than_it_may(tmp_path):
    program = """
import pathlib, sys, psutil
from image_features.transforms.images import children
from image_features.transforms.images.policy import DecodePolicy
data = pathlib.Path(sys.argv[1]).read_bytes()
for _ in range(3):
    children.decode_in_child(data, DecodePolicy((8, 8)))
    for process in psutil.Process().children():
        assert process.memory_info().rss < 150 * 2**20, process.memory_info()
"""
    # The picture takes much more while it is decoded.
    Image.new("RGBA", (4000, 4000)).save(tmp_path / "large.tif")
    assert run(program, tmp_path / "large.tif") == (0, "", "")


@settings(max_examples=30, deadline=None)
@given(
    most=st.integers(0, 20),
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=24),
    threads=st.integers(1, 6),
)
def test_what_is_held_is_bounded_and_all_get_through(most, sizes, threads):
    gate, lock, held, seen = MemoryGate(most), threading.Lock(), [], []

    def work(size):
        with gate.taking(size):
            with lock:
                held.append(size)
                seen.append(list(held))
            time.sleep(0.0005)
            with lock:
                held.remove(size)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, sizes))
    assert len(seen) == len(sizes)
    for together in seen:
        assert sum(together) <= most or len(together) == 1


def test_what_is_large_does_not_wait_for_all_that_is_small():
    gate, order = MemoryGate(10), []

    def work(size, seconds):
        with gate.taking(size):
            order.append(size)
            time.sleep(seconds)

    with ThreadPoolExecutor(12) as pool:
        jobs = [pool.submit(work, 5, 0.1), pool.submit(work, 5, 0.2)]
        time.sleep(0.05)
        jobs.append(pool.submit(work, 10, 0.05))
        time.sleep(0.02)
        jobs += [pool.submit(work, 1, 0) for _ in range(9)]
        for job in jobs:
            job.result()
    assert order == [5, 5, 10] + 9 * [1]


def test_who_is_interrupted_while_it_waits_leaves_nothing_behind():
    program = """
import signal
from image_features.transforms.images.memory import MemoryGate
gate = MemoryGate(10)
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
holder = gate.taking(7)
holder.__enter__()
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    with gate.taking(7):
        raise AssertionError
except KeyboardInterrupt:
    pass
holder.__exit__(None, None, None)
with gate.taking(11):
    print("all is free")
"""
    assert run(program) == (0, "all is free\n", "")


def test_a_fork_holds_nothing():
    program = """
import os, threading
from image_features.transforms.images.memory import decoding_memory
held = threading.Event()
def hold():
    with decoding_memory(2**40):
        held.set(); threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
if not os.fork():
    with decoding_memory(2**40):
        os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
"""
    assert run(program) == (0, "", "")
