"""The sources of a run's features, and the rule which features can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from image_features.models.identity import ModelIdentity
from image_features.transforms.images.fetcher import FetchPolicy
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.manifests.columns import Column
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
        "image_size": True,
        "resize": True,
        "decode": True,
        "allow_truncated": False,  # What is not truncated is decoded as ever.
        "max_pixels": False,
        "max_bytes": False,
        "background": True,
        "timeout": False,
        "decode_revision": True,
    },
    FetchPolicy: {
        "http": False,
        "max_bytes": False,
        "threads": False,
        "max_bytes_in_flight": False,
    },
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


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The sources of a run's features, without secrets.

    Attributes:
      inputs: The locations of the manifests, directories and globs.
      columns: The passed-through columns of the rows.
      model: The model, by its content.
      decode: The rules by which files became pixels.
      max_fetch_bytes: The size above which files were not fetched.
    """

    inputs: tuple[str, ...]
    columns: tuple[Column, ...]
    model: ModelIdentity
    decode: DecodePolicy
    max_fetch_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of run.json that tell the sources."""
        return {
            "input": list(self.inputs),
            "columns": [column.to_json() for column in self.columns],
            "model": self.model.to_json(),
            "preprocessing": self.decode.to_json() | {"max_fetch_bytes": self.max_fetch_bytes},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Provenance:
        """Reads the fields of run.json, as any version has written them."""
        decode = DecodePolicy.from_json(record["preprocessing"])
        return cls(
            inputs=tuple(record["input"]),
            columns=tuple(Column.from_json(entry) for entry in record["columns"]),
            model=ModelIdentity.from_json(record["model"]),
            decode=decode,
            max_fetch_bytes=int(record["preprocessing"].get("max_fetch_bytes", decode.max_bytes)),
        )

    def is_comparable(self, other: Provenance) -> bool:
        """Tells whether the vectors of two runs can be compared: one model, one way to the pixels.

        Limits on size do not count, since no vector depends on them.
        """
        return next(self._differing(other), None) is None

    def differences(self, other: Provenance) -> list[str]:
        """Returns why the vectors of another run cannot be compared, as `name ours -> theirs`."""
        if self.model.content_hash != other.model.content_hash:
            # Whatever else differs about the model comes with it.
            ours, theirs = (
                f"{of.model.handle} (hash {of.model.content_hash[:_HASH_DIGITS]})"
                for of in (self, other)
            )
            model = [f"model {ours} -> {theirs}"]
        else:
            model = []
        return model + [
            f"{name} {_shown(getattr(ours, name))} -> {_shown(getattr(theirs, name))}"
            for ours, theirs, name in self._differing(other)
            if not (model and name in ("content_hash", "num_features", "image_size"))
        ]

    def _differing(self, other: Provenance) -> Iterator[tuple[Any, Any, str]]:
        for ours, theirs in ((self.model, other.model), (self.decode, other.decode)):
            for name, counts in VECTORS_DEPEND_ON[type(ours)].items():
                if counts and getattr(ours, name) != getattr(theirs, name):
                    yield ours, theirs, name


def _shown(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
