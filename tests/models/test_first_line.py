"""What is told of a library's error."""

from __future__ import annotations

import tensorflow as tf

from image_features.models.first_line import first_line


def test_an_error_of_a_graph_tells_what_failed_and_not_where_it_was_made():
    @tf.function
    def fail(value):
        tf.debugging.assert_less(value, 1.0, message="out of memory")
        return value

    try:
        fail(tf.constant(2.0))
    except tf.errors.InvalidArgumentError as error:
        assert str(error).startswith("Graph execution error")
        assert first_line(error).startswith("InvalidArgumentError: assertion failed: [out of memo")
    assert first_line(tf.errors.InternalError(None, None, "{{node a/b}} bad [[c]] [Op:X]")) == (
        "InternalError: bad"
    )
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("  indented only")) == "ValueError: indented only"


def test_a_long_line_is_cut_where_a_sentence_or_a_word_ends():
    words = "It fails for a reason. " + "and so on " * 30
    assert first_line(ValueError(words)) == "ValueError: It fails for a reason"
    path = "The file /some/where/" + "directory/" * 8 + "x is bad since " + "and so on " * 20
    told = first_line(ValueError(path))
    assert len(told) < 220 and told.endswith((" and ...", " so ...", " on ..."))
    assert "directory/x is bad since " in told
