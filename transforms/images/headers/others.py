"""The names of all that people keep beside their images, so that a refusal can tell them."""

from __future__ import annotations

import re
import struct

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.values import Reason

_HEAD = 4096
# Pictures, by the bytes at the beginning.
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\0\0\0\x0cJXS ", "a JPEG XS image"),
    (b"\xff\x10\xff\x50", "a JPEG XS image"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF-", "a PDF"),
    (b"DDS ", "a DirectDraw surface"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"#?RGBE", "a Radiance HDR image"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"\x01\0\x09\0\0\x03", "a Windows metafile (WMF)"),
    (b"icns", "an Apple icon (ICNS)"),
    (b"\x01\xda\0\x01", "an SGI image"),
    (b"\x01\xda\x01\x01", "an SGI image"),
    (b"/* XPM */", "an XPM image"),
    (b"! XPM2", "an XPM image"),
    (b"qoif", "a QOI image"),
    (b"II\xbc", "a JPEG XR image"),
    (b"FLIF", "a FLIF image"),
    (b"BPG\xfb", "a BPG image"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x59\xa6\x6a\x95", "a Sun raster image"),
    (b"gimp xcf", "a GIMP image"),
    (b"\xabKTX ", "a KTX texture"),
    (b"\x13\xab\xa1\x5c", "an ASTC texture"),
    (b"PVR\x03", "a PVR texture"),
    (b"VTF\0", "a Valve texture"),
    (b"BLP1", "a Blizzard texture"),
    (b"BLP2", "a Blizzard texture"),
    (b"SDPX", "a DPX image"),
    (b"XPDS", "a DPX image"),
    (b"\x80\x2a\x5f\xd7", "a Cineon image"),
    (b"\xd7\x5f\x2a\x80", "a Cineon image"),
    (b"id=ImageMagick", "a MIFF image"),
    (b"id=MagickPixelCache", "a cache of ImageMagick"),
    (b"farbfeld", "a farbfeld image"),
    (b"\xab\x01\x01", "a VIFF image"),
    (b"\x08\xf2\xa6\xb6", "a VIPS image"),
    (b"\xb6\xa6\xf2\x08", "a VIPS image"),
    (b"srcdocid:", "a CALS image"),
    (b"\xffWPC", "a WordPerfect graphic"),
    (b"\x97JB2\r\n\x1a\n", "a JBIG2 image"),
    (b"P7 332", "an xv thumbnail"),
    (b"NRRD000", "an NRRD image"),
    (b"LBLSIZE=", "a VICAR image"),
    (b"PG ML ", "a PGX image"),
    (b"PG LM ", "a PGX image"),
    (b"FUJIFILMCCD-RAW", "a camera's raw image (RAF)"),
    (b"FOVb", "a camera's raw image (X3F)"),
    (b"\0MRM", "a camera's raw image (MRW)"),
    (b"IIU\0", "a camera's raw image (RW2)"),
    (b"IIRO", "a camera's raw image (ORF)"),
    (b"IIRS", "a camera's raw image (ORF)"),
    (b"MMOR", "a camera's raw image (ORF)"),
    (b"II\x1a\0\0\0HEAPCCDR", "a camera's raw image (CRW)"),
)
_REST: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "a zip archive, or a document that is one"),
    (b"PK\x05\x06", "a zip archive without files"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE document, as of Office"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (b"FLV\x01", "a Flash video"),
    (b"\0\0\x01\xba", "an MPEG video"),
    (b"\0\0\x01\xb3", "an MPEG video"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "FLAC audio"),
    (b"ID3", "MP3 audio"),
    (b"#!AMR", "AMR audio"),
    (b"MThd", "a MIDI file"),
    (b"FWS", "Flash"),
    (b"CWS", "Flash"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"CDF\x01", "NetCDF"),
    (b"\x93NUMPY", "a numpy array"),
    (b"PAR1", "Parquet"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"OTTO", "a font"),
    (b"wOFF", "a font"),
    (b"wOF2", "a font"),
    (b"\0\x01\0\0\0", "a font"),
    (b"bplist00", "a property list"),
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS, whose file was not fetched"),
)
# What follows the four letters and the size of a container of chunks.
_RIFF_FORMS = {
    b"WAVE": "WAV audio",
    b"AVI ": "an AVI video",
    b"ACON": "an animated cursor",
    b"RMID": "a MIDI file",
    b"sfbk": "sounds",
}
# The brands of files that begin with the box `ftyp`, as videos do.
_BRANDS = {
    b"qt  ": "a QuickTime video",
    b"M4A ": "MPEG-4 audio",
    b"M4B ": "MPEG-4 audio",
}
_IFF_FORMS = {b"ILBM": "an ILBM image", b"PBM ": "an ILBM image", b"ACBM": "an ILBM image"}
_TARGA_KINDS = {1, 2, 3, 9, 10, 11}
_TARGA_FOOTER = b"TRUEVISION-XFILE.\0"
_BLANKS = b" \t\r\n\f"
_SVG = re.compile(rb"<(?:\w+:)?svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|title|div|p|h1|center)[\s>]", re.I)
_XML = re.compile(rb"<(?:\?xml|!doctype|!--|\w+(?::\w+)?[\s>/])", re.IGNORECASE)
_JSON = re.compile(rb'(?:\{\s*["}]|\[\s*["{\[\]\d])')
_XBM = re.compile(rb"#define\s+\S*width\s+\d+\s*\n\s*#define\s+\S*height\s+\d+")
_TEXT = re.compile(rb"[\t\n\f\r\x1b -~\x80-\xff]+")


def refusal(data: bytes) -> DecodeError:
    """Returns the error row of a file that is of none of the formats that are read."""
    if name := picture_name(data):
        return DecodeError(
            Reason.UNSUPPORTED_FORMAT,
            f"The file is {name}, a format that is not read. Convert it, as to PNG.",
        )
    if name := other_name(data):
        text = f"The file is {name} and no image; it begins with {data[:24]!r}."
    else:
        text = f"The file is no image of a known format; it begins with {data[:24]!r}."
    return DecodeError(Reason.NOT_AN_IMAGE, text)


def picture_name(data: bytes) -> str:
    """Returns the name of a format of pictures that is not read; empty if it is none."""
    if name := _by_magic(data, _PICTURES):
        return name
    if data[4:12] == b"ftypcrx ":
        return "a camera's raw image (CR3)"
    if data.startswith(b"FORM"):
        return _IFF_FORMS.get(data[8:12], "")
    if data.startswith(b"RIFF") and data[8:11] in (b"CDR", b"cdr"):
        return "a CorelDRAW document"
    if data[128:132] == b"DICM":
        return "a DICOM image"
    if data[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI image"
    if data.startswith(b"\x01\0\0\0") and data[40:44] == b" EMF":
        return "an enhanced metafile (EMF)"
    if data.startswith(b"\0\0\1\0\0\0") and len(data) > 20:  # An icon would have no picture.
        return "a JBIG image"
    if data[:2] == b"BA" and data[14:16] in (b"BM", b"IC", b"CI", b"PT", b"CP"):
        return "an array of OS/2 bitmaps"
    if data[:1] == b"\x0a" and data[1:2] in b"\0\2\3\4\5" and data[2:4] in _PCX_CODINGS:
        return "a PCX image"
    if data[4:8] == b"\0\0\0\x07" and data[:3] == b"\0\0\0":
        return "an X window dump (XWD)"
    if data[522:528] == b"\0\x11\x02\xff\x0c\0" and not any(data[:512]):
        return "a QuickDraw picture (PICT)"
    if data[2048:2052] == b"PCD_":
        return "a Photo CD image"
    if _is_targa(data):
        return "a Targa image (TGA)"
    text = _text(data)
    if _XBM.search(text) and text.startswith((b"#define", b"/*")):
        return "an XBM image"
    # HTML may have SVG inside, and is none.
    return "an SVG drawing" if text.startswith(b"<") and _is_svg(text) else ""


def other_name(data: bytes) -> str:
    """Returns the name of what is no picture; empty if it is unknown."""
    if name := _by_magic(data, _REST):
        return name
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], f"a video or another MPEG-4 file of brand {data[8:12]!r}")
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "a QuickTime video"
    if data.startswith((b"RIFF", b"RIFX", b"RF64")):
        return _RIFF_FORMS.get(data[8:12], "a RIFF file")
    if data.startswith(b"FORM") and data[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF audio"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if data[:1] == b"\xff" and data[1:2] in (b"\xfb", b"\xf3", b"\xf2", b"\xf1", b"\xf9"):
        return "MP3 or AAC audio"
    if data[:1] == b"\x47" and data[188:189] == b"\x47":
        return "an MPEG video"
    text = _text(data)
    if _HTML.match(text):
        return "HTML"
    if _XML.match(text):
        return "HTML" if re.search(rb"<html[\s>]", text, re.I) else "XML"
    if _JSON.match(text):
        return "JSON"
    return "text" if text and _TEXT.fullmatch(text) else ""


_PCX_CODINGS = frozenset(bytes([1, bits]) for bits in (1, 2, 4, 8))


def _by_magic(data: bytes, names: tuple[tuple[bytes, str], ...]) -> str:
    return next((name for magic, name in names if data.startswith(magic)), "")


def _text(data: bytes) -> bytes:
    """Returns the beginning of a file as ASCII, without what marks and precedes a text."""
    head = data[:_HEAD]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANKS)


def _is_svg(text: bytes) -> bool:
    return not _HTML.match(text) and _SVG.search(text) is not None


def _is_targa(data: bytes) -> bool:
    """Tells whether a file is one of Targa's, whose first edition has no magic bytes."""
    if data.endswith(_TARGA_FOOTER):
        return True
    if len(data) < 19:
        return False
    _, has_palette, kind, first, colours, entry, _, _, width, height, bits, flags = (
        struct.unpack_from("<BBBHHBHHHHBB", data)
    )
    if kind not in _TARGA_KINDS or not width or not height or flags & 0xC0:
        return False
    if kind % 8 == 1:
        return bool(has_palette == 1 and bits == 8 and colours and entry in (15, 16, 24, 32))
    return has_palette == 0 and first == colours == entry == 0 and bits in (8, 15, 16, 24, 32)
