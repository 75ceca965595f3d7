"""Distributed batch image feature extraction."""
