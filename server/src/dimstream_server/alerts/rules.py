"""What is wrong with streams now: pure rules over what was seen of them, without clocks or sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dimstream_client.quality import Forecast
from dimstream_server.alerts.alert import Finding, duration
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Plane
from dimstream_server.settings import AlertsTable
from dimstream_server.streams.flag_watch import FlagWatch

INTERVAL_WEIGHT: Final = 0.3
"""Of the newest interval between two frames in their running mean."""


@dataclass
class StreamSigns:
    """What was seen of one stream.

    Parameters
    ----------
    stream, client : str
        Its id, and whose it is.
    heard_at : float
        When its last frame was answered, before the first one when it was seen to be open; seconds on any
        clock that only grows.
    """

    stream: str
    client: str
    heard_at: float
    suspect: FlagWatch
    seq: int = -1  # of the last frame that was answered; -1 before the first
    interval_s: float | None = None
    dropped: int = 0
    dropped_at: float | None = None
    dropped_before: int = 0  # when the present run of drops began
    suspect_reason: str | None = None
    recording: str | None = None  # why it stopped
    forecasts: dict[Plane, Forecast] = field(default_factory=dict)

    def answered(self, plane: Plane, result: EngineResult, *, dropped: int, now: float) -> None:
        """Take note of a frame that was answered; of a resumed stream some come again.

        Parameters
        ----------
        dropped : int
            Frames of the stream that were skipped or failed, so far.
        """
        if result.seq > self.seq:
            self._note_time(now)
            self.seq = result.seq
            self._note_forecast(plane, result)
        self.heard_at = now
        if self.suspect.judged(result.seq, plane, result.flag) and self.suspect.is_suspect:
            self.suspect_reason = result.reason
        if dropped > self.dropped:
            if self.dropped_at is None:
                self.dropped_before = self.dropped
            self.dropped, self.dropped_at = dropped, now

    def _note_time(self, now: float) -> None:
        if self.seq < 0:
            return
        passed = now - self.heard_at
        old = self.interval_s
        self.interval_s = passed if old is None else old + INTERVAL_WEIGHT * (passed - old)

    def _note_forecast(self, plane: Plane, result: EngineResult) -> None:
        forecast = None if result.quality is None else result.quality.forecast
        if forecast is None:
            self.forecasts.pop(plane, None)
        else:
            self.forecasts[plane] = forecast


@dataclass(frozen=True)
class StreamRules:
    """The rules for streams, with their limits."""

    settings: AlertsTable

    def signs_of(self, stream: str, client: str, now: float) -> StreamSigns:
        """Return the signs of a stream of which nothing was seen yet."""
        return StreamSigns(stream, client, now, FlagWatch(self.settings.suspect_frames))

    def findings(self, signs: StreamSigns, *, now: float, is_open: bool, in_flight: int) -> Iterator[Finding]:
        """Yield what is wrong with a stream now.

        Parameters
        ----------
        is_open : bool
            Whether its client is connected; else its connection was lost, and it can be resumed.
        in_flight : int
            Frames that the server has and has not answered.
        """
        found = (
            ("frames_stop", self._frames_stop(signs, now, is_open=is_open, in_flight=in_flight)),
            ("frames_dropped", self._frames_dropped(signs, now)),
            ("recording_stops", self._recording_stops(signs)),
            ("suspect", self._suspect(signs)),
            ("forecast", self._forecast(signs)),
        )
        for rule, text in found:
            if text is not None and getattr(self.settings, rule):
                yield Finding(
                    rule=rule,  # type: ignore[arg-type]  # each is a rule's name
                    subject=signs.stream,
                    text=f"stream {signs.stream} of {signs.client}: {text}",
                    stream=signs.stream,
                    client=signs.client,
                    seq=signs.seq if signs.seq >= 0 else None,
                )

    def _frames_stop(self, signs: StreamSigns, now: float, *, is_open: bool, in_flight: int) -> str | None:
        """Frames that wait for the device have not stopped: the check of the device says what is wrong."""
        silent_s = now - signs.heard_at
        usual_s = signs.interval_s or 0.0
        if in_flight or silent_s < max(self.settings.silent_s, self.settings.silent_intervals * usual_s):
            return None
        last = f"after frame {signs.seq}" if signs.seq >= 0 else "since its client opened or resumed it"
        more = f"; before, one came each {duration(usual_s)}" if usual_s >= 1 else ""
        if not is_open:
            more = "; its client's connection was lost"
        return f"no frame for {duration(silent_s)} {last}{more}"

    def _frames_dropped(self, signs: StreamSigns, now: float) -> str | None:
        if signs.dropped_at is None:
            return None
        if now - signs.dropped_at >= self.settings.settle_s:
            signs.dropped_at = None
            return None
        count = signs.dropped - signs.dropped_before
        if count < self.settings.dropped_frames:
            return None
        return f"{count} {'frame was' if count == 1 else 'frames were'} skipped or failed, up to {signs.seq}"

    def _recording_stops(self, signs: StreamSigns) -> str | None:
        return None if signs.recording is None else f"not recorded any more: {signs.recording}"

    def _suspect(self, signs: StreamSigns) -> str | None:
        watch = signs.suspect
        if not watch.is_suspect:
            return None
        planes = "" if watch.planes == 1 else f" of {watch.suspect_planes} of {watch.planes} planes"
        return f"{self.settings.suspect_frames} frames in a row{planes} are suspect: {signs.suspect_reason}"

    def _forecast(self, signs: StreamSigns) -> str | None:
        """The first plane that will be suspect counts, where the frame interval is known."""
        left = [one.minutes for one in signs.forecasts.values() if one.minutes is not None]
        if not left or signs.suspect.is_suspect or min(left) > self.settings.forecast_minutes:
            return None
        return f"about {self.settings.forecast_minutes:g} min or less are left until a plane is suspect"
