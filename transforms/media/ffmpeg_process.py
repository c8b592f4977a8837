"""One running ffmpeg: its samples frame by frame, what it says meanwhile, and its end."""

from __future__ import annotations

import atexit
import os
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import IO

from transforms.dead_letters import MediaError
from transforms.media.ffmpeg_command import DecodeRequest, command_of, environment
from transforms.media.ffmpeg_log import Log, StreamInfo

OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}  # exit codes of what others have ended
EXITING = "Exiting normally, received signal"  # ffmpeg caught one
PIPE_BYTES = 1 << 20  # read at a time, if there is so much
LISTEN_S = 0.02  # how long the log may go unheard

running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def kill_decoders() -> None:
    """End every decoder that this process started. One whose parent is killed ends by its broken pipe."""
    for process in list(running):
        process.kill()


class Process:
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
        running.add(self._process)
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
        if self._process in running:
            self.stop()
            self._facts += _available(self._facts_pipe)[0]
            os.close(self._facts_pipe)
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe:
                    pipe.close()
            running.discard(self._process)

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

    Ctrl-C in a terminal goes to the whole group: ffmpeg would end as if the recording did, just before the run ends.
    """
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command, 0, stdin=nothing, stdout=pipe, stderr=pipe, env=environment(), process_group=0, pass_fds=[facts]
    )
