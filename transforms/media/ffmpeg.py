"""Decoding with ffmpeg: one child process a media, its audio streamed as 16 kHz int16."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pathlib
import re
import selectors
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import ffmpeg

from transforms.dead_letters import MediaError
from transforms.media.ffmpeg_log import NAME, Log, Source, failure_code
from transforms.media.mix import mix_and_left
from transforms.media.suffixes import AUDIO, MP4, suffix_of
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

LAST_WORDS = 1000  # characters
OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}  # exit codes of what others have ended
EXITING = "Exiting normally, received signal"  # ffmpeg caught one
# Kinds of files that hold what they play. All others are refused: a playlist, a list of files or a session
# description makes ffmpeg open what it names, be it another's media or a server.
FORMATS = (
    "aac aax ac3 ac4 act adx aea aiff alaw amr amrnb amrwb ape apm aptx aptx_hd asf asf_o ast au avi avr caf dhav "
    "dsf dss dts dtshd dv eac3 flac flv g722 g729 gsm gxf h261 h263 h264 hevc hca iff iss ircam ivf live_flv loas "
    "lvf lxf m4v matroska webm mlp mov mp4 m4a 3gp 3g2 mj2 mp3 mpc mpc8 mpeg mpegts mpegvideo mulaw mxf "
    "nistsphere nsv nut obu ogg oma osq paf pva pvf qcp r3d rm rso sbc sds sln smk sol sox spdif svs swf tak tta "
    "truehd ty vc1 voc vqf w64 wav wsd wtv wv xa"
).replace(" ", ",")
RECEIVE_BUFFER = 64 << 10  # bytes; ffmpeg reads through gaps of up to twice that; left to itself, of megabytes
SOUND_RECEIVE_BUFFER = 256 << 10  # bytes; a file of sound has no gaps, and both processes take fewer turns

_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def kill_decoders() -> None:
    """End every decoder that this process started. One whose parent is killed ends by its broken pipe."""
    for process in list(_running):
        process.kill()


class Wanted(NamedTuple):
    """What of a media is to be decoded."""

    track: str = ""  # number from 0, or language as the container tags it; "" is the first
    from_s: int = 0  # jump there first
    length_s: int | None = None
    channels: int = 1  # what is mixed into; 0 gives the two of mix.py


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

    def __init__(self, url: str, protocols: str, wanted: Wanted, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._explicit_track = bool(wanted.track)
        self._process = _start(command_of(url, protocols, wanted))
        _running.add(self._process)
        self._log = Log(os.fsencode(url))
        self._described = threading.Event()  # the log tells of the tracks, or has ended
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
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
        for piece in self.pieces():
            block += piece
            while len(block) >= size:
                yield bytes(block[:size])
                del block[:size]
        if len(block) >= BYTES_PER_SAMPLE:
            yield bytes(block[: len(block) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE])

    def finish(self) -> tuple[bool, str]:
        """Whether ffmpeg ended well, and the tail of its log. Call it when `blocks` has ended.

        Raises:
            MediaError: decoder_killed when somebody else ended it: what it gave is not all that the media holds.
        """
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:  # it closed its output and will not end
            self._process.kill()
            self._process.wait()
            code = 1
        self._log_reader.join()
        if code in OUTSIDE or (code and EXITING in self._log.messages()):
            raise MediaError("decoder_killed", self._log.last_words() or signal.strsignal(-code) or "")
        return code == 0, self._log.last_words()

    def stop(self) -> None:
        """End a decoder that has more to give. What it said of its source can be asked for then."""
        self._process.kill()
        self._process.wait()
        self._log_reader.join()

    def source(self) -> Source:
        """What the container said. Call it after `finish` or `stop`."""
        return self._log.source()

    def cut_short(self) -> bool:
        """Whether the container ended before its index does, or much of it is damaged. Call it after `finish`."""
        return self._log.cut_short()

    def unplaced(self) -> int:
        """How many channels the track has, where nobody knows where they stand, else 0. Call it when a block came."""
        self._described.wait(1)
        source = self.source()
        return 0 if source.placed else source.channels

    def failure(self) -> MediaError:
        """Why there is no audio at all, from ffmpeg's log."""
        return MediaError(failure_code(self._log.messages(), self._explicit_track), self._log.last_words())

    def pieces(self) -> Iterator[bytes]:
        """What comes, as it comes. Raises MediaError as `blocks` does."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if not selector.select(self._timeout_s):
                    raise MediaError("decoder_timeout", self._log.last_words())
                piece = self._process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
                if not piece:
                    return
                yield piece

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError):  # closed while reading
            while piece := self._process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
                self._log.add(piece)
                if self._log.described():
                    self._described.set()
        self._described.set()


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start ffmpeg in a process group of its own.

    Ctrl-C in a terminal goes to the whole group: ffmpeg would end as if the media did, just before the run ends.
    """
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=pipe, env=environment, process_group=0)


def probe(url: str, protocols: str, track: str, timeout_s: float) -> Source:
    """What the container says, without decoding.

    Raises:
        MediaError: it says nothing within the time limit.
    """
    with Decoder(url, protocols, Wanted(track, length_s=0), timeout_s) as decoder:
        for _ in decoder.blocks(1):
            pass
        decoder.finish()
        return decoder.source()


def convert(sound: Iterator[bytes], target: pathlib.Path, timeout_s: float) -> None:
    """Write samples of one channel as Ogg Opus of 24 kbit/s: small, and what every browser plays.

    Raises:
        MediaError: ffmpeg could not.
    """
    same = {"fflags": "+bitexact", "flags:a": "+bitexact"}  # whenever it is made
    samples = ffmpeg.input("pipe:0", format="s16le", ac=1, ar=SAMPLE_RATE_HZ, hide_banner=None, loglevel="error")
    kept = samples.output("pipe:1", format="ogg", acodec="libopus", audio_bitrate="24k", **same)
    command, pipe = ffmpeg.compile(kept, cmd=find_ffmpeg()), subprocess.PIPE
    with (
        target.open("wb") as out,
        subprocess.Popen(command, stdin=pipe, stdout=out, stderr=pipe, process_group=0) as encoder,
    ):
        _running.add(encoder)
        try:
            with contextlib.suppress(BrokenPipeError):
                for piece in sound:
                    encoder.stdin.write(piece)  # type: ignore[union-attr]
            _, words = encoder.communicate(timeout=timeout_s)
        except BaseException:
            encoder.kill()
            raise
        finally:
            _running.discard(encoder)
    if encoder.returncode:
        raise MediaError("decode_failed", words.decode("utf-8", "replace")[-LAST_WORDS:])


def command_of(url: str, protocols: str, wanted: Wanted) -> list[str]:
    """The command line that decodes a media. ffmpeg-python takes no name that is not UTF-8, so it never sees it."""
    words = ffmpeg.compile(_stream(url, protocols, wanted), cmd=find_ffmpeg())
    return [url if before == "-i" else word for before, word in zip(["", *words], words, strict=False)]


def _stream(url: str, protocols: str, wanted: Wanted) -> object:
    """The ffmpeg-python graph of one decoding."""
    quiet = {"nostdin": None, "hide_banner": None, "nostats": None, "loglevel": "info"}
    allowed = {"protocol_whitelist": protocols, "format_whitelist": FORMATS}
    jump = {"ss": wanted.from_s} if wanted.from_s else {}
    limit = {} if wanted.length_s is None else {"t": wanted.length_s}
    source = ffmpeg.input(NAME, threads=1, **jump, **allowed, **network_options(url), **quiet, guess_layout_max=2)
    number = wanted.track or "0"
    # As the input of a filter it is the first track that matches; -map would take all of the language.
    track = f"a:{number}" if number.isdigit() else f"a:m:language:{number}"
    even = _even(source[track])
    if not wanted.channels:
        return mix_and_left(source[track], _even).output("pipe:1", format="s16le", acodec="pcm_s16le", **limit)
    return even.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=wanted.channels, ar=SAMPLE_RATE_HZ, **limit)


def _even(stream: Any) -> Any:
    """The stream with silence wherever it has none, so that a sample's place is its time."""
    return stream.filter("aresample", **{"async": 1, "first_pts": 0})


def network_options(url: str) -> dict[str, object]:
    """What ffmpeg needs to read from `transforms.storage.ranges`: no other server or proxy is ever asked."""
    server, kind = re.match(r"http://[^/]+", url), suffix_of(url)
    if not server:
        return {}
    buffer = SOUND_RECEIVE_BUFFER if kind in AUDIO else RECEIVE_BUFFER
    # Without an index, ffmpeg would read an MP4 in fragments to its end for a list of them, and then once more.
    once = {"fflags": "+ignidx"} if kind in MP4 else {}
    return {"http_proxy": server[0], "recv_buffer_size": buffer, **once}
