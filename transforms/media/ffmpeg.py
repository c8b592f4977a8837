"""Decoding with ffmpeg: one child process a media, its audio streamed as 16 kHz mono int16.

Only ffmpeg is needed, no ffprobe: what the container says of itself is read from ffmpeg's own log.
"""

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
from typing import NamedTuple

import ffmpeg

from transforms.dead_letters import MediaError
from transforms.media.suffixes import AUDIO, MP4, suffix_of
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

LOG_HEAD_BYTES = 64 << 10  # the container's description comes first ...
LOG_TAIL_BYTES = 4 << 10  # ... and the reason of a failure last
VIDEO = r": Video: (?!.*\(attached pic\))"  # a cover picture is no video
# ffmpeg says so and exits with 0
CUT_SHORT = "partial file|(?:File ended|Stream ends) prematurely|CRC mismatch"
CORRUPT = "corrupt input packet in stream"  # without frames, also the last piece of a stream of unknown length
UNFRAMED = ("pcm", "adpcm")
FIGURES = re.compile(r"(size|frame)=|video:")  # that differ from run to run
LOST = re.compile("Error while decoding stream|Error submitting packet to decoder")
HARMLESS = re.compile("Error parsing the packet header")  # where one Ogg stream follows another
REPEATED = re.compile(r" *Last message repeated (\d+) times")
MANY_LOST = 10  # packets without audio, of some 25 ms each; a few are at the ends of many a sound file
OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}  # exit codes of what others have ended
EXITING = "Exiting normally, received signal"  # ffmpeg caught one
NAME = "input"  # stands for the media's own name, which may be no text at all
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
LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}

_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def kill_decoders() -> None:
    """End every decoder that this process started. One whose parent is killed ends by its broken pipe."""
    for process in list(_running):
        process.kill()


class Source(NamedTuple):
    """What a container says of the audio track that was decoded."""

    declared_s: float | None  # its length; None where it says nothing that can be trusted
    sampling_rate_hz: int
    channels: int
    codec: str
    has_others: bool  # tracks beside it: what the container declares may be their length
    container: str = ""  # as ffmpeg names it: "mov,mp4,m4a,3gp,3g2,mj2"
    said_s: float = 0.0  # that length, or an estimate of it, 0 where there is neither


class Wanted(NamedTuple):
    """What of a media is to be decoded."""

    track: str = ""  # number from 0, or language as the container tags it; "" is the first
    from_s: int = 0  # jump there first
    length_s: int | None = None
    channels: int = 1  # what is mixed into
    kept: bool = False  # to be heard by people, as Ogg Opus, instead of samples


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
        self._url = os.fsencode(url)
        self._process = _start(command_of(url, protocols, wanted))
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
        if code in OUTSIDE or (code and EXITING in self._messages()):
            raise MediaError("decoder_killed", self.log_tail() or signal.strsignal(-code) or "")
        return code == 0, self.log_tail()

    def stop(self) -> None:
        """End a decoder that has more to give. What it said of its source can be asked for then."""
        self._process.kill()
        self._process.wait()
        self._log_reader.join()

    def source(self) -> Source:
        """What the container said. Call it after `finish` or `stop`."""
        return parse_log(self._log())

    def cut_short(self) -> bool:
        """Whether the container ended before its index does, or much of it is damaged. Call it after `finish`."""
        messages = self._messages()
        corrupt = CORRUPT in messages and not self.source().codec.startswith(UNFRAMED)
        return corrupt or bool(re.search(CUT_SHORT, messages)) or lost_packets(messages) >= MANY_LOST

    def failure(self) -> MediaError:
        """Why there is no audio at all, from ffmpeg's log."""
        return MediaError(failure_code(self._messages(), self._explicit_track), self.log_tail())

    def log_tail(self) -> str:
        lines = messages_in((self._head + self._tail).decode("utf-8", "replace"))
        # Addresses and speeds differ from run to run; letters must not.
        told = "\n".join([line for line in lines if not FIGURES.match(line)][-6:])
        told = re.sub(r" @ 0x[0-9a-f]+|http://127\.0\.0\.1:\d+/[\w-]+/", "", told)
        return re.sub("Format not on whitelist '.*'", "files of this kind are not opened", told)

    def _log(self) -> str:
        """The log without the media's own name, in which anything may stand."""
        return (self._head + self._tail).replace(self._url, NAME.encode()).decode("utf-8", "replace")

    def _messages(self) -> str:
        return "\n".join(messages_in(self._log()))

    def pieces(self) -> Iterator[bytes]:
        """What comes, as it comes. Raises MediaError as `blocks` does."""
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


def messages_in(log: str) -> list[str]:
    """The lines of a log in which ffmpeg speaks; what is indented describes the streams in the file's own words."""
    return [line for line in re.split(r"[\r\n]+", log) if line and (line[0] != " " or REPEATED.match(line))]


def lost_packets(messages: str) -> int:
    """How many packets the decoder could make nothing of, as far as the log goes."""
    lost, last = 0, 0
    for line in messages.split("\n"):
        again = REPEATED.match(line)
        if not again:
            last = bool(LOST.search(line)) - bool(HARMLESS.search(line))
        lost += last * int(again[1]) if again else last
    return lost


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


def convert(url: str, protocols: str, track: str, timeout_s: float, target: pathlib.Path) -> None:
    """Write the audio as Ogg Opus of 24 kbit/s, mono: small, and what every browser plays.

    Raises:
        MediaError: nothing came.
    """
    with Decoder(url, protocols, Wanted(track, kept=True), timeout_s) as encoder, target.open("wb") as out:
        for piece in encoder.pieces():
            out.write(piece)
        encoder.finish()
        if not out.tell():
            raise encoder.failure()


def command_of(url: str, protocols: str, wanted: Wanted) -> list[str]:
    """The command line that decodes a media. ffmpeg-python takes no name that is not UTF-8, so it never sees it."""
    words = ffmpeg.compile(_stream(url, protocols, wanted), cmd=find_ffmpeg())
    return [url if before == "-i" else word for before, word in zip(["", *words], words, strict=False)]


def _stream(url: str, protocols: str, wanted: Wanted) -> object:
    """The ffmpeg-python graph of one decoding.

    The filter pads a track that starts late and fills gaps, so that a sample's place is its time.
    """
    quiet = {"nostdin": None, "hide_banner": None, "nostats": None, "loglevel": "info"}
    allowed = {"protocol_whitelist": protocols, "format_whitelist": FORMATS}
    jump = {"ss": wanted.from_s} if wanted.from_s else {}
    limit = {} if wanted.length_s is None else {"t": wanted.length_s}
    source = ffmpeg.input(NAME, threads=1, **jump, **allowed, **network_options(url), **quiet)
    number = wanted.track or "0"
    # As the input of a filter it is the first track that matches; -map would take all of the language.
    track = f"a:{number}" if number.isdigit() else f"a:m:language:{number}"
    even = source[track].filter("aresample", **{"async": 1, "first_pts": 0})
    if wanted.kept:
        same = {"fflags": "+bitexact", "flags:a": "+bitexact"}  # whenever it is made
        return even.output(
            "pipe:1", format="ogg", acodec="libopus", audio_bitrate="24k", ac=1, ar=SAMPLE_RATE_HZ, **same
        )
    return even.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=wanted.channels, ar=SAMPLE_RATE_HZ, **limit)


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
    said = 0.0
    if length:
        hours, minutes, seconds = length.groups()
        said = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    container = re.search(r"^Input #0, (\S+), from ", described, re.MULTILINE)
    return Source(
        declared_s=None if "Estimating duration from bitrate" in described else said or None,
        sampling_rate_hz=int(rate),
        channels=count_channels(layout),
        codec=codec,
        has_others=len(tracks) > 1 or ": Subtitle: " in described or bool(re.search(VIDEO, described)),
        container=container[1] if container else "",
        said_s=said,
    )


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
