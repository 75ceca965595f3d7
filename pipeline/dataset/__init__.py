"""Runs on disk: what they look like, which of them count, who works on them, how to read them."""
