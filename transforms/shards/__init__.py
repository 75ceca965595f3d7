"""Shard files: records, pieces and their merging, indexes, and what is known from them."""
