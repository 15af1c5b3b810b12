"""Sends the figures of frames to their server, by HTTP (`docs/http-api.md`, figures of frames)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_client.errors import NotAdmitted, ProtocolError, StreamError
from dimstream_client.http_client import HttpClient
from dimstream_models.er_figures import FIGURES

LONGEST_NAME: Final = 300
_FORBIDDEN: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Taken(BaseModel):
    """The server's answer to the figures of a frame.

    Parameters
    ----------
    recorded : bool
        Whether they are recorded next to the stream's frames.
    reason : str or None
        Why they are not recorded.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    recorded: bool
    reason: str | None


class NotTaken(Exception):
    """The server does not accept the figures of this frame; it may accept those of other frames."""


class FigureSender:
    """Sends figures to one server.

    Parameters
    ----------
    server : HttpClient
    """

    def __init__(self, server: HttpClient) -> None:
        self._server = server

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
            The program that measured them.

        Raises
        ------
        NotTaken
            When the server does not accept these figures.
        NotAdmitted
            When it accepts no figures from this client.
        ConnectionLost, ProtocolError
        """
        body = {"seq": seq, "plane": plane, "analysis": analysis[:LONGEST_NAME], "figures": _plain(figures)}
        try:
            answer = self._server.ask("POST", f"/v1/streams/{quote(stream, safe='')}/figures", body)
            return Taken.model_validate(answer)
        except ValidationError as error:
            raise ProtocolError(
                "bad_header", f"expected an answer of a dimstream server, got {answer!r}"
            ) from error
        except StreamError as error:
            if error.problem.status in _FORBIDDEN:
                raise NotAdmitted(f"{error.detail} ({error.code})") from error
            raise NotTaken(f"{error.detail} ({error.code})") from error


def _plain(figures: Mapping[str, float | None]) -> dict[str, Any]:
    """Return figures as JSON values; counts are whole numbers."""
    return {
        name: None if value is None else int(value) if FIGURES[name].counted else float(value)
        for name, value in figures.items()
    }
