"""What is kept while a job is built is what Beam would have found again."""

from __future__ import annotations

import pickle
import types

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, TypeOptions
from apache_beam.transforms import core, userstate
from apache_beam.transforms.userstate import BagStateSpec
from apache_beam.typehints import decorators

from image_features.pipeline.runners.kept_views import KeptViews, kept_parameters, replaced

_BAG = BagStateSpec("bag", BytesCoder())


class _Plain(beam.DoFn):
    def process(self, element, times=2, window=beam.DoFn.WindowParam):
        yield element


class _Stateful(_Plain):
    def process(self, element, bag=beam.DoFn.StateParam(_BAG)):  # noqa: B008
        yield element


def _steps():
    yield _Plain()
    yield _Stateful()
    for times in (1, 2):  # Two functions of one code have defaults of their own.
        yield core.CallableWrapperDoFn(lambda element, times=times: [element] * times)
    own = _Plain()
    own.process = _Stateful().process  # A method that only this step has.
    yield own


def _found(steps):
    names = ("process", "start_bundle", "finish_bundle", "setup", "default_label")
    return [
        (
            [core.get_function_arguments(step, name) for name in names],
            userstate.get_dofn_specs(step),
            userstate.is_stateful_dofn(step),
        )
        for step in steps
        for _ in range(2)
    ]


def test_parameters_and_state_are_those_that_beam_finds():
    steps = list(_steps())
    expected = _found(steps)
    with kept_parameters():
        assert _found(steps) == expected
        assert core.get_function_arguments(_Plain(), "process") == expected[0][0][0]
    assert [stateful for _, _, stateful in expected] == [False] * 2 + [True] * 2 + [False] * 4 + [
        True
    ] * 2


def _of_beam():
    hints = vars(decorators.IOTypeHints)
    return [
        core.get_function_args_defaults,
        core._check_fn_use_yield_and_return,
        userstate.get_dofn_specs,
        pickler.roundtrip,
        hints["from_callable"],
        hints["_make_origin"],
    ]


def test_beam_is_as_it_was_afterwards():
    before = _of_beam()
    with kept_parameters():
        assert not set(map(id, _of_beam())) & set(map(id, before))
    assert _of_beam() == before


def _typed(element: int, times: int = 2) -> list[str]:
    return [str(element)] * times


class _Typed(beam.DoFn):
    def process(self, element: bytes) -> list[int]:
        return [len(element)]


def test_what_another_version_of_beam_lacks_is_left_alone():
    module = types.ModuleType("module")
    with replaced(module, "function", lambda before: before):
        assert not hasattr(module, "function")
    assert not hasattr(module, "function")


def test_types_are_those_that_beam_finds():
    def hints():
        functions = (_typed, _Typed().process, _Typed.process, lambda element: element, len)
        found = [decorators.IOTypeHints.from_callable(function) for function in functions * 2]
        return [hint and (hint.input_types, hint.output_types) for hint in found]

    expected = hints()
    assert expected[0] != expected[1] != expected[2]
    with kept_parameters():
        assert hints() == expected


def test_what_one_has_changed_stays_unchanged_for_others():
    with kept_parameters():
        core.get_function_arguments(_Plain(), "process")[0].clear()
        assert core.get_function_arguments(_Plain(), "process")[0] == ["element", "times", "window"]


def test_views_share_their_values():
    options = PipelineOptions(["--direct_num_workers=3", "--input=a"])
    options.view_as(TypeOptions).runtime_type_check = True
    kept = options.view_as(KeptViews)
    assert kept.view_as(DirectOptions) is kept.view_as(DirectOptions)
    assert kept.view_as(DirectOptions).direct_num_workers == 3
    assert kept.view_as(TypeOptions).runtime_type_check
    options.view_as(DirectOptions).direct_num_workers = 5
    assert kept.view_as(DirectOptions).direct_num_workers == 5
    kept.view_as(DirectOptions).direct_num_workers = 7
    assert options.view_as(DirectOptions).direct_num_workers == 7
    assert kept.get_all_options() == options.get_all_options()


def test_options_travel_without_their_views():
    kept = PipelineOptions(["--direct_num_workers=3"]).view_as(KeptViews)
    kept.view_as(DirectOptions).direct_num_workers = 4
    copied = pickle.loads(pickle.dumps(kept))
    assert "_views" not in copied.__dict__
    assert copied.view_as(DirectOptions).direct_num_workers == 4
