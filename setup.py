"""Setuptools' entry point; everything it needs to know is in pyproject.toml."""

from setuptools import setup

# "" maps the root so that an editable install keeps twisted/plugins importable
# beside the real Twisted (a pth-only install would hide the twistd plugins).
setup(package_dir={"": "."})
