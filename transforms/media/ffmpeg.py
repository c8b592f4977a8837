"""Decoding with ffmpeg: one child process per recording, its audio streamed as 16 kHz int16."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import subprocess
from collections.abc import Iterator

from transforms.dead_letters import MediaError
from transforms.media.ffmpeg_command import DecodeRequest, environment, opus_command
from transforms.media.ffmpeg_log import StreamInfo, failure_code
from transforms.media.ffmpeg_process import Process, running
from transforms.media.samples import SampleStream
from transforms.media.timeline import Gap, Timeline
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

LAST_WORDS = 1000  # characters
LONGEST_PIECE = SAMPLE_RATE_HZ  # samples of silence
# decoded over declared length below which audio is missing; containers round and pad
WHOLE = 0.98
STEPS_S = (0.5, 2, 8, 32, 128, 512, 2048)  # behind where ffmpeg gave up, at which it is tried again
MOST_TRIES = 50  # for one recording


class Decoder:
    """A running ffmpeg. Use it as a context manager: leaving the block ends the process, whatever happened.

    Where ffmpeg gives up before the end that the container declares, another one goes on behind that place, as often
    as that brings audio. A sample's place is its time: a track that starts late is padded, gaps are filled.

    Attributes:
        gaps: the stretches that were filled, from the start of the recording.
        gave_up: whether another ffmpeg had to go on.
    """

    def __init__(self, url: str, protocols: str, request: DecodeRequest, timeout_s: float) -> None:
        self._url, self._protocols, self._request, self._timeout_s = url, protocols, request, timeout_s
        self._first = self._running = Process(url, protocols, request, timeout_s)
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
            MediaError: decoder_killed when somebody else ended it: what it gave is not all that the recording holds.
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
        info = self.stream_info()
        return 0 if info.placed else info.channels

    def failure(self) -> MediaError:
        """Why there is no audio at all, from ffmpeg's log."""
        log = self._first.log
        return MediaError(failure_code(log.messages(), bool(self._request.track)), log.last_words())

    def _placed(self, process: Process) -> Iterator[bytes]:
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
        with contextlib.closing(Process(self._url, self._protocols, request, self._timeout_s)) as again:
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
    """Write samples of one channel as Ogg Opus: small, and what every browser plays.

    Raises:
        MediaError: ffmpeg could not.
    """
    command, pipe = opus_command(), subprocess.PIPE
    with (
        target.open("wb") as out,
        subprocess.Popen(command, stdin=pipe, stdout=out, stderr=pipe, env=environment(), process_group=0) as encoder,
    ):
        running.add(encoder)
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
            running.discard(encoder)
    if encoder.returncode:
        raise MediaError("decode_failed", words.decode("utf-8", "replace")[-LAST_WORDS:])
