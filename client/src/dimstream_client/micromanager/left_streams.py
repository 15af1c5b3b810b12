"""Streams that an interrupted program left in the spool, and their completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from dimstream_client.client import Client
from dimstream_client.errors import Code, SpoolError, StreamError
from dimstream_client.feedback.observations import EXPOSURE
from dimstream_client.messages import Frame, Open, Result, Skip
from dimstream_client.micromanager.run_report import RunReport
from dimstream_client.micromanager.sent_stream import OnSentResult, SentFrame
from dimstream_client.micromanager.spools import results_of
from dimstream_client.micromanager.stream_opening import free_folder
from dimstream_client.spool import Spool, SpooledFrame
from dimstream_client.stream import Stream

_NOT_OPENED_WITH: Final = ("client", "shape", "dtype", "next_result", "stream", "resume_token", "state")


class LeftStream:
    """One stream of an interrupted program.

    Parameters
    ----------
    folder : Path
        Its folder in the spool.
    number : int
        Number of its report.

    Raises
    ------
    SpoolError
        When another program uses it, or it cannot be read.
    """

    def __init__(self, client: Client, folder: Path, *, number: int) -> None:
        self._client, self._folder = client, folder
        self._kept = Spool(folder)
        self._kept.recover()
        if self._kept.resume_handle is None:
            raise SpoolError(f"{folder} holds no stream")
        self.request = self._kept.resume_handle.request
        self.name = self._kept.resume_handle.stream
        self.report = RunReport(number)

    def finish(self, keep: OnSentResult, *, next_result: int | None) -> RunReport:
        """Send the remaining frames, pass each result to `keep`, and return the report.

        Parameters
        ----------
        next_result : int or None
            First result that was not kept; None if none was kept.
        """
        settled = self._kept.settled
        first = max(settled, next_result or 0)
        if (next_result or 0) < settled:
            self.report.note(
                f"the results of frames {next_result or 0} to {settled - 1} are not in the folder: another "
                "program took them, or they were lost when the computer lost its power"
            )
        try:
            stream = self._client.resume(self._kept, settled=first)
        except StreamError as error:
            if error.code != Code.BAD_TOKEN:
                raise
            stream = self._sent_again(error)
            first = 0
        self.report.streams.append(stream.id)
        self.report.add(seen=stream.next_seq - first, sent=stream.next_seq - first)
        stream.finish()
        self._take_all(stream, keep)
        self.report.end = "finished"
        return self.report

    def _sent_again(self, why: StreamError) -> Stream:
        """Send the frames over a new stream, which has another folder of the spool."""
        old = self._kept
        self.report.note(f"{why}; the frames without a result are sent again, as a stream of their own")
        settings = {
            one.name: getattr(self.request, one.name)
            for one in fields(Open)
            if one.name not in _NOT_OPENED_WITH
        }
        self._kept = Spool(free_folder(self._folder.parent))
        stream = self._client.open(self.request.shape, self.request.dtype, spool=self._kept, **settings)
        self.name = stream.id
        try:
            _send_all(stream, old.items)
        except BaseException:
            stream.abandon()
            self._kept.close(done=True)  # all of them are still in the old folder
            raise
        old.close(done=True)
        return stream

    def _take_all(self, stream: Stream, keep: OnSentResult) -> None:
        def refused(error: StreamError) -> None:
            self.report.add(refused=1)
            self.report.note(f"frame {error.seq} was refused: {error}")

        for result in results_of(stream, refused):
            keep(result, self._sent_of(stream, result))
            self.report.count(result)

    def _sent_of(self, stream: Stream, result: Result) -> SentFrame:
        frame = self._kept.load(result.seq)  # it stays there until the next result is taken
        return SentFrame(
            run=self.report.number,
            stream=stream.id,
            index=frame.index,
            event=frame.meta.get("event") or {},
            t_acq=frame.t_acq or 0.0,
            mean_photons=_mean_photons(frame, self.request),
            settings=_settings_of(frame.meta),
            request=self.request,
        )


def _send_all(stream: Stream, items: Sequence[SpooledFrame | Skip]) -> None:
    for item in items:
        if isinstance(item, Skip):
            stream.skip(item.seq_to - item.seq_from + 1, reason=item.reason)
        else:
            frame = item.load()
            stream.send(frame.pixels, index=frame.index, t_acq=frame.t_acq, meta=frame.meta, copy=False)


def _mean_photons(frame: Frame, request: Open) -> float:
    mean = float(frame.pixels.mean(dtype=float))
    return (mean - (request.offset or 0.0)) / (request.gain or 1.0)


def _settings_of(meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the exposure and the numeric properties in the metadata of the frame."""
    found: dict[str, float] = {}
    for name, value in {EXPOSURE: meta.get(EXPOSURE), **(meta.get("properties") or {})}.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue  # a text, such as the name of a filter
    return found
