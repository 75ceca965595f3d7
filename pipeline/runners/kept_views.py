"""What Beam would work out again hundreds of times while a job is built and started.

That is half of the time that a small job takes after the imports.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core


class KeptViews(PipelineOptions):  # type: ignore[misc]
    """Options that parse their flags once for each class of options, instead of at every look.

    A view shares its values with what it is a view of, so that one view is as good as many.
    """

    def view_as(self, cls: type[PipelineOptions]) -> Any:
        """Returns the options as those of a class."""
        views: dict[type[PipelineOptions], Any] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_views"}


@contextlib.contextmanager
def kept_signatures() -> Iterator[None]:
    """Makes Beam look at the parameters of a method once, instead of in each of its objects.

    Every step of a job is searched for state and timers several times, by all of its methods.
    """
    look = core.get_signature

    @functools.cache
    def of_function(function: types.FunctionType) -> inspect.Signature:
        # The first parameter is left out, whatever the method is bound to.
        signature: inspect.Signature = look(types.MethodType(function, function))
        return signature

    def of(function: Any) -> Any:
        if isinstance(function, types.MethodType) and isinstance(
            function.__func__, types.FunctionType
        ):
            return of_function(function.__func__)
        return look(function)

    core.get_signature = of
    try:
        yield
    finally:
        core.get_signature = look
