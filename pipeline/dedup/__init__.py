"""Duplicates in a dataset: the same files, and images whose vectors are nearly the same."""
