"""The words for what is wrong with a location."""

import pytest
from apache_beam.io.filesystem import BeamIOError
from google.api_core.exceptions import BadRequest, Forbidden
from google.auth.exceptions import RefreshError, TransportError

from image_features.pipeline.locations import explain


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RefreshError("invalid_grant: Gone.", {"error": "invalid_grant"}),
            "the Google credentials are refused (invalid_grant: Gone.); sign in again, or name "
            "others",
        ),
        (BadRequest("a requester pays bucket."), "400 a requester pays bucket"),
        (Forbidden("no"), "access to gs://b/o/** is denied; check the credentials"),
        (TransportError("no route"), "no route"),
    ],
)
def test_what_a_service_says_is_told_without_what_beam_wraps_it_in(error, says):
    inner = BeamIOError("List operation failed", {"gs://b/o/": error})
    outer = BeamIOError("Match operation failed", {"gs://b/o/**": inner})
    assert explain(outer).startswith(says)
    assert "BeamIOError" not in explain(outer)
