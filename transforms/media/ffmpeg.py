"""Decoding with ffmpeg: one child process a media, its audio streamed as 16 kHz int16."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import secrets
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import IO, Any

import ffmpeg

from transforms.dead_letters import MediaError
from transforms.media.ffmpeg_log import Log, StreamInfo, failure_code
from transforms.media.mix import mix_and_left
from transforms.media.samples import SampleStream
from transforms.media.suffixes import AUDIO, MP4, suffix_of
from transforms.media.timeline import Gap, Timeline
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
    "nistsphere nsv nut obu ogg oma osq paf pva pvf qcp r3d rm rso sbc sds shn sln smk sol sox spdif svs swf tak tta "
    "truehd ty vc1 voc vqf w64 wav wsd wtv wv xa"
).replace(" ", ",")
OF_FFMPEG = re.compile("(?i:no_proxy)|AV_LOG_.*|FFREPORT|FFMPEG_.*")  # variables that it listens to
RECEIVE_BUFFER = 64 << 10  # bytes; ffmpeg reads through gaps of up to twice that; left to itself, of megabytes
SOUND_RECEIVE_BUFFER = 256 << 10  # bytes; a file of sound has no gaps, and both processes take fewer turns
PIPE_BYTES = 1 << 20  # read at a time, if there is so much
LISTEN_S = 0.02  # how long the log may go unheard
LONGEST_PIECE = SAMPLE_RATE_HZ  # samples of silence
LAST_WORDS = 1000  # characters
TRACK = re.compile(r"([0-9]{1,4}|[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?")
WHOLE = 0.98  # decoded over declared length below which audio is missing; containers round and pad
STEPS_S = (0.5, 2, 8, 32, 128, 512, 2048)  # behind where ffmpeg gave up, at which it is tried again
MOST_TRIES = 50  # for one media

_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def kill_decoders() -> None:
    """End every decoder that this process started. One whose parent is killed ends by its broken pipe."""
    for process in list(_running):
        process.kill()


@dataclasses.dataclass(frozen=True)
class DecodeRequest:
    """What of a media is to be decoded."""

    track: str = ""  # number from 0, or language as the container tags it; "" is the first
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
    command = [find_ffmpeg(), "-version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return run.stdout.split()[2]


class Decoder:
    """A running ffmpeg. Use it as a context manager: leaving the block ends the process, whatever happened.

    Where ffmpeg gives up before the end that the container declares, another one goes on behind that place, as often
    as that brings audio. A sample's place is its time: a track that starts late is padded, gaps are filled.

    Attributes:
        gaps: the stretches that were filled, from the start of the media.
        gave_up: whether another ffmpeg had to go on.
    """

    def __init__(self, url: str, protocols: str, request: DecodeRequest, timeout_s: float) -> None:
        self._url, self._protocols, self._request, self._timeout_s = url, protocols, request, timeout_s
        self._first = self._running = _Process(url, protocols, request, timeout_s)
        self._timeline = Timeline(round(request.from_s * SAMPLE_RATE_HZ), self._longest)
        self._width, self._came = (request.channels or 2) * BYTES_PER_SAMPLE, 0
        self.gave_up = False

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._first.close()

    @property
    def gaps(self) -> list[Gap]:
        return self._timeline.gaps

    def blocks(self, samples: int) -> Iterator[bytes]:
        """The audio in blocks of so many samples, all channels counted, as `SampleStream.blocks` gives them.

        Raises:
            MediaError: decoder_timeout when no byte came for the time limit. Waiting for whoever takes the
                blocks does not count. decoder_killed as `finish` does.
        """
        return SampleStream(self.pieces()).blocks(samples)

    def pieces(self) -> Iterator[bytes]:
        """What comes, as it comes, in whole samples of all channels. Raises MediaError as `blocks` does."""
        yield from self._placed(self._first)
        steps, tries = list(STEPS_S), 0
        while steps and tries < MOST_TRIES and self._gave_up(steps[0]):
            came, self.gave_up, tries = self._came, True, tries + 1
            yield from self._go_on(self._timeline.position / SAMPLE_RATE_HZ + steps.pop(0))
            if self._came > came:
                steps = list(STEPS_S)

    def finish(self) -> tuple[bool, str]:
        """Whether ffmpeg ended well, and the tail of its log. Call it when `blocks` has ended.

        Raises:
            MediaError: decoder_killed when somebody else ended it: what it gave is not all that the media holds.
        """
        return self._first.finish()

    def stop(self) -> None:
        """End a decoder that has more to give. What it said of its source can be asked for then."""
        self._running.stop()
        self._first.stop()

    def stream_info(self) -> StreamInfo:
        """What the container said. Whole only after `finish` or `stop`; its length is known with the first block."""
        return self._first.stream_info()

    def cut_short(self) -> bool:
        """Whether the container ended before its index does, or much of it is damaged. Call it after `finish`."""
        return self._first.log.cut_short(self.stream_info().codec)

    def unplaced(self) -> int:
        """How many channels the track has, where nobody knows where they stand, else 0. Call it when a block came."""
        source = self.stream_info()
        return 0 if source.placed else source.channels

    def failure(self) -> MediaError:
        """Why there is no audio at all, from ffmpeg's log."""
        log = self._first.log
        return MediaError(failure_code(log.messages(), bool(self._request.track)), log.last_words())

    def _placed(self, process: _Process) -> Iterator[bytes]:
        """What a process gives, every sample at its place. A frame whose time jumps waits for the next one's time."""
        waiting: tuple[int | None, bytes] | None = None
        for frame in process.frames(self._width):
            if waiting:
                yield from self._place(*waiting, frame[0])
            waiting = None if self._timeline.goes_on(frame[0]) else frame
            if not waiting:
                yield from self._place(*frame)
        if waiting:
            yield from self._place(*waiting)

    def _place(self, at: int | None, pcm: bytes, following: int | None = None) -> Iterator[bytes]:
        samples = len(pcm) // self._width
        silence, left_out = self._timeline.place(at, samples, following)
        self._came += samples - left_out
        while silence > 0:
            yield bytes(min(silence, LONGEST_PIECE) * self._width)
            silence -= LONGEST_PIECE
        yield pcm[left_out * self._width :] if left_out else pcm

    def _go_on(self, from_s: float) -> Iterator[bytes]:
        request = dataclasses.replace(self._request, from_s=from_s)
        with contextlib.closing(_Process(self._url, self._protocols, request, self._timeout_s)) as again:
            self._running = again
            self._timeline.begin_again(round(from_s * SAMPLE_RATE_HZ))
            yield from self._placed(again)
            again.finish()

    def _gave_up(self, step_s: float) -> bool:
        """Whether ffmpeg ended so early that there may be audio behind so many seconds more."""
        ended_well, _ = self.finish()
        if not self._came or (ended_well and not self._first.log.gave_up) or self._request.length_s is not None:
            return False
        end_s, said_s = self._timeline.position / SAMPLE_RATE_HZ, self.stream_info().said_s
        return is_short(end_s, said_s) and end_s + step_s < said_s

    def _longest(self) -> int | None:
        declared_s = self.stream_info().declared_s
        return None if declared_s is None else round(declared_s * SAMPLE_RATE_HZ)


def is_short(end_s: float, declared_s: float | None) -> bool:
    """Whether audio is missing that the container declares."""
    return declared_s is not None and end_s < WHOLE * declared_s - 1


class _Process:
    """One ffmpeg, read by whoever takes its frames: it waits while nobody does."""

    def __init__(self, url: str, protocols: str, request: DecodeRequest, timeout_s: float) -> None:
        mark, (self._facts_pipe, theirs) = f"ashowinfo@{secrets.token_hex(8)}", os.pipe()
        try:
            self._process = _start(command_of(url, protocols, request, mark, theirs), theirs)
        except BaseException:
            os.close(self._facts_pipe)
            raise
        finally:
            os.close(theirs)
        _running.add(self._process)
        self.log = Log(os.fsencode(url), mark.encode())
        self._timeout_s, self._facts = timeout_s, b""
        self._code: int | None = None
        for descriptor in (self._error, self._facts_pipe):
            os.set_blocking(descriptor, False)

    def frames(self, width: int) -> Iterator[tuple[int | None, bytes]]:
        """The time of a frame, and its samples with those of the frames that go on from it and are there too.

        Times are in samples from where ffmpeg began, None where a frame has none.

        Args:
            width: bytes of a sample of all channels.
        """
        held, times = bytearray(), self.log.times
        for piece in self._pieces():
            held += piece
            while times and times[0][1] * width <= len(held):
                at, samples = self._next_run(len(held) // width)
                yield at, bytes(held[: samples * width])
                del held[: samples * width]
            if not self.log.marked:  # nobody tells of times
                whole = len(held) // width * width
                yield None, bytes(held[:whole])
                del held[:whole]
        if rest := bytes(held[: len(held) // width * width]):  # it may have ended in the middle of a sample
            yield times[0][0] if times else None, rest

    def _next_run(self, most: int) -> tuple[int | None, int]:
        """The next frame's time, and the samples of it and of those that go on from it, no more than so many."""
        times = self.log.times
        at, samples = times.popleft()
        while times and at is not None and times[0][0] == at + samples and samples + times[0][1] <= most:
            samples += times.popleft()[1]
        return at, samples

    def finish(self) -> tuple[bool, str]:
        if self._code is None:
            self._code = self._end()
        if self._code in OUTSIDE or (self._code and EXITING in self.log.messages()):
            raise MediaError("decoder_killed", self.log.last_words() or signal.strsignal(-self._code) or "")
        return self._code == 0, self.log.last_words()

    def stop(self) -> None:
        self._process.kill()
        self._code = self._process.wait()
        self._hear()
        self.log.close()

    def close(self) -> None:
        """End the process, and let go of all that it was read through."""
        if self._process in _running:
            self.stop()
            self._facts += _available(self._facts_pipe)[0]
            os.close(self._facts_pipe)
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
            _running.discard(self._process)

    def stream_info(self) -> StreamInfo:
        self._facts += _available(self._facts_pipe)[0]
        return self.log.stream_info(self._facts.decode("utf-8", "replace"))

    def _pieces(self) -> Iterator[bytes]:
        """What comes, as it comes. What is told of a frame has been heard by then: ffmpeg tells of it first."""
        out, until = _descriptor(self._process.stdout), time.monotonic() + self._timeout_s
        while True:
            # Not woken by the log, which has a line for every frame; but ffmpeg waits when nobody reads it.
            piece = os.read(out, PIPE_BYTES) if _readable(out, LISTEN_S) else None
            self._hear()
            if piece:
                yield piece
                until = time.monotonic() + self._timeout_s
            elif piece is not None:
                return
            elif time.monotonic() >= until:
                raise MediaError("decoder_timeout", self.log.last_words())

    def _end(self) -> int:
        """Wait for the end, and give the exit code."""
        until = time.monotonic() + self._timeout_s
        while self._hear() and (left_s := until - time.monotonic()) > 0:
            _readable(self._error, left_s)
        try:
            code = self._process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:  # it closed its output and will not end
            self._process.kill()
            self._process.wait()
            code = 1
        self._hear()
        self.log.close()
        return code

    def _hear(self) -> bool:
        """Take in what the log has to say by now; False when it has ended."""
        told, more = _available(self._error)
        self.log.add(told)
        return more

    @property
    def _error(self) -> int:
        return _descriptor(self._process.stderr)


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _readable(descriptor: int, within_s: float) -> bool:
    """Whether something, or the end, came to a pipe within the time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


def _available(descriptor: int) -> tuple[bytes, bool]:
    """All that can be read at once, and whether there may be more later."""
    read = bytearray()
    while True:
        try:
            piece = os.read(descriptor, PIPE_BYTES)
        except BlockingIOError:
            return bytes(read), True
        if not piece:
            return bytes(read), False
        read += piece


def _start(command: list[str], facts: int) -> subprocess.Popen[bytes]:
    """Start ffmpeg in a process group of its own, with a pipe for what it says of the audio track.

    Ctrl-C in a terminal goes to the whole group: ffmpeg would end as if the media did, just before the run ends.
    """
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command, 0, stdin=nothing, stdout=pipe, stderr=pipe, env=environment(), process_group=0, pass_fds=[facts]
    )


def environment() -> dict[str, str]:
    """What every ffmpeg is started with, without what would color or redirect its log, or what it reads."""
    return {name: value for name, value in os.environ.items() if not OF_FFMPEG.fullmatch(name)}


def probe(url: str, protocols: str, track: str, timeout_s: float) -> StreamInfo:
    """What the container says, without decoding.

    Raises:
        MediaError: it says nothing within the time limit.
    """
    with Decoder(url, protocols, DecodeRequest(track, length_s=0), timeout_s) as decoder:
        for _ in decoder.pieces():
            pass
        decoder.finish()
        return decoder.stream_info()


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
        subprocess.Popen(command, stdin=pipe, stdout=out, stderr=pipe, env=environment(), process_group=0) as encoder,
    ):
        _running.add(encoder)
        try:
            for piece in sound:
                encoder.stdin.write(piece)  # type: ignore[union-attr]
            _, words = encoder.communicate(timeout=timeout_s)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            encoder.kill()
            _, words = encoder.communicate()
        except BaseException:
            encoder.kill()
            raise
        finally:
            _running.discard(encoder)
    if encoder.returncode:
        raise MediaError("decode_failed", words.decode("utf-8", "replace")[-LAST_WORDS:])


def command_of(url: str, protocols: str, request: DecodeRequest, mark: str, facts: int) -> list[str]:
    """The command line that decodes a media. ffmpeg-python takes no name that is not UTF-8, so it never sees it."""
    words = ffmpeg.compile(_streams(url, protocols, request, mark, facts), cmd=find_ffmpeg())
    return [url if before == "-i" else word for before, word in zip(["", *words], words, strict=False)]


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
