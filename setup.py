# Beam stages code with --setup_file; the rest stands in pyproject.toml
from setuptools import setup

setup()
