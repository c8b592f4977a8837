"""Lets ffmpeg read an object of a store seekably: by HTTP, from this process, on loopback.

`served` gives the address under which a recording can be read while its context is open. Nothing is copied to disk,
no credential and no signed URL leaves the process, and a read that the store could not complete is never taken for
the end of the recording. One server a process, started when it is first needed; it ends with the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import logging
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus

from transforms.storage.protocol import MediaSource, StorageError

# (start, size) → exactly those bytes of the version that was listed, or OSError
Fetch = Callable[[int, int], bytes]

# bytes; after a seek, when nobody knows yet how much is wanted
FIRST_BLOCK = 256 << 10
# bytes; a jump of up to this is no seek: what lies between is fetched with the rest
NEAR = 512 << 10
# bytes; a request takes about as much processor time as 1 MB of its answer
LARGEST_BLOCK = 16 << 20
IN_A_ROW = 8 << 20  # bytes; who has read so much without a seek will read on
# bytes; handed to the socket at a time, and what it holds: at a seek, that was fetched for nothing
PIECE = 64 << 10
# bytes; the same once IN_A_ROW was read: both processes take fewer turns
LARGE_PIECE = 256 << 10
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}\Z")
RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
UNKNOWN = "reading from the store failed: the log of the worker says why"

log = logging.getLogger(__name__)


@contextlib.contextmanager
def served(fetch: Fetch, size_bytes: int, name: str = "") -> Iterator[MediaSource]:
    """An address that ffmpeg can read the recording from, seekably, while the context is open.

    Where the store did not give every byte that ffmpeg asked for, the source's `error` says why, and the connection
    was cut: look at it when ffmpeg has ended, before believing what came. Leaving the context never waits, whatever a
    fetch is doing. A recording has one connection: the next one ends it, as a seek of ffmpeg's does.

    Give ffmpeg the address as `http_proxy` too, and no `no_proxy` in its environment: a playlist that passes for a
    recording can then make it ask no other server, and no proxy of the environment gets to see the address.

    Args:
        fetch: called in threads of its own, one at a time but for those that a seek left behind. It does its own
            retries.
        size_bytes: of the version that fetch reads.
        name: the recording's name or URI. Its suffix stands in the address: ffmpeg knows some formats by that alone.
    """
    server, media = _running_server(), _Media(RangeReader(fetch, size_bytes))
    suffix = SUFFIX.search(name)
    path = f"/{secrets.token_urlsafe(32)}/media{suffix[0] if suffix else ''}"
    media.source.url = server.url + path
    server.media[path] = media
    try:
        yield media.source
    finally:
        del server.media[path]
        media.close()


@dataclasses.dataclass(eq=False)
class Block:
    """A stretch of the object: on its way, then with its data or with the reason why there is none."""

    start: int
    end: int
    data: bytes | None = None
    error: OSError | None = None


class RangeReader:
    """Reads an object in blocks that suit how it is read, ahead of the reader while that is sequential.

    The block after a seek is small; then they double, and from the second on the next is fetched while one is read.
    A jump of up to NEAR is no seek: asking anew would cost more than reading on, and the reader is some way behind
    what was sent to it. A jump to what is still at hand costs no request. The head of the object is kept for good,
    since containers with their index at the end jump back to it, and so is the end if it is a small block.

    Memory is at most 3 × LARGEST_BLOCK, whatever the size of the object: what was read longest ago is dropped.

    Attributes:
        requests: the fetches begun so far.
        fetched_bytes: the bytes they asked for.
    """

    def __init__(self, fetch: Fetch, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.requests = self.fetched_bytes = 0
        self._fetch = fetch
        # guards what follows; told when a block came or a reading has to end
        self._changed = threading.Condition()
        self._blocks: list[Block] = []  # the one that was read last is the last
        self._on_their_way = 0
        self._reading = 0  # the newest; all others end
        self._closed = False
        self._run_start = self._position = 0  # what was read without a seek

    def read(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from start to end in small pieces; fewer when another reading begins or the reader is closed.

        Raises:
            OSError: the store could not give the next piece.
        """
        # now, not at the first piece: readings count in the order in which they were asked for
        with self._changed:
            self._reading += 1
            self._changed.notify_all()
            return self._pieces(start, min(end, self.size_bytes), self._reading)

    def close(self) -> None:
        """End every reading and let go of the data, at once. A fetch that is on its way ends by itself."""
        with self._changed:
            self._closed = True
            self._blocks.clear()
            self._changed.notify_all()

    def held_bytes(self) -> int:
        """The size of the blocks that are kept, with those on their way."""
        with self._changed:
            return sum(block.end - block.start for block in self._blocks)

    def _pieces(self, start: int, end: int, reading: int) -> Iterator[memoryview]:
        while start < end and (piece := self._piece(start, reading)):
            yield piece[: end - start]
            start += len(piece)

    def _piece(self, start: int, reading: int) -> memoryview | None:
        with self._changed:
            while reading == self._reading and not self._closed:
                block = self._block_at(start)
                if block.error:
                    raise block.error
                if block.data is not None:
                    self._ask_ahead(block)
                    offset = start - block.start
                    size = LARGE_PIECE if start - self._run_start > IN_A_ROW else PIECE
                    piece = memoryview(block.data)[offset : offset + size]
                    self._position = start + len(piece)
                    return piece
                self._changed.wait()
        return None

    def _block_at(self, start: int) -> Block:
        """The block of this byte, asked for if it is not at hand."""
        if abs(start - self._position) > NEAR:
            self._run_start = start
        self._position = start
        block = self._held(start)
        if block is None:
            return self._ask(start)
        self._blocks.remove(block)
        self._blocks.append(block)
        return block

    def _ask_ahead(self, block: Block) -> None:
        """Ask for what follows the block, if reading looks sequential and nothing else is on its way."""
        sequential = block.start - self._run_start >= FIRST_BLOCK // 2  # a run may begin some way into a held block
        more = block.end < self.size_bytes and not self._held(block.end)
        if sequential and more and not self._on_their_way:
            self._ask(block.end)

    def _ask(self, start: int) -> Block:
        """The block for this byte, on its way. It overlaps no other that is held."""
        size = min(LARGEST_BLOCK, FIRST_BLOCK + max(0, start - self._run_start))
        end = min([start + size, self.size_bytes, *(block.start for block in self._blocks if block.start > start)])
        near_end = min(start, self.size_bytes - FIRST_BLOCK)  # indexes there are looked for backwards, in steps
        first = max([0, near_end, *(block.end for block in self._blocks if block.end <= start)])
        block = Block(first, end)
        self._make_room(end - first)
        self._blocks.append(block)
        self.requests += 1
        self.fetched_bytes += end - first
        self._on_their_way += 1
        threading.Thread(target=self._fetch_block, args=(block,), daemon=True).start()
        return block

    def _make_room(self, size: int) -> None:
        """Drop what was read longest ago. What is on its way takes its memory all the same, and may yet be wanted."""
        surplus = size + sum(block.end - block.start for block in self._blocks) - 3 * LARGEST_BLOCK
        for block in list(self._blocks):
            if surplus > 0 and block.data is not None and not self._lasts(block):
                self._blocks.remove(block)
                surplus -= block.end - block.start

    def _lasts(self, block: Block) -> bool:
        is_end = block.end == self.size_bytes and block.end - block.start <= FIRST_BLOCK
        return block.start == 0 or is_end

    def _fetch_block(self, block: Block) -> None:
        data, size = None, block.end - block.start
        error: OSError | None = StorageError(UNKNOWN)
        try:
            data, error = self._fetch(block.start, size), None
            if len(data) != size:
                error = StorageError(f"the store gave {len(data)} bytes of {size} from {block.start}: run it again")
        except OSError as failure:
            error = failure
        finally:
            # whatever else it raises goes to the log; nobody may wait for ever
            with self._changed:
                block.data, block.error = data, error
                self._on_their_way -= 1
                self._changed.notify_all()

    def _held(self, position: int) -> Block | None:
        return next((block for block in self._blocks if block.start <= position < block.end), None)


class _Media:
    """A recording that the server serves, and the one connection that reads it."""

    def __init__(self, reader: RangeReader) -> None:
        self.reader = reader
        self.source = MediaSource("", "http,tcp")
        self._connection: socket.socket | None = None
        self._changing = threading.Lock()

    def begin(self, connection: socket.socket, start: int, end: int) -> Iterator[memoryview]:
        """The bytes to send over this connection, which from now on is the one that reads the recording."""
        # both or neither: the last connection and the last reading belong together
        with self._changing:
            self._replace(connection)
            return self.reader.read(start, end)

    def close(self) -> None:
        self.reader.close()
        with self._changing:
            self._replace(None)

    def _replace(self, connection: socket.socket | None) -> None:
        before, self._connection = self._connection, connection
        if before is not None:
            # it is closed already; else its handler may be waiting to send
            with contextlib.suppress(OSError):
                before.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request: RFC 9110 with single ranges; others are ignored, as it allows."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        media = self.server.media.get(self.path.removeprefix(self.server.url))  # as a proxy it is asked for the URL
        if media is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif media.source.error:
            self.send_error(HTTPStatus.BAD_GATEWAY)
        else:
            self._answer(media)

    do_HEAD = do_GET

    def _answer(self, media: _Media) -> None:
        size = media.reader.size_bytes
        asked = RANGE.fullmatch(self.headers.get("Range", "")) if size else None
        start = int(asked[1]) if asked else 0
        end = min(size, int(asked[2]) + 1) if asked and asked[2] else size
        # Before the headers go out: ffmpeg may open the next connection as soon as it has them.
        pieces = media.begin(self.connection, start, end) if self.command == "GET" and start < end else None
        if asked and start >= end:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, f"bytes */{size}")
        elif asked:
            self._head(HTTPStatus.PARTIAL_CONTENT, end - start, f"bytes {start}-{end - 1}/{size}")
        else:
            self._head(HTTPStatus.OK, size, "")
        if pieces is not None:
            self._send(media, pieces)

    def _head(self, status: HTTPStatus, length: int, content_range: str) -> None:
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, media: _Media, pieces: Iterator[memoryview]) -> None:
        """Send what there is until ffmpeg has enough, or the store fails, which the source then says."""
        error: OSError | None = StorageError(UNKNOWN)
        try:
            all(self._took(piece) for piece in pieces)
            error = None
        except OSError as failure:
            error = failure
        finally:
            if error:
                media.source.error = error

    def _took(self, piece: memoryview) -> bool:
        try:
            # more than fits would wait for ffmpeg's late acknowledgement
            if len(piece) > PIECE:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE_PIECE)
            self.wfile.write(piece)
        except OSError:  # ffmpeg closed the connection: it seeks, or has ended
            return False
        return True

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingTCPServer):
    """Serves media to this machine alone; not http.server's own, which looks its address up in the DNS."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)  # connections inherit it
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.media: dict[str, _Media] = {}

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exception(), OSError):  # closed connections are no news
            log.exception("the server of media on loopback")


_server: _Server | None = None
_starting = threading.Lock()


def _running_server() -> _Server:
    global _server
    with _starting:
        if _server is None:
            _server = _Server()
            threading.Thread(target=_server.serve_forever, daemon=True).start()
        return _server


def _reset_server() -> None:
    """A forked child has the parent's socket, but not the threads that serve it."""
    global _server, _starting
    if _server is not None:
        _server.socket.close()
    _server, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_reset_server)
