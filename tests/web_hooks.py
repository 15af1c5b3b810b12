"""A real web hook on a port of its own, which keeps what it is sent and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 60


class WebHook:
    """What came, and what is answered next: a status each, 200 when none is left; 0: no answer at all."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.is_over = threading.Event()

    def until(self, condition: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
        """Wait until what came fulfils this."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.bodies):
            assert time.monotonic() < deadline, f"only this came: {self.bodies}"
            time.sleep(0.01)
        return list(self.bodies)


@contextmanager
def web_hook() -> Iterator[WebHook]:
    """A web hook that listens."""
    hook = WebHook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.headers.append(dict(self.headers))
            hook.bodies.append(json.loads(body))
            status = hook.answers.pop(0) if hook.answers else 200
            if status == 0:
                hook.is_over.wait(PATIENCE_S)
                return
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/services/s3cr3t"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hook
    finally:
        hook.is_over.set()
        server.shutdown()
        server.server_close()
