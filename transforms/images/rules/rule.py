"""A row of the table of pixels, and the decoders that a row may name."""

from __future__ import annotations

import dataclasses
import enum

from image_features.transforms.images.headers.header import Alpha, Colour, Header, Sample


class Decoder(enum.StrEnum):
    """What reads the samples of a file; `picture.py` has the function of each."""

    JPEG = "Pillow (libjpeg-turbo), which may drop scales"
    DEEP_JPEG = "imagecodecs (libjpeg-turbo)"
    PNG = "Pillow, from the chunks that carry pixels"
    GIF = "Pillow, from the first frame"
    WEBP = "imagecodecs (libwebp), from the first frame"
    TIFF = "our reader of strips and tiles, with imagecodecs"
    LIBTIFF = "Pillow (libtiff)"
    BITMAP = "numpy"
    ICON = "numpy, with the icon's mask"
    ENCLOSED = "what reads the PNG"
    NETPBM = "numpy, by netpbm's rules"
    JPEG2000 = "imagecodecs (OpenJPEG)"
    AVIF = "Pillow (libavif and dav1d)"
    HEIC = "pillow-heif (libheif and libde265), the extra `heif`"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row of the table.

    Attributes:
      formats: The formats, by Pillow's names in lower case.
      colours: What the samples may mean.
      bits: The bits that a sample may have.
      decoder: What reads them.
      becomes: What is done, in a phrase for the documentation.
      samples: How a sample may be a number.
      alphas: How transparency may be told.
      planar: Whether channels may be stored on their own: None for both.
      codings: The codings that the row is for; None for all.
    """

    formats: tuple[str, ...]
    colours: tuple[Colour, ...]
    bits: tuple[int, ...]
    decoder: Decoder
    becomes: str
    samples: tuple[Sample, ...] = (Sample.UNSIGNED,)
    alphas: tuple[Alpha, ...] = (Alpha.NONE,)
    planar: bool | None = False
    codings: tuple[str, ...] | None = None

    def is_for(self, header: Header) -> bool:
        """Tells whether a file's pixels are of this row."""
        return (
            header.format in self.formats
            and header.colour in self.colours
            and header.bits in self.bits
            and header.sample in self.samples
            and header.alpha in self.alphas
            and self.planar in (None, header.planar)
            and (self.codings is None or header.coding in self.codings)
        )
