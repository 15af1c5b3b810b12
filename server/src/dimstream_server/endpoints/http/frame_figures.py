"""Figures of frames that an analysis sends: to the live view, the recording and `/metrics`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import FastAPI, Request

from dimstream_models.er_figures import FIGURES
from dimstream_server.endpoints.http.figure_bodies import FigureBody, FiguresBody, FoundBody, TakenBody
from dimstream_server.endpoints.http.json_requests import JsonRequests
from dimstream_server.endpoints.http.live.history import History, Judged, StreamHistory
from dimstream_server.endpoints.http.openapi import json_body, problems
from dimstream_server.errors import ServerBusy, UnknownStream
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.problem_details import RequestRefused
from dimstream_server.recording import AnalysedFrame, AnalysisLog
from dimstream_server.streams import StreamService


class FigureRoutes:
    """Takes figures of frames. Of each plane they are taken once a frame, and only of newer and newer ones.

    Parameters
    ----------
    history : History
        What the live view knows of the streams' frames.
    bodies : JsonRequests
        Reads what is sent.
    """

    def __init__(
        self, service: StreamService, history: History, metrics: Metrics, bodies: JsonRequests
    ) -> None:
        self._service, self._history, self._metrics, self._bodies = service, history, metrics, bodies
        self._log = AnalysisLog()

    def add_to(self, app: FastAPI) -> None:
        """Answer these requests from now on."""
        get: Any = app.get
        get(
            "/v1/figures", summary="Figures that an analysis can send", responses=problems(401, 421, 500, 503)
        )(self.figures)
        app.post(
            "/v1/streams/{stream_id}/figures",
            summary="Send what an analysis found of a frame",
            response_model=TakenBody,
            responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 500, 503),
            openapi_extra=json_body(FoundBody),
        )(self.take)

    def close(self) -> None:
        """Let its thread end."""
        self._log.close()

    async def figures(self) -> FiguresBody:
        """List the figures."""
        return FiguresBody(figures=[FigureBody.of(figure) for figure in FIGURES.values()])

    async def take(self, stream_id: str, request: Request) -> TakenBody:
        """Take the figures of a frame, and say whether they are recorded once that is known."""
        _refuse_others(request)
        found = await self._bodies.read(request, FoundBody)
        known = self._history.of(stream_id)
        if known is None:
            raise UnknownStream(
                f"expected the id of a stream that has sent frames, as the live view lists them, got "
                f"{stream_id[:100]!r}"
            )
        judged = _judged(known, found)
        if self._log.is_full:
            raise ServerBusy("too many figures wait for the disk; try again")
        frame = AnalysedFrame(
            seq=found.seq,
            plane=judged.plane,
            flag=judged.flag,
            found_at=time.time(),
            analysis=found.analysis,
            figures=found.figures,
        )
        known.er.add(frame, judged.place)
        self._metrics.streams.of(stream_id).analysed(found.figures, found_at=frame.found_at)
        self._history.changed()
        reason = await self._record(known, frame)
        return TakenBody(
            stream=stream_id, seq=found.seq, flag=judged.flag, recorded=reason is None, reason=reason
        )

    async def _record(self, known: StreamHistory, frame: AnalysedFrame) -> str | None:
        """Write figures into the recording of their stream; why they are not there, or None."""
        recording = self._service.recording_of(known.source)
        if known.folder is None:
            return "the stream is not recorded"
        if recording is not None and recording.state is not None:
            return f"the recording stopped: {recording.state}"
        writing = self._log.append(known.folder, frame, known.source.pixel_size_um)
        try:
            await asyncio.wrap_future(writing)
        except OSError as error:
            return f"they cannot be written: {error.strerror or error}"
        return None


def _refuse_others(request: Request) -> None:
    if request.state.analyst is None:
        raise RequestRefused(
            "not_analyst",
            "expected a token of http.analysis_tokens, or an operator's, in `Authorization: Bearer TOKEN`; "
            "`dimstream-server keygen FOLDER --analysis NAME` makes one",
        )


def _judged(known: StreamHistory, found: FoundBody) -> Judged:
    """What is known of the frame whose figures came, which must be the newest of its plane that has some.

    Raises
    ------
    RequestRefused
    """
    judged = known.judged(found.seq)
    if judged is None:
        raise RequestRefused(
            "not_found", f"frame {found.seq} of this stream is not known: it did not come, or too long ago"
        )
    if judged.plane != found.plane:
        raise RequestRefused(
            "bad_field", f"plane: expected {list(judged.plane)} of frame {found.seq}, got {list(found.plane)}"
        )
    newest = known.er.newest(judged.place)
    if found.seq <= newest:
        raise RequestRefused(
            "not_newer",
            f"expected a frame after {newest}, the newest of this plane that was analysed, got {found.seq}",
        )
    return judged
