"""The `model` object of run.json, as every version has written it."""

from __future__ import annotations

import json

import pytest

from image_features.models.identity import Engine, ModelIdentity, Precision

_WRITTEN = (
    '{"handle": "builtin", "content_hash": "ab12", "image_size": [96, 128], "num_features": 1280, '
    '"engine": "litert", "precision": "float16", "max_cosine_difference": 1.5e-07}'
)
_IDENTITY = ModelIdentity(
    "builtin", "ab12", (96, 128), 1280, Engine.LITERT, Precision.FLOAT16, 1.5e-7
)


def test_the_names_on_disk_stay() -> None:
    assert json.dumps(_IDENTITY.to_json()) == _WRITTEN
    assert ModelIdentity.from_json(json.loads(_WRITTEN)) == _IDENTITY


def test_a_run_of_an_earlier_version_has_no_difference() -> None:
    values = json.loads(_WRITTEN)
    del values["max_cosine_difference"]
    assert ModelIdentity.from_json(values).max_cosine_difference == 0.0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"engine": "abacus"}, ValueError),
        ({"precision": "int3"}, ValueError),
        ({"image_size": [96]}, ValueError),
    ],
)
def test_unknown_values_are_refused(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        ModelIdentity.from_json(json.loads(_WRITTEN) | change)


def test_a_missing_value_is_refused() -> None:
    with pytest.raises(KeyError, match="content_hash"):
        ModelIdentity.from_json({"handle": "builtin", "image_size": [96, 96]})
