"""What Beam would work out again hundreds of times while a job is built and started.

That is half of the time that a small job takes after the imports.
"""

from __future__ import annotations

import contextlib
import functools
import types
import weakref
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core, userstate


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
def kept_parameters() -> Iterator[None]:
    """Makes Beam look at the methods of a step once, instead of eight times in each of its copies.

    It searches them all for state and timers, by the defaults of their parameters.
    """
    parameters, specs = core.get_function_args_defaults, userstate.get_dofn_specs
    specs_of: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    @functools.cache
    def of_function(function: types.FunctionType) -> Any:
        # The first parameter is left out, whatever the method is bound to.
        return parameters(types.MethodType(function, function))

    def kept(function: Any) -> Any:
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            names, defaults = of_function(function.__func__)
            return list(names), list(defaults)
        return parameters(function)

    def kept_specs(step: Any) -> Any:
        if step not in specs_of:
            specs_of[step] = specs(step)
        return specs_of[step]

    core.get_function_args_defaults, userstate.get_dofn_specs = kept, kept_specs
    try:
        yield
    finally:
        core.get_function_args_defaults, userstate.get_dofn_specs = parameters, specs
