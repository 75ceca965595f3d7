"""What is no picture, or one of a format that is not read, is called by its name."""

import gzip
import io
import json
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from image_features.transforms.images.decode_error import DecodeError
from image_features.transforms.images.headers.recognise import read_header
from image_features.transforms.values import Reason
from tests import images

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def archive(kind):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("a.txt", "a")
    else:
        with tarfile.open(fileobj=out, mode="w") as file:
            file.addfile(tarfile.TarInfo("a.txt"))
    return out.getvalue()


def saved(format, mode="RGB"):
    return images.encode(images.noise(1, 8, 8).convert(mode), format)


PICTURES = [
    (b"8BPS\0\1" + bytes(20), "Photoshop"),
    (b"\xff\x0a" + bytes(20), "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
    (SVG, "SVG"),
    (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n' + SVG, "SVG"),
    (b"\xff\xfe" + SVG.decode().encode("utf-16-le"), "SVG"),
    (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "a.dtd">\n' + SVG, "SVG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "PostScript"),
    (b"\xc5\xd0\xd3\xc6" + bytes(30), "PostScript"),
    (b"%PDF-1.7\n", "PDF"),
    (saved("DDS"), "DirectDraw"),
    (b"v/1\x01\2\0\0\0", "OpenEXR"),
    (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n", "Radiance"),
    (b"SIMPLE  =                    T", "FITS"),
    (bytes(128) + b"DICM" + bytes(20), "DICOM"),
    (b"\xd7\xcd\xc6\x9a" + bytes(30), "WMF"),
    (b"\1\0\0\0\x6c\0\0\0" + bytes(32) + b" EMF" + bytes(9), "EMF"),
    (b"icns\0\0\0\x10", "ICNS"),
    (saved("PCX"), "PCX"),
    (saved("PCX", "1"), "PCX"),
    (saved("TGA"), "Targa"),
    (saved("TGA", "P"), "Targa"),
    (saved("TGA", "L")[:-26], "Targa"),
    (saved("SGI"), "SGI"),
    (saved("XBM", "1"), "XBM"),
    (b'/* XPM */\nstatic char *x[] = {"1 1 1 1"', "XPM"),
    (b"qoif" + bytes(20), "QOI"),
    (b"\0\0\1\0" + struct.pack(">4I", 8, 8, 8, 0x08007F00) + b"\xff\2", "JBIG"),
    (b"II\xbc\x01" + bytes(20), "JPEG XR"),
    (b"FLIF" + bytes(20), "FLIF"),
    (b"BPG\xfb" + bytes(20), "BPG"),
    (b"AT&TFORM\0\0\0\1DJVU", "DjVu"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"FORM\0\0\0\x99ILBMBMHD", "ILBM"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw"),
    (b"FUJIFILMCCD-RAW 0201", "raw"),
    (b"FOVb\0\0\3\0", "raw"),
    (b"RIFF\0\1\0\0CDRvvrsn", "CorelDRAW"),
    (bytes(522) + b"\0\x11\2\xff\x0c\0" + bytes(9), "PICT"),
]
OTHERS = [
    (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
    (b"RIFF\x24\0\0\0AVI LIST", "AVI"),
    (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "video"),
    (b"\0\0\0\x18ftypqt  \0\0\2\0", "QuickTime"),
    (b"\0\0\0\x18ftypM4A \0\0\2\0", "audio"),
    (b"\x1aE\xdf\xa3\x9fB\x86\x81", "Matroska"),
    (b"ID3\4\0\0", "MP3"),
    (b"OggS\0\2", "Ogg"),
    (images.HTML, "HTML"),
    (b"\n  <HTML lang='en'>\n<body><svg width='9'></svg></body></HTML>", "HTML"),
    (b'<!-- made -->\n<html xmlns="http://www.w3.org/1999/xhtml">', "HTML"),
    (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "XML"),
    (json.dumps({"error": 404}).encode(), "JSON"),
    (json.dumps([{"a": 1}], indent=1).encode(), "JSON"),
    (b"404 page not found\n", "text"),
    ("Nicht gefunden \u2013 \xfcberall".encode(), "text"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    (archive("zip"), "zip"),
    (archive("tar"), "tar"),
    (gzip.compress(b"a"), "gzip"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x93NUMPY\1\0", "numpy"),
    (b"PAR1\x15\4", "Parquet"),
    (b"\x7fELF\2", "program"),
    (b"\0\1\2\3\4\5\6\7", "known"),
    (b"\0" * 3000, "known"),
    (np.arange(256, dtype=np.uint8).tobytes(), "known"),
]


@pytest.mark.parametrize(
    ("data", "word", "reason"),
    [
        *((data, word, Reason.UNSUPPORTED_FORMAT) for data, word in PICTURES),
        *((data, word, Reason.NOT_AN_IMAGE) for data, word in OTHERS),
    ],
    ids=[word for _, word in PICTURES + OTHERS],
)
def test_files_of_other_formats_are_called_by_their_names(data, word, reason):
    with pytest.raises(DecodeError) as caught:
        read_header(data)
    assert caught.value.reason is reason, caught.value.message
    assert word in caught.value.message


def test_every_format_that_is_read_is_told_from_all_others():
    grey = Image.fromarray(np.zeros((32, 32), np.uint8))
    for format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "ICO", "JPEG2000"):
        assert read_header(images.encode(grey, format)).format == format.lower()


def test_a_long_text_is_looked_at_only_at_its_beginning():
    data = b"<" * 20_000_000
    with pytest.raises(DecodeError):
        read_header(data)
    tail = struct.pack("<4096s", b"<a>" * 2000) + SVG
    with pytest.raises(DecodeError) as caught:
        read_header(tail)
    assert caught.value.reason is Reason.NOT_AN_IMAGE
