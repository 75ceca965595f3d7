"""What Beam would work out again hundreds of times while a job is built and started.

That is half of the time that a small job takes after the imports.
"""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core, userstate
from apache_beam.typehints import decorators


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

    It searches them all for state and timers, by the defaults of their parameters, and for types.
    What it would only tell a developer is left out: where in the code types were given, that a
    method both yields and returns, for which it reads its source, and that a step can be pickled,
    which is found out when the job is described.
    """
    hints = decorators.IOTypeHints
    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (
            (core, "get_function_args_defaults", _kept_parameters),
            (userstate, "get_dofn_specs", _kept_specs),
            (hints, "from_callable", lambda before: staticmethod(_kept_hints(before))),
            (hints, "_make_origin", lambda _: staticmethod(lambda *of, **how: [])),
            (core, "_check_fn_use_yield_and_return", lambda _: lambda _: False),
            (pickler, "roundtrip", lambda _: lambda value: value),
        ):
            stack.enter_context(replaced(owner, name, replacement))
        yield


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Callable[[Any], Any]) -> Iterator[None]:
    """Gives an attribute of a module or class another value during a `with` block.

    Args:
      owner: The module or class. Another version of Beam may have no such attribute in it, and
        nothing is replaced then.
      name: The attribute.
      value: Returns the value, of the one before.
    """
    if name not in vars(owner):
        yield
        return
    before = vars(owner)[name]
    setattr(owner, name, value(getattr(owner, name)))
    try:
        yield
    finally:
        setattr(owner, name, before)


_Finding = Callable[[Any], Any]


def _kept_parameters(parameters: _Finding) -> _Finding:
    @functools.cache
    def of_function(function: types.FunctionType) -> Any:
        # The first parameter is left out, whatever the method is bound to.
        return parameters(types.MethodType(function, function))

    def kept(function: Any) -> Any:
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            names, defaults = of_function(function.__func__)
            return list(names), list(defaults)
        return parameters(function)

    return kept


def _kept_specs(specs: _Finding) -> _Finding:
    of_class: dict[type, Any] = {}

    def kept(step: Any) -> Any:
        # Methods count, and those that only one step has are searched in it.
        if any(isinstance(value, types.MethodType) for value in vars(step).values()):
            return specs(step)
        kind = type(step)
        if kind not in of_class:
            of_class[kind] = specs(step)
        states, timers = of_class[kind]
        return set(states), set(timers)

    return kept


def _kept_hints(hints: _Finding) -> _Finding:
    @functools.cache
    def of_function(function: types.FunctionType) -> Any:
        return hints(function)

    @functools.cache
    def of_method(function: types.FunctionType) -> Any:
        return hints(types.MethodType(function, function))

    def kept(function: Any) -> Any:
        if type(function) is types.FunctionType:
            return of_function(function)
        if type(function) is types.MethodType and type(function.__func__) is types.FunctionType:
            return of_method(function.__func__)
        return hints(function)

    return kept
