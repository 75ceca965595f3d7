"""The images in TFRecord files of tf.train.Example."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from image_features.transforms.archives.example import (
    Features,
    NotAnExampleError,
    parse_features,
)
from image_features.transforms.archives.image_feature import (
    ImageFeatureError,
    candidates,
    find_feature,
)
from image_features.transforms.archives.member import CorruptArchiveError, Taken, Wanted
from image_features.transforms.archives.options import ArchiveOptions
from image_features.transforms.archives.tfds import Described, describe
from image_features.transforms.archives.tfrecord import LONGEST_RECORD, Record, Records, name_of
from image_features.transforms.stores.members import join_member
from image_features.transforms.stores.ranged import RangedFile
from image_features.transforms.stores.retries import FetchError, too_large
from image_features.transforms.values import Reason

# What is not the image takes so much of a record at most, where images may be large.
_REST = 2**20
# The feature is sought in so many examples, and almost always found in the first.
_SAMPLE_RECORDS = 32
_SAMPLE_BYTES = 16 * 2**20
_NAME = re.compile(r"row/(0|[1-9][0-9]{0,17})")


class Choice(NamedTuple):
    """The feature that holds the images of a file, and what was read to tell it.

    Attributes:
      feature: Its name; empty if no example can be read, or if the file is of another purpose.
      examples: The first examples.
      damage: What has ended them; None if there may be more.
    """

    feature: str
    examples: list[Example]
    damage: CorruptArchiveError | None


class Example(NamedTuple):
    """A record that was taken apart.

    Attributes:
      record: The record, without its data.
      features: Its features, or why it has none, as an error whose message is a phrase.
    """

    record: Record
    features: Features | FetchError


def read_examples(
    file: RangedFile, wanted: Sequence[Wanted], *, max_bytes: int, options: ArchiveOptions
) -> Iterator[Taken]:
    """Yields images of a TFRecord file, as `archives.archive.read_members` does."""
    positions = collections.defaultdict(list)
    for position, (name, _) in enumerate(wanted):
        if match := _NAME.fullmatch(name):
            positions[int(match[1])].append(position)
    records = Records(file, longest=max(LONGEST_RECORD, max_bytes + _REST))
    try:
        examples = parsed(records.scan())
        feature = choose_feature(examples, records, options, strict=True).feature
        for record, places in records.take(wanted, positions):
            name = join_member(file.shown, name_of(record.number))
            data: bytes | FetchError | None = None
            for position in places:
                place = wanted[position].place
                if place and (place.begin, place.size) != (record.begin, record.size):
                    message = f"{file.shown} has changed since it was listed."
                    yield Taken(position, FetchError(Reason.READ_FAILED, message))
                    continue
                if data is None:
                    # Its data are not held beside what they become.
                    record, features = _example(record)
                    data = _within(_image(features, feature), name, max_bytes)
                    del features
                yield Taken(position, data, detail_of(record, feature))
            del record, data  # The next may be as large.
    except CorruptArchiveError as error:
        raise FetchError(Reason.CORRUPT_ARCHIVE, f"{error}.") from error


def detail_of(record: Record, feature: str) -> str:
    """Returns what tells the version of an image: an example may hold several, of one checksum."""
    return f"{record.detail}:{feature}"


def parsed(records: Iterable[Record]) -> Iterator[Example]:
    """Takes records apart; holds none meanwhile, since one may be large."""
    return map(_example, records)


def _example(record: Record) -> Example:
    data, record.data = record.data, None
    return Example(record, _parsed(data))


def _parsed(data: bytes | FetchError | None) -> Features | FetchError:
    assert data is not None
    if isinstance(data, FetchError):
        return data
    try:
        return parse_features(data)
    except NotAnExampleError as error:
        return FetchError(Reason.BAD_MANIFEST_ROW, f"the record {error}")


def choose_feature(
    examples: Iterator[Example], records: Records, options: ArchiveOptions, *, strict: bool
) -> Choice:
    """Looks at the first examples, for the feature that holds the images.

    Args:
      examples: The examples of a file from the first on.
      records: The records of the file.
      options: What the user says of the feature.
      strict: Whether a file without images is an error.

    Raises:
      ImageFeatureError: it is not clear where the images are.
    """
    looked_at: list[Example] = []
    samples: list[Features] = []
    told = options.feature
    described = Described() if told else describe(records.location)
    refusal, size, damage = "", 0, None
    try:
        for example in examples:
            looked_at.append(example)
            if not isinstance(example.features, FetchError):
                samples.append(example.features)
                size += example.record.size
                if candidates(samples[-1:], told=told, described=described):
                    break
            elif example.features.reason is Reason.BAD_MANIFEST_ROW:
                refusal = refusal or example.features.message
            some = samples or refusal
            if size > _SAMPLE_BYTES or (some and len(looked_at) >= _SAMPLE_RECORDS):
                break
    except CorruptArchiveError as error:
        damage = error
    strict = strict and not damage
    if samples:
        feature = find_feature(
            samples, told=told, described=described, shown=records.shown, strict=strict
        )
        return Choice(feature, looked_at, damage)
    if refusal and strict:
        raise ImageFeatureError(f"{records.shown} holds no examples with images: {refusal}.")
    return Choice("", looked_at, damage)


def image_problem(features: Features, feature: str) -> FetchError | None:
    """Returns why the image of an example cannot be read, in a phrase; None if it can."""
    if feature not in features:
        return None
    found = features[feature]
    count = len(found.bytes_list.value)
    if count > 1:
        problem = f"the feature {feature!r:.80} holds {count} values, not one image"
    elif not count and found.WhichOneof("kind") in ("float_list", "int64_list"):
        problem = f"the feature {feature!r:.80} holds numbers, not an encoded image"
    else:
        return None
    return FetchError(Reason.BAD_MANIFEST_ROW, problem)


def _image(features: Features | FetchError, feature: str) -> bytes | FetchError:
    """Returns the image of an example, which is empty if it has none."""
    if isinstance(features, FetchError):
        return features
    if problem := image_problem(features, feature):
        return problem
    values = features[feature].bytes_list.value if feature in features else ()
    return values[0] if values else b""


def _within(image: bytes | FetchError, name: str, max_bytes: int) -> bytes | FetchError:
    if isinstance(image, FetchError):
        return FetchError(image.reason, f"{name}: {image}.")
    return too_large(name, max_bytes) if len(image) > max_bytes else image
