"""Scripts of the documentation for Imspector and ImSwitch, with stand-ins for the programs."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from doc_examples import example
from numpy.typing import NDArray

from dimstream_client import Client
from dimstream_server.server_process import RunningServer


@pytest.fixture
def imswitch(sample: NDArray[np.uint16]) -> Iterator[str]:
    """Address of what answers as ImSwitch's web interface does."""
    images = iter(sample)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/RecordingController/snapImage?output=true&toList=true"
            body = json.dumps(next(images).tolist()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_script_for_imswitch(
    imswitch: str, server: RunningServer, sample: NDArray[np.uint16], tmp_path: Path
) -> None:
    script = tmp_path / "imswitch_to_dimstream.py"
    script.write_text(example("imswitch.md", "python", "snapImage"))
    command = [sys.executable, str(script), imswitch, server.zmq, "3", "0"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    with Client(server.zmq) as client:
        expected = [f"{r.seq} {r.flag} {r.reason or ''}".split() for r in client.stream(sample[:3])]
    assert [line.split() for line in printed.splitlines()] == expected


def test_the_script_for_imspector(
    server: RunningServer,
    sample: NDArray[np.uint16],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    specpy = pytest.importorskip("specpy", reason="specpy has no wheel for this machine")
    from imspector_stand_in import StandIn, stack_of

    movie = sample[None, :3]
    stand_in = StandIn([stack_of("STED 640 {1}", (1, 1, *movie.shape[2:]))], movie)
    monkeypatch.setattr(specpy, "get_application", lambda: stand_in)
    script = example("imspector.md", "python", "ImspectorFrames").replace("tcp://127.0.0.1:5570", server.zmq)
    exec(compile(script, "imspector.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(")")[0] for line in lines] == [f"PlaneIndex(t={t}, c=0, z=0, p=0" for t in range(3)]
