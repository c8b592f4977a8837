"""Execute walkthrough.ipynb in a fresh kernel and keep what it shows: `python examples/make_walkthrough.py`.

The outputs are kept for those who only read it. Run this when the notebook changes, or what it shows: a test says so.
"""

from __future__ import annotations

import pathlib

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).with_name("walkthrough.ipynb")
SECONDS = 600  # that a cell may take


def executed(folder: pathlib.Path) -> nbformat.NotebookNode:
    """The notebook with the outputs that its cells have in this folder, and nothing that changes from run to run.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources=resources, record_timing=False
    )
    client.execute()
    notebook.metadata.language_info = {"name": "python"}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(NOTEBOOK.parent), NOTEBOOK)
