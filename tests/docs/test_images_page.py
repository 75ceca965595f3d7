"""docs/images.md shows the table of the code, and tells of every reason of a decoder."""

from tests.docs import images_table


def test_the_table_is_the_codes():
    shown = images_table.on_the_page(images_table.PAGE.read_text())
    assert shown == images_table.table(), "Run: python -m tests.docs.images_table"
