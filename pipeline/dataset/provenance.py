"""The sources of a run's features, and the rule which features can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from image_features.models.identity import ModelIdentity
from image_features.transforms.archives.options import FOUND, ArchiveOptions
from image_features.transforms.images.fetcher import FetchPolicy
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.columns import Column
from image_features.transforms.shards.vectors import VectorField
from image_features.transforms.stores.http import HttpPolicy
from image_features.transforms.stores.retries import RetryPolicy

# Whether the vector of an image depends on a field. Vectors can be compared, and a row can be taken
# for done, where all the fields that they depend on are equal. Limits and patience decide whether
# a row has a vector at all, and not which. A test fails where a new field is not told apart here.
VECTORS_DEPEND_ON: Mapping[type, Mapping[str, bool]] = {
    ModelIdentity: {
        "handle": False,  # The content counts, by whatever name it was given.
        "content_hash": True,
        "image_size": True,
        "num_features": True,
        "engine": False,  # Compiled features are within a tolerance of TensorFlow's.
        "precision": True,
        "max_cosine_difference": False,
        "scaling": True,
    },
    DecodePolicy: {
        "image_size": False,  # The models' own sizes count.
        "further_sizes": False,
        "resize": True,
        "decode": True,
        "allow_truncated": False,  # What is not truncated is decoded as ever.
        "max_pixels": False,
        "max_bytes": False,
        "background": True,
        "timeout": False,
        "decode_revision": True,
        "interpolation": True,
        "antialias": True,
    },
    FetchPolicy: {
        "http": False,
        "max_bytes": False,
        "threads": False,
        "max_bytes_in_flight": False,
        "archives": False,
        "preview": False,  # It is the DecodePolicy.
    },
    # The versions of images tell which column or feature they are of.
    ArchiveOptions: {"members": False, "column": False, "feature": False},
    HttpPolicy: {
        "connect_timeout": False,
        "read_timeout": False,
        "total_timeout": False,
        "retries": False,
        "max_redirects": False,
        "max_bytes": False,
        "allow_private_hosts": False,
        "user_agent": False,
    },
    RetryPolicy: {"max_attempts": False, "backoff_base": False, "backoff_max": False},
}
_HASH_DIGITS = 12
# They come with the content of a model.
_OF_CONTENT = frozenset({"content_hash", "num_features", "image_size"})


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The sources of a run's features, without secrets.

    Attributes:
      inputs: The locations of the manifests, directories and globs.
      columns: The passed-through columns of the rows.
      models: The models by their names, which are empty for one that needs none.
      decode: The rules by which files became pixels.
      max_fetch_bytes: The size above which files were not fetched.
      archives: What was said of where in archives the images are.
    """

    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    models: Mapping[str, ModelIdentity]
    decode: DecodePolicy
    max_fetch_bytes: int
    archives: ArchiveOptions = FOUND

    @property
    def vectors(self) -> tuple[VectorField, ...]:
        """The fields of a row that hold its feature vectors, in the order of the models."""
        return tuple(VectorField(name, made.num_features) for name, made in self.models.items())

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of run.json that tell the sources."""
        return {
            "input": list(self.inputs),
            "columns": [column.to_json() for column in self.columns],
            **_models_to_json(self.models),
            "preprocessing": self.decode.to_json() | {"max_fetch_bytes": self.max_fetch_bytes},
            **({"archives": told} if (told := self.archives.to_json()) else {}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Provenance:
        """Reads the fields of run.json, as any version has written them."""
        decode = DecodePolicy.from_json(record["preprocessing"])
        return cls(
            inputs=tuple(record["input"]),
            columns=tuple(Column.from_json(entry) for entry in record["columns"]),
            models=_models_from_json(record),
            decode=decode,
            max_fetch_bytes=int(record["preprocessing"].get("max_fetch_bytes", decode.max_bytes)),
            archives=ArchiveOptions.from_json(record.get("archives", {})),
        )

    def is_comparable(self, other: Provenance) -> bool:
        """Tells whether vectors of two runs can be compared: the same models and ways to pixels.

        Limits on size do not count, since no vector depends on them.
        """
        return next(self._differing(other), None) is None

    def differences(self, other: Provenance) -> list[str]:
        """Returns why the vectors of another run cannot be compared, as `name ours -> theirs`."""
        return [
            f"{name} {_shown(ours)} -> {_shown(theirs)}"
            for name, ours, theirs in self._differing(other)
        ]

    def _differing(self, other: Provenance) -> Iterator[tuple[str, Any, Any]]:
        """Yields what differs: its name, and what it is here and there."""
        if self.models.keys() != other.models.keys():
            yield "models", _listed(self.models), _listed(other.models)
            return
        for name, ours in self.models.items():
            theirs, label = other.models[name], f"{name}: " if name else ""
            same = ours.content_hash == theirs.content_hash
            if not same:
                yield f"{label}model", _told(ours), _told(theirs)
            yield from _differing(ours, theirs, label, frozenset() if same else _OF_CONTENT)
        yield from _differing(self.decode, other.decode)


def _models_to_json(models: Mapping[str, ModelIdentity]) -> dict[str, Any]:
    """Returns `model` where it needs no name, else `models`, a list in the order of the fields."""
    if models.keys() == {""}:
        return {"model": models[""].to_json()}
    return {"models": [{"name": name} | made.to_json() for name, made in models.items()]}


def _models_from_json(record: Mapping[str, Any]) -> dict[str, ModelIdentity]:
    if "models" in record:
        return {entry["name"]: ModelIdentity.from_json(entry) for entry in record["models"]}
    return {"": ModelIdentity.from_json(record["model"])}


def _differing(
    ours: object, theirs: object, label: str = "", told: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Any, Any]]:
    for name, counts in VECTORS_DEPEND_ON[type(ours)].items():
        mine, other = getattr(ours, name), getattr(theirs, name)
        if counts and name not in told and mine != other:
            yield f"{label}{name}", mine, other


def _told(model: ModelIdentity) -> str:
    return f"{model.handle} (hash {model.content_hash[:_HASH_DIGITS]})"


def _listed(models: Mapping[str, ModelIdentity]) -> str:
    return ", ".join(sorted(name or _told(model) for name, model in models.items()))


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
