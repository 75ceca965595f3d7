"""BeamOptions: how RunInference batches and shares a model."""

from __future__ import annotations

from typing import TypedDict


class BeamOptions(TypedDict, total=False):
    """The options of every ModelHandler of Beam's that make sense here.

    Attributes:
      min_batch_size: The smallest batch that RunInference makes, except for the last of a bundle;
        by default the handler's batch size.
      max_batch_size: The largest batch that RunInference makes; by default the handler's batch
        size.
      max_batch_duration_secs: The seconds to wait for a batch to fill up in a streaming pipeline.
      large_model: Whether the processes of a worker share one copy of the model. A call then
        passes through a pipe: this pays where the model hardly fits the memory.
      model_copies: The number of copies that the processes of a worker share.
      env_vars: Environment variables to set in a worker before the model is loaded.
    """

    min_batch_size: int
    max_batch_size: int
    max_batch_duration_secs: int
    large_model: bool
    model_copies: int
    env_vars: dict[str, str]


def bounded(options: BeamOptions, batch_size: int) -> BeamOptions:
    """Fills in the sizes of batches: without them Beam tries ever larger ones, up to 10,000."""
    smallest = options.get("min_batch_size")
    largest = options.get("max_batch_size") or max(batch_size, smallest or 1)
    sizes = BeamOptions(min_batch_size=smallest or min(batch_size, largest), max_batch_size=largest)
    return {**options, **sizes}
