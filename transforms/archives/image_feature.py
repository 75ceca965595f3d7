"""Which feature of examples holds the images: told, described by TFDS, or found by its name."""

from __future__ import annotations

from collections.abc import Sequence

from image_features.transforms.archives.example import Features
from image_features.transforms.archives.magic import looks_like_image
from image_features.transforms.archives.tfds import Described
from image_features.transforms.stores.retries import FetchError
from image_features.transforms.values import Reason

_FIRST = "image/encoded"
# `image_raw` and `image/raw` are pixels mostly, which do not look like images.
_USUAL = (
    _FIRST,
    "image",
    "image_encoded",
    "image_bytes",
    "image_data",
    "image_raw",
    "image/data",
    "image/bytes",
    "image/image",
    "image/raw",
    "encoded",
    "encoded_image",
    "img",
    "img_bytes",
    "image_string",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image/jpeg",
    "image/png",
    "picture",
    "photo",
)
_SHOWN = 20


class ImageFeatureError(FetchError):
    """A feature of images that cannot be told, so that the user has to name it."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.NOT_AN_IMAGE, message)


def candidates(samples: Sequence[Features], *, told: str, described: Described) -> list[str]:
    """Returns the names of the features that may hold the images, best first.

    Args:
      samples: The features of some examples.
      told: The name that the user gives; empty if it is to be found.
      described: What TFDS says of the features.
    """
    names = _of_bytes(samples)
    if told:
        return [told] if told in names else []
    unread = {name for name, _ in described.unread}
    return [name for name in described.images if name in names] or [
        name for name in _USUAL if name in names - unread and _looks(samples, name)
    ]


def find_feature(
    samples: Sequence[Features], *, told: str, described: Described, shown: str, strict: bool
) -> str:
    """Returns the name of the feature that holds the images; empty if there is none.

    Args:
      samples: The features of some examples.
      told: The name that the user gives; empty if it is to be found.
      described: What TFDS says of the features.
      shown: The file's name in messages.
      strict: Whether a file without images is an error, and not one of another purpose.

    Raises:
      ImageFeatureError: several features may be meant, or those that hold images are not read.
    """
    found = candidates(samples, told=told, described=described)
    if len(found) == 1 or _FIRST in found:
        return _FIRST if _FIRST in found else found[0]
    names = sorted(_of_bytes(samples))
    if not told:
        unread = {name: what for name, what in described.unread if name in names}
        odd = found or [name for name in names if name not in unread and _looks(samples, name)]
        if odd:
            several = "features" if len(odd) > 1 else "feature"
            raise ImageFeatureError(
                f"{shown} has images in the {several} {_listed(odd)}: name the one to read by "
                "--image_feature."
            )
        for name, what in unread.items():
            raise ImageFeatureError(
                f"{shown} has no feature of one image: {name!r:.80} is {what}, which is not read."
            )
    if not strict:
        return ""
    looked_for = f"no feature {told!r:.80}" if told else "no feature that holds encoded images"
    advice = f"those of bytes are {_listed(names)}" if names else "none is of bytes"
    raise ImageFeatureError(
        f"{shown} has {looked_for} in its first examples ({advice}): name the right one by "
        "--image_feature, or encode the images, as to PNG."
    )


def _of_bytes(samples: Sequence[Features]) -> set[str]:
    return {
        name
        for features in samples
        for name, feature in features.items()
        if feature.bytes_list.value
    }


def _looks(samples: Sequence[Features], name: str) -> bool:
    values = [features[name].bytes_list.value for features in samples if name in features]
    return any(looks_like_image(items[0]) for items in values if items)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.80}" for name in names[:_SHOWN]) + more
