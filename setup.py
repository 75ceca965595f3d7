"""Packaging for tools that ask for a setup.py, such as Beam's --setup_file.

Every fact is in pyproject.toml.
"""

from setuptools import setup

setup()
