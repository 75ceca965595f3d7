"""JPEG 2000 files: codestreams by OpenJPEG and OpenJPH, boxes by hand (ITU-T T.800, annex I)."""

from __future__ import annotations

import base64
import struct

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image

from image_features.transforms.values import Reason
from tests.images.avif import on_white
from tests.images.bmff import box
from tests.images.sample import Sample, as_rgb, grey, picture

SRGB, GREY, SYCC, CMYK, BILEVEL, LAB = 16, 17, 18, 12, 0, 14
_COLOUR, _OPACITY, _PREMULTIPLIED, _UNKNOWN = 0, 1, 2, 65535
# The picture as libvips 8.14 codes it with a quarter of the colours, which no library here does:
# vips jp2ksave picture.png picture.jp2 --lossless --subsample-mode on --tile-width 16 ...
_SUBSAMPLED = base64.b64decode(
    "/0//UQAvAAAAAAAQAAAADAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAADBwEBBwICBwIC/1IADAAAAAEAAAQEAAH/XAAE"
    "QED/ZAAlAAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjD/kAAKAAAAAAD7AAH/k9+FPhI2V69DX3n52td1"
    "TUKi9aIaZHZ2NHkfl5gP6rmYi5HhOnAgNpNjFB0nSvp+npz4HmOz1W/CWwy6cvIe1zo3Nu3yRULfHSPiASK6VVEA9tYK"
    "ElkQyu4TrexBI1pJ9dSueZWvZSHS6tpsSKp2yaTma3zfN834S4H/AP9zm8AthhnXzfN849pmlm84WedSgAa0Hor75wUJ"
    "fGNrZgAKfjNrv8PnODG4tKpU5YBRZxrRPWt84sjNtI75H8sHQn0TUGvPtKQBIIWXX+8RKYK04UrOdbNvBYXzU6Wcw74l"
    "6v3AEQH3fp7MFHta5JH+f//Z"
)


def codestream(values: npt.NDArray[np.generic], bits: int = 8, **options: object) -> bytes:
    """Codes numbers without loss, as a codestream without boxes."""
    options = {"mct": False, **options}
    return imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(values), 0, codecformat="J2K", bitspersample=bits, **options
    )


def jp2(stream: bytes, *boxes: bytes, brand: bytes = b"jp2 ", **changes: int) -> bytes:
    """Returns a file with a codestream, whose image header may say something else."""
    right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
    (count,) = struct.unpack_from(">H", stream, 40)
    said = {"height": bottom - top, "width": right - left, "count": count, **changes}
    header = box(
        b"ihdr",
        struct.pack(">IIH4B", said["height"], said["width"], said["count"], stream[42], 7, 0, 0),
    )
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", brand, bytes(4), brand)
        + box(b"jp2h", header, *boxes)
        + box(b"jp2c", stream)
    )


def colr(space: int) -> bytes:
    """Returns the box of a colour space by its number."""
    return box(b"colr", b"\1\0\0", struct.pack(">I", space))


def cdef(*channels: tuple[int, int, int]) -> bytes:
    """Returns the box that defines channels: the number, the kind, and what colour it is for."""
    content = b"".join(struct.pack(">3H", *channel) for channel in channels)
    return box(b"cdef", struct.pack(">H", len(channels)), content)


def _deep(pixels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.generic]:
    values = np.rint(pixels * ((2**bits - 1) / 255))
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def _seen(pixels: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Returns what levels of fewer bits are in eight."""
    return np.rint(_deep(pixels, bits) * (255 / (2**bits - 1))).astype(np.uint8)


def samples() -> list[Sample]:
    """Returns the files."""
    return [*_depths(), *_colours(), *_with_alpha(), *_palettes(), *_bad()]


def _depths() -> list[Sample]:
    found = []
    for bits in (1, 2, 4, 7, 8, 10, 12, 14, 16):
        seen = _seen(grey(), bits)
        stream = codestream(_deep(grey(), bits), bits)
        found.append(Sample(f"jp2_grey_{bits}", jp2(stream, colr(GREY)), as_rgb(seen)))
        signed = _deep(grey(), bits).astype(np.int32) - 2 ** (bits - 1)
        signed = signed.astype(np.int8 if bits <= 8 else np.int16)
        data = jp2(codestream(signed, bits), colr(GREY))
        found.append(Sample(f"jp2_signed_grey_{bits}", data, as_rgb(seen)))
    for bits in (8, 10, 12, 16):
        stream = codestream(_deep(picture(), bits), bits, mct=True)
        found += [
            Sample(f"jp2_rgb_{bits}", jp2(stream, colr(SRGB)), picture()),
            Sample(f"j2k_rgb_{bits}", stream, picture()),
        ]
    signed = (picture().astype(np.int16) - 128).astype(np.int8)
    return [*found, Sample("jp2_signed_rgb", jp2(codestream(signed), colr(SRGB)), picture())]


def _colours() -> list[Sample]:
    ycc = np.asarray(Image.fromarray(picture()).convert("YCbCr"))
    ink = 255 - np.dstack([picture(), np.full(grey().shape, 255, np.uint8)])
    high_throughput = imagecodecs.htj2k_encode(picture())
    in_tiles = imagecodecs.htj2k_encode(picture(), tile=(5, 7))
    moved = cdef((0, _COLOUR, 3), (1, _COLOUR, 2), (2, _COLOUR, 1))
    extra = cdef((0, _UNKNOWN, 0), (1, _COLOUR, 1), (2, _COLOUR, 2), (3, _COLOUR, 3))
    before = np.dstack([grey(), picture()])
    return [
        Sample("j2k_grey", codestream(grey()), as_rgb(grey())),
        Sample("jp2_without_colours", jp2(codestream(picture())), picture()),
        Sample("jp2_sycc", jp2(codestream(ycc), colr(SYCC)), picture(), 3),
        Sample("j2k_subsampled", _SUBSAMPLED, picture(), 16),
        Sample("jp2_sycc_subsampled", jp2(_SUBSAMPLED, colr(SYCC)), picture(), 16),
        Sample("jp2_cmyk", jp2(codestream(ink), colr(CMYK)), picture()),
        Sample("jph", jp2(high_throughput, colr(SRGB), brand=b"jph "), picture()),
        Sample("j2k_high_throughput_tiles", in_tiles, picture()),
        Sample("jp2_lossy", imagecodecs.jpeg2k_encode(picture(), 50), picture(), 4),
        Sample(
            "jp2_channels_in_another_order",
            jp2(codestream(picture()[..., ::-1]), colr(SRGB), moved),
            picture(),
        ),
        Sample("jp2_unknown_channel", jp2(codestream(before), colr(SRGB), extra), picture()),
        Sample(
            "jp2_colours_of_a_vendor_first",
            jp2(codestream(grey()), box(b"colr", b"\4\0\0", bytes(16)), colr(GREY)),
            as_rgb(grey()),
        ),
    ]


def _with_alpha() -> list[Sample]:
    opacity = np.ascontiguousarray(grey()[::-1])
    share = opacity[..., None] / 255
    whole = on_white(picture(), opacity)
    rgba, grey_alpha = np.dstack([picture(), opacity]), np.dstack([grey(), opacity])
    multiplied = np.dstack([np.rint(picture() * share).astype(np.uint8), opacity])
    grey_multiplied = np.dstack([np.rint(grey() * share[..., 0]).astype(np.uint8), opacity])
    first = np.dstack([opacity, picture()])
    colours = [(i, _COLOUR, i + 1) for i in range(3)]
    after = [(i + 1, _COLOUR, i + 1) for i in range(3)]
    on_grey = on_white(as_rgb(grey()), opacity)
    return [
        Sample("jp2_rgba", jp2(codestream(rgba), colr(SRGB), cdef(*colours, (3, 1, 0))), whole),
        Sample("jp2_rgba_undefined", jp2(codestream(rgba), colr(SRGB)), whole),
        Sample("j2k_rgba", codestream(rgba), whole),
        Sample("jp2_rgba_16", jp2(codestream(_deep(rgba, 16), 16), colr(SRGB)), whole),
        Sample("jp2_argb", jp2(codestream(first), colr(SRGB), cdef(*after, (0, 1, 0))), whole),
        Sample(
            "jp2_premultiplied",
            jp2(codestream(multiplied), colr(SRGB), cdef(*colours, (3, _PREMULTIPLIED, 0))),
            whole,
            2,
        ),
        Sample("jp2_grey_alpha", jp2(codestream(grey_alpha), colr(GREY)), on_grey),
        Sample("j2k_grey_alpha", codestream(grey_alpha), on_grey),
        Sample(
            "jp2_grey_premultiplied",
            jp2(
                codestream(grey_multiplied),
                colr(GREY),
                cdef((0, _COLOUR, 1), (1, _PREMULTIPLIED, 0)),
            ),
            on_grey,
            2,
        ),
    ]


def _palettes() -> list[Sample]:
    numbers = (np.arange(192).reshape(12, 16) % 7).astype(np.uint8)
    colours = np.array([[i * 40, 255 - i * 30, i * i * 7] for i in range(7)], np.uint8)
    deep = (colours.astype(np.uint16) * 257).astype(">u2")
    columns = box(b"cmap", *(struct.pack(">HBB", 0, 1, i) for i in range(3)))
    with_alpha = box(
        b"cmap", *(struct.pack(">HBB", 0, 1, i) for i in range(3)), struct.pack(">HBB", 1, 0, 0)
    )
    opacity = np.ascontiguousarray(grey()[::-1])
    two = codestream(np.dstack([numbers, opacity]))
    defined = cdef(*((i, _COLOUR, i + 1) for i in range(3)), (3, _OPACITY, 0))
    return [
        Sample(
            "jp2_palette",
            jp2(codestream(numbers, 3), _pclr(7, 8, colours.tobytes()), columns, colr(SRGB)),
            colours[numbers],
        ),
        Sample(
            "jp2_palette_16",
            jp2(codestream(numbers), _pclr(7, 16, deep.tobytes()), columns, colr(SRGB)),
            colours[numbers],
        ),
        Sample(
            "jp2_palette_and_alpha",
            jp2(two, _pclr(7, 8, colours.tobytes()), with_alpha, colr(SRGB), defined),
            on_white(colours[numbers], opacity),
        ),
        Sample(
            "jp2_palette_for_nothing",
            jp2(codestream(numbers), _pclr(7, 8, colours.tobytes()), colr(SRGB)),
            Reason.CORRUPT,
        ),
        Sample(
            "jp2_short_palette",
            jp2(codestream(numbers), _pclr(9, 8, colours.tobytes()), columns, colr(SRGB)),
            Reason.TRUNCATED,
        ),
    ]


def _pclr(entries: int, bits: int, values: bytes) -> bytes:
    return box(b"pclr", struct.pack(">HB3B", entries, 3, *[bits - 1] * 3), values)


def _bad() -> list[Sample]:
    stream = codestream(picture())
    five = codestream(np.dstack([picture(), grey(), grey()]))
    sound = jp2(stream, colr(SRGB))
    more_tiles = stream[:24] + struct.pack(">II", 8, 12) + stream[32:]
    many_tiles = stream[:8] + struct.pack(">II", 4000, 4000) + stream[16:24] + b"\0\0\0\1" * 2
    huge = stream[:8] + struct.pack(">II", 1_000_000, 1_000_000) + stream[16:]
    mixed = stream[:42] + b"\7\1\1\3\1\1\7\1\1" + stream[51:]
    damaged = stream[:60] + bytes(30) + stream[90:]
    return [
        Sample("jp2_lie", jp2(stream, colr(SRGB), width=8), Reason.CORRUPT),
        Sample("jp2_lie_of_components", jp2(stream, colr(SRGB), count=1), Reason.CORRUPT),
        Sample("jp2_cut", sound[:-40], Reason.TRUNCATED),
        Sample("jp2_cut_before_the_codestream", sound[:60], Reason.TRUNCATED),
        Sample("j2k_cut", stream[:100], Reason.TRUNCATED),
        Sample("j2k_cut_in_its_header", stream[:45], Reason.TRUNCATED),
        Sample("jp2_damaged", jp2(damaged, colr(SRGB)), Reason.CORRUPT),
        Sample("jp2_without_header", sound.replace(b"jp2h", b"free"), Reason.CORRUPT),
        Sample("jp2_without_image_header", sound.replace(b"ihdr", b"free"), Reason.CORRUPT),
        Sample("j2k_missing_tile", more_tiles, Reason.CORRUPT),
        Sample("j2k_too_many_tiles", many_tiles + stream[32:], Reason.CORRUPT),
        Sample("j2k_huge", huge, Reason.CORRUPT),
        Sample("j2k_no_pixels", stream[:8] + bytes(8) + stream[16:], Reason.CORRUPT),
        Sample("jp2_five_channels", jp2(five, colr(SRGB)), Reason.UNSUPPORTED_PIXELS),
        Sample("j2k_five_channels", five, Reason.UNSUPPORTED_PIXELS),
        Sample("jp2_three_for_grey", jp2(stream, colr(GREY)), Reason.UNSUPPORTED_PIXELS),
        Sample("jp2_lab", jp2(stream, colr(LAB)), Reason.UNSUPPORTED_PIXELS),
        Sample("jp2_bilevel", jp2(codestream(grey()), colr(BILEVEL)), Reason.UNSUPPORTED_PIXELS),
        Sample("j2k_different_depths", mixed, Reason.UNSUPPORTED_PIXELS),
        Sample("jp2_subsampled_rgb", jp2(_SUBSAMPLED, colr(SRGB)), Reason.UNSUPPORTED_PIXELS),
        Sample(
            "jp2_opacity_of_one_colour",
            jp2(
                codestream(np.dstack([picture(), grey()])),
                colr(SRGB),
                cdef(*((i, _COLOUR, i + 1) for i in range(3)), (3, _OPACITY, 2)),
            ),
            Reason.UNSUPPORTED_PIXELS,
        ),
        Sample("jp2_motion", jp2(stream, brand=b"mjp2"), Reason.UNSUPPORTED_FORMAT),
        Sample("jpm", jp2(stream, brand=b"jpm "), Reason.UNSUPPORTED_FORMAT),
    ]
