"""Reusable Beam transforms, and the values that flow between them."""
