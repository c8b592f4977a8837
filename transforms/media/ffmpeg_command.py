"""The command lines of ffmpeg: which one there is, what it may open, and how a recording is decoded."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import subprocess
from typing import Any

import ffmpeg

from transforms.media.mix import mix_and_left
from transforms.media.suffixes import AUDIO, MP4, suffix_of
from transforms.records import SAMPLE_RATE_HZ

# Kinds of files that hold what they play. All others are refused: a playlist, a list of files or a session
# description makes ffmpeg open what it names, be it another's media or a server.
FORMATS = (
    "aac aax ac3 ac4 act adx aea aiff alaw amr amrnb amrwb ape apm aptx aptx_hd asf asf_o ast au avi avr caf dhav "
    "dsf dss dts dtshd dv eac3 flac flv g722 g729 gsm gxf h261 h263 h264 hevc hca iff iss ircam ivf live_flv loas "
    "lvf lxf m4v matroska webm mlp mov mp4 m4a 3gp 3g2 mj2 mp3 mpc mpc8 mpeg mpegts mpegvideo mulaw mxf "
    "nistsphere nsv nut obu ogg oma osq paf pva pvf qcp r3d rm rso sbc sds shn sln smk sol sox spdif svs swf tak tta "
    "truehd ty vc1 voc vqf w64 wav wsd wtv wv xa"
).replace(" ", ",")
OF_FFMPEG = re.compile("(?i:no_proxy)|AV_LOG_.*|FFREPORT|FFMPEG_.*")  # variables that it listens to
# bytes; ffmpeg reads through gaps of up to twice that; left to itself, of megabytes
RECEIVE_BUFFER = 64 << 10
# bytes; a file of sound has no gaps, and both processes take fewer turns
SOUND_RECEIVE_BUFFER = 256 << 10
TRACK = re.compile(r"([0-9]{1,4}|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?")


@dataclasses.dataclass(frozen=True)
class DecodeRequest:
    """What of a recording is to be decoded."""

    # number from 0, or language as the container tags it; "" is the first
    track: str = ""
    from_s: float = 0  # jump there first
    length_s: int | None = None
    channels: int = 1  # what is mixed into; 0 gives the two of mix.py

    def __post_init__(self) -> None:
        check_track(self.track)


def check_track(track: str) -> None:
    """Raise ValueError where no audio track is named so. What is accepted means nothing else to ffmpeg."""
    if not TRACK.fullmatch(track):
        raise ValueError(
            f"audio_track is {track!r}: give its number from 0, or its language as the file tags it, such as hin"
        )


@functools.cache
def find_ffmpeg() -> str:
    """The path of the ffmpeg to use: the one on PATH, else the one that imageio-ffmpeg ships.

    Raises:
        RuntimeError: there is neither.
    """
    on_path = shutil.which("ffmpeg")
    if on_path:
        return on_path
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def ffmpeg_version() -> str:
    """The version of the ffmpeg that is used, asked for once a process.

    Raises:
        RuntimeError, OSError: there is none that runs.
    """
    return _version(find_ffmpeg())


@functools.cache
def _version(program: str) -> str:
    command = [program, "-version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return run.stdout.split()[2]


def environment() -> dict[str, str]:
    """What every ffmpeg is started with, without what would color or redirect its log, or what it reads."""
    return {name: value for name, value in os.environ.items() if not OF_FFMPEG.fullmatch(name)}


def command_of(url: str, protocols: str, request: DecodeRequest, mark: str, facts: int) -> list[str]:
    """The command line that decodes a recording. ffmpeg-python takes UTF-8 names alone, so it never sees it."""
    words = ffmpeg.compile(_streams(url, protocols, request, mark, facts), cmd=find_ffmpeg())
    return [url if before == "-i" else word for before, word in zip(["", *words], words, strict=False)]


def opus_command() -> list[str]:
    """The command line that makes Ogg Opus of 24 kbit/s from samples of one channel, the same whenever it is made."""
    same = {"fflags": "+bitexact", "flags:a": "+bitexact"}
    samples = ffmpeg.input("pipe:0", format="s16le", ac=1, ar=SAMPLE_RATE_HZ, hide_banner=None, loglevel="error")
    kept = samples.output("pipe:1", format="ogg", acodec="libopus", audio_bitrate="24k", **same)
    return list(ffmpeg.compile(kept, cmd=find_ffmpeg()))


def _streams(url: str, protocols: str, request: DecodeRequest, mark: str, facts: int) -> object:
    """The ffmpeg-python graph of one decoding: the samples, and the facts about the track that they come from.

    The filter `ashowinfo` tells the time of each frame behind everything else, under a name that no tag can know.
    Times that jump would be a complaint a frame of what comes behind it, so that gets none.
    """
    quiet = {"nostdin": None, "hide_banner": None, "nostats": None, "loglevel": "info"}
    allowed = {"protocol_whitelist": protocols, "format_whitelist": FORMATS}
    jump = {"ss": request.from_s} if request.from_s else {}
    limit = {} if request.length_s is None else {"t": request.length_s}
    source = ffmpeg.input("media", threads=1, **jump, **allowed, **network_options(url), **quiet, guess_layout_max=2)
    number = request.track or "0"
    # As the input of a filter it is the first track that matches; -map takes all of the language.
    track = source[f"a:{number}" if number.isdigit() else f"a:m:language:{number}"]
    sound = _resampled(track) if request.channels else mix_and_left(track, _resampled)
    timed = sound.filter(mark).filter("asetpts", "NAN")
    raw = {"format": "s16le", "acodec": "pcm_s16le", "ar": SAMPLE_RATE_HZ}
    mixed = {"ac": request.channels} if request.channels else {}
    told = {"format": "framecrc", "codec": "copy", "frames:a": 1, "fflags": "+bitexact", "flush_packets": 1}
    return ffmpeg.merge_outputs(
        timed.output("pipe:1", **raw, **mixed, **limit), track.output(f"pipe:{facts}", **told)
    )


def _resampled(stream: Any) -> Any:
    return stream.filter("aresample", SAMPLE_RATE_HZ)


def network_options(url: str) -> dict[str, object]:
    """What ffmpeg needs to read from `transforms.storage.ranges`: no other server or proxy is ever asked."""
    server, kind = re.match(r"http://[^/]+", url), suffix_of(url)
    if not server:
        return {}
    buffer = SOUND_RECEIVE_BUFFER if kind in AUDIO else RECEIVE_BUFFER
    # Without an index, ffmpeg would read an MP4 in fragments to its end for a list of them, and then once more.
    once = {"fflags": "+ignidx"} if kind in MP4 else {}
    return {"http_proxy": server[0], "recv_buffer_size": buffer, **once}
