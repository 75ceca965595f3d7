"""The layer of a Keras model whose output the features are: the last one before a classifier."""

from __future__ import annotations

import dataclasses
import difflib

from image_features.errors import ModelError
from image_features.models.conversion.layer_calls import Calls, LayerCall

PROBABILITIES = frozenset(
    {"softmax", "sigmoid", "log_softmax", "hard_sigmoid", "log_sigmoid", "logsoftmax"}
)
_NEUTRAL = frozenset(
    {"Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise", "Identity"}
    | {"ActivityRegularization"}
)
_SHAPING = frozenset({"Flatten", "Reshape", "reshape", "Squeeze", "squeeze"})
_POOLING = ("GlobalAverage", "GlobalMax", "GlobalAvg")
_NAMES_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """Where a model ends.

    Attributes:
      call: The call whose output the features are; None for the model's own output.
      reason: Why it is there, in words.
    """

    call: LayerCall | None
    reason: str


def cut_at(calls: Calls, name: str, path: str) -> Cut:
    """Finds the layer of a name: its own, or its path through the models around it.

    Raises:
      ModelError: There is no such layer, or there are several.
    """
    found = [call for call in calls.all if call.path == name]
    found = found or [call for call in calls.all if f"/{call.path}".endswith(f"/{name}")]
    if len(found) == 1:
        return Cut(found[0], "as --layer says")
    if found:
        paths = sorted({call.path for call in found})
        if len(paths) == 1:
            raise ModelError(
                f"The model {path!r} runs its layer {name!r} {len(found)} times; name the layer "
                "that comes next by --layer."
            )
        raise ModelError(
            f"The model {path!r} has several layers {name!r}; name one by its path: "
            f"{', '.join(paths[:_NAMES_SHOWN])}."
        )
    raise ModelError(f"The model {path!r} has no layer {name!r}; {named(calls, name)}.")


def named(calls: Calls, like: str = "") -> str:
    """Says which layers there are: those with a name like the given one, and the last ones."""
    paths = list(dict.fromkeys(call.path for call in calls.all))
    close = difflib.get_close_matches(like, paths, 3) if like else []
    last = [path for path in paths if path not in close][-(_NAMES_SHOWN - len(close)) :]
    return f"its last layers are {', '.join([*close, *last])}"


def cut_before_classifier(calls: Calls, loss: str, path: str, *, pools: bool) -> Cut:
    """Finds the last layer before the classifier.

    A classifier is a last Dense layer (or a 1x1 convolution) that gives probabilities, by its own
    activation or by the layers after it, or one without activation that a cross-entropy was
    trained on. Dropout between the two does nothing, and is cut off with it. A model that ends
    otherwise, such as in a pooling, an embedding or a normalisation, is kept whole.

    Args:
      calls: The calls of one run.
      loss: The losses that the model was trained with, as text.
      path: The model, for messages.
      pools: Whether the caller pools by itself, so that a pooling is cut off too.

    Raises:
      ModelError: The model has several outputs that do not end in classifiers of one layer, or
        ends in probabilities of something else.
    """
    classifiers = [_classifier(calls, output, loss) for output in calls.outputs]
    ends = [
        calls.maker(output if head is None else head.inputs[0])
        for output, head in zip(calls.outputs, classifiers, strict=True)
    ]
    if len({id(end) for end in ends}) > 1:
        raise ModelError(
            f"The model {path!r} has {len(ends)} outputs, which are not classifiers of one and the "
            f"same layer; name the layer whose output is wanted by --layer: {named(calls)}."
        )
    end, head = ends[0], classifiers[0]
    if end is None and head is not None:
        raise ModelError(
            f"The model {path!r} has no layer before its classifier {head.path!r}, so it has no "
            "features; choose another model."
        )
    if end is not None and head is None and "softmax" in activation_of(end):
        raise ModelError(
            f"The model {path!r} ends in probabilities, those of {end.path!r}, which are no "
            f"features; name the layer whose output is wanted by --layer: {named(calls)}."
        )
    while end is not None and _passes(end) and (before := calls.before(end)) is not None:
        end = before
    reason = "the model's output" if head is None else f"the last before {_put(classifiers)}"
    if pools and end is not None and end.kind.startswith(_POOLING):
        end, reason = calls.before(end) or end, f"{reason}, and before its pooling {end.path!r}"
    return Cut(end if (end is not None and head is not None) or pools else None, reason)


def _put(heads: list[LayerCall | None]) -> str:
    names = list(dict.fromkeys(repr(head.path) for head in heads if head is not None))
    kind = next(head.kind for head in heads if head is not None)
    what, verb = ("classifiers", "are") if len(names) > 1 else ("classifier", "is")
    return f"the {what} {', '.join(names)} ({kind}), which {verb} cut off"


def _classifier(calls: Calls, output: object, loss: str) -> LayerCall | None:
    call = calls.maker(output)
    probable = "crossentropy" in loss.lower().replace("_", "")
    explicit = False
    while call is not None and not _is_classifying(call):
        if activation_of(call) in PROBABILITIES and not _has_weights(call):
            explicit = True
        elif not _passes(call) and call.kind not in _SHAPING and not (explicit and _squeezes(call)):
            return None
        call = calls.before(call)
    if call is None:
        return None
    activation = activation_of(call)
    logits = probable and activation == "linear" and call.kind == "Dense"
    return call if activation in PROBABILITIES or explicit or logits else None


def _is_classifying(call: LayerCall) -> bool:
    kernel = getattr(call.layer, "kernel_size", None)
    return call.kind == "Dense" or (call.kind == "Conv2D" and tuple(kernel or ()) == (1, 1))


def _passes(call: LayerCall) -> bool:
    return call.kind in _NEUTRAL or (call.kind == "Activation" and activation_of(call) == "linear")


def _squeezes(call: LayerCall) -> bool:
    """Whether it may stand between a convolution of classes and its softmax."""
    relu = activation_of(call) == "relu" and not _has_weights(call)
    return relu or call.kind.startswith(_POOLING)


def _has_weights(call: LayerCall) -> bool:
    return bool(getattr(call.layer, "weights", ()))


def activation_of(call: LayerCall) -> str:
    """Returns the name of the function that a layer applies in the end; "linear" if none."""
    activation = getattr(call.layer, "activation", None)
    if activation is not None:
        name = getattr(activation, "__name__", None) or type(activation).__name__
        return str(name).lower()
    kind = call.kind.lower()
    return kind if kind in PROBABILITIES or kind == "relu" else "linear"
