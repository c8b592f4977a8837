"""DecodeAudio: exact windows of real speech, one last window for every chunk, no decoder left behind."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.conftest import ROOT, SAMPLES, TRUTH, media_of, pcm_of, write_channels, write_wav
from transforms.dead_letters import CODES, MediaError
from transforms.decode_audio import DecodeAudio, DecodeConfig, decode, windows_of
from transforms.dofns.threads import BundleThreads
from transforms.media import ffmpeg_command
from transforms.media.chunks import ChunkConfig
from transforms.media.windows import WindowConfig
from transforms.records import SAMPLE_RATE_HZ, AudioFacts, ChunkTranscript, DeadLetter, MediaChunk, SpeechWindow
from transforms.work.store import WorkStore

FFMPEG = ffmpeg_command.find_ffmpeg()
WORK = WorkStore("/nothing/was/committed", "asr", "saved")


def run_ffmpeg(*words: object) -> bytes:
    command = [FFMPEG, "-nostdin", "-v", "error", "-y", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def letter() -> np.ndarray:
    return pcm_of(SAMPLES / "letter.flac")


def config(max_window_s: float = 8.0, **settings: object) -> DecodeConfig:
    return DecodeConfig(WindowConfig(max_window_s=max_window_s), **settings)


def windows(path: pathlib.Path, settings: DecodeConfig | None = None) -> list[SpeechWindow]:
    return list(decode(MediaChunk(media_of(path)), settings or config()))


def facts(path: pathlib.Path, settings: DecodeConfig | None = None) -> AudioFacts:
    audio = windows(path, settings)[-1].audio
    assert audio is not None
    return audio


def failure(path: pathlib.Path, settings: DecodeConfig | None = None) -> MediaError:
    with pytest.raises(MediaError) as raised:
        windows(path, settings)
    return raised.value


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def assert_well_formed(found: list[SpeechWindow]) -> None:
    """Numbers without gaps, and one total that says how many windows hold audio, in the last."""
    assert [window.number for window in found] == list(range(len(found)))
    assert [window.total for window in found[:-1]] == [None] * (len(found) - 1)
    assert [window.audio for window in found[:-1]] == [None] * (len(found) - 1)
    assert found[-1].total == sum(bool(window.pcm) for window in found)


@pytest.mark.parametrize("max_window_s", [3, 8, 30])
def test_every_window_is_the_audio_at_its_offset_byte_for_byte(tmp_path, letter, max_window_s):
    silence = np.zeros(at(3.21), np.int16)
    audio = np.concatenate([silence, letter, silence[:12_345], letter[at(3) : at(7)], silence, letter[at(0.5) :]])
    found = windows(write_wav(tmp_path / "a.wav", audio), config(max_window_s))
    assert len(found) >= 2
    assert_well_formed(found)
    for window in found:
        count = len(window.pcm) // 2
        assert 0 < count <= max_window_s * SAMPLE_RATE_HZ
        assert window.pcm == audio[window.start_sample : window.start_sample + count].tobytes()
        assert window.start_s == window.start_sample / 16_000


@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.parametrize("max_window_s", [8, 30])
def test_no_utterance_of_the_sample_media_is_cut_or_lost(name, max_window_s):
    found = windows(SAMPLES / name, config(max_window_s))
    assert_well_formed(found)
    assert all(window.duration_s <= max_window_s for window in found)
    for utterance in TRUTH[name]["utterances"]:
        inside = [
            window
            for window in found
            if window.start_s <= utterance["start"] + 0.05
            and utterance["end"] - 0.15 <= window.start_s + window.duration_s
        ]
        assert len(inside) == 1, utterance


@pytest.mark.parametrize("name", TRUTH)
def test_the_facts_about_the_sample_media_are_right(name):
    audio, truth = facts(SAMPLES / name), TRUTH[name]
    spoken = sum(utterance["end"] - utterance["start"] for utterance in truth["utterances"])
    assert audio.duration_s == pytest.approx(truth["duration"], abs=0.1)
    assert audio.channels == 1
    assert audio.problems == ()
    assert spoken * 0.8 < audio.speech_s < spoken * 1.2 + 1
    assert 0 < audio.decode_s < 60


def test_windows_carry_their_chunk_and_their_tasks():
    chunk = MediaChunk(media_of(SAMPLES / "letter.flac", language="hi"))
    found = list(decode(chunk, config(tasks=("transcribe", "translate"))))
    assert {(window.chunk, window.tasks) for window in found} == {(chunk, ("transcribe", "translate"))}


@pytest.mark.parametrize("seconds", [0.01, 1, 40])
def test_silence_is_one_empty_window_with_the_facts(tmp_path, seconds):
    path = write_wav(tmp_path / "silent.wav", np.zeros(at(seconds), np.int16))
    [window] = windows(path)
    assert (window.number, window.total, window.pcm, window.failure) == (0, 0, b"", None)
    assert (window.audio.duration_s, window.audio.speech_s, window.audio.problems) == (seconds, 0, ())


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_number_of_channels_becomes_16_khz_mono(tmp_path, letter, rate_hz, channels):
    path = tmp_path / "a.wav"
    run_ffmpeg("-i", SAMPLES / "letter.flac", "-ar", rate_hz, "-ac", channels, path)
    found = windows(path)
    audio = found[-1].audio
    assert (audio.sampling_rate_hz, audio.channels, audio.codec) == (rate_hz, channels, "pcm_s16le")
    assert audio.duration_s == pytest.approx(len(letter) / 16_000, abs=0.01)
    same = np.frombuffer(found[0].pcm, np.int16).astype(float)
    wanted = letter[found[0].start_sample :][: len(same)].astype(float)
    assert np.corrcoef(same, wanted)[0, 1] > 0.97


def test_speech_on_one_channel_of_two_is_heard(tmp_path):
    run_ffmpeg("-i", SAMPLES / "letter.flac", "-af", "pan=stereo|c0=0*c0|c1=c0", tmp_path / "right.wav")
    assert facts(tmp_path / "right.wav").speech_s == pytest.approx(facts(SAMPLES / "letter.flac").speech_s, rel=0.1)


@pytest.fixture(scope="module")
def two_tracks(tmp_path_factory) -> pathlib.Path:
    """Track 0 is letter.flac in Hindi, track 1 is office.mp3 in English, track 2 is silent and Hindi too."""
    path = tmp_path_factory.mktemp("tracks") / "two.mkv"
    inputs = ["-i", SAMPLES / "letter.flac", "-i", SAMPLES / "office.mp3", "-f", "lavfi", "-t", "2", "-i", "anullsrc"]
    tags = ["-metadata:s:a:0", "language=hin", "-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=hin"]
    run_ffmpeg(*inputs, "-map", "0:a", "-map", "1:a", "-map", "2:a", *tags, "-c:a", "pcm_s16le", path)
    return path


@pytest.mark.parametrize(
    ("track", "seconds"),
    [("", 13.37), ("0", 13.37), ("1", 16.23), ("2", 2), ("eng", 16.23), ("hin", 13.37)],
)
def test_a_track_is_chosen_by_number_or_language_and_the_first_of_a_language_wins(two_tracks, track, seconds):
    audio = facts(two_tracks, config(chunks=ChunkConfig(audio_track=track)))
    assert audio.duration_s == pytest.approx(seconds, abs=0.1)
    assert audio.channels in (1, 2)
    assert audio.codec == "pcm_s16le"


@pytest.mark.parametrize("track", ["3", "99", "fra"])
def test_a_track_that_is_not_there_is_said_so(two_tracks, track):
    assert failure(two_tracks, config(chunks=ChunkConfig(audio_track=track))).code == "no_such_track"


@pytest.fixture(scope="module")
def with_cover(tmp_path_factory) -> pathlib.Path:
    """An mp3 with a picture of its own."""
    path = tmp_path_factory.mktemp("cover") / "cover.mp3"
    picture = path.with_suffix(".jpg")
    run_ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", "-frames:v", "1", picture)
    tracks = ["-i", SAMPLES / "office.mp3", "-i", picture, "-map", "0:a", "-map", "1:v", "-c", "copy"]
    run_ffmpeg(*tracks, "-disposition:v", "attached_pic", "-id3v2_version", "3", path)
    assert b"APIC" in path.read_bytes()
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_track_that_starts_late_keeps_its_place(tmp_path, suffix):
    path = tmp_path / f"late{suffix}"
    picture = ["-f", "lavfi", "-i", "color=s=64x64:r=5:d=20"]
    run_ffmpeg(*picture, "-itsoffset", "5", "-i", SAMPLES / "letter.flac", "-c:a", "aac", path)
    found = windows(path)
    on_time = windows(SAMPLES / "letter.flac")
    assert found[0].start_s == pytest.approx(on_time[0].start_s + 5, abs=0.1)
    assert found[-1].audio.duration_s == pytest.approx(18.4, abs=0.2)


def test_a_gap_inside_a_track_keeps_the_place_of_what_follows(tmp_path, letter):
    path = tmp_path / "gap.mkv"
    run_ffmpeg("-i", SAMPLES / "letter.flac", "-af", "aselect='not(between(t,4,8))'", "-c:a", "pcm_s16le", path)
    found = windows(path)
    assert found[-1].audio.duration_s == pytest.approx(len(letter) / 16_000, abs=0.1)
    after = next(window for window in found if window.start_s > 7)
    heard = np.frombuffer(after.pcm, np.int16)[at(0.5) : at(1.5)].astype(float)
    spoken = letter[after.start_sample :][: at(2)].astype(float)
    found_at = int(np.argmax(np.correlate(spoken, heard, "valid")))
    assert found_at == pytest.approx(at(0.5), abs=at(0.002))  # Matroska's clock ticks in milliseconds


@pytest.mark.parametrize("name", ["-i.flac", "a:b.flac", "it's [x]*?.flac", "1\n2.flac", "1%d.flac", "ध्वनि.flac"])
def test_a_recording_may_have_any_name(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes((SAMPLES / "letter.flac").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(windows(pathlib.Path(name))) == len(windows(path)) >= 2


def test_the_audio_beside_a_cover_picture_is_decoded(with_cover):
    audio = facts(with_cover)
    assert audio.duration_s == pytest.approx(16.23, abs=0.1)
    assert audio.problems == ()


# bad input


def file_of(path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.write_bytes(content)
    return path


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    assert failure(file_of(tmp_path / "a.mp3", b"")).code == "empty_file"


@pytest.mark.parametrize("size", [1, 100, 5_000, 300_000])
@pytest.mark.parametrize("suffix", [".mp3", ".mp4", ".wav"])
def test_random_bytes_are_no_media(tmp_path, size, suffix):
    noise = np.random.default_rng(size).bytes(size)
    # Enough of them hold what looks like the head of an mp3 frame.
    allowed = {"not_media", "decode_failed"} if size > 100_000 else {"not_media"}
    assert failure(file_of(tmp_path / f"a{suffix}", noise)).code in allowed


@pytest.mark.parametrize("content", [b"# notes\n" * 500, b"<html><body>404 Not Found</body></html>", bytes(10_000)])
def test_what_is_no_audio_at_all_is_no_media(tmp_path, content):
    assert failure(file_of(tmp_path / "a.mp3", content)).code == "not_media"


def test_a_video_without_audio_has_no_audio_track(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "color=s=64x64:r=5:d=1", tmp_path / "a.mp4")
    error = failure(tmp_path / "a.mp4")
    assert error.code == "no_audio_track"
    assert failure(tmp_path / "a.mp4", config(chunks=ChunkConfig(audio_track="1"))).code == "no_such_track"


def test_a_path_that_is_gone_is_missing(tmp_path):
    assert failure(tmp_path / "gone.mp3").code == "missing"


def test_a_file_that_changes_while_it_is_read_is_no_media(tmp_path):
    path = shutil.copy(SAMPLES / "five minutes.opus", tmp_path)
    windows = decode(MediaChunk(media_of(pathlib.Path(path))), DecodeConfig(WindowConfig(max_window_s=8)))
    next(windows)
    with pathlib.Path(path).open("ab") as file:
        file.write(b"more, of a copy that is still under way")
    with pytest.raises(MediaError) as caught:
        list(windows)
    assert caught.value.code == "changed"


def test_a_folder_is_unreadable(tmp_path):
    (tmp_path / "a.mp3").mkdir()
    assert failure(tmp_path / "a.mp3").code == "unreadable"


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes((SAMPLES / "letter.flac").read_bytes())
    media = media_of(path)
    path.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(MediaError) as raised:
            list(decode(MediaChunk(media), config()))
    finally:
        if root:
            os.seteuid(0)
    assert raised.value.code == "unreadable"
    assert str(path) in raised.value.detail


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp3")
    error = failure(tmp_path / "a.mp3")
    assert (error.code, error.detail) == ("unreadable", "not a regular file")


def test_a_header_without_audio_has_no_samples(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(0, np.int16))
    assert path.stat().st_size == 44
    assert failure(path).code == "no_samples"


def test_a_recording_that_is_too_long_is_refused():
    error = failure(SAMPLES / "five minutes.opus", config(max_media_hours=0.05))
    assert (error.code, error.detail) == ("too_long", "more than 0.05 hours")


def test_a_header_that_declares_too_much_is_refused_before_anything_is_inferred():
    """The first window, and so a model's work on it, would be there long before the time is over."""
    stream = decode(MediaChunk(media_of(SAMPLES / "five minutes.opus")), config(max_media_hours=0.05))
    with pytest.raises(MediaError) as raised:
        next(stream)
    assert raised.value.code == "too_long"


def test_a_header_that_declares_too_little_does_not_hide_what_is_too_long(tmp_path):
    header = np.zeros(at(2), np.int16)
    run_ffmpeg("-i", SAMPLES / "letter.flac", "-c:a", "libmp3lame", tmp_path / "a.mp3")
    run_ffmpeg("-i", write_wav(tmp_path / "a.wav", header), "-c:a", "libmp3lame", tmp_path / "b.mp3")
    path = file_of(tmp_path / "c.mp3", (tmp_path / "b.mp3").read_bytes() + (tmp_path / "a.mp3").read_bytes())
    assert facts(path).duration_s > 14
    assert failure(path, config(max_media_hours=10 / 3600)).code == "too_long"


def test_more_channels_than_can_be_split_are_refused(tmp_path):
    path = write_channels(tmp_path / "many.wav", np.zeros((at(1), 65), np.int16))
    assert failure(path, config(channels="split")).code == "too_many_channels"


def half(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    content = source.read_bytes()
    return file_of(target, content[: len(content) // 2])


@pytest.mark.parametrize("name", ["letter.flac", "office.mp3", "school.mkv"])
def test_a_truncated_file_keeps_its_good_part_and_says_what_is_missing(tmp_path, name):
    found = windows(half(SAMPLES / name, tmp_path / name))
    audio, whole_s = found[-1].audio, TRUTH[name]["duration"]
    assert_well_formed(found)
    assert found[-1].total >= 1
    assert 0.3 * whole_s < audio.duration_s < 0.7 * whole_s
    assert audio.declared_s == pytest.approx(whole_s, abs=0.1)
    assert [(problem.where, problem.code) for problem in audio.problems] == [("media", "truncated")]


@pytest.mark.parametrize("picture", [(), ("-f", "lavfi", "-i", "color=s=64x64:r=5:d=13")], ids=["audio", "video"])
def test_a_truncated_mp4_keeps_its_good_part_and_says_what_is_missing(tmp_path, picture):
    whole = tmp_path / "whole.mp4"
    run_ffmpeg("-i", SAMPLES / "letter.flac", *picture, "-c:a", "aac", "-movflags", "+faststart", whole)
    audio = facts(half(whole, tmp_path / "half.mp4"))
    assert 2 < audio.duration_s < 11
    assert [problem.code for problem in audio.problems] == ["truncated"]


def test_a_cover_picture_does_not_hide_that_a_file_is_truncated(with_cover, tmp_path):
    audio = facts(half(with_cover, tmp_path / "half.mp3"))
    assert 2 < audio.duration_s < 14
    assert [problem.code for problem in audio.problems] == ["truncated"]


def test_an_mp4_without_its_index_is_no_media(tmp_path):
    assert failure(half(SAMPLES / "two languages.m4a", tmp_path / "a.m4a")).code == "not_media"


def test_a_track_shorter_than_its_video_is_whole():
    audio = facts(SAMPLES / "market.mp4")  # 24.8 seconds of audio below 29.8 of video
    assert audio.problems == ()


# decoders that fail


def stand_in(tmp_path, monkeypatch, body: str) -> pathlib.Path:
    """Makes a shell script the ffmpeg of this test, and gives a recording for it."""
    program = file_of(tmp_path / "ffmpeg", f"#!/bin/sh\n{body}\n".encode())
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", lambda: str(program))
    return file_of(tmp_path / "a.mp3", b"media")


@pytest.mark.parametrize("body", ["exec sleep 600", "head -c 90000 /dev/zero; exec sleep 600"])
def test_a_decoder_that_hangs_times_out_and_is_gone(tmp_path, monkeypatch, body, children):
    path, started = stand_in(tmp_path, monkeypatch, body), time.monotonic()
    assert failure(path, config(chunks=ChunkConfig(decode_timeout_s=0.5))).code == "decoder_timeout"
    assert children() == []
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("words", "code"),
    [("file:a.mp3: Permission denied", "unreadable"), ("file:a.mp3: Invalid data found", "not_media")],
)
def test_a_decoder_that_fails_tells_why(tmp_path, monkeypatch, words, code):
    error = failure(stand_in(tmp_path, monkeypatch, f"echo '{words}' >&2; exit 1"))
    assert error.code == code
    assert words in error.detail


def test_a_decoder_that_dies_half_way_leaves_a_problem(tmp_path, monkeypatch):
    letter_path = SAMPLES / "letter.flac"
    body = f"{FFMPEG} -v error -i '{letter_path}' -ar 16000 -ac 1 -f s16le - | head -c 200000; exit 1"
    found = windows(stand_in(tmp_path, monkeypatch, body))
    assert found[-1].total == len(found) >= 1
    assert [problem.code for problem in found[-1].audio.problems] == ["truncated"]


def test_leaving_the_windows_half_way_ends_the_decoder(children):
    stream = decode(MediaChunk(media_of(SAMPLES / "five minutes.opus")), config())
    next(stream)
    stream.close()
    assert children() == []


def test_a_stopped_bundle_takes_no_more_windows(children):
    stop = threading.Event()
    windows = decode(MediaChunk(media_of(SAMPLES / "five minutes.opus")), config(), stop.is_set)
    assert next(windows).number == 0
    stop.set()
    assert list(windows) == []
    assert children() == []


def test_a_decoder_whose_bundle_has_stopped_does_not_wait_for_room(children):
    before, threads = set(threading.enumerate()), BundleThreads[SpeechWindow](1, room=1)
    threads.begin(windows_of, MediaChunk(media_of(SAMPLES / "five minutes.opus")), WORK, config(), threads.stopped)
    [thread] = set(threading.enumerate()) - before
    first = next(threads.until(0))
    threads.stop()
    thread.join(timeout=30)
    assert first.number == 0
    assert not thread.is_alive()
    assert children() == []


def test_fewer_than_one_decoder_is_refused():
    with pytest.raises(ValueError, match="decode_ahead is 0"):
        DecodeConfig(decode_ahead=0)


# in a pipeline


def outcome(window: SpeechWindow) -> tuple[str, int, int | None, str]:
    return window.chunk.media.id, window.number, window.total, window.failure.code if window.failure else ""


SEEN: list[SpeechWindow] = []


def see(window: SpeechWindow) -> None:
    """A module's own function is pickled by name, so what it sees stays in this process."""
    SEEN.append(window)


def decoded(chunks: list[MediaChunk], settings: DecodeConfig) -> dict[str, list[SpeechWindow]]:
    """The windows of each recording, in the order in which they left the step."""
    SEEN.clear()
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create(chunks) | DecodeAudio(WORK, settings) | beam.Map(see)
    by_media: dict[str, list[SpeechWindow]] = {chunk.media.id: [] for chunk in chunks}
    for window in SEEN:
        by_media[window.chunk.media.id].append(window)
    return by_media


@pytest.fixture
def many(tmp_path, letter) -> list[pathlib.Path]:
    """Good, silent and bad media, mixed."""
    paths = [SAMPLES / "school.mkv", tmp_path / "gone.mp3"]
    for number in range(6):
        start = at(number)
        paths.append(write_wav(tmp_path / f"good{number}.wav", np.tile(letter[start : start + at(7)], 3)))
        paths.append(file_of(tmp_path / f"bad{number}.mp3", np.random.default_rng(number).bytes(4_000)))
        paths.append(write_wav(tmp_path / f"silent{number}.wav", np.zeros(at(number + 1), np.int16)))
    return [*paths, file_of(tmp_path / "empty.mp4", b""), SAMPLES / "market.mp4"]


@pytest.mark.parametrize("decode_ahead", [1, 3, 50])
def test_every_chunk_gives_all_its_windows_and_exactly_one_last(many, decode_ahead, children):
    found = decoded([MediaChunk(media_of(path)) for path in many], config(decode_ahead=decode_ahead))
    assert len(found) == len(many)
    for path in many:
        of_media = found[path.name]
        assert [window.number for window in of_media] == list(range(len(of_media)))
        assert [window.total is not None for window in of_media] == [False] * (len(of_media) - 1) + [True]
        letter = of_media[-1].failure
        if letter:
            expected = {"gone": "missing", "empt": "empty_file"}.get(path.name[:4], "not_media")
            assert (letter.code, letter.media.id, letter.message) == (expected, path.name, CODES[expected])
            assert of_media[-1].pcm == b""
        else:
            assert [w.pcm for w in of_media] == [w.pcm for w in windows(path)]
    failed = {name for name, of_media in found.items() if of_media[-1].failure}
    assert failed == {path.name for path in many if path.name.startswith(("bad", "gone", "empty"))}
    assert children() == []


def test_chunks_that_are_transcribed_or_failed_pass_untouched():
    done = MediaChunk(media_of(pathlib.Path("done.mp3")), transcribed=True)
    broken = media_of(pathlib.Path("broken.mp3"))
    failed = MediaChunk(broken, failure=DeadLetter(broken, "CollectMedia", "missing", "Check it."))
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        found = pipeline | beam.Create([done, failed]) | DecodeAudio(WORK, config()) | beam.Map(outcome)
        assert_that(found, equal_to([("done.mp3", 0, 0, ""), ("broken.mp3", 0, 0, "missing")]))


def test_a_chunk_that_was_committed_since_it_was_planned_is_not_decoded_again(tmp_path):
    """As when a runner tries a bundle again, or another run got there first."""
    work, path = WorkStore(str(tmp_path), "asr", "saved"), SAMPLES / "letter.flac"
    planned = [MediaChunk(media_of(path), chunk=number, chunks=2) for number in (0, 1)]
    work.commit_chunk(ChunkTranscript(planned[0], AudioFacts(1, 1, 16_000, 1, "flac", 1, 0), ()))
    SEEN.clear()
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create(planned) | DecodeAudio(work, config()) | beam.Map(see)
    first, *rest = sorted(SEEN, key=lambda window: window.chunk.chunk)
    assert (first.chunk.transcribed, first.pcm, first.total) == (True, b"", 0)
    assert rest and not any(window.chunk.transcribed for window in rest)


def test_a_worker_that_does_not_see_the_output_says_so(tmp_path):
    work = WorkStore(str(tmp_path / "elsewhere"), "asr", "saved", run="a")
    pipeline = test_pipeline.TestPipeline("FnApiRunner")
    pipeline | beam.Create([MediaChunk(media_of(SAMPLES / "letter.flac"))]) | DecodeAudio(work, config())
    with pytest.raises(Exception, match=r"does not see .*elsewhere.* an --output that all of them reach"):
        pipeline.run()


def broken_model(self, pcm):
    raise RuntimeError("the model file is damaged")


def test_an_unforeseen_error_becomes_the_letter_of_its_media(monkeypatch):
    monkeypatch.setattr("transforms.media.voice_activity.VoiceActivity.probabilities", broken_model)
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        chunks = [MediaChunk(media_of(SAMPLES / name)) for name in ("letter.flac", "office.mp3")]
        found = pipeline | beam.Create(chunks) | DecodeAudio(WORK, config()) | beam.Map(outcome)
        assert_that(found, equal_to([("letter.flac", 0, 1, "unexpected"), ("office.mp3", 0, 1, "unexpected")]))


def test_a_hanging_decoder_among_others_costs_its_media_only(tmp_path, monkeypatch, children):
    body = f'case "$*" in *hang*) exec sleep 600;; *) exec {FFMPEG} "$@";; esac'
    stand_in(tmp_path, monkeypatch, body)
    hang = file_of(tmp_path / "hang.mp3", b"media")
    chunks = [MediaChunk(media_of(path)) for path in (hang, SAMPLES / "letter.flac", SAMPLES / "office.mp3")]
    found = decoded(chunks, config(chunks=ChunkConfig(decode_timeout_s=1.0), decode_ahead=2))
    assert [window.failure and window.failure.code for window in found["hang.mp3"]] == ["decoder_timeout"]
    assert found["hang.mp3"][0].failure.retryable
    assert found["letter.flac"][-1].audio and found["office.mp3"][-1].audio
    assert children() == []


@pytest.mark.long(20)
def test_memory_does_not_grow_with_the_length_of_the_media(tmp_path):
    """Peak memory of a process that decodes a recording and drops each window, for 4 and for 40 minutes."""
    code = (
        "import resource, sys, pathlib\nfrom tests.conftest import media_of\n"
        "from transforms.decode_audio import DecodeConfig, decode\nfrom transforms.records import MediaChunk\n"
        "windows = sum(1 for _ in decode(MediaChunk(media_of(pathlib.Path(sys.argv[1]))), DecodeConfig()))\n"
        "print(windows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )

    def peak_mb(minutes):
        path = tmp_path / f"{minutes}.wav"
        run_ffmpeg("-stream_loop", -1, "-i", SAMPLES / "five minutes.opus", "-t", 60 * minutes, "-ar", 16_000, path)
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return [int(figure) for figure in done.stdout.split()]

    (few, short), (many, long) = peak_mb(4), peak_mb(40)
    assert many > 8 * few
    assert long < short + 20  # 40 minutes are 77 MB of samples
