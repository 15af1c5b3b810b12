"""The two ways to denoise a file of a folder: as a stream over ZeroMQ, or with an HTTP request."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from dimstream_client.client import Client
from dimstream_client.errors import Code, ConnectionLost, SpoolError, StreamError
from dimstream_client.file_streaming import StreamingOptions, Tally, flags_path, resume_path, stream_file
from dimstream_client.files import ImageStack
from dimstream_client.files.stack_writer import write_stack
from dimstream_client.folders.waiting_for_server import Patience
from dimstream_client.http_client import HttpClient

OnFrame = Callable[[dict[str, int]], None]
_CLOSED_CODES: Final = frozenset({Code.BAD_TOKEN, Code.UNKNOWN_STREAM, Code.STREAM_CLOSED})


@dataclass(frozen=True)
class Outcome:
    """Result of a file: the numbers of its frames by flag."""

    counts: dict[str, int]
    suspect_since: int | None
    model_sha256: str | None


class Route(Protocol):
    """A way to denoise a file."""

    def denoise(self, source: Path, stack: ImageStack, part: Path, on_frame: OnFrame) -> Outcome:
        """Denoise an open file into `part`, and its flags into `flags_path(part)`.

        Raises
        ------
        DimstreamError
            `ConnectionLost`: when the server is lost for longer than it was waited for.
        OSError
        """


class StreamRoute:
    """Streams frame by frame: for movies of any length; an interrupted file can be continued.

    Parameters
    ----------
    settings_of : callable
        Returns the stream's settings for a stack.
    """

    def __init__(
        self, client: Client, settings_of: Callable[[ImageStack], dict[str, Any]], patience: Patience
    ) -> None:
        self._client, self._settings_of, self._patience = client, settings_of, patience

    def denoise(self, source: Path, stack: ImageStack, part: Path, on_frame: OnFrame) -> Outcome:
        """See `Route`."""
        streaming = StreamingOptions(0.0, self._settings_of(stack))
        tally = self._patience.do(lambda: self._streamed(source, stack, part, streaming, on_frame))
        return Outcome(tally.counts, tally.suspect_since, tally.model_sha256)

    def _streamed(
        self, source: Path, stack: ImageStack, part: Path, streaming: StreamingOptions, on_frame: OnFrame
    ) -> Tally:
        """Continue an interrupted run, or begin a new one."""
        if resume_path(part).exists():
            try:
                return stream_file(
                    self._client, source, stack, part, streaming, on_frame=on_frame, resume=True
                )
            except SpoolError:  # the file or the options have changed
                pass
            except StreamError as error:
                if error.code not in _CLOSED_CODES:
                    raise
            resume_path(part).unlink(missing_ok=True)
        try:
            return stream_file(self._client, source, stack, part, streaming, on_frame=on_frame)
        except StreamError as error:
            if error.code not in _CLOSED_CODES:
                raise
            raise ConnectionLost(f"the server has forgotten the stream: {error.detail}") from error


class RequestRoute:
    """Sends whole files: for a server whose HTTP endpoint alone can be reached.

    Flags and pixels are two requests, so it takes twice as long as streaming.

    Parameters
    ----------
    query : dict
        Query parameters of both requests, see `docs/http-api.md`.
    """

    def __init__(
        self, http: HttpClient, model: str | None, query: dict[str, Any], patience: Patience
    ) -> None:
        self._http, self._model, self._query, self._patience = http, model, query, patience

    def denoise(self, source: Path, stack: ImageStack, part: Path, on_frame: OnFrame) -> Outcome:
        """See `Route`."""
        stack.check()  # so that a refusal comes before anything is denoised
        with tempfile.TemporaryDirectory(prefix="dimstream-") as folder:
            sent = Path(folder) / "stack.ome.tif"
            write_stack(stack, sent)
            report = json.loads(self._ask(sent, {**self._query, "report": "json"}))
            part.write_bytes(self._ask(sent, self._query))
        counts = dict.fromkeys(("ok", "suspect", "unjudged", "missing"), 0)
        with flags_path(part).open("w", encoding="utf-8", newline="\n") as lines:
            for n, frame in enumerate(report["frames"]):
                line = {**frame, "t_acq": stack.t_acq(n), "model_sha256": report["model_sha256"]}
                lines.write(json.dumps(line) + "\n")
                counts[frame["flag"] if frame["status"] == "done" else "missing"] += 1
                on_frame(counts)
        return Outcome(counts, report["suspect_since"], report["model_sha256"])

    def _ask(self, sent: Path, query: dict[str, Any]) -> bytes:
        return self._patience.do(lambda: self._http.denoise(self._model, sent, query).file)
