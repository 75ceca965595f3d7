"""How the pixels of a TIFF's first page are stored."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.tiff_tags import TiffTags, read_tags
from image_features.transforms.values import Reason

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT = 284, 317, 320, 322, 323
TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES, INK_SET = 324, 325, 330, 332
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, PROFILE = 338, 339, 347, 34675
# What else libtiff needs: the options of fax, old JPEG's parts, and the conversion of YCbCr.
_OF_CODECS = (292, 293, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532)
_OF_PIXELS = (
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES),
    *(ROWS_PER_STRIP, STRIP_COUNTS, PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT),
    *(TILE_OFFSETS, TILE_COUNTS, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES),
    *_OF_CODECS,
)
# Compressions: CCITT's fax, in which white is zero by custom, JPEG's first form, and WebP.
FAX, OLD_JPEG, WEBP = frozenset({2, 3, 4}), 6, 50001
CIE_LAB = 8  # The photometric interpretation, in which a and b are signed.
# The compressions that undo a predictor; with others the tag says nothing, as to libtiff.
_PREDICTING = frozenset({5, 8, 32946, 34925, 50000})
_MOST_SAMPLES = 4096


@dataclasses.dataclass(frozen=True)
class TiffPage:
    """The first page of a TIFF.

    Attributes:
      tags: Its tags.
      width: The width in pixels.
      height: The height in pixels.
      bits: The bits of each sample of a pixel, of one for each.
      format: SampleFormat: 1 is unsigned, 2 signed, 3 float; 0 if samples differ.
      photometric: PhotometricInterpretation.
      extras: ExtraSamples: 1 is premultiplied alpha, 2 alpha, 0 anything.
      compression: The number of the compression.
      planar: Whether each sample is stored in strips or tiles of its own.
      across: The width of a strip or tile.
      down: The height of a strip or tile.
    """

    tags: TiffTags
    width: int
    height: int
    bits: tuple[int, ...]
    format: int
    photometric: int
    extras: tuple[int, ...]
    compression: int
    planar: bool
    across: int
    down: int

    @property
    def samples(self) -> int:
        """The samples of a pixel."""
        return len(self.bits)

    @property
    def columns(self) -> int:
        """The number of tiles beside each other."""
        return -(-self.width // self.across)

    @property
    def rows(self) -> int:
        """The number of strips or tiles below each other."""
        return -(-self.height // self.down)

    @property
    def segments(self) -> int:
        """The number of strips or tiles."""
        return self.columns * self.rows * (self.samples if self.planar else 1)

    @property
    def alpha(self) -> int | None:
        """Which sample is the alpha; None if there is none."""
        first = self.samples - len(self.extras)
        return next((first + i for i, kind in enumerate(self.extras) if kind in (1, 2)), None)

    @functools.cached_property
    def predictor(self) -> int:
        """What was done to samples before they were compressed: 1 is nothing."""
        return self.tags.number(PREDICTOR, 1) if self.compression in _PREDICTING else 1

    @property
    def places_told(self) -> int:
        """The number of strips or tiles of which the file says where they are."""
        return self.tags.count(self._tag_of_places(TILE_OFFSETS, STRIP_OFFSETS))

    @functools.cached_property
    def places(self) -> tuple[tuple[int, int | None], ...]:
        """Where each strip or tile begins, and its bytes, None if that is not said.

        Raises:
          struct.error: the file ends within these numbers.
        """
        offsets = self._tag_of_places(TILE_OFFSETS, STRIP_OFFSETS)
        counts = self._tag_of_places(TILE_COUNTS, STRIP_COUNTS)
        return tuple(
            itertools.zip_longest(
                self.tags.numbers(offsets, self.segments), self.tags.numbers(counts, self.segments)
            )
        )

    def _tag_of_places(self, of_tiles: int, of_strips: int) -> int:
        # Some writers have the places of tiles in the tags of strips.
        is_tiled = TILE_WIDTH in self.tags and of_tiles in self.tags
        return of_tiles if is_tiled else of_strips

    @property
    def orientation(self) -> int:
        """The orientation, 1 to 8."""
        try:
            value = self.tags.number(ORIENTATION, 1)
        except (DecodeError, struct.error):  # The pixels are sound whatever this says.
            return 1
        return value if 1 <= value <= 8 else 1

    def alone(self) -> bytes:
        """Returns the file with no other page, and no tags but those that tell of pixels."""
        return self.tags.only(_OF_PIXELS)


def read_page(data: bytes) -> TiffPage:
    """Reads the first page of a TIFF.

    Raises:
      DecodeError: its tags contradict each other.
      struct.error: the file ends within its tags.
    """
    tags = read_tags(data)
    if WIDTH not in tags or HEIGHT not in tags:
        raise DecodeError(Reason.CORRUPT, "The TIFF does not say its width and height.")
    width, height = tags.number(WIDTH, 0), tags.number(HEIGHT, 0)
    compression = tags.number(COMPRESSION, 1)
    bits, samples = _bits(tags, compression)
    formats = set(tags.numbers(SAMPLE_FORMAT, samples)) or {1}
    photometric = tags.number(PHOTOMETRIC, _usual(compression, samples))
    if compression == OLD_JPEG and photometric == 2:
        photometric = 6  # Whatever such files say, their pixels are YCbCr.
    across, down = width, min(tags.number(ROWS_PER_STRIP, height) or height, height)
    if TILE_WIDTH in tags:
        across, down = tags.number(TILE_WIDTH, 0), tags.number(TILE_HEIGHT, 0)
    if min(across, down) < 1 <= min(width, height):
        raise DecodeError(Reason.CORRUPT, f"Tiles of the TIFF are {across} x {down} pixels.")
    return TiffPage(
        tags,
        width,
        height,
        bits,
        formats.pop() if len(formats) == 1 else 0,
        photometric,
        _extras(tags, photometric, samples),
        compression,
        samples > 1 and tags.number(PLANAR, 1) == 2,
        max(across, 1),
        max(down, 1),
    )


def _bits(tags: TiffTags, compression: int) -> tuple[tuple[int, ...], int]:
    """Returns the bits of each sample, of which one number may tell, and the number of samples."""
    old_jpeg = compression == OLD_JPEG
    samples = tags.number(SAMPLES, 3 if old_jpeg else 1)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise DecodeError(Reason.CORRUPT, f"Pixels of the TIFF have {samples} samples.")
    bits = tags.numbers(BITS, samples) or (8 if old_jpeg else 1,)
    if len(bits) == 1:
        bits *= samples
    if len(bits) < samples:
        raise DecodeError(
            Reason.CORRUPT, f"The TIFF tells the bits of {len(bits)} of {samples} samples."
        )
    return bits, samples


def _usual(compression: int, samples: int) -> int:
    """Returns what samples mean where a file does not say it, as libtiff takes it."""
    if compression == OLD_JPEG:
        return 6
    if samples >= 3:
        return 2
    return 0 if compression in FAX else 1


def _extras(tags: TiffTags, photometric: int, samples: int) -> tuple[int, ...]:
    """Returns what the samples beyond the colours are, whether the file names them or not."""
    colours = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}.get(photometric, 1)
    if samples < colours:
        raise DecodeError(
            Reason.CORRUPT, f"Pixels of the TIFF have {samples} samples; their colours take more."
        )
    extras = tags.numbers(EXTRA_SAMPLES, samples - colours)
    if not extras and photometric == 2 and samples == 4:
        return (2,)  # Of a file that does not say it, viewers take the fourth sample for alpha.
    return extras + (0,) * (samples - colours - len(extras))
