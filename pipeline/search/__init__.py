"""The rows of a dataset that are nearest to an image, compared with all or by an index."""
