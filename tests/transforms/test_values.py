"""The closed vocabulary of failures."""

from image_features.transforms.values import DIAGNOSES, Cause, Reason, cause_of


def test_every_reason_tells_of_something():
    assert set(DIAGNOSES) == set(Reason)
    assert cause_of("not_found") is cause_of("a word of a later version") is Cause.ROW
    assert cause_of("inference_failed") is Cause.MODEL
