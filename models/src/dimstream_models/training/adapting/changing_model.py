"""The model of a running stream: changing it from the next frame on, and going back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimstream_models.bundle import Bundle
from dimstream_models.training.adapting.growing_recording import GrowingRecording, InForceFrom
from dimstream_models.training.adapting.running_server import (
    InForce,
    OpenStream,
    RunningServer,
    ServedModel,
)
from dimstream_models.training.errors import CannotAdapt, NotInForce, ServerRefusal

POLL_S: Final = 0.2
WRITTEN_S: Final = 10.0
"""Time within which a confirmed change appears in the recording."""


@dataclass(frozen=True, kw_only=True)
class StreamOfServer:
    """A stream that a server records.

    Parameters
    ----------
    server : RunningServer
    stream : str
        Its id.
    recordings : Path
        The server's `recording.folder`.
    """

    server: RunningServer
    stream: str
    recordings: Path


def open_stream(of: StreamOfServer) -> OpenStream:
    """Return the server's description of the stream.

    Raises
    ------
    CannotAdapt
        When it is not open.
    ServerRefusal
    """
    streams = of.server.streams()
    if of.stream not in streams:
        raise CannotAdapt(
            f"expected the id of an open stream, got {of.stream!r}; open streams:"
            f" {', '.join(streams) or 'none'}"
        )
    return streams[of.stream]


def recording_of(of: StreamOfServer, stream: OpenStream) -> GrowingRecording:
    """Return the recording of a stream.

    Raises
    ------
    CannotAdapt
        When it is not recorded, or not in this folder.
    """
    state = stream.recording
    if state is None:
        raise CannotAdapt(
            f"expected a recorded stream, because its frames are used for training, but {stream.id} is not "
            "recorded: open it with save (`dimstream stream --save`) on a server with recording.folder"
        )
    if state.reason is not None:
        raise CannotAdapt(
            f"expected a stream that is being recorded, but the recording of {stream.id} stopped:"
            f" {state.reason}"
        )
    return GrowingRecording(of.recordings / state.folder, stream.id)


def put_in_force(of: StreamOfServer, bundle: Bundle, before: str, recording: GrowingRecording) -> InForce:
    """Let the server load a bundle, and use it for a stream from its next frame on.

    Parameters
    ----------
    before : str
        sha256 of the weights that the stream must still use.

    Raises
    ------
    NotInForce
        When the stream has ended or changed, or the server does not accept the bundle.
    """
    try:
        stream = _resumed(of, recording)
        if (now := of.server.models()[stream.model]).sha256 != before:
            raise NotInForce(
                f"{bundle.source} is ready, but stream {of.stream} was changed to {now.id}"
                f" ({now.sha256[:12]}) meanwhile: nothing was changed"
            )
        model = of.server.load(bundle.source.name)
        return of.server.change(stream.id, model.id)
    except ServerRefusal as refusal:
        raise NotInForce(
            f"{bundle.source} is ready, but is not in use: {refusal}. Give the same command to try again"
        ) from refusal


def undo(of: StreamOfServer) -> InForce:
    """Use again the model and thresholds that a stream had before the present ones.

    Raises
    ------
    CannotAdapt
        When there was no other model, or it is no longer served.
    ServerRefusal
        When the server does not answer, or refuses.
    """
    stream = open_stream(of)
    served = of.server.models()
    present = served[stream.model]
    earlier = _earlier(recording_of(of, stream), present)
    if not earlier:
        raise CannotAdapt(
            f"stream {stream.id} has used {present.id} since its first frame: there is nothing to undo"
        )
    former = earlier[-1]
    if former.model.id not in served or served[former.model.id].sha256 != former.model.sha256:
        raise CannotAdapt(
            f"the former model {former.model.id} ({former.model.sha256[:12]}) is no longer served: load its "
            "bundle with POST /v1/models, then give this command again"
        )
    thresholds = {name: value for name, value in former.thresholds.items() if value is not None}
    return of.server.change(stream.id, former.model.id, thresholds)


def _earlier(recording: GrowingRecording, present: ServedModel) -> list[InForceFrom]:
    """Return the models and thresholds from before the first use of the present weights."""
    until = time.monotonic() + WRITTEN_S
    while True:
        in_force = recording.in_force()
        for place, one in enumerate(in_force):
            if one.model.sha256 == present.sha256:
                return in_force[:place]
        if time.monotonic() >= until:
            raise CannotAdapt(
                f"{recording.folder}: expected a line of the change to {present.id} ({present.sha256[:12]}),"
                " got none"
            )
        time.sleep(POLL_S)


def _resumed(of: StreamOfServer, recording: GrowingRecording) -> OpenStream:
    """Return the stream when its client is back, which takes a while after a restart of the server."""
    until = time.monotonic() + of.server.patience_s
    while (stream := of.server.streams().get(of.stream)) is None:
        if recording.is_final:
            raise NotInForce(
                f"the new bundle is ready, but stream {of.stream} has ended meanwhile: load it for the next "
                "stream with POST /v1/models"
            )
        if time.monotonic() >= until:
            raise NotInForce(
                f"the new bundle is ready, but the client of stream {of.stream} is away: give the same "
                "command to try again"
            )
        time.sleep(POLL_S)
    return stream
