"""From the bytes of a file to the pixels that the model sees: orientation, colour and size."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import struct
import threading
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from image_features.errors import ImageFeaturesError
from image_features.transforms.images.colour import to_rgb
from image_features.transforms.values import Reason

MIB = 2**20
# These are raster formats whose decoders take no part of a file as instructions to run. MPO, as
# some cameras write, comes with JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO", "JPEG2000")
# Image.open knows only the commonest of these formats before all plugins are registered.
Image.init()
_EXIF_ORIENTATION = 0x0112
# Pillow looks for the orientation of a JPEG in these entries.
_ORIENTING = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
_TRANSPOSED = frozenset({5, 6, 7, 8})
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
_TRUNCATED_WORDS = ("truncated", "not enough data", "unexpected end", "broken data stream")
_flag_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class DecodePolicy:
    """How a file becomes pixels.

    Attributes:
      image_size: (height, width) in pixels that the model takes.
      resize: `stretch` ignores the aspect ratio; `center_crop` scales the shorter side and
        cuts the longer one evenly; `pad` scales the longer side and fills the rest.
      decode: `fast` lets the JPEG decoder drop whole DCT scales before the resize; `exact`
        decodes every pixel.
      allow_truncated: Whether a file that ends early is decoded, with its missing part grey.
      max_pixels: The most pixels of an image; larger ones fail by their header, before they are
        decoded.
      max_bytes: The most bytes of a file; larger ones fail before they are opened.
      background: The RGB colour behind transparent pixels, and around a padded image.
    """

    image_size: tuple[int, int]
    resize: Literal["stretch", "center_crop", "pad"] = "stretch"
    decode: Literal["fast", "exact"] = "fast"
    allow_truncated: bool = False
    max_pixels: int = 64_000_000
    max_bytes: int = 50 * MIB
    background: tuple[int, int, int] = (255, 255, 255)

    def to_json(self) -> dict[str, Any]:
        """Returns the policy as run.json and the fingerprint of a run hold it."""
        return {
            "image_size": list(self.image_size),
            "resize": self.resize,
            "decode": self.decode,
            "allow_truncated": self.allow_truncated,
            "max_pixels": self.max_pixels,
            "max_bytes": self.max_bytes,
            "background": list(self.background),
        }

    @classmethod
    def from_json(cls, options: Mapping[str, Any]) -> DecodePolicy:
        """Returns the policy that run.json holds; what it lacks has its default.

        Raises:
          KeyError: the image size is missing.
        """
        height, width = options["image_size"]
        red, green, blue = options.get("background", cls.background)
        return cls(
            image_size=(height, width),
            resize=options.get("resize", cls.resize),
            decode=options.get("decode", cls.decode),
            allow_truncated=options.get("allow_truncated", cls.allow_truncated),
            max_pixels=options.get("max_pixels", cls.max_pixels),
            max_bytes=options.get("max_bytes", cls.max_bytes),
            background=(red, green, blue),
        )


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A decoded image.

    Attributes:
      pixels: uint8 [height, width, 3], RGB, at the policy's size.
      format: Pillow's name of the format in lower case.
      width: The width of the original in pixels, after EXIF orientation.
      height: The height of the original in pixels, after EXIF orientation.
    """

    pixels: npt.NDArray[np.uint8]
    format: str
    width: int
    height: int


class DecodeError(ImageFeaturesError):
    """A file that gives no pixels.

    Attributes:
      reason: The reason, in a word of the closed vocabulary.
      message: A sentence for the user.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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
    try:
        try:
            return _decode(data, policy)
        except (OSError, SyntaxError, EOFError, struct.error):
            if not policy.allow_truncated:
                raise
            return _load_truncated(data, policy)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        if data.startswith(_MAGIC):
            raise DecodeError(Reason.CORRUPT, "The image's header cannot be read.") from error
        raise DecodeError(
            Reason.NOT_AN_IMAGE,
            f"The file is no image of a known format; it begins with {data[:24]!r}.",
        ) from error
    except Image.DecompressionBombError as error:
        raise DecodeError(Reason.TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:  # Pillow's decoders may raise anything, struct.error included.
        text = str(error) or type(error).__name__
        cut = isinstance(error, EOFError | struct.error) or any(
            word in text.lower() for word in _TRUNCATED_WORDS
        )
        reason = Reason.TRUNCATED if cut else Reason.CORRUPT
        raise DecodeError(reason, f"The image cannot be decoded: {text[:300]}") from error


def lift_pillow_limit() -> None:
    """Leaves the limit of pixels to the policy: Pillow's own would refuse what that allows."""
    Image.MAX_IMAGE_PIXELS = None


def file_digest(data: bytes) -> str:
    """Returns the SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _decode(data: bytes, policy: DecodePolicy) -> Pixels:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise DecodeError(Reason.CORRUPT, f"The image is {width} x {height} pixels.")
        if width * height > policy.max_pixels:
            raise DecodeError(
                Reason.TOO_MANY_PIXELS,
                f"The image is {width} x {height} pixels, more than the {policy.max_pixels} "
                "allowed; see --max_megapixels.",
            )
        format = (image.format or "unknown").lower()
        drafted = False
        if policy.decode == "fast" and isinstance(image, JpegImageFile):
            turned = _orientation(image) in _TRANSPOSED
            drafted = image.draft(None, _draft_size(image.size, policy, turned)) is not None
        if isinstance(image, ImageFile.ImageFile):
            # The decoder gets the whole file in one call, as each waits for the interpreter's lock.
            image.decodermaxblock = max(image.decodermaxblock, len(data))
        image.load()
        # The orientation is read only now: the TIFF reader turns its image while it loads.
        orientation = _orientation(image)
        upright = _turn(to_rgb(image, policy.background), orientation)
        if not drafted:
            width, height = upright.size
        elif orientation in _TRANSPOSED:
            width, height = height, width
        pixels = resize(upright, policy.image_size, policy.resize, policy.background)
        return Pixels(np.asarray(pixels, np.uint8), format, width, height)


def _load_truncated(data: bytes, policy: DecodePolicy) -> Pixels:
    """Decodes as much as there is of a file.

    Pillow knows this leniency only for the whole process: it is switched on for one image at a
    time, while others of the same policy may be decoded.
    """
    with _flag_lock:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            return _decode(data, policy)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def _orientation(image: Image.Image) -> int:
    if isinstance(image, JpegImageFile) and not _ORIENTING.intersection(image.info):
        return 1  # Pillow would set up an empty directory of tags to find out.
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # An image with broken EXIF is still an image.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)


def _draft_size(size: tuple[int, int], policy: DecodePolicy, turned: bool) -> tuple[int, int]:
    """Returns the size (width, height) below which the JPEG decoder must not scale."""
    height, width = policy.image_size
    if turned:
        height, width = width, height
    if policy.resize == "pad":
        scale = min(width / size[0], height / size[1])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    return width, height


def resize(
    image: Image.Image,
    size: tuple[int, int],
    mode: Literal["stretch", "center_crop", "pad"],
    background: tuple[int, int, int],
) -> Image.Image:
    """Resizes an RGB image to (height, width) with Pillow's antialiased bilinear filter."""
    height, width = size
    bilinear = Image.Resampling.BILINEAR
    if mode == "stretch":
        return image.resize((width, height), bilinear)
    across, down = width / image.width, height / image.height
    if mode == "center_crop":
        scale = max(across, down)
        half_width, half_height = width / scale / 2, height / scale / 2
        middle_x, middle_y = image.width / 2, image.height / 2
        box = (
            max(0.0, middle_x - half_width),
            max(0.0, middle_y - half_height),
            min(float(image.width), middle_x + half_width),
            min(float(image.height), middle_y + half_height),
        )
        return image.resize((width, height), bilinear, box=box)
    scale = min(across, down)
    fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    canvas = Image.new("RGB", (width, height), background)
    corner = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    canvas.paste(image.resize(fitted, bilinear), corner)
    return canvas
