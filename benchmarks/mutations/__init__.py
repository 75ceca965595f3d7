"""Damage to image files that knows how they are made."""
