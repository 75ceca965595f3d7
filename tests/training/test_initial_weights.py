"""The student's start from the teacher's channels."""

from __future__ import annotations

import numpy as np

from image_features.models import mobilenet_v2
from training import teacher
from training.initial_weights import initial_weights


def test_student_takes_whole_channels() -> None:
    """With a multiplier just below 1 hardly any channel goes, and the features stay alike."""
    wide = mobilenet_v2.seeded_weights(5, 1.0)
    for depth_multiplier in (0.35, 0.5, 0.75):
        narrow = initial_weights(wide, depth_multiplier)
        shapes = {name: array.shape for name, array in narrow.items()}
        assert shapes == mobilenet_v2.variable_shapes(depth_multiplier)
        assert all(np.isfinite(array).all() for array in narrow.values())


def test_the_whole_teacher_is_the_teacher() -> None:
    """Nothing taken away: input normalization and epsilon are folded in, features are equal."""
    wide = mobilenet_v2.seeded_weights(5, 1.0)
    same = initial_weights(wide, 1.0)
    images = np.random.RandomState(2).random_sample((4, 32, 32, 3)).astype(np.float32)
    # The folding, undone: the network with the teacher's epsilon on normalized images.
    undone = dict(wide)
    for name in wide:
        if name.endswith("moving_variance"):
            undone[name] = wide[name] + teacher.BATCH_NORM_EPSILON - mobilenet_v2.BATCH_NORM_EPSILON
    normalized = ((images - teacher.MEAN) / teacher.STD + 1) / 2
    expected, found = (
        mobilenet_v2.forward(x, lambda name, _, w=w: w[name], training=False, depth_multiplier=1.0)[
            0
        ].numpy()
        for x, w in ((normalized, undone), (images, same))
    )
    # Padding is 0 after normalization for the teacher, and 0 before it for the student, so
    # borders differ, and only borders.
    cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1)
    assert (cosine / np.linalg.norm(found, axis=1) > 0.9).all()
