"""The rows of the table of pixels, a module for each format."""
