"""Telling a display on the same machine how far the work is: datagrams to an address that the steps are given."""

from __future__ import annotations

import contextlib
import json
import socket


class Ticker:
    """Sends counts to `host:port`; without an address it does nothing. Loss of a datagram is no error."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port)) if port else None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if self._to else None

    def tick(self, **counts: float) -> None:
        """Add to the named counts of the display."""
        if self._socket is not None and self._to is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(json.dumps(counts).encode(), self._to)
