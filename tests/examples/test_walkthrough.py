"""The notebook runs from top to bottom in a fresh kernel, and shows what it says."""

from __future__ import annotations

import base64
import struct

import nbformat
import pytest

from examples.make_walkthrough import NOTEBOOK, executed
from tests.conftest import ROOT, SAMPLES, TRUTH

pytestmark = pytest.mark.long(45)

SHOWN = ("letter.flac", "market.mp4", "two languages.m4a")
FAILED = "media/gone.mp4"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook as executed in another folder than its own, which has the sample media alone."""
    folder = tmp_path_factory.mktemp("walkthrough")
    (folder / "media").symlink_to(SAMPLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        yield executed(folder)
    assert (folder / "out" / "report.html").exists()


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def told(output):
    """What an output says: its kind, the kinds of its data, and its words."""
    data = output.get("data", {})
    return output.output_type, sorted(data), (output.get("text") or data.get("text/plain", "")).split()


def tables(notebook):
    return [output.data["text/html"] for output in outputs(notebook) if "text/html" in output.get("data", {})]


def plot_of(notebook):
    """Width and height in pixels, and bytes, of the one picture."""
    (picture,) = [output.data["image/png"] for output in outputs(notebook) if "image/png" in output.get("data", {})]
    content = base64.b64decode(picture)
    assert content.startswith(b"\x89PNG\r\n")
    return *struct.unpack(">II", content[16:24]), len(content)


def test_the_tables_have_the_media_and_what_is_said_in_them(notebook):
    media, segments, failed = tables(notebook)
    for name in SHOWN:
        assert f"<th>{name}</th>" in media
        first = TRUTH[name]["utterances"][0]
        assert first["text"] in media
        assert first["translation"] in media
    for utterance in TRUTH["two languages.m4a"]["utterances"]:
        assert f"<td>{utterance['text']}</td>" in segments
    assert media.count("<td>ok</td>") == len(SHOWN)
    assert f"<th>{FAILED}</th>" in failed
    assert "<td>missing</td>" in failed


def test_the_plot_is_a_picture_with_something_in_it(notebook):
    width, height, size = plot_of(notebook)
    assert width > 600
    assert height > 150
    assert size > 5_000


def test_what_readers_see_is_what_it_shows_now(notebook):
    kept = nbformat.read(NOTEBOOK, as_version=4)
    advice = "run examples/make_walkthrough.py"
    assert [told(each) for each in outputs(kept)] == [told(each) for each in outputs(notebook)], advice
    assert plot_of(kept) == pytest.approx(plot_of(notebook), rel=0.3), advice
    assert kept.metadata == notebook.metadata, advice
