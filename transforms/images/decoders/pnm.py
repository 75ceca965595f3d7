"""PBM, PGM, PPM, PAM and PFM, by numpy.

Pillow goes over numbers, and over samples whose white is not 255 or 65535, one by one in Python.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.decoders.plain_numbers import plain_bits, plain_numbers
from image_features.transforms.images.decoders.samples import to_eight_bits
from image_features.transforms.images.headers.header import Header, Sample
from image_features.transforms.images.headers.pnm import Netpbm, parse_pnm
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.raster import Raster
from image_features.transforms.values import Reason

_Bytes = npt.NDArray[np.uint8]
# Samples are taken together up to so many, so that no step needs much memory.
_BAND = 2**20


def decode_pnm(data: bytes, header: Header, policy: DecodePolicy) -> Raster:
    """Decodes one of netpbm's formats."""
    file = parse_pnm(data)
    if file.order:
        levels = _from_floats(data, file, policy.allow_truncated)
    else:
        levels = _from_integers(data, file, policy.allow_truncated)
    shape = (file.height, file.width, file.channels)
    return Raster(Image.fromarray(levels.reshape(shape[:2] if file.channels == 1 else shape)))


def _from_integers(data: bytes, file: Netpbm, lenient: bool) -> _Bytes:
    """Returns all samples as levels of 0 to 255; what is missing is grey if that is allowed."""
    levels = _grey(file)
    table = (np.arange(file.most + 1, dtype=np.uint32) * 255 + file.most // 2) // file.most
    table = table.astype(np.uint8)
    if file.bitmap:
        table = table[::-1]
    done = 0
    for samples in _samples(data, file):
        samples = samples[: len(levels) - done]
        if len(samples) and samples.max() > file.most:
            raise DecodeError(
                Reason.CORRUPT,
                f"A sample is {samples.max()}, and white is {file.most}.",
            )
        levels[done : done + len(samples)] = table[samples]
        done += len(samples)
        if done == len(levels):
            break
    _check_end(len(levels) - done, lenient)
    return levels


def _samples(data: bytes, file: Netpbm) -> Iterator[npt.NDArray[np.integer]]:
    """Yields some samples after the other, as the file has them."""
    if file.plain:
        yield from (plain_bits if file.bitmap else plain_numbers)(data, file.start)
        return
    octets = np.frombuffer(data, np.uint8)[file.start :]
    if file.bitmap:
        row = (file.width + 7) // 8
        whole = octets[: len(octets) // row * row].reshape(-1, row)
        step = max(1, _BAND // file.width)
        for first in range(0, len(whole), step):
            yield np.unpackbits(whole[first : first + step], axis=1, count=file.width).ravel()
        return
    values: npt.NDArray[np.integer] = octets
    if file.most > 255:
        values = octets[: len(octets) // 2 * 2].view(">u2")
    for first in range(0, len(values), _BAND):
        yield values[first : first + _BAND]


def _from_floats(data: bytes, file: Netpbm, lenient: bool) -> _Bytes:
    """Returns all samples as levels of 0 to 255; the file begins with the lowest row."""
    levels = _grey(file)
    samples = np.frombuffer(data, np.uint8)[file.start : file.start + 4 * len(levels)]
    samples = samples[: len(samples) // 4 * 4].view(f"{file.order}f4")
    _check_end(len(levels) - len(samples), lenient)
    levels[: len(samples)] = to_eight_bits(samples, bits=32, sample=Sample.FLOAT)
    return levels.reshape(file.height, -1)[::-1]


def _grey(file: Netpbm) -> _Bytes:
    """Returns the levels of a picture that is grey, and opaque where there is alpha."""
    levels = np.full((file.height * file.width, file.channels), 128, np.uint8)
    if file.channels in (2, 4):
        levels[:, -1] = 255
    return levels.reshape(-1)


def _check_end(missing: int, lenient: bool) -> None:
    if missing and not lenient:
        raise DecodeError(Reason.TRUNCATED, f"The image lacks its last {missing} samples.")
