"""Sends what was found of frames to their server, by HTTP (`docs/http-api.md`, figures of frames)."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, quote

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_models.analysis.errors import NoServer, NotAllowed
from dimstream_models.er_figures import FIGURES

ANSWER_S: Final = 30.0
LONGEST_NAME: Final = 300
_LARGEST_ANSWER: Final = 65_536
_OK: Final = 200
_FORBIDDEN: Final = (401, 403)


class Taken(BaseModel):
    """What became of the figures of a frame.

    Parameters
    ----------
    recorded : bool
        Whether they stand beside the stream's recording.
    reason : str or None
        Why they do not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    recorded: bool
    reason: str | None


class _Problem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    detail: str


class NotTaken(Exception):
    """The server has no use for the figures of this frame; others may be welcome."""


class FigureSender:
    """Sends figures to one server.

    Parameters
    ----------
    server : SplitResult
        Of its URL, ``http://HOST:PORT``.
    headers : mapping
        Sent with each request.
    """

    def __init__(self, server: SplitResult, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        self._server, self._headers, self._tls = server, headers, tls

    def send(
        self,
        stream: str,
        seq: int,
        plane: tuple[int, int, int],
        figures: Mapping[str, float | None],
        *,
        analysis: str,
    ) -> Taken:
        """Send the figures of a frame, and return whether they are recorded.

        Parameters
        ----------
        plane : (int, int, int)
            Channel, z, position.
        figures : mapping of str to float or None
            By the names of `er_figures.FIGURES`, in px.
        analysis : str
            By what they were measured.

        Raises
        ------
        NotTaken
            The server does not take these.
        NotAllowed
            It takes none of us.
        NoServer
            It does not answer.
        """
        body = {"seq": seq, "plane": plane, "analysis": analysis[:LONGEST_NAME], "figures": _plain(figures)}
        path = f"{self._server.path.rstrip('/')}/v1/streams/{quote(stream, safe='')}/figures"
        status, answer = self._post(path, json.dumps(body, allow_nan=False).encode())
        try:
            if status == _OK:
                return Taken.model_validate_json(answer)
            problem = _Problem.model_validate_json(answer)
        except ValidationError as error:
            raise NoServer(f"expected an answer of a dimstream server, got status {status}") from error
        if status in _FORBIDDEN:
            raise NotAllowed(f"{problem.detail} ({problem.code})")
        raise NotTaken(f"{problem.detail} ({problem.code})")

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        headers = {"Content-Type": "application/json", **self._headers}
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise NoServer(f"no answer from {self._server.geturl()} ({error!r})") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._server.hostname or "", self._server.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=ANSWER_S)
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=self._tls)


def _plain(figures: Mapping[str, float | None]) -> dict[str, Any]:
    """Return figures as JSON has them: whole numbers where things are counted."""
    return {
        name: None if value is None else int(value) if FIGURES[name].counted else float(value)
        for name, value in figures.items()
    }
