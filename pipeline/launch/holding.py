"""The moment at which a launcher takes a directory for itself, in words for the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from image_features.errors import ImageFeaturesError, RunHeldError, UsageError
from image_features.pipeline.dataset.claim import Claim
from image_features.pipeline.dataset.layout import RunLayout
from image_features.pipeline.locations import explain
from image_features.transforms.stores.retries import FetchError

_Committed = TypeVar("_Committed")


def take(
    claim: Claim, layout: RunLayout, read: Callable[[], _Committed | None]
) -> _Committed | None:
    """Claims a run.

    Args:
      claim: The claim, which is then to be kept.
      layout: The paths of the run.
      read: A function that returns what is committed there; None as long as nothing is.

    Returns:
      What is committed, if it needs no work any more; the claim is then given up.

    Raises:
      RunHeldError: another launcher works on it.
      UsageError: the directory cannot be written to.
      ImageFeaturesError: the store refuses the claim.
    """
    try:
        claim.take()
    except FileNotFoundError:  # The staging directory is gone: another launcher has committed.
        if read() is None:
            raise
    except RunHeldError as error:
        raise RunHeldError(f"{layout.directory} is held: {error}.") from error
    except FetchError as error:
        raise ImageFeaturesError(f"the run cannot be claimed: {error}") from error
    except OSError as error:
        raise UsageError(
            f"The output {layout.directory} cannot be written to: {explain(error)}."
        ) from error
    committed = read()
    if committed is not None:
        claim.give_up()
    return committed
