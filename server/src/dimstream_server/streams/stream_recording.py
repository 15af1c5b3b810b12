"""Connects streams to the recorder: a RESULT is sent only after its frame is on the disk.

So every frame that a client has released is in the recording, even if the server is killed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from dimstream_client.messages import Frame, Open
from dimstream_client.quality import Thresholds
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.protocol import EngineResult, FrameTask, InForce, ModelInfo
from dimstream_server.problem_details import RequestRefused
from dimstream_server.recording import RecordedFile, RecordedFrame, Recorder, Recording, RecordingSpec
from dimstream_server.settings import RecordingTable


class StreamRecording:
    """The recording of one stream while it is open, over all its connections.

    Its methods are for the loop's thread.
    """

    def __init__(self) -> None:
        self.recording: Recording | None = (
            None  # the recorder needs the callbacks of this object before it returns the recording
        )
        self._waiting: deque[tuple[RecordedFrame, Callable[[], None]]] = deque()

    def record(
        self, frame: Frame, task: FrameTask, result: EngineResult, model: ModelInfo, then: Callable[[], None]
    ) -> None:
        """Record a result, and call `then` when it is on the disk, or if the recording has stopped."""
        recorded = RecordedFrame(
            raw=frame.pixels,
            result=result,
            index=replace(frame.index, t=task.t),
            t_acq=frame.t_acq,
            meta=frame.meta,
            gain=model.gain,
            offset=model.offset,
        )
        self._waiting.append((recorded, then))
        if self.recording is not None:
            self.recording.offer(recorded)
            self.go_on()

    def opened(self, recording: Recording) -> None:
        """Use this recording from now on; also record frames that arrived before OPENED was sent."""
        self.recording = recording
        for recorded, _ in self._waiting:
            recording.offer(recorded)
        self.go_on()

    def go_on(self) -> None:
        """Release results that the recording has written, or never will."""
        recording = self.recording
        while recording is not None and self._waiting and _is_done(recording, self._waiting[0][0].seq):
            _, then = self._waiting.popleft()
            then()

    def break_off(self) -> None:
        """Drop all waiting results; frames in the queue are still written."""
        self._waiting.clear()


def _is_done(recording: Recording, seq: int) -> bool:
    return recording.state is not None or seq < recording.next_seq


class StreamRecordings:
    """The recordings of all recorded streams. Files are opened in a separate thread, in order.

    Parameters
    ----------
    recorder : Recorder or None
        None: this server does not record.
    """

    def __init__(self, recorder: Recorder | None, settings: RecordingTable) -> None:
        self._recorder = recorder
        self._format = settings.format
        self._streams: dict[str, StreamRecording] = {}
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="recording-opener")

    def of(self, stream_id: str) -> StreamRecording | None:
        """Return the recording of a stream; None if there is none."""
        return self._streams.get(stream_id)

    def refuse_unless_recording(self, message: Open) -> None:
        """Refuse an OPEN with save if this server does not record.

        Raises
        ------
        RequestRefused
        """
        if message.save and self._recorder is None:
            raise RequestRefused(
                "not_supported",
                "this server does not record, because recording.folder is not set; OPEN with save false",
            )

    async def begin(
        self,
        stream_id: str,
        message: Open,
        model: ModelInfo,
        thresholds: Thresholds,
        *,
        opened_at: float,
        again: bool,
    ) -> None:
        """Start to record a stream, or continue its recording.

        Raises
        ------
        RecordingRefused
        """
        if not message.save or self._recorder is None:
            return
        spec = self._spec(stream_id, message, model, thresholds, opened_at)
        # Stored before waiting, so that a resumption meanwhile uses the same recording.
        one = self._streams.setdefault(stream_id, StreamRecording())
        loop = asyncio.get_running_loop()

        def look_again(_: int) -> None:
            loop.call_soon_threadsafe(one.go_on)

        start = self._recorder.resume if again else self._recorder.begin
        work = partial(start, spec, on_written=look_again)
        try:
            recording = await loop.run_in_executor(self._disk, work)
        except BaseException:
            if one.recording is None and self._streams.get(stream_id) is one:
                del self._streams[stream_id]
            raise
        one.opened(recording)
        if self._streams.get(stream_id) is not one:  # its stream has ended meanwhile
            recording.finish()

    def updated(self, stream_id: str, in_force: InForce) -> None:
        """Record the model and thresholds of a stream from a frame on."""
        if (recording := self._recording(stream_id)) is not None:
            recording.update(in_force.from_seq, in_force.model, in_force.thresholds)

    def skipped(self, stream_id: str, seq_from: int, seq_to: int, reason: str) -> None:
        """Record that frames will never arrive."""
        if (recording := self._recording(stream_id)) is not None:
            recording.skip(seq_from, seq_to, reason)

    def finish(self, stream_id: str) -> Future[tuple[RecordedFile, ...]] | None:
        """Finalise the files of a stream; None if it is not recorded."""
        one = self._streams.pop(stream_id, None)
        return None if one is None or one.recording is None else one.recording.finish()

    async def close(self) -> None:
        """Wait until no file is being opened."""
        await asyncio.to_thread(self._disk.shutdown)

    def _recording(self, stream_id: str) -> Recording | None:
        one = self.of(stream_id)
        return None if one is None else one.recording

    def _spec(
        self, stream_id: str, message: Open, model: ModelInfo, thresholds: Thresholds, opened_at: float
    ) -> RecordingSpec:
        return RecordingSpec(
            stream=stream_id,
            model=model,
            thresholds=thresholds,
            shape=message.shape,
            in_dtype=message.dtype,  # type: ignore[arg-type] # checked by the protocol and the engine
            out_dtype=message.out_dtype,  # type: ignore[arg-type]
            opened_at=opened_at,
            pixel_size_um=message.pixel_size_um,
            frame_interval_s=message.frame_interval_s,
            channels=message.channels,
            client=message.client,
            user=message.user,
            format=self._format,
            with_support=message.maps,
            with_sd=bool(message.sd),
            detector=Detector.given(message.offset, message.gain),
        )
