"""Opens streams, and resumes interrupted ones: engine, journal, recording, credit, OPENED."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from dimstream_client.messages import Open, Opened
from dimstream_client.quality import Thresholds
from dimstream_server.engine.protocol import Engine, InForce, ModelInfo, StreamSpec
from dimstream_server.engine.resume_state import ResumeState
from dimstream_server.engine.state_json import BadState, state_of
from dimstream_server.errors import (
    ServerBusy,
    ServerError,
    TooManyPlanes,
    TooManyStreams,
    UnknownModel,
    UnknownStream,
)
from dimstream_server.problem_details import RequestRefused
from dimstream_server.settings import Settings
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.streams.open_request import check_frame_bytes, choose_codec, spec_of
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.resuming import (
    Resumption,
    enter,
    look_up,
    plan_resumption,
    thresholds_again,
    wanted_references,
)
from dimstream_server.streams.stream import Channel, ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings
from dimstream_server.streams.wire_values import wire_model, wire_update

REFERENCE_FRAMES = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Requester:
    """The client that requests a stream.

    Parameters
    ----------
    peer : bytes
        Id of the connection in its endpoint.
    key : str
        Public key of its client; empty without keys.
    channel : Channel
        Channel for the answers.
    name : str
        Name of its client's key, for people; empty without keys.
    """

    peer: bytes
    key: str
    channel: Channel
    name: str = ""

    @property
    def client(self) -> str | bytes:
        """The client's identity for limits: its key or, without keys, its connection."""
        return self.key or self.peer


@dataclass(frozen=True, slots=True)
class Opening:
    """A stream in the registry that still needs its entry in the journal, if it is new, and its recording.

    Parameters
    ----------
    message : Open
        The first OPEN of the stream.
    codec : str
        The codec for OPENED.
    opened_at : float
        Seconds since 1970.
    token : str or None
        Its resume token; None: it is new and will get one.
    complete : bool
        Whether everything before its next frame is known.
    """

    stream: ServerStream
    message: Open
    codec: str
    opened_at: float
    token: str | None = None
    complete: bool = True

    @property
    def resumed(self) -> bool:
        """Whether the stream existed before."""
        return self.token is not None


class StreamOpener:
    """Creates streams and adds them to the registry.

    The registry and the engine are changed at once. Then journal and recording are written in other threads,
    while the stream keeps its place.

    Parameters
    ----------
    boot_id : str
        Changes with every start of the server.
    default_model : callable
        Returns the id of the model for an OPEN without one; None: the OPEN is refused.
    release : callable
        Releases a stream from its connection, with a reason.
    """

    def __init__(
        self,
        engine: Engine,
        registry: StreamRegistry,
        journal: JournalThread,
        recordings: StreamRecordings,
        settings: Settings,
        *,
        boot_id: str,
        default_model: Callable[[], str | None],
        release: Callable[[ServerStream, str], None],
    ) -> None:
        self._engine = engine
        self._default_model = default_model
        self._registry = registry
        self._journal = journal
        self._recordings = recordings
        self._lease_s = settings.zmq.lease_s
        self._max_frame_bytes = settings.limits.max_frame_bytes
        self._boot_id = boot_id
        self._release = release
        self._resuming: set[str] = set()
        self._one_at_a_time = asyncio.Lock()

    def in_use(self) -> set[str]:
        """Ids of streams that are open or being resumed, whose leases do not expire."""
        return self._resuming | {stream.id for stream in self._registry if not stream.is_request}

    async def begin(self, requester: Requester, message: Open) -> Opening:
        """Add a stream to the registry; if it is resumed, its present connection loses it.

        Raises
        ------
        ServerError
            When it is refused; nothing of a new stream is kept, and a resumed one can be resumed again.
        """
        stream_id, token = message.stream, message.resume_token
        if stream_id is None and token is None:
            return self._with_room(lambda: self._begin_new(requester, message))
        if stream_id is None or token is None:
            raise RequestRefused(
                "bad_field", "expected both stream and resume_token, or neither, got one of them"
            )
        if message.state is not None:
            raise RequestRefused("bad_field", "expected a state or a stream to resume, got both")
        async with (
            self._one_at_a_time
        ):  # otherwise two clients that resume the same stream would both have it
            self._resuming.add(stream_id)
            try:
                return await self._resume(requester, message, stream_id, token)
            finally:
                self._resuming.discard(stream_id)

    async def _resume(self, requester: Requester, message: Open, stream_id: str, token: str) -> Opening:
        entry = await look_up(self._journal, stream_id, token, owner=requester.key)
        held = self._registry.of_id(stream_id)
        if held is not None:  # from now on, nothing more of it is written to the journal
            self._release(held, "its client resumes it")
        precision = self._engine.device().precision
        models = self._engine.models()
        plan = await plan_resumption(self._journal, entry, message, models, precision=precision)
        return self._with_room(lambda: self._begin_again(requester, token, plan))

    def _with_room(self, begin: Callable[[], Opening]) -> Opening:
        """Return the result of `begin`; if there are too many streams, release those whose clients do not
        answer."""
        try:
            return begin()
        except TooManyStreams:
            absent = [
                stream
                for stream in self._registry
                if stream.channel is not None and stream.channel.is_absent(stream.peer)
            ]
            for stream in absent:
                self._release(stream, "it does not answer pings, and another client needs its place")
            if not absent:
                raise
            return begin()

    def _begin_new(self, requester: Requester, message: Open) -> Opening:
        model = self._model(message.model)
        check_frame_bytes(message, self._max_frame_bytes)
        codec = choose_codec(message.codecs)
        window = self._registry.window_for(message, client=requester.client)
        spec = spec_of(message, model=model.id)
        stream = _make_stream(requester, message, spec, secrets.token_hex(8), window, model.thresholds)
        state = None if message.state is None else _go_on_from(stream, message, model.sha256)
        stream.engine_id = self._engine.open(spec, state)
        self._registry.add(stream)
        return Opening(stream, message, codec, time.time())

    def _begin_again(self, requester: Requester, token: str, plan: Resumption) -> Opening:
        window = self._registry.window_for(plan.opened, client=requester.client)
        spec = spec_of(plan.opened, model=plan.model)
        entry = plan.entry
        stream = _make_stream(requester, plan.opened, spec, entry.id, window, plan.thresholds)
        stream.next_seq, stream.indexed = plan.next_seq, plan.snapshot.indexed
        stream.acknowledged, stream.counts = entry.acknowledged, plan.snapshot.counts
        models = self._engine.models()
        stream.references = wanted_references(plan.snapshot.planes, models[plan.model].sha256)
        stream.unread_changes = tuple(
            wire_update(stream.id, InForce(one.from_seq, models[one.model], one.thresholds), by=one.by)
            for one in plan.by_operators
        )
        try:
            stream.engine_id = self._engine.open(spec, plan.resume_state)
        except TooManyPlanes as error:  # it fitted before, so its former state is still being removed
            raise ServerBusy(f"{error}; or try again later") from error
        try:
            for update in plan.later:
                self._engine.update(stream.engine_id, update.from_seq, update.model, thresholds_again(update))
        except ServerError:
            self._engine.close(stream.engine_id)
            raise
        self._registry.add(stream)
        complete = plan.snapshot.complete
        return Opening(stream, plan.opened, entry.codec, entry.opened_at, token, complete)

    async def finish(self, opening: Opening) -> Opened:
        """Write it to the journal, open the recording if requested, and return what was granted.

        Raises
        ------
        ServerError
            When this fails; nothing of a new stream is kept, and a resumed one can be resumed again.
        """
        stream = opening.stream
        try:
            token = opening.token or await self._enter(opening)
            await self._recordings.begin(
                stream.id,
                opening.message,
                self._engine.models()[stream.model],
                stream.thresholds,
                opened_at=opening.opened_at,
                again=opening.resumed,
            )
            if opening.resumed:
                await self._journal.ask(lambda journal: journal.returned(stream.id))
            if stream not in self._registry:
                raise UnknownStream(
                    f"stream {stream.id} was released while it was being opened: its connection has ended, "
                    "or another one has resumed it; resume it again"
                )
        except BaseException:
            await self._undo(opening)
            raise
        if opening.resumed:
            _log.info(
                "resumed event=resumed endpoint=%s stream=%s client=%r next_seq=%d references=%d complete=%s",
                *(stream.endpoint, stream.id, stream.client),
                *(stream.next_seq, len(stream.references), opening.complete),
            )
        return self._opened(opening, token)

    async def _enter(self, opening: Opening) -> str:
        """Write a new stream to the journal, and return its resume token."""
        stream = opening.stream
        return await enter(
            self._journal,
            stream,
            opening.message,
            model_sha256=self._engine.models()[stream.model].sha256,
            precision=self._engine.device().precision,
            codec=opening.codec,
            opened_at=opening.opened_at,
        )

    async def _undo(self, opening: Opening) -> None:
        stream = opening.stream
        if stream in self._registry:
            self._registry.remove(stream)
            with contextlib.suppress(ServerError):  # a stopped engine has already closed it
                self._engine.close(stream.engine_id)
        if not opening.resumed:  # its token was not sent to anyone
            self._recordings.finish(stream.id)
            await self._journal.ask(lambda journal: journal.forget(stream.id))

    def _model(self, model_id: str | None) -> ModelInfo:
        models = self._engine.models()
        if model_id is None:
            model_id = self._default_model()
        if model_id is None or model_id not in models:
            asked = "OPEN names no model" if model_id is None else f"model {model_id!r} does not exist"
            raise UnknownModel(f"{asked}; expected one of {', '.join(sorted(models))}")
        return models[model_id]

    def _opened(self, opening: Opening, token: str) -> Opened:
        stream = opening.stream
        detector = stream.spec.detector
        return Opened(
            stream=stream.id,
            resume_token=token,
            boot_id=self._boot_id,
            next_seq=stream.next_seq,
            limit=stream.limit,
            reference_frames=REFERENCE_FRAMES,
            model=wire_model(self._engine.models()[stream.model]),
            thresholds=stream.thresholds,
            max_frame_bytes=self._max_frame_bytes,
            lease_s=self._lease_s,
            window=stream.window,
            codec=opening.codec,
            checksum="crc32" if stream.checksum else "none",
            references=tuple(stream.references),
            offset=None if detector is None else detector.offset,
            gain=None if detector is None else detector.gain,
        )


def _go_on_from(stream: ServerStream, message: Open, model_sha256: str) -> ResumeState:
    """Return the resume state of a gateway's stream, and set the stream to it.

    Raises
    ------
    RequestRefused
    """
    try:
        state = state_of(message.state or {})
    except BadState as error:
        raise RequestRefused(
            "bad_field", f"the state of OPEN: {error}", expected={"field": "state"}
        ) from None
    stream.hands_state = stream.indexed = True
    stream.next_seq, stream.counts, stream.thresholds = state.next_seq, state.counts, state.thresholds
    stream.references = wanted_references(state.planes, model_sha256)
    return state


def _make_stream(
    requester: Requester, message: Open, spec: StreamSpec, stream_id: str, window: int, thresholds: Thresholds
) -> ServerStream:
    return ServerStream(
        id=stream_id,
        peer=requester.peer,
        owner=requester.key,
        channel=requester.channel,
        endpoint=requester.channel.endpoint,
        spec=spec,
        window=window,
        thresholds=thresholds,
        model=spec.model,
        client=requester.name or message.client,
        program=message.client,
        mode=message.mode,
        checksum=message.checksum == "crc32",
        delivers_pixels=message.deliver == "result",
        pixel_size_um=message.pixel_size_um,
        channels=message.channels,
    )
