"""The models of a run: what `--model` names, prepared once by the launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from apache_beam.io.filesystems import FileSystems

from image_features.errors import ModelError, UsageError
from image_features.models.engines import PreparedModel
from image_features.models.engines import prepare as prepare_model
from image_features.models.handles import BUILTIN
from image_features.models.identity import Engine, ModelIdentity, Precision
from image_features.models.staging import stage
from image_features.pipeline.options import FeatureExtractorOptions
from image_features.pipeline.scaling_options import stated_scalings
from image_features.transforms.stores.uris import redact_text, redact_uri

# A name becomes a part of a field's name in records, where TFDS nests at slashes.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def split_name(given: str) -> tuple[str, str]:
    """Returns the name, which may be empty, and the handle of one `--model`.

    A path that is there is a handle, whatever it looks like, and so is one with directories or a
    URL, whose "=" comes later.

    Raises:
      UsageError: what comes before the "=" is no name.
    """
    name, equals, handle = given.partition("=")
    if not equals or "/" in name or ":" in name or os.path.exists(given):
        return "", given
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--model={_shown(name, handle)} begins with no name: {name!r} must be up to 64 "
            "letters, digits, _ and -."
        )
    return name, handle


def handles(given: str | Sequence[str] | None) -> dict[str, str]:
    """Returns the handles of a run's models by their names, in the order in which they are given.

    Raises:
      UsageError: several models do not have a name each.
    """
    values = [given] if isinstance(given, str) else given
    named = [split_name(value) for value in values or [BUILTIN]]
    if len(named) > 1:
        for name, handle in named:
            if not name:
                raise UsageError(
                    f"--model={_shown(name, handle)} needs a name beside others, under which its "
                    "features are written: --model=NAME=HANDLE."
                )
    found = dict(named)
    if len(found) < len(named):
        twice = next(name for name, _ in named if [n for n, _ in named].count(name) > 1)
        raise UsageError(f"Two models are called {twice!r}; give each --model a name of its own.")
    return found


def prepare_models(options: FeatureExtractorOptions) -> dict[str, PreparedModel]:
    """Resolves and compiles the models of a run.

    Raises:
      UsageError: one of them cannot be used.
    """
    prepared = {}
    named = handles(options.model)
    scalings = stated_scalings(options, named)
    for name, handle in named.items():
        try:
            prepared[name] = prepare_model(
                handle,
                engine=Engine(options.engine),
                precision=Precision(options.precision),
                batch_size=options.batch_size,
                scaling=scalings.get(name),
                allow_probabilities=options.allow_probabilities,
            )
        except ModelError as error:
            raise UsageError(f"--model={_shown(name, handle)} cannot be used: {error}") from error
    return prepared


def _shown(name: str, handle: str) -> str:
    return redact_text(f"{name}={redact_uri(handle)}" if name else redact_uri(handle))


def needed_engine(models: Iterable[ModelIdentity]) -> Engine:
    """Returns the engine that workers must have installed; each has LiteRT."""
    engines = {model.engine for model in models}
    return Engine.TENSORFLOW if Engine.TENSORFLOW in engines else Engine.LITERT


def stage_models(models: Mapping[str, PreparedModel], staging: str) -> dict[str, PreparedModel]:
    """Copies what workers elsewhere cannot make or fetch themselves to where they read it."""
    return {
        name: stage(model, FileSystems.join(staging, name) if name else staging)
        for name, model in models.items()
    }
