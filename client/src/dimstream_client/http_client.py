"""A client of the HTTP endpoint, with the standard library only: list models, denoise whole files."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from dimstream_client.counts_warning import warning_of
from dimstream_client.errors import ConnectionLost, Problem, ProtocolError, StreamError

_MEMBERS = frozenset(Problem.__dataclass_fields__)
_DONE = (HTTPStatus.OK, HTTPStatus.CREATED)


class Answer(NamedTuple):
    """A denoised file, the flags of its frames, and a warning about its values for users."""

    file: bytes
    flags: str
    warning: str | None = None


class HttpClient:
    """One HTTP endpoint, such as ``http://127.0.0.1:8080``.

    Parameters
    ----------
    server : str
        ``http://HOST:PORT`` or ``https://HOST:PORT``, with the path if a proxy adds one.
    timeout_s : float
        Seconds to wait for an answer.
    token : str, optional
        Sent with each request. With ``http``, others in the network can read it.

    Raises
    ------
    ConnectionLost
        When the address is not valid.
    """

    def __init__(self, server: str, *, timeout_s: float, token: str | None = None) -> None:
        try:
            parts = urlsplit(server)
            port = parts.port
        except ValueError as error:
            raise ConnectionLost(
                f"cannot connect to {server!r} ({error}); expected http://HOST:PORT"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConnectionLost(f"cannot connect to {server!r}; expected http://HOST:PORT")
        self._server = server
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=timeout_s)
        self._credentials = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._prefix = parts.path.rstrip("/")

    def models(self) -> list[dict[str, Any]]:
        """Return the served models."""
        _, body = self._request("GET", "/v1/models", None, {})
        return list(json.loads(body)["models"])

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of the server's answer.

        Parameters
        ----------
        method, path : str
            For example ``GET`` and ``/v1/streams``; see `docs/http-api.md`.
        body : mapping, optional
            Sent as JSON.

        Raises
        ------
        StreamError
            When the server refuses; see the code and status.
        ConnectionLost
        ProtocolError
            When the answer is not from a dimstream server.
        """
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        _, answer = self._request(method, path, content, headers)
        try:
            return json.loads(answer)
        except ValueError:
            raise ProtocolError(
                "bad_header", f"expected JSON of a dimstream server at {self._server}, got {answer[:40]!a}"
            ) from None

    def denoise(self, model: str | None, file: Path, options: Mapping[str, Any]) -> Answer:
        """Return the denoised OME-TIFF of a TIFF file; `model` None is the server's default.

        Parameters
        ----------
        options : mapping
            Query parameters, see `docs/http-api.md`.

        Raises
        ------
        StreamError
            When the server refuses the file; see the code.
        ConnectionLost
        """
        path = f"/v1/models/{quote(self._default_model() if model is None else model, safe='')}/denoise"
        if options:
            path += "?" + urlencode(options)
        headers = {"Content-Type": "image/tiff", "Accept": "image/tiff"}
        response, answer = self._request("POST", path, file.read_bytes(), headers)
        stated = (response.getheader(name) for name in ("Dimstream-Flags", "Dimstream-Reason"))
        warning = warning_of(response.getheader("Dimstream-Not-Photons"))
        return Answer(answer, "; ".join(one for one in stated if one), warning)

    def _default_model(self) -> str:
        models = self.models()
        default = [str(model["id"]) for model in models if len(models) == 1 or model.get("is_default")]
        if len(default) != 1:
            ids = [str(model["id"]) for model in models]
            raise StreamError(
                Problem.of("unknown_model", f"{len(ids)} models are served, say which with --model: {ids}")
            )
        return default[0]

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        try:
            self._connection.request(method, self._prefix + path, body, {**headers, **self._credentials})
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
                what = (
                    f"what answers at {self._server} does not speak HTTP; is this the server's ZeroMQ port?"
                )
                raise ConnectionLost(f"{what} HTTP has port 8570 where nothing else is set") from error
            raise ConnectionLost(
                f"no answer from {self._server} ({error!r}); check the address, and that a server runs there"
            ) from error
        finally:
            self._connection.close()
        if response.status not in _DONE:
            raise _refusal(response.status, answer)
        return response, answer


def _refusal(status: int, answer: bytes) -> StreamError | ProtocolError:
    try:
        members = json.loads(answer)
        problem = Problem(**{name: value for name, value in members.items() if name in _MEMBERS})
    except (ValueError, TypeError, AttributeError):
        shown = ascii(answer[:80].decode("utf-8", "replace"))
        return ProtocolError("bad_header", f"HTTP {status} without a problem document: {shown}")
    return StreamError(problem)
