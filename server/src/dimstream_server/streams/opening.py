"""Opens streams, and goes on with those that were broken off: engine, journal, recording, credit, OPENED."""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass

from dimstream_client.messages import Open, Opened
from dimstream_server.engine.protocol import Engine, ModelInfo, StreamSpec
from dimstream_server.errors import ServerBusy, ServerError, TooManyPlanes, UnknownModel
from dimstream_server.pipeline.flags import Thresholds
from dimstream_server.settings import Settings
from dimstream_server.streams.journal import Entry, Journal
from dimstream_server.streams.open_request import check_frame_bytes, choose_codec, spec_of
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.resuming import (
    enter,
    look_up,
    plan_resumption,
    thresholds_again,
    wanted_context,
)
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings
from dimstream_server.streams.wire_values import wire_model, wire_thresholds

CONTEXT_FRAMES = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks.

    Parameters
    ----------
    peer : bytes
        ROUTER identity.
    key : str
        Public key of its client; empty where clients have none.
    """

    peer: bytes
    key: str

    @property
    def client(self) -> str | bytes:
        """Whom limits for each client count: by its key, or else by its connection."""
        return self.key or self.peer


class StreamOpener:
    """Makes streams; whoever has it enters them into the book.

    Parameters
    ----------
    boot_id : str
        Changes with every start of the server.
    """

    def __init__(
        self,
        engine: Engine,
        book: StreamRegistry,
        journal: Journal,
        tapes: StreamRecordings,
        settings: Settings,
        *,
        boot_id: str,
    ) -> None:
        self._engine = engine
        self._book = book
        self._journal = journal
        self._tapes = tapes
        self._lease_s = settings.zmq.lease_s
        self._max_frame_bytes = settings.limits.max_frame_bytes
        self._boot_id = boot_id

    def open(
        self, asker: Asker, message: Open, loop: asyncio.AbstractEventLoop
    ) -> tuple[ServerStream, Opened]:
        """A new stream.

        Raises
        ------
        ServerError
            Nothing of it was kept.
        """
        model = self._model(message.model)
        check_frame_bytes(message, self._max_frame_bytes)
        codec = choose_codec(message.codecs)
        window = self._book.window_for(message, client=asker.client)
        spec = spec_of(message, model=model.id)
        stream = _make_stream(asker, message, spec, secrets.token_hex(8), window, model.thresholds)
        stream.engine_id = self._engine.open(spec)
        now = time.time()
        try:
            token = enter(
                self._journal, stream, message, model_sha256=model.sha256, codec=codec, opened_at=now
            )
            self._tape(stream, message, loop, opened_at=now, again=False)
        except ServerError:
            self._journal.forget(stream.id)
            self._engine.close(stream.engine_id)
            raise
        return stream, self._opened(stream, codec, token)

    def look_up(self, asker: Asker, message: Open) -> Entry:
        """The entry of the stream that an OPEN resumes.

        Raises
        ------
        RequestRefused, ServerBusy
        """
        return look_up(self._journal, message, owner=asker.key)

    def resume(
        self, asker: Asker, message: Open, entry: Entry, loop: asyncio.AbstractEventLoop
    ) -> tuple[ServerStream, Opened]:
        """A stream as it was before the first result that its client lacks; nobody may hold it meanwhile.

        Raises
        ------
        ServerError
            It can be tried again.
        """
        plan = plan_resumption(self._journal, entry, message, self._engine)
        window = self._book.window_for(plan.opened, client=asker.client)
        spec = spec_of(plan.opened, model=plan.model)
        stream = _make_stream(asker, plan.opened, spec, entry.id, window, plan.thresholds)
        stream.next_seq, stream.indexed = plan.next_seq, plan.recalled.indexed
        stream.acknowledged = entry.acknowledged
        stream.context = wanted_context(plan.recalled, self._engine.models()[plan.model].sha256)
        try:
            stream.engine_id = self._engine.open(spec, plan.memory)
        except TooManyPlanes as error:  # it had room before: what it left is still being cleared away
            raise ServerBusy(f"{error}; or try again later") from error
        try:
            for update in plan.later:
                self._engine.update(stream.engine_id, update.from_seq, update.model, thresholds_again(update))
            self._tape(stream, plan.opened, loop, opened_at=entry.opened_at, again=True)
        except ServerError:
            self._engine.close(stream.engine_id)
            raise
        self._journal.returned(stream.id)
        _log.info(
            "resumed event=resumed door=zmq stream=%s next_seq=%d context=%d complete=%s",
            *(stream.id, stream.next_seq, len(stream.context), plan.recalled.complete),
        )
        assert message.resume_token is not None
        return stream, self._opened(stream, entry.codec, message.resume_token)

    def _model(self, model_id: str | None) -> ModelInfo:
        models = self._engine.models()
        if model_id is None and len(models) == 1:
            return next(iter(models.values()))
        if model_id is None or model_id not in models:
            asked = "OPEN names no model" if model_id is None else f"there is no model {model_id!r}"
            raise UnknownModel(f"{asked}; expected one of {', '.join(sorted(models))}")
        return models[model_id]

    def _tape(
        self,
        stream: ServerStream,
        message: Open,
        loop: asyncio.AbstractEventLoop,
        *,
        opened_at: float,
        again: bool,
    ) -> None:
        model = self._engine.models()[stream.model]
        self._tapes.begin(
            stream.id, message, model, stream.thresholds, opened_at=opened_at, loop=loop, again=again
        )

    def _opened(self, stream: ServerStream, codec: str, token: str) -> Opened:
        detector = stream.spec.detector
        return Opened(
            stream=stream.id,
            resume_token=token,
            boot_id=self._boot_id,
            next_seq=stream.next_seq,
            limit=stream.limit,
            context_frames=CONTEXT_FRAMES,
            model=wire_model(self._engine.models()[stream.model]),
            thresholds=wire_thresholds(stream.thresholds),
            max_frame_bytes=self._max_frame_bytes,
            lease_s=self._lease_s,
            window=stream.window,
            codec=codec,
            checksum="crc32" if stream.checksum else "none",
            context=tuple(stream.context),
            offset=None if detector is None else detector.offset,
            gain=None if detector is None else detector.gain,
        )


def _make_stream(
    asker: Asker, message: Open, spec: StreamSpec, stream_id: str, window: int, thresholds: Thresholds
) -> ServerStream:
    return ServerStream(
        id=stream_id,
        peer=asker.peer,
        owner=asker.key,
        spec=spec,
        window=window,
        thresholds=thresholds,
        model=spec.model,
        client=message.client,
        mode=message.mode,
        checksum=message.checksum == "crc32",
        delivers_pixels=message.deliver == "result",
    )
