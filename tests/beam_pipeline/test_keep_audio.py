"""`--keep_audio`: what people can listen to, beside the text."""

from __future__ import annotations

import html

import pytest

from tests.conftest import SAMPLES, offset, pcm_of
from tests.runs import counters, files, layer, run


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The output of a run over a video in Hindi and a sound file whose name needs escaping."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "a & b #1.flac").write_bytes((SAMPLES / "letter.flac").read_bytes())
    (folder / "market.mp4").write_bytes((SAMPLES / "market.mp4").read_bytes())
    output = tmp_path_factory.mktemp("kept") / "out"
    ended = run("--input", folder, "--output", output, "--model", "demo", "--keep_audio")
    assert ended.code == 0, ended.said
    return folder, output


@pytest.mark.parametrize("name", ["a & b #1.flac", "market.mp4"])
def test_the_audio_is_kept_at_its_place_and_small(kept, name):
    folder, output = kept
    source, copy = folder / name, output / "media" / f"{name.rpartition('.')[0]}.opus"
    heard, original = pcm_of(copy), pcm_of(source)
    assert abs(len(heard) - len(original)) < 16_000 * 0.05
    middle = len(original) // 2
    assert abs(offset(heard[middle : middle + 32_000], original, middle)) <= 16  # 1 ms: Opus is not lossless
    assert copy.stat().st_size < 6000 * len(original) / 16_000


def test_the_report_plays_what_was_kept(kept):
    page = html.unescape((kept[1] / "report.html").read_text())
    assert 'src="media/a%20%26%20b%20%231.opus"' in page
    assert 'src="media/market.opus"' in page


def test_audio_that_is_not_wanted_any_more_is_removed_and_nothing_is_inferred(kept):
    folder, output = kept
    flags = ["--input", folder, "--output", output, "--model", "demo"]
    before = files(output)
    assert run(*flags).code == 0
    after = files(output)
    assert sorted(set(before) - set(after)) == ["a & b #1.opus", "market.opus"]
    assert "decode.chunks" not in counters(output)
    assert run(*flags, "--keep_audio").code == 0
    assert files(output) == before
    assert len(layer(output, "asr")) == 2
