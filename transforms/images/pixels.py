"""From the bytes of a file to the pixels that the model sees, whatever the file is."""

from __future__ import annotations

import hashlib

from image_features.transforms.images.children import decode_in_child
from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.header import Header
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.images.memory import decoding_memory
from image_features.transforms.images.picture import Pixels, decode_picture
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.images.preview import find_preview
from image_features.transforms.images.rules.rule import Decoder, Rule
from image_features.transforms.images.table import rule_for
from image_features.transforms.values import Reason

# The decoders of these formats have been fuzzed for years, and are most of what there is. All
# others are decoded in a child process, and so are a JPEG's samples that Pillow does not read.
_TRUSTED = frozenset({"jpeg", "png", "webp", "gif"})
# What takes longer than about a second is decoded in a child process too, which can be ended. In
# one a core decodes so many pixels of the slowest of these formats, passes over so many again, and
# takes so many bytes of the densest files, and so many parts of a file one by one.
_SECONDS = 1.0
_PIXELS_A_SECOND = 35_000_000
_PASSED_PIXELS_A_SECOND = 500_000_000
_BYTES_A_SECOND = 45_000_000
_STEPS_A_SECOND = 200_000
# Pillow holds colours of eight bits in so many bytes.
_PIXEL_OF_PILLOW = 4


def decode_image(data: bytes, policy: DecodePolicy) -> Pixels:
    """Decodes an image, turns it upright, converts it to RGB and resizes it.

    Raises:
      DecodeError: the file gives no pixels, whatever is wrong with it.
    """
    if not data:
        raise DecodeError(Reason.EMPTY_FILE, "The file is empty.")
    if len(data) > policy.max_bytes:
        raise DecodeError(
            Reason.TOO_MANY_BYTES, f"The file is larger than {policy.max_bytes} bytes."
        )
    if found := find_preview(lambda begin, end: data[begin:end], policy):
        return found[1]
    header = read_header(data)
    _check_size(header, policy)
    rule = rule_for(header)
    memory = _memory(header, rule, policy)
    _check_memory(memory, policy)
    with decoding_memory(memory):
        if rule.decoder is Decoder.DEEP_JPEG or not _is_quick(header, len(data)):
            return decode_in_child(data, policy)
        try:
            return decode_picture(data, header, policy)
        except DecodeError as error:
            # Pillow is lenient with the whole process or not at all.
            if policy.allow_truncated and error.may_end_early:
                return decode_in_child(data, policy)
            raise


def file_digest(data: bytes) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _check_size(header: Header, policy: DecodePolicy) -> None:
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise DecodeError(Reason.CORRUPT, f"The image is {width} x {height} pixels.")
    if width * height > policy.max_pixels:
        raise DecodeError(
            Reason.TOO_MANY_PIXELS,
            f"The image is {width} x {height} pixels, more than the {policy.max_pixels} "
            "allowed; see --max_megapixels.",
        )


def _memory(header: Header, rule: Rule, policy: DecodePolicy) -> int:
    """Returns the bytes of memory that decoding takes at its height."""
    decoded = header.pixels
    if rule.decoder is Decoder.JPEG and policy.margin:
        # However the image will be turned and resized, the decoder may drop as much as this.
        most = min(header.width, header.height) // max(map(max, policy.image_sizes))
        most //= policy.margin
        decoded //= 64 if most >= 8 else 16 if most >= 4 else 4 if most >= 2 else 1
    # What a decoder keeps is free again before there are copies of the pixels that it gives.
    while_decoding = decoded * _PIXEL_OF_PILLOW + header.pixels * header.kept_bytes
    return max(while_decoding, decoded * header.pixel_bytes)


def _check_memory(memory: int, policy: DecodePolicy) -> None:
    """Refuses what would not fit, since decoders call it damage when memory ends."""
    if memory > policy.max_memory:
        raise DecodeError(
            Reason.TOO_COSTLY,
            f"The image takes about {memory} bytes of memory to decode, more than the "
            f"{policy.max_memory} allowed; see --max_megapixels.",
        )


def _is_quick(header: Header, size: int) -> bool:
    seconds = (
        header.pixels / _PIXELS_A_SECOND
        + header.pixels * header.passes / _PASSED_PIXELS_A_SECOND
        + size / _BYTES_A_SECOND
        + header.steps / _STEPS_A_SECOND
    )
    return header.format in _TRUSTED and seconds <= _SECONDS
