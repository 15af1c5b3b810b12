"""Joins streams to the recorder: a RESULT goes out once its frame is on the disk.

So whatever frame a client has let go of is in the recording, whenever the server is killed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from dimstream_client.messages import Frame, Open
from dimstream_models.evidence.detector import Detector
from dimstream_server.engine.protocol import EngineResult, FrameTask, InForce, ModelInfo
from dimstream_server.pipeline.flags import Thresholds
from dimstream_server.problems import RequestRefused
from dimstream_server.recording import RecordedFile, RecordedFrame, Recorder, Recording, RecordingSpec
from dimstream_server.settings import RecordingTable


@dataclass(slots=True, eq=False)
class _Waiting:
    frame: RecordedFrame
    then: Callable[[], None]
    offered: bool = False


class StreamRecording:
    """The recording of one stream, for as long as it is open, over all its connections.

    Its methods belong to the loop's thread.
    """

    def __init__(self) -> None:
        self.recording: Recording  # the recorder wants this tape's callbacks before it gives it
        self._raw: dict[int, tuple[Frame, FrameTask]] = {}
        self._waiting: deque[_Waiting] = deque()

    def accept(self, frame: Frame, task: FrameTask) -> None:
        """Keep a frame until its result is there."""
        self._raw[frame.seq] = frame, task

    def record(self, result: EngineResult, model: ModelInfo, then: Callable[[], None]) -> None:
        """Record a result, and do `then` once it is on the disk, or if the recording has stopped."""
        frame, task = self._raw.pop(result.seq)
        recorded = RecordedFrame(
            raw=frame.pixels,
            result=result,
            index=replace(frame.index, t=task.t),
            t_acq=frame.t_acq,
            meta=frame.meta,
            gain=model.gain,
            offset=model.offset,
        )
        self._waiting.append(_Waiting(recorded, then))
        self.go_on()

    def go_on(self) -> None:
        """Offer what the recording has room for; let go what it has written."""
        for waiting in self._waiting:
            if not waiting.offered:
                waiting.offered = self.recording.offer(waiting.frame)
                if not waiting.offered:
                    break
        while self._waiting and self._is_done(self._waiting[0].frame.seq):
            self._waiting.popleft().then()

    def break_off(self) -> None:
        """Forget whom results would go to; what was offered is still written."""
        self._raw.clear()
        self._waiting.clear()

    def _is_done(self, seq: int) -> bool:
        return self.recording.state is not None or seq < self.recording.next_seq


class StreamRecordings:
    """The tapes of all streams that are recorded.

    Parameters
    ----------
    recorder : Recorder or None
        None: nothing is recorded here.
    """

    def __init__(self, recorder: Recorder | None, settings: RecordingTable) -> None:
        self._recorder = recorder
        self._format = settings.format
        self._tapes: dict[str, StreamRecording] = {}

    def of(self, stream_id: str) -> StreamRecording | None:
        """The tape of a stream, when there is one."""
        return self._tapes.get(stream_id)

    def refuse_unless_recording(self, message: Open) -> None:
        """Refuse an OPEN that wants what cannot be had.

        Raises
        ------
        RequestRefused
        """
        if message.save and self._recorder is None:
            raise RequestRefused(
                "not_supported",
                "this server does not record, as recording.folder is not set; OPEN with save false",
            )

    def begin(
        self,
        stream_id: str,
        message: Open,
        model: ModelInfo,
        thresholds: Thresholds,
        *,
        opened_at: float,
        loop: asyncio.AbstractEventLoop,
        again: bool,
    ) -> None:
        """Begin to record a stream, or go on where its recording ends.

        Raises
        ------
        RecordingRefused
        """
        if not message.save or self._recorder is None:
            return
        tape = self._tapes.get(stream_id) or StreamRecording()
        spec = RecordingSpec(
            stream=stream_id,
            model=model,
            thresholds=thresholds,
            shape=message.shape,
            in_dtype=message.dtype,  # type: ignore[arg-type]  # the wire and the engine have checked it
            out_dtype=message.out_dtype,  # type: ignore[arg-type]
            opened_at=opened_at,
            pixel_size_um=message.pixel_size_um,
            frame_interval_s=message.frame_interval_s,
            channels=message.channels,
            client=message.client,
            user=message.user,
            format=self._format,
            with_support=message.maps,
            detector=Detector.given(message.offset, message.gain),
        )

        def look_again(_: int = 0) -> None:
            loop.call_soon_threadsafe(tape.go_on)

        start = self._recorder.resume if again else self._recorder.begin
        tape.recording = start(spec, on_room=look_again, on_written=look_again)
        self._tapes[stream_id] = tape

    def updated(self, stream_id: str, in_force: InForce) -> None:
        """Take note of what a stream's frames are denoised with and judged by from a frame on."""
        if (tape := self.of(stream_id)) is not None:
            tape.recording.update(in_force.from_seq, in_force.model, in_force.thresholds)

    def skipped(self, stream_id: str, seq_from: int, seq_to: int, reason: str) -> None:
        """Take note that frames will never come."""
        if (tape := self.of(stream_id)) is not None:
            tape.recording.skip(seq_from, seq_to, reason)

    def finish(self, stream_id: str) -> Future[tuple[RecordedFile, ...]] | None:
        """Make the files of a stream final; None when it is not recorded."""
        tape = self._tapes.pop(stream_id, None)
        return None if tape is None else tape.recording.finish()
