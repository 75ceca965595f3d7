"""What the corpus says of each picture is what ImageMagick or libvips shows."""

from __future__ import annotations

import numpy as np
import pytest

from image_features.transforms.images.headers.recognise import read_header
from tests.differential.comparison import compare
from tests.images.corpus import corpus
from tests.images.sample import Sample

_SAMPLES = [sample for sample in corpus() if isinstance(sample.expected, np.ndarray)]


@pytest.mark.parametrize("sample", _SAMPLES, ids=str)
def test_other_viewers_show_the_same(sample: Sample, viewers, disagreements, tmp_path) -> None:
    if sample.comparable:
        pytest.skip(f"{sample.name}: {sample.comparable}")
    # ImageMagick knows ICO by its name only.
    path = tmp_path / f"file.{read_header(sample.data).format}"
    path.write_bytes(sample.data)
    compare(sample.name, path, viewers, disagreements, max(2, sample.tolerance))
