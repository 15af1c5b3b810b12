"""A running server, controlled by HTTP as its operator (`docs/http-api.md`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_client.errors import ConnectionLost, KeyFileError, ProtocolError, StreamError
from dimstream_client.http_client import HttpClient
from dimstream_client.keys import TOKEN, read_only_entry
from dimstream_models.training.errors import ServerRefusal
from dimstream_models.training.settings.complaints import complaints

TIMEOUT_S: Final = 120.0
"""Time limit of one answer; a bundle is verified and warmed up before the answer."""
PATIENCE_S: Final = 60.0
"""Longest time that a server may be away, for example during a restart."""
AGAIN_S: Final = 1.0


class _Answer(BaseModel):
    """An answer of a server; unknown keys of a newer server are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ServedModel(_Answer):
    """A model that is served."""

    id: str
    sha256: str


class _Models(_Answer):
    models: tuple[ServedModel, ...]


class RecordingState(_Answer):
    """Where a stream is recorded, and why the recording stopped."""

    folder: str
    state: str
    reason: str | None


class OpenStream(_Answer):
    """An open stream."""

    id: str
    endpoint: str
    model: str
    recording: RecordingState | None


class _Streams(_Answer):
    streams: tuple[OpenStream, ...]


class InForce(_Answer):
    """The model of a stream, and the first frame for which it is used."""

    from_seq: int
    model: str
    model_sha256: str


_Kind = TypeVar("_Kind", bound=_Answer)


@dataclass(frozen=True)
class RunningServer:
    """One server's HTTP endpoint.

    Parameters
    ----------
    address : str
        `http://HOST:PORT`, or https.
    token : str or None
        Token of an operator.
    patience_s : float
        Longest time that it may be away.
    """

    address: str
    token: str | None = None
    patience_s: float = PATIENCE_S

    def streams(self) -> dict[str, OpenStream]:
        """Return the open streams, by id; requests of single files are not included.

        Raises
        ------
        ServerRefusal
        """
        found = self._ask("GET", "/v1/streams", _Streams).streams
        return {one.id: one for one in found if one.endpoint == "zmq"}

    def models(self) -> dict[str, ServedModel]:
        """Return the served models, by id.

        Raises
        ------
        ServerRefusal
        """
        return {one.id: one for one in self._ask("GET", "/v1/models", _Models).models}

    def load(self, bundle: str) -> ServedModel:
        """Let the server load a bundle from its folders, and return its model.

        Raises
        ------
        ServerRefusal
        """
        return self._ask("POST", "/v1/models", ServedModel, {"bundle": bundle})

    def change(
        self, stream: str, model: str, thresholds: Mapping[str, float | None] | None = None
    ) -> InForce:
        """Use a model for a stream's next frames; the given thresholds replace the model's.

        Raises
        ------
        ServerRefusal
        """
        asked: dict[str, Any] = {"model": model}
        return self._ask(
            "PATCH",
            f"/v1/streams/{quote(stream, safe='')}",
            InForce,
            asked if thresholds is None else {**asked, "thresholds": dict(thresholds)},
        )

    def _ask(self, method: str, path: str, kind: type[_Kind], body: Any = None) -> _Kind:
        """Send a request, again while the server is away or busy, for at most `patience_s`."""
        until = time.monotonic() + self.patience_s
        while True:
            try:
                return self._answer(method, path, kind, body)
            except ServerRefusal as refusal:
                if not refusal.retryable or time.monotonic() >= until:
                    raise
            time.sleep(AGAIN_S)

    def _answer(self, method: str, path: str, kind: type[_Kind], body: Any) -> _Kind:
        try:
            server = HttpClient(self.address, timeout_s=TIMEOUT_S, token=self.token)
        except ConnectionLost as error:
            raise ServerRefusal(f"--server: {error.detail}") from error
        try:
            return _read(kind, server.ask(method, path, body), self.address)
        except StreamError as error:
            raise ServerRefusal(
                f"{self.address} refused {method} {path}: {error.detail} ({error.code})",
                code=error.code,
                retryable=error.problem.retryable,
            ) from error
        except ConnectionLost as error:
            raise ServerRefusal(error.detail, retryable=True) from error
        except ProtocolError as error:
            raise ServerRefusal(f"{self.address}: {error.detail}: check the address") from error


def read_token(path: Path) -> str:
    """Return the token in a file of `dimstream-server keygen FOLDER --operator NAME`.

    Raises
    ------
    ServerRefusal
        When it holds no token, or more than one.
    """
    try:
        return read_only_entry(path, TOKEN).value
    except KeyFileError as error:
        raise ServerRefusal(
            f"{error.detail}: give the NAME.token that `dimstream-server keygen FOLDER --operator NAME` made"
        ) from error


def _read(kind: type[_Kind], content: Any, address: str) -> _Kind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ServerRefusal(
            f"{address}: expected an answer of dimstream-server, got {content!r:.80} ({complaints(error)}):"
            " check the address"
        ) from error
