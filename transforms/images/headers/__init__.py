"""What image files say of their pixels, read without decoding any: a module for each format."""
