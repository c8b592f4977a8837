"""Decoding with ffmpeg: one child process a media, its audio streamed as 16 kHz mono int16.

Only ffmpeg is needed, no ffprobe: what the container says of itself is read from ffmpeg's own log.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import selectors
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import NamedTuple

import ffmpeg

from transforms.dead_letters import MediaError
from transforms.media.suffixes import AUDIO, MP4, suffix_of
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

LOG_HEAD_BYTES = 64 << 10  # the container's description comes first ...
LOG_TAIL_BYTES = 4 << 10  # ... and the reason of a failure last
VIDEO = r": Video: (?!.*\(attached pic\))"  # a cover picture is no video
CUT_SHORT = "partial file|(?:File ended|Stream ends) prematurely"  # ffmpeg says so and exits with 0
RECEIVE_BUFFER = 64 << 10  # bytes; ffmpeg reads through gaps of up to twice that; left to itself, of megabytes
SOUND_RECEIVE_BUFFER = 256 << 10  # bytes; a file of sound has no gaps, and both processes take fewer turns
LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}

_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def kill_decoders() -> None:
    """End every decoder that this process started. One whose parent is killed ends by its broken pipe."""
    for process in list(_running):
        process.kill()


class Source(NamedTuple):
    """What a container says of the audio track that was decoded."""

    declared_s: float | None  # None where it says nothing that can be trusted
    sampling_rate_hz: int
    channels: int
    codec: str
    has_video: bool


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
    run = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=True)
    return run.stdout.split()[2]


class Decoder:
    """A running ffmpeg. Use it as a context manager: leaving the block ends the process, whatever happened."""

    def __init__(self, url: str, protocols: str, track: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._explicit_track = bool(track)
        command = ffmpeg.compile(_stream(url, protocols, track), cmd=find_ffmpeg())
        pipe = subprocess.PIPE
        environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment)
        _running.add(self._process)
        self._head = self._tail = b""
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log_reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()
        _running.discard(self._process)

    def blocks(self, samples: int) -> Iterator[bytes]:
        """The audio in blocks of so many samples (the last may be shorter), as soon as each is there.

        Raises:
            MediaError: decoder_timeout when no byte came for the time limit. Waiting for whoever takes the
                blocks does not count.
        """
        size, block = samples * BYTES_PER_SAMPLE, bytearray()
        for piece in self._pieces():
            block += piece
            while len(block) >= size:
                yield bytes(block[:size])
                del block[:size]
        if len(block) >= BYTES_PER_SAMPLE:
            yield bytes(block[: len(block) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE])

    def finish(self) -> tuple[bool, str]:
        """Whether ffmpeg ended well, and the tail of its log. Call it when `blocks` has ended."""
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:  # it closed its output and will not end
            self._process.kill()
            code = self._process.wait()
        self._log_reader.join()
        return code == 0, self.log_tail()

    def source(self) -> Source:
        """What the container said. Call it after `finish`."""
        return parse_log(self._head.decode("utf-8", "replace"))

    def cut_short(self) -> bool:
        """Whether the container ended before its index does. Call it after `finish`."""
        return re.search(CUT_SHORT, (self._head + self._tail).decode("utf-8", "replace")) is not None

    def failure(self) -> MediaError:
        """Why there is no audio at all, from ffmpeg's log."""
        log = self._head.decode("utf-8", "replace") + self.log_tail()
        return MediaError(failure_code(log, self._explicit_track), self.log_tail())

    def log_tail(self) -> str:
        log = (self._head + self._tail).decode("utf-8", "replace")
        # What is indented describes the streams. Addresses differ from run to run; letters must not.
        lines = [line for line in re.split(r"[\r\n]+", log) if line and not line.startswith(" ")]
        return re.sub(r" @ 0x[0-9a-f]+|http://127\.0\.0\.1:\d+/[\w-]+/", "", "\n".join(lines[-6:]))

    def _pieces(self) -> Iterator[bytes]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if not selector.select(self._timeout_s):
                    raise MediaError("decoder_timeout", self.log_tail())
                piece = self._process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
                if not piece:
                    return
                yield piece

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # closed while reading
            while piece := self._process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
                room = LOG_HEAD_BYTES - len(self._head)
                self._head += piece[:room]
                self._tail = (self._tail + piece[room:])[-LOG_TAIL_BYTES:]


def _stream(url: str, protocols: str, track: str) -> object:
    """The ffmpeg-python graph of one decoding.

    The filter pads a track that starts late and fills gaps, so that a sample's place is its time.
    """
    quiet = {"nostdin": None, "hide_banner": None, "nostats": None, "loglevel": "info"}
    source = ffmpeg.input(url, protocol_whitelist=protocols, threads=1, **network_options(url), **quiet)
    number = track or "0"
    # As the input of a filter it is the first track that matches; -map would take all of the language.
    wanted = f"a:{number}" if number.isdigit() else f"a:m:language:{number}"
    even = source[wanted].filter("aresample", **{"async": 1, "first_pts": 0})
    return even.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=1, ar=SAMPLE_RATE_HZ)


def network_options(url: str) -> dict[str, object]:
    """What ffmpeg needs to read from `transforms.storage.ranges`: no other server or proxy is ever asked."""
    server, kind = re.match(r"http://[^/]+", url), suffix_of(url)
    if not server:
        return {}
    buffer = SOUND_RECEIVE_BUFFER if kind in AUDIO else RECEIVE_BUFFER
    # Without an index, ffmpeg would read an MP4 in fragments to its end for a list of them, and then once more.
    once = {"fflags": "+ignidx"} if kind in MP4 else {}
    return {"http_proxy": server[0], "recv_buffer_size": buffer, **once}


def parse_log(log: str) -> Source:
    """What ffmpeg's log says of the input, and of the audio track that it chose."""
    described = log.split("\nOutput #0", 1)[0]
    pattern = r"Stream #0:(\d+)\S*: Audio: ([\w-]+)[^\n]*?, (\d+) Hz, ([^,\n]+)"
    tracks = {index: rest for index, *rest in re.findall(pattern, described)}
    chosen = re.search(r"Stream #0:(\d+)(?: \([^)]*\))? -> (?:#0:0|aresample)", described)
    codec, rate, layout = tracks.get(chosen.group(1) if chosen else "", ("", "0", ""))
    length = re.search(r"^  Duration: (\d+):(\d\d):(\d\d\.\d+)", described, re.MULTILINE)
    declared = None
    if length and "Estimating duration from bitrate" not in described:
        hours, minutes, seconds = length.groups()
        declared = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return Source(declared, int(rate), count_channels(layout), codec, bool(re.search(VIDEO, described)))


def count_channels(layout: str) -> int:
    """The number of channels of a layout as ffmpeg names it: "stereo" 2, "5.1(side)" 6, "3 channels" 3."""
    name = layout.split("(")[0].strip()
    if name in LAYOUTS:
        return LAYOUTS[name]
    return sum(int(digits) for digits in re.findall(r"\d+", name))


def failure_code(log: str, explicit_track: bool) -> str:
    """The dead letter code of a decoding that gave no audio."""
    if "Permission denied" in log:
        return "unreadable"
    if "No such file or directory" in log:
        return "missing"
    if "matches no streams" in log or "does not contain any stream" in log:
        return "no_such_track" if explicit_track else "no_audio_track"
    machine = re.search("Cannot allocate memory|Input/output error|loading shared libraries", log)
    return "decode_failed" if machine or "Input #0" in log or not log.strip() else "not_media"
