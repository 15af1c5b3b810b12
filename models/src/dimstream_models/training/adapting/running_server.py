"""A server that streams run on, asked by HTTP as its operator (`docs/http-api.md`)."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_models.training.errors import ServerRefusal
from dimstream_models.training.settings.complaints import complaints

TIMEOUT_S: Final = 120.0
"""Of one answer: a bundle is verified and warmed up before its answer comes."""
PATIENCE_S: Final = 60.0
"""How long a server may be away, as for a restart."""
AGAIN_S: Final = 1.0
TOKEN: Final = "dimstream-token"


class _Answer(BaseModel):
    """What a server answers; a newer one may say more, which is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ServedModel(_Answer):
    """A model that is served."""

    id: str
    sha256: str


class _Models(_Answer):
    models: tuple[ServedModel, ...]


class RecordingState(_Answer):
    """Where a stream is recorded, and why that has stopped."""

    folder: str
    state: str
    reason: str | None


class OpenStream(_Answer):
    """A stream that is open."""

    id: str
    endpoint: str
    model: str
    recording: RecordingState | None


class _Streams(_Answer):
    streams: tuple[OpenStream, ...]


class InForce(_Answer):
    """By which model a stream's frames are denoised, from a frame on."""

    from_seq: int
    model: str
    model_sha256: str


class _Problem(_Answer):
    code: str
    detail: str
    retryable: bool = False


_Kind = TypeVar("_Kind", bound=_Answer)


@dataclass(frozen=True)
class RunningServer:
    """One server's HTTP endpoint.

    Parameters
    ----------
    address : str
        `http://HOST:PORT`, or https.
    token : str or None
        Of an operator.
    patience_s : float
        How long it may be away before that is an error.
    """

    address: str
    token: str | None = None
    patience_s: float = PATIENCE_S

    def streams(self) -> dict[str, OpenStream]:
        """Return the streams that are open, by id; requests of single files are none.

        Raises
        ------
        ServerRefusal
        """
        found = self._ask("GET", "/v1/streams", _Streams).streams
        return {one.id: one for one in found if one.endpoint == "zmq"}

    def models(self) -> dict[str, ServedModel]:
        """Return the models that are served, by id.

        Raises
        ------
        ServerRefusal
        """
        return {one.id: one for one in self._ask("GET", "/v1/models", _Models).models}

    def load(self, bundle: str) -> ServedModel:
        """Have a bundle of its folders served, and return its model.

        Raises
        ------
        ServerRefusal
        """
        return self._ask("POST", "/v1/models", ServedModel, {"bundle": bundle})

    def change(
        self, stream: str, model: str, thresholds: Mapping[str, float | None] | None = None
    ) -> InForce:
        """Put a model in force for a stream's next frames; thresholds that are named replace the model's.

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
        """Ask again while it is away or busy, as long as the patience lasts."""
        until = time.monotonic() + self.patience_s
        while True:
            try:
                return self._answer(method, path, kind, body)
            except ServerRefusal as refusal:
                if not refusal.retryable or time.monotonic() >= until:
                    raise
            time.sleep(AGAIN_S)

    def _answer(self, method: str, path: str, kind: type[_Kind], body: Any) -> _Kind:
        status, content = self._exchange(method, path, body)
        if status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return _read(kind, content, self.address)
        problem = _read(_Problem, content, self.address)
        raise ServerRefusal(
            f"{self.address} refuses {method} {path}: {problem.detail} ({problem.code})",
            code=problem.code,
            retryable=problem.retryable,
        )

    def _exchange(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServerRefusal(f"expected --server http://HOST:PORT, got {self.address!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, parts.path.rstrip("/") + path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerRefusal(
                f"no answer from {self.address} ({error!r}): check the address, and that the server runs",
                retryable=True,
            ) from error
        finally:
            connection.close()


def read_token(path: Path) -> str:
    """Return the token of a file that `dimstream-server keygen FOLDER --operator NAME` made.

    Raises
    ------
    ServerRefusal
        When it holds none, or more than one.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ServerRefusal(f"{path}: expected a token's file, got: {error}") from error
    found = [line for line in lines if line and not line[0].startswith("#")]
    if len(found) != 1 or found[0][0] != TOKEN or len(found[0]) < 2:
        raise ServerRefusal(
            f"{path}: expected one line `{TOKEN} TOKEN NAME`, got {len(found)} lines of another kind: give"
            " the NAME.token that `dimstream-server keygen FOLDER --operator NAME` made"
        )
    return found[0][1]


def _read(kind: type[_Kind], content: bytes, address: str) -> _Kind:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise ServerRefusal(
            f"{address}: expected an answer of dimstream-server, got {content[:80]!r} ({complaints(error)}):"
            " check the address"
        ) from error
