from setuptools import setup  # Beam stages code with --setup_file; the rest stands in pyproject.toml

setup()
