"""A stand-in on loopback for Hugging Face's hub, with one model under the name MODEL: the demo model, or another."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import pathlib
import threading
from collections.abc import Iterator

from transforms.engines.catalog import DEMO_FOLDER

MODEL = "stand-in/demo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(http.server.BaseHTTPRequestHandler):
    folder = DEMO_FOLDER

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        """A file at /MODEL/resolve/<revision>/<name>; of all else, that it is not there."""
        path = self.folder / self.path.rpartition("/")[2]
        if not self.path.startswith(f"/{MODEL}/resolve/") or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def hub(folder: pathlib.Path = DEMO_FOLDER) -> Iterator[str]:
    """Serve the model in the folder, and give the address for HF_ENDPOINT."""
    handler = type("Handler", (_Handler,), {"folder": folder})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
