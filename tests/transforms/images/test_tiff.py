"""TIFF beyond the golden pixels of the corpus: what costs much, and what ends early."""

import time
import tracemalloc

import numpy as np
import pytest

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.headers.tiff_page import read_page
from image_features.transforms.images.picture import decode_picture
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.rules.rule import Decoder
from image_features.transforms.images.table import RULES, rule_for
from image_features.transforms.values import Reason
from tests.images import encode, noise, tiff
from tests.images.sample import grey, picture
from tests.images.tiff_writer import Layout, file_of, tiff_of

EXACT = DecodePolicy((12, 16))
LENIENT = DecodePolicy((12, 16), allow_truncated=True)


def refusal(data, policy=EXACT):
    with pytest.raises(DecodeError) as caught:
        decode_image(data, policy)
    return caught.value


def test_every_row_of_tiff_has_a_sample():
    read = [sample for sample in tiff.samples() if isinstance(sample.expected, np.ndarray)]
    seen = {rule_for(read_header(sample.data)) for sample in read}
    rows = {rule for rule in RULES if rule.decoder in (Decoder.TIFF, Decoder.LIBTIFF)}
    assert rows == seen


@pytest.mark.parametrize("compression", [1, 5, 8, 34925, 50000])
def test_what_is_there_of_a_truncated_file_is_shown_if_that_is_allowed(compression):
    rows = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    whole = tiff_of(rows, 8, 2, Layout(compression=compression, rows=4))
    blobs = [whole[place : place + size] for place, size in read_page(whole).places]
    cut = _directory_first(blobs, compression)[: -len(blobs[-1]) // 2]
    error = refusal(cut)
    assert error.reason is Reason.TRUNCATED, error.message
    seen = decode_image(cut, LENIENT).pixels
    assert (seen[:8] == rows[:8]).all()
    assert (seen[-1] == 128).all()


def _directory_first(blobs, compression):
    """A file that shows something though it was cut while it was fetched."""
    entries = {256: (4, [16]), 257: (4, [12]), 258: (3, [8, 8, 8]), 259: (3, [compression])}
    entries |= {262: (3, [2]), 273: (4, [0] * 3), 277: (3, [3]), 278: (4, [4])}
    entries |= {279: (4, [len(blob) for blob in blobs])}
    size = len(file_of(entries, [], first=0))
    places = [size + sum(map(len, blobs[:i])) for i in range(len(blobs))]
    return file_of({**entries, 273: (4, places)}, [], first=0) + b"".join(blobs)


def test_what_is_there_of_a_truncated_jpeg_in_a_tiff_is_shown_if_that_is_allowed():
    image = noise(0, 64, 64)
    whole = encode(image, "TIFF", compression="jpeg", quality=95, strip_size=64 * 3 * 16)
    page = read_page(whole)
    last, _ = page.places[-1]
    nowhere = whole.replace(last.to_bytes(4, "little"), (len(whole) + 99).to_bytes(4, "little"))
    policy = DecodePolicy((64, 64))
    assert refusal(nowhere, policy).reason is Reason.TRUNCATED
    seen = decode_image(nowhere, DecodePolicy((64, 64), allow_truncated=True)).pixels
    difference = np.abs(seen.astype(int) - np.asarray(image))
    assert len(page.places) > 1
    assert difference[: page.down].max() < 40
    assert (seen[-1] == 128).all()


def test_a_million_strips_cost_nothing():
    strips = 10**6
    entries = {256: (3, [1]), 257: (4, [strips]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1])}
    entries |= {273: (4, [8] * strips), 278: (4, [1]), 279: (4, [1] * strips)}
    data = file_of(entries, [], first=0)
    began = time.perf_counter()
    assert refusal(data).reason is Reason.TOO_COSTLY
    assert time.perf_counter() - began < 1


def test_a_tile_that_unpacks_to_more_than_it_says_is_cut():
    tile = (16, 16)
    bomb = tiff_of(np.zeros((4096, 4096), np.uint8), 8, 1, Layout(compression=8, tile=(4096, 4096)))
    page = read_page(bomb)
    blob = bomb[page.places[0][0] :][: page.places[0][1]]
    entries = {256: (3, [16]), 257: (3, [12]), 258: (3, [8]), 259: (3, [8]), 262: (3, [1])}
    entries |= {322: (3, [tile[1]]), 323: (3, [tile[0]]), 324: (4, [0]), 325: (4, [len(blob)])}
    data = file_of(entries, [blob], first=324)
    header = read_header(data)
    tracemalloc.start()
    assert (decode_picture(data, header, EXACT).pixels == 0).all()
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("dtype", "bits", "channels", "bytes_a_pixel"),
    [(np.float32, 32, 1, 5), (np.float64, 64, 3, 13), (np.uint16, 16, 3, 13)],
)
def test_the_memory_is_that_of_eight_bits(dtype, bits, channels, bytes_a_pixel):
    side = 1024
    values = np.zeros((side, side, channels), dtype)
    values[::7] = 1
    data = tiff_of(values, bits, 2 if channels == 3 else 1, Layout(compression=8, rows=16))
    del values
    header = read_header(data)
    assert header.pixel_bytes <= 13
    decode_picture(data, header, EXACT)  # What is imported now is not counted below.
    tracemalloc.start()
    decode_picture(data, header, EXACT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < bytes_a_pixel * side * side + 2**23, peak


def test_no_page_but_the_first_is_walked():
    pages = 100_000
    first = tiff_of(grey(), 8, 1)
    data = bytearray(first + b"\0" * (len(first) % 2))
    place = int.from_bytes(first[4:8], "little")
    end = place + 2 + 12 * int.from_bytes(first[place : place + 2], "little")
    data[end : end + 4] = len(data).to_bytes(4, "little")
    start = len(data)
    for i in range(pages):  # Each has no tags, and names the next.
        data += b"\0\0" + (start + 6 * (i + 1)).to_bytes(4, "little")
    began = time.perf_counter()
    assert (decode_image(bytes(data), EXACT).pixels == grey()[..., None]).all()
    assert time.perf_counter() - began < 5


def test_pixels_and_the_profile_are_read_beside_damaged_tags():
    profile = bytes(range(200))
    tags = {34675: (7, profile), 700: (1, [1, 2, 3]), 33432: (2, [])}
    data = tiff_of(picture(), 8, 2, Layout(), tags)
    assert read_page(data).tags.content(34675) == profile
    assert (decode_image(data, EXACT).pixels == picture()).all()
