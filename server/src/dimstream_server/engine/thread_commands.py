"""The commands from callers' threads to the device thread; all of them pass through one queue."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from dimstream_server.engine.loading import LoadedModel, ModelKey
from dimstream_server.engine.protocol import InForce, ModelInfo, StreamSpec
from dimstream_server.engine.resume_state import ResumeState
from dimstream_server.engine.stream_state import Item, StreamState


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a stream, or continue one."""

    stream: str
    spec: StreamSpec
    model: ModelInfo
    resume_state: ResumeState | None


@dataclass(frozen=True, slots=True, eq=False)
class Adopt:
    """Continue a stream whose device was lost."""

    state: StreamState

    @property
    def stream(self) -> str:
        """Its id."""
        return self.state.id


@dataclass(frozen=True, slots=True, eq=False)
class Append:
    """An item that waits for its turn in a stream."""

    stream: str
    item: Item


@dataclass(frozen=True, slots=True, eq=False)
class ChangeStream:
    """Change model or thresholds from a sequence number on."""

    stream: str
    from_seq: int
    model: ModelInfo | None
    thresholds: Mapping[str, float] | None
    future: Future[InForce]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The loader's result."""

    key: ModelKey
    model: LoadedModel | Exception


@dataclass(frozen=True, slots=True, eq=False)
class ReplaceModel:
    """Replace the loaded keys of a model that no stream uses; the new keys may be empty."""

    model: str
    ready: Mapping[ModelKey, LoadedModel]


@dataclass(frozen=True, slots=True, eq=False)
class Drain:
    """Answer all frames, then stop."""

    future: Future[None]


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Check whether there is work left."""


StreamCommand = OpenStream | Adopt | Append | ChangeStream
Command = StreamCommand | Loaded | ReplaceModel | Drain | LookAgain
