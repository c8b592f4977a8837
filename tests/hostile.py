"""Media that go wrong in every way that is known, made from one good sample, and what has to become of each.

Most hold the same speech as `plain.wav`, so that what a run hears in them can be compared with what it hears there.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import struct
import subprocess
import wave
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.conftest import SAMPLES
from transforms.media.ffmpeg_command import find_ffmpeg

PLAIN_S = 6.9  # of letter.flac: three utterances, and a pause behind them
RATE_HZ = 22_050  # of letter.flac
PLAIN, OTHER = "plain.wav", "other.mp3"  # the good ones
LONG_S = 3 * 3600
UNKNOWN = 0xFFFFFFFF  # the size that a stream gives in its header
# a recording that others point at; its words must appear nowhere
STRANGER = "stranger.data"


class Outcome(NamedTuple):
    """What has to become of a recording: a dead letter with this code, or a transcript of this kind."""

    code: str = ""
    status: str = "ok"
    times: int = 1  # that plain's words are heard
    # share of these words that must be there; below 1: from the first one on
    heard: float = 1.0
    duration_s: float = PLAIN_S
    within_s: float = 0.1
    coverage: float = 1.0
    later_s: float = 0.0  # that the first words start later than plain's
    word_error: float = 0.15  # one or two words of fourteen


class Kit:
    """Makes files below one folder."""

    def __init__(self, folder: pathlib.Path, url: str) -> None:
        self.folder, self.url = folder, url  # of a server that nobody may ask
        self.plain = folder / PLAIN
        self.aside = folder.parent / "aside"
        self.aside.mkdir()

    def ffmpeg(self, name: str, *words: object, source: pathlib.Path | None = None) -> pathlib.Path:
        """The source, plain speech where none is given, made over by ffmpeg's output options."""
        target = self.aside / name.removeprefix("_") if name.startswith("_") else self.folder / name
        command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", "-i", f"file:{source or self.plain}"]
        subprocess.run([*command, *map(str, words), f"file:{target}"], check=True)
        return target

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def samples(self) -> np.ndarray:
        """Plain speech, -1 to 1."""
        with wave.open(str(self.plain)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32_768


Make = Callable[[Kit, str], object]


def made(*words: object) -> Make:
    """Plain speech made over by ffmpeg."""
    return lambda kit, name: kit.ffmpeg(name, *words)


def copied(kit: Kit, name: str) -> None:
    """Plain speech as flac."""
    shutil.copy(kit.ffmpeg("_copy.flac"), kit.folder / name)


def cut(*words: object, share: float = 0.5) -> Make:
    """A file of which only a share of the bytes is there."""

    def make(kit: Kit, name: str) -> None:
        content = kit.ffmpeg(f"_{name}", *words).read_bytes()
        kit.write(name, content[: round(len(content) * share)])

    return make


def flipped(*words: object, every: int = 9_973, behind: int = 6_000) -> Make:
    """A file in which one bit of every so many bytes behind its head is turned over."""

    def make(kit: Kit, name: str) -> None:
        content = bytearray(kit.ffmpeg(f"_{name}", *words).read_bytes())
        for at in range(behind, len(content), every):
            content[at] ^= 1 << at % 8
        kit.write(name, bytes(content))

    return make


def sized(size: Callable[[int], int]) -> Make:
    """Plain speech whose header gives another size of the samples."""

    def make(kit: Kit, name: str) -> None:
        content = kit.plain.read_bytes()
        data = size(len(content) - 44)
        assert content[36:40] == b"data"
        riff = data if data in (0, UNKNOWN) else data + 36
        lengths = struct.pack("<I", riff), struct.pack("<I", data)
        kit.write(name, content[:4] + lengths[0] + content[8:40] + lengths[1] + content[44:])

    return make


def floats(change: Callable[[np.ndarray], np.ndarray]) -> Make:
    """Plain speech as a wav of 32-bit floats, after a change of its samples."""

    def make(kit: Kit, name: str) -> None:
        data = change(kit.samples()).astype("<f4").tobytes()
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE_HZ, RATE_HZ * 4, 4, 32)
        head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + form
        kit.write(name, head + b"data" + struct.pack("<I", len(data)) + data)

    return make


def holed(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """A change that puts this value at a few places in the pauses."""

    def change(samples: np.ndarray) -> np.ndarray:
        samples = samples.copy()
        for second in (0.2, 2.5, 4.7):
            samples[round(second * RATE_HZ) :][:20] = value
        return samples

    return change


def text(content: str) -> Make:
    """A text that points somewhere: {url} a server, {stranger} a recording with a path, {beside} one without."""

    def make(kit: Kit, name: str) -> None:
        places = {"url": kit.url, "stranger": str(kit.aside / "stranger.mp3"), "beside": STRANGER}
        kit.write(name, content.format(**places).encode())

    return make


def chained(*words: object) -> Make:
    """Two whole files, one behind the other."""
    return lambda kit, name: kit.write(name, kit.ffmpeg(f"_{name}", *words).read_bytes() * 2)


def two_tracks(kit: Kit, name: str) -> None:
    tags = ["-metadata:s:a:0", "language=hin", "-metadata:s:a:1", "language=eng"]
    kit.ffmpeg(name, "-i", kit.folder / OTHER, "-map", "0:a", "-map", "1:a", *tags)


def late(kit: Kit, name: str) -> None:
    picture = ["-f", "lavfi", "-i", "color=s=64x64:r=5:d=12"]
    command = [find_ffmpeg(), "-v", "error", *picture, "-itsoffset", "5", "-i", str(kit.plain), "-c:a", "aac"]
    subprocess.run([*command, str(kit.folder / name)], check=True)


def with_cover(kit: Kit, name: str) -> None:
    picture = kit.ffmpeg("_cover.jpg", "-frames:v", "1", source=kit.ffmpeg("_cover.mkv", *COLOUR, "-map", "1:v"))
    kit.ffmpeg(name, "-i", picture, "-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")


def with_subtitles(*words: object) -> Make:
    def make(kit: Kit, name: str) -> None:
        (srt := kit.aside / "a.srt").write_text("1\n00:00:00,500 --> 00:00:06,000\nwritten, not said\n")
        kit.ffmpeg(name, "-i", srt, "-map", "0:a", "-map", "1:s", *words)

    return make


def in_a_folder(kit: Kit, name: str) -> None:
    (kit.folder / name).parent.mkdir()
    copied(kit, name)


def three_hours(kit: Kit, name: str) -> None:
    """Plain speech at the start and at the very end."""
    pad = f"[x]apad=whole_dur={LONG_S - PLAIN_S}[a]"
    kit.ffmpeg(
        name,
        "-filter_complex",
        f"aresample=16000,asplit[x][y];{pad};[a][y]concat=n=2:v=0:a=1",
        "-compression_level",
        "0",
    )


COLOUR = ("-f", "lavfi", "-i", f"color=s=64x64:r=5:d={PLAIN_S}")
HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:6.9,\n{place}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 50040 RTP/AVP 0\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT6.9S"
 profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet contentType="audio" mimeType="audio/wav">
<Representation id="1" bandwidth="1000"><BaseURL>{place}</BaseURL></Representation></AdaptationSet></Period></MPD>
"""


def cut_short(within_s: float, status: str = "partial", coverage: float = 0.5) -> Outcome:
    return Outcome(status=status, heard=0.25, duration_s=PLAIN_S / 2, within_s=within_s, coverage=coverage)


PARTS = {
    "cut.mp4": (cut("-c:a", "aac", "-movflags", "+faststart"), cut_short(1)),
    "cut.mp3": (cut(), cut_short(0.5)),
    "cut.flac": (cut(), cut_short(0.9)),
    # Ogg's pages say nothing of a length: that the rest is missing cannot be seen.
    "cut.ogg": (cut("-c:a", "libvorbis"), cut_short(1.5, status="ok", coverage=1.0)),
    "cut.opus": (cut(), cut_short(1.5, status="ok", coverage=1.0)),
    "cut.mkv": (cut(), cut_short(1.5)),
    "no index.mp4": (cut("-c:a", "aac", share=0.8), Outcome("not_media")),
    "header alone.wav": (lambda kit, name: kit.write(name, kit.plain.read_bytes()[:44]), Outcome("no_samples")),
    "half a header.wav": (lambda kit, name: kit.write(name, kit.plain.read_bytes()[:30]), Outcome("not_media")),
    "header says twice.wav": (sized(lambda size: 2 * size), Outcome(status="partial", coverage=0.5)),
    "header says half.wav": (sized(lambda size: size // 4 * 2), Outcome(heard=0.25, duration_s=PLAIN_S / 2)),
    "header says nothing.wav": (sized(lambda size: 0), Outcome()),
    "streamed.wav": (sized(lambda size: UNKNOWN), Outcome()),
    "bits flipped.flac": (flipped(), Outcome()),
    "bits flipped.opus": (
        flipped(every=100_000, behind=20_000),
        Outcome(status="partial", coverage=0.85, word_error=0.5),
    ),
    "bits flipped.mp3": (flipped(every=1_997), Outcome()),
    "bits flipped.m4a": (
        flipped("-movflags", "+faststart", every=499),
        Outcome(status="partial", heard=0, coverage=0.85, word_error=1),
    ),
    "a moment.wav": (made("-t", "0.05"), Outcome(status="empty", times=0, duration_s=0.05)),
    "a moment.mp3": (made("-t", "0.05"), Outcome(status="empty", times=0, duration_s=0.05)),
}
SHAPES = {
    **{f"{number} channels.wav": (made("-ac", number), Outcome()) for number in (1, 2, 6, 8)},
    **{
        f"{rate} Hz.wav": (made("-ar", rate), Outcome(word_error=0.5 if rate < 16_000 else 0.15))
        for rate in (8_000, 11_025, 22_050, 44_100, 96_000)
    },
    **{f"{kind}.wav": (made("-c:a", f"pcm_{kind}"), Outcome()) for kind in ("u8", "s24le", "f32le", "alaw")},
    "offset.wav": (floats(lambda samples: samples * 0.9 + 0.05), Outcome(word_error=1)),
    "clipped.wav": (floats(lambda samples: np.clip(samples * 8, -1, 1)), Outcome(word_error=0.5)),
    "too loud.wav": (floats(lambda samples: samples * 8), Outcome(word_error=0.5)),
    "zeros.wav": (floats(np.zeros_like), Outcome(status="empty", times=0)),
    "nan.wav": (floats(holed(np.nan)), Outcome()),
    "infinite.wav": (floats(holed(np.inf)), Outcome()),
    "nan alone.wav": (floats(lambda samples: samples * np.nan), Outcome(status="empty", times=0)),
    "without an index.mp3": (made("-q:a", "5", "-write_xing", "0", "-id3v2_version", "0"), Outcome()),
    "three hours.flac": (three_hours, Outcome(times=2, duration_s=LONG_S)),
}
CONTAINERS = {
    "two tracks.mkv": (two_tracks, Outcome()),
    "late.mp4": (late, Outcome(duration_s=PLAIN_S + 5, later_s=5)),
    "negative.mkv": (
        made("-output_ts_offset", "-2", "-avoid_negative_ts", "disabled", "-c:a", "pcm_s16le"),
        Outcome(),
    ),
    "gap.mkv": (
        made("-af", "asetpts='PTS+gt(T,0.2)*3/TB'", "-c:a", "pcm_s16le"),
        Outcome(duration_s=PLAIN_S + 3, later_s=3),
    ),
    "chained.ogg": (chained("-c:a", "libvorbis"), Outcome(times=2, duration_s=2 * PLAIN_S)),
    # ffmpeg takes the heads of the second part for half a second of sound each.
    "chained.opus": (chained(), Outcome(times=2, duration_s=2 * PLAIN_S, within_s=1)),
    "cover.m4a": (with_cover, Outcome()),
    "cover.mp3": (with_cover, Outcome()),
    "subtitles.mkv": (with_subtitles(), Outcome()),
    "subtitles.mp4": (with_subtitles("-c:s", "mov_text"), Outcome()),
    "mute.mkv": (made(*COLOUR, "-map", "1:v"), Outcome("no_audio_track")),
    "picture.mp4": (
        lambda kit, name: kit.ffmpeg(name, *COLOUR, "-map", "1:v", "-frames:v", "1", "-f", "mjpeg"),
        Outcome("not_media"),
    ),
}
NAMES = {
    "quotes ' \" and\nlines.flac": (copied, Outcome()),
    "🎬 ध्वनि.flac": (copied, Outcome()),
    "-i.flac": (copied, Outcome()),
    "é" * 125 + ".flac": (copied, Outcome()),  # 255 bytes
    os.fsdecode(b"caf\xe9.flac"): (copied, Outcome()),
    "a: Permission denied.mp4": (text("<html></html>"), Outcome("not_media")),
    "says so.flac": (made("-metadata", "title=partial file\nInput/output error"), Outcome()),
    "folder.mp4/inside.flac": (in_a_folder, Outcome()),
    "loop.mp3": (lambda kit, name: (kit.folder / name).symlink_to(name), Outcome("broken_link")),
    "pipe.mp3": (lambda kit, name: os.mkfifo(kit.folder / name), Outcome("unreadable")),
    "empty.mp4": (text(""), Outcome("empty_file")),
    "page.mp4": (text("<html><body>404 Not Found</body></html>"), Outcome("not_media")),
}
POINTERS = {
    "list.m3u8": (text(HLS.replace("{place}", "{stranger}")), Outcome("not_media")),
    "list to a media.mp4": (text(HLS.replace("{place}", "{stranger}")), Outcome("not_media")),
    "list beside.mp3": (text(HLS.replace("{place}", "{beside}")), Outcome("not_media")),
    "list to passwd.mp4": (text(HLS.replace("{place}", "/etc/passwd")), Outcome("not_media")),
    "list to a server.mp4": (text(HLS.replace("{place}", "{url}/a.wav")), Outcome("not_media")),
    "concat.mp4": (text("ffconcat version 1.0\nfile {beside}\n"), Outcome("not_media")),
    "concat passwd.mp4": (text("ffconcat version 1.0\nfile /etc/passwd\n"), Outcome("not_media")),
    "session.mp4": (text(SDP), Outcome("not_media")),
    "dash to a server.mp4": (text(DASH.replace("{place}", "{url}/a.wav")), Outcome("not_media")),
    "dash to a media.mp4": (text(DASH.replace("{place}", "{stranger}")), Outcome("not_media")),
}
DECODERS = {
    "hangs.flac": (copied, Outcome("decoder_timeout")),
    "killed.flac": (copied, Outcome("decoder_killed")),
    "killed late.flac": (copied, Outcome("decoder_killed")),
    "ended late.flac": (copied, Outcome("decoder_killed")),
    "killed once.flac": (copied, Outcome()),
    "grows.flac": (copied, Outcome("changed")),
}
CASES: dict[str, tuple[Make, Outcome]] = {**PARTS, **SHAPES, **CONTAINERS, **NAMES, **POINTERS, **DECODERS}

DECODER = """#!/bin/sh
case "$*" in
*/hangs.flac*) exec sleep 600 ;;
*/killed.flac*) kill -KILL $$ ;;
*"/killed late.flac"*) {ffmpeg} "$@" | head -c 100000; kill -KILL $$ ;;
*"/ended late.flac"*) {ffmpeg} "$@" | head -c 100000; echo 'Exiting normally, received signal 15.' >&2; exit 255 ;;
*"/killed once.flac"*)
  mkdir "{folder}.killed" 2>/dev/null || exec {ffmpeg} "$@"
  {ffmpeg} "$@" | head -c 100000; kill -KILL $$ ;;
*/grows.flac*) {ffmpeg} "$@"; echo more >>"{folder}/grows.flac" ;;
*) exec {ffmpeg} "$@" ;;
esac
"""


def make_good(folder: pathlib.Path) -> None:
    """The two media that are like any other."""
    folder.mkdir()
    command = [find_ffmpeg(), "-v", "error", "-i", str(SAMPLES / "letter.flac"), "-t", str(PLAIN_S), "-bitexact"]
    subprocess.run([*command, str(folder / PLAIN)], check=True)
    shutil.copy(SAMPLES / "office.mp3", folder / OTHER)


def make_hostile(folder: pathlib.Path, url: str) -> None:
    """Every case, beside the good ones, and the media that some point at."""
    kit = Kit(folder, url)
    shutil.copy(kit.ffmpeg("_stranger.mp3", source=SAMPLES / "market.mp4"), folder / STRANGER)
    for name, (make, _) in CASES.items():
        make(kit, name)


def make_decoder(folder: pathlib.Path, media: pathlib.Path) -> None:
    """A program that does to some media what happens to a real ffmpeg now and then, and is one for all others."""
    folder.mkdir()
    (program := folder / "ffmpeg").write_text(DECODER.format(ffmpeg=find_ffmpeg(), folder=media))
    program.chmod(0o755)
