"""The sound files that mutants are made of."""

from __future__ import annotations

from benchmarks.mutations.mutant import Origin
from tests.images import encode, noise
from tests.images.camera import Exif, photograph
from tests.images.corpus import corpus

_LARGEST = 2**19  # A larger file would be mostly pixels, and cost most of the time.
# What Pillow writes beside the corpus: pictures of some size, with what cameras and editors add.
_WRITTEN = (
    ("JPEG", "RGB", {"progressive": True, "icc_profile": b"profile" * 90, "comment": b"words"}),
    ("JPEG", "RGB", {"subsampling": 0, "restart_marker_blocks": 1}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGB", {}),
    ("PNG", "P", {"transparency": 3}),
    ("WEBP", "RGB", {"quality": 50}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("GIF", "P", {"comment": b"words"}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "L", {"compression": "jpeg"}),
    ("BMP", "RGB", {}),
    ("ICO", "RGBA", {}),
    ("PPM", "RGB", {}),
    ("AVIF", "RGB", {}),
    ("AVIF", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
)
_MOVING = ("GIF", "WEBP", "PNG")


def origins() -> list[Origin]:
    """Returns all files of the corpus, and some more; each content once."""
    found = [Origin(sample.name, sample.data) for sample in corpus()]
    for number, (form, mode, options) in enumerate(_WRITTEN):
        data = encode(noise(number).convert(mode), form, **options)
        found.append(Origin(f"pillow_{form.lower()}_{number}", data))
    for form in _MOVING:
        frames = [noise(seed) for seed in range(1, 4)]
        data = encode(noise(0), form, save_all=True, append_images=frames, duration=80)
        found.append(Origin(f"pillow_{form.lower()}_moving", data))
    large, small = noise(0, 640, 480), encode(noise(0, 160, 120))
    found.append(Origin("camera", photograph(large, Exif(small), [encode(noise(0, 300, 225))])))
    distinct = {origin.data: origin for origin in reversed(found) if origin.data}
    kept = [origin for origin in distinct.values() if len(origin.data) <= _LARGEST]
    return sorted(kept, key=lambda origin: origin.name)
