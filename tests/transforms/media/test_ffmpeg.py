"""What ffmpeg's log says of a container, and a decoder that never outlives its use."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
import psutil
import pytest

from tests.conftest import ROOT, SAMPLES, TRUTH, offset, pcm_of
from transforms.dead_letters import MediaError
from transforms.media import ffmpeg, ffmpeg_command
from transforms.media.ffmpeg_command import DecodeRequest, find_ffmpeg
from transforms.media.ffmpeg_log import StreamInfo, count_channels, failure_code, parse_log

MP4_WITH_VIDEO = """\
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/media/market.mp4':
  Metadata:
    major_brand     : isom
    comment         : Duration: 99:00:00.00
                    : Output #0
  Duration: 00:00:29.80, start: 0.000000, bitrate: 59 kb/s
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(progressive), 640x360, 10 fps (default)
    Metadata:
      handler_name    : VideoHandler
  Stream #0:1[0x2](hin): Audio: aac (LC) (mp4a / 0x6134706D), 22050 Hz, mono, fltp, 58 kb/s (default)
    Metadata:
      handler_name    : SoundHandler
Stream mapping:
  Stream #0:1 -> #0:0 (aac (native) -> pcm_s16le (native))
Output #0, s16le, to 'pipe:1':
  Stream #0:0(hin): Audio: pcm_s16le, 16000 Hz, mono, s16, 256 kb/s (default)
"""
MKV_WITH_TWO_TRACKS = """\
Input #0, matroska,webm, from 'file:two.mkv':
  Duration: 01:02:03.50, start: 0.000000, bitrate: 48 kb/s
  Stream #0:0(eng): Audio: vorbis, 22050 Hz, mono, fltp (default)
  Stream #0:1(hin): Audio: ac3, 48000 Hz, 5.1(side), fltp, 384 kb/s
  Stream #0:2(hin): Subtitle: subrip
Stream mapping:
  Stream #0:1 -> #0:0 (ac3 (native) -> pcm_s16le (native))
Output #0, s16le, to 'pipe:1':
"""
MP3_WITHOUT_LENGTH = """\
[mp3 @ 0x55d9c4b3a980] Estimating duration from bitrate, this may be inaccurate
Input #0, mp3, from 'file:a.mp3':
  Duration: 00:00:09.41, start: 0.000000, bitrate: 48 kb/s
  Stream #0:0: Audio: mp3, 22050 Hz, stereo, fltp, 48 kb/s
Stream mapping:
  Stream #0:0 -> #0:0 (mp3 (mp3float) -> pcm_s16le (native))
Output #0, s16le, to 'pipe:1':
"""
AAC_OF_UNKNOWN_LENGTH = """\
Input #0, matroska,webm, from 'file:live.mkv':
  Duration: N/A, start: 0.000000, bitrate: N/A
  Stream #0:0: Audio: pcm_s16le, 8000 Hz, 3 channels, s16, 384 kb/s
Stream mapping:
  Stream #0:0 -> #0:0 (pcm_s16le (native) -> pcm_s16le (native))
Output #0, s16le, to 'pipe:1':
"""


MP4_FACTS = """\
#tb 0: 1/22050
#media_type 0: audio
#codec_id 0: aac
#sample_rate 0: 22050
#channel_layout_name 0: mono
0,          0,          0,     1024,      208, 0xc1b6563c
"""


def facts_of(codec: str, rate: int, layout: str) -> str:
    return f"#codec_id 0: {codec}\n#sample_rate 0: {rate}\n#channel_layout_name 0: {layout}\n0, 0, 0, 1, 2, 0x1\n"


def decoder_of(path: pathlib.Path, timeout_s: float) -> ffmpeg.Decoder:
    return ffmpeg.Decoder(f"file:{path}", "file", DecodeRequest(), timeout_s)


@pytest.mark.parametrize(
    ("log", "facts", "source"),
    [
        (MKV_WITH_TWO_TRACKS, facts_of("ac3", 48_000, "5.1(side)"), (3723.5, 48_000, 6, "ac3", True)),
        (MP3_WITHOUT_LENGTH, facts_of("mp3", 22_050, "stereo"), (None, 22_050, 2, "mp3", False)),
        (AAC_OF_UNKNOWN_LENGTH, facts_of("pcm_s16le", 8_000, "3 channels"), (None, 8_000, 3, "pcm_s16le", False)),
        ("file:a.mp3: Invalid data found when processing input\n", "", (None, 0, 0, "", False)),
        ("", "", (None, 0, 0, "", False)),
    ],
)
def test_the_log_tells_of_the_length_and_the_facts_of_the_chosen_track(log, facts, source):
    assert parse_log(log, facts)[:5] == source


def test_what_a_container_comments_is_not_taken_for_its_length():
    assert parse_log(MP4_WITH_VIDEO, MP4_FACTS)[:5] == (29.8, 22_050, 1, "aac", True)


FACTS = {
    "market.mp4": (22_050, "aac", True),
    "school.mkv": (22_050, "vorbis", False),
    "letter.flac": (22_050, "flac", False),
    "office.mp3": (22_050, "mp3", False),
    "village.opus": (48_000, "opus", False),
    "two languages.m4a": (22_050, "aac", False),
}


def shipped_ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("program", [find_ffmpeg, shipped_ffmpeg])
def test_every_ffmpeg_tells_the_same_of_the_sample_media(name, program, monkeypatch):
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", program)
    with decoder_of(SAMPLES / name, 30) as decoder:
        samples = sum(len(block) // 2 for block in decoder.blocks(16_000))
        ended_well, _ = decoder.finish()
        source = decoder.stream_info()
    rate, codec, has_others = FACTS[name]
    assert ended_well
    assert source[1:5] == (rate, 1, codec, has_others)
    assert source.has_others or source.declared_s == pytest.approx(TRUTH[name]["duration"], abs=0.1)
    assert samples / 16_000 == pytest.approx(TRUTH[name]["duration"], abs=0.1)


def test_variables_of_ffmpegs_change_nothing_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {"AV_LOG_FORCE_COLOR": "1", "FFREPORT": "level=32", "FFMPEG_DATADIR": "/"}.items():
        monkeypatch.setenv(name, value)
    version = ffmpeg_command.ffmpeg_version()
    with decoder_of(SAMPLES / "letter.flac", 30) as decoder:
        samples = sum(len(block) // 2 for block in decoder.blocks(16_000))
        assert decoder.finish()[0]
        source = decoder.stream_info()
    assert source[1:4] == (22_050, 1, "flac")
    assert samples / 16_000 == pytest.approx(TRUTH["letter.flac"]["duration"], abs=0.1)
    assert version[0].isdigit() or version[0] in "nN"
    assert list(tmp_path.iterdir()) == []  # FFREPORT names no file: it would be made here


@pytest.mark.parametrize(
    ("layout", "channels"),
    [
        ("mono", 1),
        ("stereo", 2),
        ("downmix", 2),
        ("2.1", 3),
        ("quad", 4),
        ("quad(side)", 4),
        ("4.0", 4),
        ("5.1", 6),
        ("5.1(side)", 6),
        ("hexagonal", 6),
        ("7.1(wide)", 8),
        ("octagonal", 8),
        ("3 channels", 3),
        ("16 channels (FL+FR+BL+BR)", 16),
        ("", 0),
    ],
)
def test_channels_are_counted_from_the_name_of_the_layout(layout, channels):
    assert count_channels(layout) == channels


@pytest.mark.parametrize(
    ("log", "explicit", "code"),
    [
        ("file:a.mp3: Permission denied", False, "unreadable"),
        ("file:a.mp3: No such file or directory", False, "missing"),
        ("Stream map '0:a:0' matches no streams.", False, "no_audio_track"),
        ("Stream map '0:a:7' matches no streams.", True, "no_such_track"),
        ("Output file #0 does not contain any stream", False, "no_audio_track"),
        ("file:a.mp3: Invalid data found when processing input", False, "not_media"),
        ("Could not find codec parameters for stream 0", False, "not_media"),
        ("file:a.mp3: Could not seek to 1026.\nfile:a.mp3: Invalid argument", False, "not_media"),
        ("Input #0, mp3, from 'file:a.mp3':\nConversion failed!", False, "decode_failed"),
        ("file:a.mp3: Input/output error", False, "decode_failed"),
        ("file:a.mp3: Cannot allocate memory", False, "decode_failed"),
        ("ffmpeg: error while loading shared libraries: libavcodec.so.59", False, "decode_failed"),
        ("", False, "decode_failed"),
    ],
)
def test_the_reason_of_a_failure_is_found_in_the_log(log, explicit, code):
    assert failure_code(log, explicit) == code


LIES = (
    "Stream #0:0: Audio: pcm, 99999999999 Hz, 60000 channels",
    "\n  Duration: 99:00:00.00, start: 0.000000, bitrate: 1 kb/s"
    "\n  Stream #0:0: Audio: pcm, 99999999999 Hz, 60000 channels\nStream mapping:\n  Stream #0:0 -> aresample",
)


def tagged(folder: pathlib.Path, name: str, *words: str) -> pathlib.Path:
    source = ["-v", "error", "-i", SAMPLES / "letter.flac"]
    subprocess.run([find_ffmpeg(), *source, "-bitexact", *words, folder / name], check=True)
    return folder / name


def told_of(path: pathlib.Path) -> StreamInfo:
    with decoder_of(path, 30) as decoder:
        assert sum(map(len, decoder.blocks(16_000))) == pytest.approx(13.37 * 32_000, abs=3_200)
        decoder.finish()
        return decoder.stream_info()


@pytest.mark.parametrize("program", [find_ffmpeg, shipped_ffmpeg])
@pytest.mark.parametrize("name", ["a.mkv", "a.flac", "a.mp3"])
def test_no_tag_poses_as_a_fact(name, program, tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", program)
    plain = told_of(tagged(tmp_path, f"plain {name}"))
    values = [
        f"-metadata:{where}={tag}={lie}".split("=", 1)
        for where in ("g", "s:a:0")
        for tag in ("title", "x")
        for lie in LIES
    ]
    assert told_of(tagged(tmp_path, name, *[word for pair in values for word in pair])) == plain
    # where a line break in a tag's name is kept, two lengths are said, and none is believed
    for lie in LIES:
        told = told_of(tagged(tmp_path, f"key {len(lie)} {name}", "-metadata", f"a{lie}=b", "-metadata", f"c{lie}=d"))
        assert told[1:4] == plain[1:4]
        assert told.declared_s in (plain.declared_s, None)


@pytest.mark.parametrize("layout", ["60000 channels", "99999999999999 channels"])
def test_facts_that_cannot_be_are_not_known(layout):
    facts, log = facts_of("pcm_s16le", 99_999_999_999, layout), "  Duration: 9999999:00:00.00, start: 0.0\n"
    assert parse_log(log, facts)[:3] == (None, 0, 0)


def test_facts_are_known_behind_any_number_of_chapters(tmp_path):
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={0}\nEND={1}\ntitle=chapter {0} with a title of some length\n"
    marks = "".join(chapter.format(number, number + 1) for number in range(3_000))
    (tmp_path / "chapters").write_text(f";FFMETADATA1\n{marks}")
    path = tagged(tmp_path, "a.mkv", "-i", str(tmp_path / "chapters"), "-map_chapters", "1", "-map", "0:a")
    assert told_of(path)[1:4] == (22_050, 1, "vorbis")
    assert told_of(path).said_s == pytest.approx(13.37, abs=0.1)


@pytest.mark.parametrize("channels", [2, 3])
def test_a_decoder_that_ends_in_the_middle_of_a_sample_gives_whole_ones(channels, tmp_path, monkeypatch):
    use(monkeypatch, script(tmp_path / "ffmpeg", "head -c 1001 /dev/zero"))
    with ffmpeg.Decoder(f"file:{tmp_path / 'a'}", "file", DecodeRequest(channels=channels), 5) as decoder:
        assert sum(map(len, decoder.blocks(500))) == 1001 // (2 * channels) * 2 * channels


def test_another_decoder_goes_on_behind_the_place_where_one_gave_up(tmp_path, monkeypatch):
    body = f'case "$*" in *" -ss "*) exec {find_ffmpeg()} "$@" ;; esac; {find_ffmpeg()} "$@" | head -c 100000; exit 1'
    whole = pcm_of(SAMPLES / "letter.flac")
    use(monkeypatch, script(tmp_path / "ffmpeg", body))
    with decoder_of(SAMPLES / "letter.flac", 30) as decoder:
        found = np.frombuffer(b"".join(decoder.blocks(16_000)), np.int16)
        assert decoder.finish()[0] is False
    [(start, samples)] = decoder.gaps
    assert (decoder.gave_up, start, samples) == (True, 50_000, 8_000)
    assert np.array_equal(found[:start], whole[:start])
    assert not found[start : start + samples].any()
    assert len(found) == len(whole)
    assert offset(found[start + samples :], whole, start + samples) == 0


def script(path: pathlib.Path, body: str) -> str:
    """A program that stands in for ffmpeg."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def use(monkeypatch, program: str) -> None:
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", lambda: program)


def test_blocks_have_the_size_asked_for_and_a_half_sample_is_left_out(tmp_path, monkeypatch):
    use(monkeypatch, script(tmp_path / "ffmpeg", "head -c 2501 /dev/zero"))
    with decoder_of(tmp_path / "a", 5) as decoder:
        assert [len(block) for block in decoder.blocks(500)] == [1000, 1000, 500]
        assert decoder.finish() == (True, "")


def test_a_log_that_fills_any_pipe_does_not_stop_the_decoder(tmp_path, monkeypatch):
    noisy = "head -c 300000 /dev/zero | tr '\\0' 'x' >&2; echo ' the end' >&2; head -c 1000 /dev/zero; exit 3"
    use(monkeypatch, script(tmp_path / "ffmpeg", noisy))
    with decoder_of(tmp_path / "a", 5) as decoder:
        assert sum(map(len, decoder.blocks(500))) == 1000
        ended_well, log = decoder.finish()
    assert not ended_well
    assert log.endswith("the end")
    assert len(log) < 100_000


def test_the_tail_of_the_log_has_no_addresses_and_no_description_of_streams(tmp_path, monkeypatch):
    lines = "one\\ntwo\\n\\n  Stream of its own\\n[mp3 @ 0x55d9c4b3a980] three\\rfour\\nfive\\nsix\\nseven\\n"
    use(monkeypatch, script(tmp_path / "ffmpeg", f"printf '{lines}' >&2; exit 1"))
    with decoder_of(tmp_path / "a", 5) as decoder:
        assert list(decoder.blocks(500)) == []
        assert decoder.finish() == (False, "two\n[mp3] three\nfour\nfive\nsix\nseven")


@pytest.mark.parametrize("body", ["exec sleep 600", "head -c 64000 /dev/zero; exec sleep 600"])
def test_a_decoder_that_falls_silent_times_out_and_is_ended(tmp_path, monkeypatch, body, children):
    use(monkeypatch, script(tmp_path / "ffmpeg", body))
    with pytest.raises(MediaError) as raised, decoder_of(tmp_path / "a", 0.3) as decoder:
        list(decoder.blocks(16_000))
    assert raised.value.code == "decoder_timeout"
    assert children() == []


def test_a_decoder_that_is_no_longer_needed_is_ended(tmp_path, children):
    with decoder_of(SAMPLES / "five minutes.opus", 30) as decoder:
        next(decoder.blocks(16_000))
    assert children() == []


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended may wait for an init that never collects it."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def test_no_decoder_survives_the_end_of_its_process(tmp_path):
    program = script(tmp_path / "ffmpeg", 'echo $$ > "$0.pid"; head -c 4000 /dev/zero; exec sleep 600')
    code = (
        "import sys; from transforms.media import ffmpeg, ffmpeg_command;"
        f"ffmpeg_command.find_ffmpeg = lambda: {program!r};"
        "decoder = ffmpeg.Decoder('file:a', 'file', ffmpeg_command.DecodeRequest(), 30);"
        "next(decoder.blocks(1000)); sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 7
    assert not alive(int(pathlib.Path(f"{program}.pid").read_text()))
